//! A Redis of ours on a network: what its supervisor is told, and how its users reach it.
//!
//! Whoever provides machines has only to run `rustbatch-worker server` on one of them and to give
//! it [`NetworkServer::line`] on its standard input, or from a file that nobody else can read.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustbatch_protocol::bootstrap::{Address, Authority, Listen, Server, ServerBootstrap};
use rustbatch_protocol::{ClusterId, Secret};
use zeroize::Zeroizing;

use crate::acl::User;
use crate::server::{configuration, json};
use crate::{Error, authority};

/// The server that somebody wants.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The cluster whose keys it will hold.
    pub cluster: ClusterId,
    /// The `redis-server` or `valkey-server` of the machine it will run on: a path, or a name.
    pub executable: PathBuf,
    /// A folder on that machine, made by the supervisor; best where nothing is written to a disk.
    pub folder: PathBuf,
    /// The one address of that machine to listen at; all of them when absent.
    pub bind: Option<IpAddr>,
    /// The port to listen at.
    pub port: u16,
    /// When it starts, by this machine's clock.
    pub from: SystemTime,
    /// How long it stays without a live client or worker, in whole seconds.
    pub idle: Duration,
    /// How long it stays in any case, in whole seconds. Its certificate lasts a day longer.
    pub life: Duration,
    /// Whether it also ends with the standard input of its supervisor.
    pub lifeline: bool,
}

/// A server that is ready to be started, with the passwords of its users.
#[derive(Debug)]
pub struct NetworkServer {
    bootstrap: ServerBootstrap,
    authority: Authority,
    client: Secret,
    worker: Secret,
}

impl NetworkServer {
    /// Makes passwords, an authority and a certificate. Starts nothing.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn new(plan: Plan) -> Result<Self, Error> {
        let (client, worker, watch) = (Secret::random()?, Secret::random()?, Secret::random()?);
        let users = [(User::Client, &client), (User::Worker, &worker), (User::Watch, &watch)];
        let configuration = configuration(&plan.cluster, &users);
        let issued = authority::issue(&plan.cluster, plan.from, plan.life)?;
        let bootstrap = ServerBootstrap {
            cluster: plan.cluster,
            executable: plan.executable,
            folder: plan.folder,
            listen: Some(Listen {
                bind: plan.bind,
                port: plan.port,
                certificate: issued.certificate,
                key: issued.key,
            }),
            configuration,
            watch,
            lifeline: plan.lifeline,
            idle_seconds: Some(plan.idle.as_secs()),
            life_seconds: Some(plan.life.as_secs()),
        };
        Ok(Self { bootstrap, authority: issued.authority, client, worker })
    }

    /// What `rustbatch-worker server` reads from its standard input: one line, without its end. It
    /// holds the certificate's key.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn line(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        json(&self.bootstrap)
    }

    /// What its supervisor is told.
    pub(crate) fn bootstrap(&self) -> &ServerBootstrap {
        &self.bootstrap
    }

    /// The server as a client reaches it that finds it at `host` and `port`.
    #[must_use]
    pub fn client(&self, host: &str, port: u16) -> Server {
        self.reached(User::Client, &self.client, host, port)
    }

    /// The server as a worker reaches it that finds it at `host` and `port`.
    #[must_use]
    pub fn worker(&self, host: &str, port: u16) -> Server {
        self.reached(User::Worker, &self.worker, host, port)
    }

    fn reached(&self, user: User, password: &Secret, host: &str, port: u16) -> Server {
        Server {
            address: Address::Pinned(host.to_owned(), port, self.authority.clone()),
            username: Some(user.name().to_owned()),
            password: Some(password.clone()),
            database: 0,
        }
    }
}
