//! How a cluster comes to be, is kept up, changes its size, and goes: all policy, once, for every
//! provider.
//!
//! A start is a transaction: whatever step fails, or when nobody waits for it any more, what it
//! began is taken down. A call of the provider is never cut in two: the work is a task of its own,
//! which looks between the calls whether it is still wanted.

mod budget;
mod ears;
mod fleet;
mod hire;
mod life;
mod pass;
mod pause;
mod record;
pub mod register;
mod remains;
mod server;
mod start;
mod wish;

use std::sync::{Arc, Mutex as Slot, MutexGuard, PoisonError};
use std::time::Instant;

use rustbatch_protocol::bootstrap::Server;
use rustbatch_protocol::{ClusterId, ClusterKey};
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::Error;
use crate::provider::{Instance, InstanceId, LogQuery, Logs, Provider, Report};
use fleet::{Fleet, again};
pub use record::attach;
pub use register::{Door, Redis, Register};
pub use remains::{cleanup, find, named};
pub use wish::{Policy, Wish};

/// Where lines for the user go: what is waited for, and what has changed.
#[derive(Debug, Clone, Default)]
pub struct Progress(pub Option<UnboundedSender<String>>);

impl Progress {
    fn say(&self, line: impl Into<String>) {
        // Who listened may have gone.
        let _ = self.0.as_ref().map(|lines| lines.send(line.into()));
    }
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
    /// How it stands with the cluster.
    pub standing: Standing,
}

/// How it stands with a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is kept up.
    Up,
    /// Its server was lost, and another is on its way; [`Access::server`] is still the lost one.
    Replacing,
    /// Its server has been stopped on purpose; [`Access::server`] is that one.
    Paused,
    /// Nothing of it is replaced any more, for this reason.
    Lost(String),
}

/// How many workers there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// How many there shall be.
    pub expected: u32,
    /// How many instances have not joined yet.
    pub initializing: u32,
    /// How many have joined.
    pub running: u32,
}

/// A cluster that stands. Dropping it takes it down, without waiting; one that another process has
/// started is left alone.
pub struct Up<P: Provider, D: Door> {
    parts: Slot<Option<Parts<P, D>>>,
    access: watch::Receiver<Access>,
    numbers: watch::Receiver<Numbers>,
    trouble: watch::Receiver<Option<String>>,
    runtime: Handle,
    /// Whether another process has started it.
    attached: bool,
}

struct Parts<P: Provider, D: Door> {
    provider: Arc<P>,
    fleet: Arc<Mutex<Fleet<P, D>>>,
    cluster: ClusterId,
    /// Whoever keeps the cluster up ends with it.
    wanted: Option<watch::Sender<()>>,
    keeping: Option<tokio::task::JoinHandle<()>>,
}

/// Starts a cluster: check, prepare, server, workers, each waited for. To be called within a tokio
/// runtime.
///
/// Cancel-safe: a start that nobody waits for is taken down, in the background.
///
/// # Errors
/// Those of the provider and the queue; [`Error::TimedOut`], [`Error::NotStarted`],
/// [`Error::NotJoined`]. What was begun has been taken down then; what could not be is said by
/// [`Error::Left`].
pub async fn start<P: Provider, D: Door>(
    provider: Arc<P>,
    door: D,
    wish: Wish,
    policy: Policy,
    progress: Progress,
) -> Result<Up<P, D>, Error> {
    let (wanted, unwanted) = watch::channel(());
    let cluster = name(wish.name.as_deref())?;
    let fleet = Fleet::new(provider, door, wish, policy, progress, cluster, unwanted)?;
    // Its result is taken down with it if nobody takes it.
    let task = tokio::spawn(start::run(fleet));
    let up = task.await.map_err(|e| Error::Internal(e.to_string()))?;
    drop(wanted);
    up
}

/// A new id, with the name in front where there is one.
fn name(name: Option<&str>) -> Result<ClusterId, Error> {
    let random = ClusterId::random()?;
    match name {
        Some(name) => Ok(format!("{name}-{random}").parse()?),
        None => Ok(random),
    }
}

impl<P: Provider, D: Door> Up<P, D> {
    fn new(mut fleet: Fleet<P, D>, access: watch::Receiver<Access>, attached: bool) -> Self {
        let (provider, cluster) = (Arc::clone(&fleet.provider), fleet.cluster.clone());
        let (wanted, unwanted) = watch::channel(());
        fleet.unwanted = unwanted;
        fleet.publish();
        let (numbers, trouble) = (fleet.known.subscribe(), fleet.trouble.subscribe());
        let fleet = Arc::new(Mutex::new(fleet));
        let parts = Parts { provider, fleet, cluster, wanted: Some(wanted), keeping: None };
        let (parts, runtime) = (Slot::new(Some(parts)), Handle::current());
        Self { parts, access, numbers, trouble, runtime, attached }
    }

    /// What a client needs; another server's when the first is lost.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access.borrow().clone()
    }

    /// What a client needs, each time that it changes: another server, or how the cluster stands. It ends
    /// with the cluster.
    #[must_use]
    pub fn accesses(&self) -> watch::Receiver<Access> {
        self.access.clone()
    }

    /// The connection that has been made to the queue. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Internal`] where there is none.
    pub async fn register(&self) -> Result<Arc<D::Register>, Error> {
        self.fleet()?.lock_owned().await.register()
    }

    /// From now on the cluster is kept up, in the background: see [`Up::pass`]. Once; to be called
    /// within a tokio runtime.
    pub fn keep(&self) {
        let mut parts = self.slot();
        let Some(parts) = &mut *parts else { return };
        let Some(mut unwanted) = parts.wanted.as_ref().map(watch::Sender::subscribe) else {
            return;
        };
        let fleet = Arc::clone(&parts.fleet);
        let provider = Arc::clone(&parts.provider);
        parts.keeping = Some(tokio::spawn(async move {
            loop {
                let pause = {
                    let mut fleet = fleet.lock().await;
                    // What failed is tried again; what can't be mended is kept for who asks.
                    let done = fleet.pass(Instant::now()).await;
                    fleet.troubled(&done);
                    fleet.publish();
                    fleet.rest()
                };
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = provider.changed() => {}
                    _ = unwanted.changed() => return,
                }
            }
        }));
    }

    /// Looks once at all instances and does what has to be done: replaces what died, follows the
    /// queue, ends what has drained, replaces a lost server. `now` is the time to go by.
    ///
    /// Not cancel-safe.
    ///
    /// # Errors
    /// [`Error::Lost`] when all workers, or the server, have died and were replaced too often. Any
    /// other may be mended by the next look.
    pub async fn pass(&self, now: Instant) -> Result<(), Error> {
        let mut fleet = self.fleet()?.lock_owned().await;
        let done = fleet.pass(now).await;
        fleet.troubled(&done);
        fleet.publish();
        done
    }

    /// Why the cluster can't be kept up, where only the user can mend that: what the last look has found.
    /// Asks nobody.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// How many R processes a worker has, and how many workers there may be. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Internal`] where the cluster has been stopped, or left.
    pub async fn size(&self) -> Result<(u32, u32), Error> {
        let fleet = self.fleet()?.lock_owned().await;
        Ok((fleet.wish.slots, fleet.wish.most))
    }

    /// How many workers there were at the last look. Asks nobody.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        *self.numbers.borrow()
    }

    /// How many workers there are, each time that is looked. It ends with the cluster.
    #[must_use]
    pub fn counts(&self) -> watch::Receiver<Numbers> {
        self.numbers.clone()
    }

    /// From now on there shall be so many workers at least, and at most, whoever keeps the cluster up:
    /// the next look sees to it. Not cancel-safe: others may not know.
    ///
    /// # Errors
    /// Of the queue, which tells the others, and those of [`Provider::remember`].
    pub async fn resize(&self, least: u32, most: u32) -> Result<(), Error> {
        let mut fleet = self.fleet()?.lock_owned().await;
        fleet.resize(least, most);
        fleet.publish();
        if !fleet.paused {
            fleet.register()?.resize(least, most).await?;
        }
        fleet.remember().await
    }

    /// Stops the server, and with it the workers, which can do nothing without it. What they had not
    /// finished is lost with the queue; the client has it. Not cancel-safe.
    ///
    /// # Errors
    /// [`Error::Refused`] where the server is not ours; those of [`Provider::terminate`].
    pub async fn stop_server(&self) -> Result<(), Error> {
        let mut fleet = self.fleet()?.lock_owned().await;
        let done = fleet.pause().await;
        fleet.publish();
        done
    }

    /// Starts server and workers again, which [`Up::stop_server`] has stopped, and waits for the
    /// workers. Does nothing where they run. Not cancel-safe.
    ///
    /// # Errors
    /// As [`start`]; then they are stopped again.
    pub async fn start_server(&self) -> Result<(), Error> {
        let mut fleet = self.fleet()?.lock_owned().await;
        let done = fleet.resume().await;
        fleet.publish();
        done
    }

    /// Whether the server runs. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Provider::instances`].
    pub async fn serves(&self) -> Result<bool, Error> {
        self.fleet()?.lock_owned().await.serves().await
    }

    /// The instances that are known, and how they are, each with its name for [`Up::logs`]. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Provider::instances`].
    pub async fn instances(&self) -> Result<Vec<Instance>, Error> {
        let mut all: Vec<_> =
            self.fleet()?.lock_owned().await.listed().await?.into_values().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// What an instance wrote. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Provider::logs`].
    pub async fn logs(&self, id: &InstanceId, query: &LogQuery) -> Result<Logs, Error> {
        let (provider, cluster) = match &*self.slot() {
            Some(parts) => (Arc::clone(&parts.provider), parts.cluster.clone()),
            None => return Err(gone()),
        };
        provider.logs(&cluster, id, query).await
    }

    /// Takes the cluster down, and says what was removed. What fails, or leaves something, can be done
    /// again.
    ///
    /// Cancel-safe: it goes on in the background.
    ///
    /// # Errors
    /// Those of [`Provider::destroy`]; [`Error::Internal`] where it has been stopped, or left.
    pub async fn stop(&self) -> Result<Report, Error> {
        let mut parts = self.slot().take().ok_or_else(gone)?;
        let task = self.runtime.spawn(async move { (parts.end().await, parts) });
        let (done, parts) = task.await.map_err(|e| Error::Internal(e.to_string()))?;
        if done.as_ref().map_or(true, |report| !report.left.is_empty()) {
            *self.slot() = Some(parts);
        }
        done
    }

    /// Whether the cluster has been stopped, or left.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.slot().is_none()
    }

    /// Leaves the cluster to itself, or to others who hold it. Its instances end when nobody has had
    /// work for them for a while. Cancel-safe: it goes on in the background.
    ///
    /// # Errors
    /// [`Error::Internal`] where it has been stopped, or left.
    pub async fn leave(&self) -> Result<(), Error> {
        let mut parts = self.slot().take().ok_or_else(gone)?;
        let task = self.runtime.spawn(async move { drop(parts.close().await) });
        task.await.map_err(|e| Error::Internal(e.to_string()))
    }

    fn fleet(&self) -> Result<Arc<Mutex<Fleet<P, D>>>, Error> {
        self.slot().as_ref().map(|parts| Arc::clone(&parts.fleet)).ok_or_else(gone)
    }

    /// Held for a moment only.
    fn slot(&self) -> MutexGuard<'_, Option<Parts<P, D>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gone() -> Error {
    Error::Internal("the cluster has been taken down".into())
}

impl<P: Provider, D: Door> Drop for Up<P, D> {
    fn drop(&mut self) {
        let parts = self.slot().take();
        match parts {
            Some(mut parts) if self.attached => {
                self.runtime.spawn(async move { drop(parts.close().await) });
            }
            Some(mut parts) => {
                self.runtime.spawn(async move { drop(parts.end().await) });
            }
            None => {}
        }
    }
}

impl<P: Provider, D: Door> Parts<P, D> {
    /// Ends the keeping first, so that nothing is launched any more.
    async fn close(&mut self) -> OwnedMutexGuard<Fleet<P, D>> {
        self.wanted = None;
        if let Some(keeping) = self.keeping.take() {
            let _ = keeping.await;
        }
        let mut fleet = Arc::clone(&self.fleet).lock_owned().await;
        fleet.close();
        fleet
    }

    async fn end(&mut self) -> Result<Report, Error> {
        let fleet = self.close().await;
        again(&fleet.policy, || fleet.provider.destroy(&fleet.cluster)).await
    }
}
