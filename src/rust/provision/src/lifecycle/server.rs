//! A server that is to be launched: its secrets, and how its two users reach it.

use rustbatch_protocol::bootstrap::{Address, Server, ServerBootstrap};
use rustbatch_protocol::{ClusterId, Secret};

use super::Policy;
use crate::Error;
use crate::acl::User;
use crate::network::{NetworkServer, Plan};
use crate::provider::{Bootstrap, Reach, ServerTerms};
use crate::server::configuration;

/// What is known of a server before it is launched.
pub(super) enum Secrets {
    /// It listens on a network.
    Network(Box<NetworkServer>),
    /// It listens at a socket alone.
    Private { bootstrap: Box<ServerBootstrap>, client: Secret, worker: Secret },
}

impl Secrets {
    /// Makes passwords, and where it listens on a network its certificate. Starts nothing.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub(super) fn new(
        cluster: &ClusterId,
        terms: &ServerTerms,
        policy: &Policy,
    ) -> Result<Self, Error> {
        let ServerTerms { executable, folder, listen, lifeline } = terms.clone();
        if let Some((bind, port)) = listen {
            let from = std::time::SystemTime::now();
            let (idle, life) = (policy.idle, policy.life);
            let cluster = cluster.clone();
            let plan = Plan { cluster, executable, folder, bind, port, from, idle, life, lifeline };
            return Ok(Self::Network(Box::new(NetworkServer::new(plan)?)));
        }
        let (client, worker, watch) = (Secret::random()?, Secret::random()?, Secret::random()?);
        let users = [(User::Client, &client), (User::Worker, &worker), (User::Watch, &watch)];
        let configuration = configuration(cluster, &users);
        // With a life line it ends with this process; without, when nobody needs it.
        let limit = |limit: std::time::Duration| (!lifeline).then_some(limit.as_secs());
        let bootstrap = Box::new(ServerBootstrap {
            cluster: cluster.clone(),
            executable,
            folder,
            listen: None,
            configuration,
            watch,
            lifeline,
            idle_seconds: limit(policy.idle),
            life_seconds: limit(policy.life),
        });
        Ok(Self::Private { bootstrap, client, worker })
    }

    /// What its supervisor is told.
    pub(super) fn bootstrap(&self) -> Bootstrap {
        Bootstrap::Server(Box::new(match self {
            Self::Network(server) => server.bootstrap().clone(),
            Self::Private { bootstrap, .. } => (**bootstrap).clone(),
        }))
    }

    /// The server as `user` reaches it.
    ///
    /// # Errors
    /// [`Error::Internal`] where it is to be reached at what it does not listen at.
    pub(super) fn reached(&self, user: User, reach: &Reach) -> Result<Server, Error> {
        match (self, reach) {
            (Self::Network(server), Reach::Host(host, port)) => Ok(match user {
                User::Worker => server.worker(host, *port),
                _ => server.client(host, *port),
            }),
            (Self::Private { client, worker, .. }, Reach::Socket(path)) => Ok(Server {
                address: Address::Unix(path.clone()),
                username: Some(user.name().to_owned()),
                password: Some(if user == User::Worker { worker } else { client }.clone()),
                database: 0,
            }),
            _ => Err(Error::Internal(format!("the server does not listen at {reach:?}"))),
        }
    }
}
