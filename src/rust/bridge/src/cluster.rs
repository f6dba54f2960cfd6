//! Clusters: started, looked at, stopped.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use extendr_api::prelude::*;
use rustbatch_protocol::bootstrap::Address;
use rustbatch_protocol::{BlobRef, ClusterId};
use rustbatch_provision::lifecycle::{self, Access, Progress, Redis, Standing, Up};
use rustbatch_provision::{Local, Programs, Spec};
use rustbatch_queue::Client;
use tokio::sync::watch;

use crate::boundary::entry;
use crate::failure::{Failure, Raised};
use crate::runtime::{self, Origin};
use crate::{config, values};

/// The way out when a cluster is no more.
const AGAIN: &str =
    "* Start another one with `makeCluster()`, and register it with `registerDoRustBatch()`.";

/// A cluster as R holds it.
///
/// In a forked child it is forgotten, never dropped: sockets and processes are the parent's.
pub struct Cluster {
    origin: Origin,
    parts: RefCell<Option<Parts>>,
    /// The blobs of the objects that have been exported, by their digest in memory.
    exported: RefCell<HashMap<[u8; 32], BlobRef>>,
    id: ClusterId,
    name: Option<String>,
    server: String,
    slots: u32,
}

struct Parts {
    up: Up<Local, Redis>,
    client: Client,
}

impl Cluster {
    /// The client of a cluster that has not been stopped.
    ///
    /// # Errors
    /// Of the kind `closed`, or `forked` in a forked child.
    pub fn client(&self) -> Result<Client, Failure> {
        self.origin.check("cluster")?;
        match &*self.parts.borrow() {
            Some(parts) => Ok(parts.client.clone()),
            None => Err(Failure::new("closed", format!("The cluster has been stopped\n{AGAIN}"))),
        }
    }

    /// The blob of the object with this digest, if one was exported. Redis may have lost it since.
    pub fn known(&self, digest: &[u8; 32]) -> Option<BlobRef> {
        self.exported.borrow().get(digest).copied()
    }

    /// Notes the blob of the object with this digest.
    pub fn know(&self, digest: [u8; 32], blob: BlobRef) {
        self.exported.borrow_mut().insert(digest, blob);
    }

    /// How many R processes it has.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Fails when a process of the cluster has ended unasked and is not replaced any more.
    ///
    /// # Errors
    /// Of the kind `lost`, with the process' last words.
    pub fn check_alive(&self) -> Result<(), Failure> {
        match self.lost() {
            Some(words) => Err(Failure::new("lost", words)),
            None => Ok(()),
        }
    }

    /// Why the cluster is lost; `None` while it is kept up.
    fn lost(&self) -> Option<String> {
        if !self.origin.is_here() {
            return None;
        }
        match self.parts.borrow().as_ref()?.up.access().standing {
            Standing::Lost(words) => Some(format!("The cluster is lost: {words}\n{AGAIN}")),
            Standing::Up | Standing::Replacing => None,
        }
    }

    /// Where its Redis is, or was at the start.
    fn server(&self) -> String {
        match &*self.parts.borrow() {
            Some(parts) if self.origin.is_here() => parts.up.access().server.address.to_string(),
            _ => self.server.clone(),
        }
    }

    fn state(&self) -> &'static str {
        if !self.origin.is_here() {
            return "another process'";
        }
        match &*self.parts.borrow() {
            None => "stopped",
            Some(_) if self.lost().is_some() => "lost",
            Some(_) => "running",
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let parts = self.parts.take();
        if !self.origin.is_here() {
            std::mem::forget(parts);
        }
    }
}

/// Starts a cluster: checks everything that can be checked, then its Redis, then its workers. `file`
/// is the path of a `cluster.json` or `NULL`; then `fields` are its fields. Returns a pointer.
#[extendr]
fn cluster_start(file: Robj, fields: Robj, worker: Robj, r: Robj) -> Robj {
    entry(|| {
        let spec = config::read(&file, &fields)?;
        let r =
            spec.r_command.clone().map_or_else(|| values::text_of(&r).map(PathBuf::from), Ok)?;
        let programs = Programs { worker: values::text_of(&worker)?.into(), r };
        let (name, slots) = (spec.name.clone(), spec.total_slots());
        let parts = runtime::run(start(spec, programs))?;
        let access = parts.up.access();
        Ok(values::pointer(Cluster {
            origin: Origin::here(),
            parts: RefCell::new(Some(parts)),
            exported: RefCell::default(),
            id: access.cluster,
            name,
            server: access.server.address.to_string(),
            slots,
        }))
    })
}

/// The address of the Redis that a cluster would use, where others can see what is said to it; else
/// `NULL`. Asks nobody.
#[extendr]
fn cluster_exposed(file: Robj, fields: Robj) -> Robj {
    entry(|| {
        let spec = config::read(&file, &fields)?;
        match spec.redis.map(|server| server.address).filter(Address::is_exposed) {
            Some(address) => values::text(&address.to_string()),
            None => Ok(values::null()),
        }
    })
}

async fn start(spec: Spec, programs: Programs) -> Result<Parts, Raised> {
    let local = Arc::new(Local::new(&programs.worker, spec.redis.is_none()));
    let (wish, policy) = Local::wish(&spec, &programs);
    let replacing = policy.server + policy.join;
    let mut up = lifecycle::start(local, Redis, wish, policy, Progress::default()).await?;
    let client = (*up.register().await?).clone();
    tokio::spawn(follow(up.accesses(), client.clone(), replacing));
    up.keep();
    Ok(Parts { up, client })
}

/// Tells the client of each new server, and while one is on its way, which may take so long. Ends with
/// the cluster.
async fn follow(mut accesses: watch::Receiver<Access>, client: Client, replacing: Duration) {
    while accesses.changed().await.is_ok() {
        let Access { server, standing, .. } = accesses.borrow_and_update().clone();
        match standing {
            // A server that has no address is none that was reached before.
            Standing::Up => drop(client.moved(&server)),
            Standing::Replacing => client.expect(replacing),
            Standing::Lost(_) => return,
        }
    }
}

/// Stops a cluster; one that is stopped, or another process', is left alone.
#[extendr]
fn cluster_stop(cluster: Robj) -> Robj {
    entry(|| {
        let cluster = values::pointed::<Cluster>(&cluster)?;
        let parts = if cluster.origin.is_here() { cluster.parts.take() } else { None };
        if let Some(Parts { up, client, .. }) = parts {
            drop(client);
            // An interrupt does not cut it in two.
            runtime::run(up.stop())?;
        }
        Ok(values::null())
    })
}

/// Fails when a cluster can't run a loop: it has been stopped, is lost, or is another process'.
#[extendr]
fn cluster_check(cluster: Robj) -> Robj {
    entry(|| {
        let cluster = values::pointed::<Cluster>(&cluster)?;
        cluster.client()?;
        cluster.check_alive()?;
        Ok(values::null())
    })
}

/// What there is to say of a cluster.
#[extendr]
fn cluster_describe(cluster: Robj) -> Robj {
    entry(|| {
        let cluster = values::pointed::<Cluster>(&cluster)?;
        values::named_list(&[
            ("id", values::text(cluster.id.as_str())?),
            ("name", values::text(cluster.name.as_deref().unwrap_or(""))?),
            ("server", values::text(&cluster.server())?),
            ("slots", values::integers(&[cluster.slots.cast_signed()])?),
            ("state", values::text(cluster.state())?),
        ])
    })
}

extendr_module! {
    mod cluster;
    fn cluster_start;
    fn cluster_exposed;
    fn cluster_check;
    fn cluster_stop;
    fn cluster_describe;
}
