//! The provider `local`: workers that are processes of this machine.
//!
//! One `rustbatch-worker` runs all R processes, and is started again when it dies. A start is a
//! transaction: whatever fails, what was begun is taken down. Both processes notice by the end of
//! their standard input that this one is gone, even by SIGKILL.

use std::path::PathBuf;
use std::time::Duration;

use rustbatch_protocol::bootstrap::{Server, WorkerBootstrap};
use rustbatch_protocol::{ClusterId, ClusterKey, WorkerId};
use tokio::sync::mpsc::UnboundedSender;

use crate::fork::Here;
use crate::keeper::{Keeper, Recipe};
use crate::server::{self, PrivateServer};
use crate::{Error, Spec};

/// The executables that a local cluster runs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `rustbatch-worker`.
    pub worker: PathBuf,
    /// R.
    pub r: PathBuf,
}

/// What a client needs to use a cluster.
#[derive(Debug, Clone)]
pub struct Access {
    /// The cluster's id.
    pub cluster: ClusterId,
    /// The cluster's key.
    pub key: ClusterKey,
    /// Redis, for the client.
    pub server: Server,
    /// How many R processes there will be.
    pub slots: u32,
}

/// A cluster with a Redis, which may still be starting, but without workers. Dropping it takes the
/// Redis down, if it is ours.
pub struct Site {
    access: Access,
    worker: Server,
    programs: Programs,
    server: Here<Option<PrivateServer>>,
}

/// Sees to it that there is a Redis: starts a private one, or takes the one that `spec` names
/// without looking at it. To be called within a tokio runtime.
///
/// Cancel-safe: what was begun is taken down.
///
/// # Errors
/// Of kind `redis_missing`, `provision` or `internal`.
pub async fn prepare(spec: &Spec, programs: &Programs) -> Result<Site, Error> {
    let cluster = name(spec)?;
    let (server, client, worker) = match &spec.redis {
        Some(url) => (None, url.clone(), url.clone()),
        None => {
            let started = server::start(&cluster, &programs.worker).await?;
            (Some(started.server), started.client, started.worker)
        }
    };
    let key = ClusterKey::random()?;
    Ok(Site {
        access: Access { cluster, key, server: client, slots: spec.total_slots() },
        worker,
        programs: programs.clone(),
        server: Here::new(server),
    })
}

/// A new id, with the name in front where there is one.
fn name(spec: &Spec) -> Result<ClusterId, Error> {
    let random = ClusterId::random()?;
    match &spec.name {
        Some(name) => Ok(format!("{name}-{random}").parse()?),
        None => Ok(random),
    }
}

impl Site {
    /// What a client needs to use the cluster, and to check a server that is not ours before
    /// [`Site::launch`].
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Whether the Redis is a private one, which needs no check.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.server.get().is_some_and(Option::is_some)
    }

    /// Starts the worker, then waits for a private Redis: R takes longer to start than that does. That
    /// the worker runs does not mean that it works: its lease in Redis says so, and until then
    /// [`Running::died`] says why it does not. To be called within a tokio runtime.
    ///
    /// Cancel-safe: all is taken down.
    ///
    /// # Errors
    /// Of kind `provision`, `timed_out` (after 20 s) or `internal`; then all is taken down.
    pub async fn launch(self) -> Result<Running, Error> {
        let bootstrap = WorkerBootstrap {
            cluster: self.access.cluster.clone(),
            key: self.access.key.to_hex(),
            worker: WorkerId::random()?,
            server: self.worker,
            slots: self.access.slots,
            r: self.programs.r,
            lifeline: true,
            idle_seconds: None,
            life_seconds: None,
        };
        let worker = Keeper::start(Recipe { program: self.programs.worker, bootstrap }).await?;
        let mut server = self.server.into_inner().flatten();
        if let Some(server) = &mut server {
            server.ready().await?;
        }
        Ok(Running { parts: Here::new(Parts { worker, server }) })
    }
}

/// The processes of a cluster. Dropping it kills what is still there, without waiting, except in a
/// forked child of the process that started them.
pub struct Running {
    parts: Here<Parts>,
}

/// In the order in which they are taken down.
struct Parts {
    worker: Keeper,
    server: Option<PrivateServer>,
}

impl Running {
    /// From now on a worker that ends unasked is started again, at most five times within a minute,
    /// and the name of the one that ended is told to `deaths`: call this when the first has joined.
    /// Does nothing in a forked child. To be called within a tokio runtime; once.
    pub fn keep(&self, deaths: UnboundedSender<WorkerId>) {
        if let Some(parts) = self.parts.get() {
            parts.worker.keep(deaths);
        }
    }

    /// How a process of the cluster ended unasked, with the last lines of its output; `None` while
    /// all run or are started again. Cheap, and never blocks.
    #[must_use]
    pub fn died(&self) -> Option<String> {
        let parts = self.parts.get()?;
        // Without its server a worker ends, too: the cause is named first.
        parts.server.as_ref().and_then(PrivateServer::died).or_else(|| parts.worker.died())
    }

    /// Asks the worker to end, then the server, waits up to `grace` for each, and then kills its
    /// process group. Does nothing in a forked child. Never fails.
    ///
    /// Cancel-safe: what is still there is killed.
    pub async fn stop(self, grace: Duration) {
        let Some(Parts { worker, server }) = self.parts.into_inner() else {
            return;
        };
        worker.stop(grace).await;
        if let Some(server) = server {
            server.stop(grace).await;
        }
    }
}
