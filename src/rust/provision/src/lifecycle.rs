//! How a cluster comes to be, is kept up, changes its size, and goes: all policy, once, for every
//! provider.
//!
//! A start is a transaction: whatever step fails, or when nobody waits for it any more, what it
//! began is taken down. A call of the provider is never cut in two: the work is a task of its own,
//! which looks between the calls whether it is still wanted.

mod budget;
mod fleet;
mod pass;
pub mod register;
mod server;
mod start;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustbatch_protocol::bootstrap::Server;
use rustbatch_protocol::{ClusterId, ClusterKey};
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, watch};

use crate::Error;
use crate::provider::{ClusterRecord, InstanceId, LogQuery, Logs, Provider, Report};
use fleet::{Fleet, again};
pub use register::{Door, Redis, Register};

/// The cluster that is wanted.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What it is called; a part of its id.
    pub name: Option<String>,
    /// How many instances with workers there are at least, and at the start.
    pub least: u32,
    /// How many there are at most, when much waits; `least` where the number stays.
    pub most: u32,
    /// How many R processes a worker.
    pub slots: u32,
    /// Processors of an instance, in thousandths; the provider's usual size when absent.
    pub cpu: Option<u32>,
    /// Memory of an instance, in MiB; the provider's usual size when absent.
    pub memory: Option<u64>,
    /// The container's image; the provider's usual one when absent.
    pub image: Option<String>,
    /// The environment of a worker, by name. No secret stands in it.
    pub environment: BTreeMap<String, String>,
    /// The R of the workers.
    pub r: PathBuf,
    /// A Redis that runs already; a server is launched where there is none.
    pub redis: Option<Server>,
}

/// How long is waited, and how often tried.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whether a start waits until all workers have joined; else until the first has.
    pub all: bool,
    /// How long the server may take to run.
    pub server: Duration,
    /// How long a worker may take to join.
    pub join: Duration,
    /// How often it is looked at the instances while something is waited for.
    pub look: Duration,
    /// How often at least it is looked at a cluster that stands as it should.
    pub rest: Duration,
    /// How long an instance may be unknown to its provider after it was launched.
    pub unlisted: Duration,
    /// How long a worker that had joined may be without a lease before its instance is replaced.
    pub silent: Duration,
    /// How long there may be more workers than are needed.
    pub linger: Duration,
    /// How often a call that was [`Error::Busy`] is made again.
    pub tries: usize,
    /// The first pause before that, and before what died is replaced again; it doubles.
    pub pause: Duration,
    /// How long instances without a life line stay without work, in whole seconds.
    pub idle: Duration,
    /// How long they stay in any case, in whole seconds.
    pub life: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            all: false,
            server: Duration::from_secs(300),
            join: Duration::from_secs(300),
            look: Duration::from_secs(1),
            rest: Duration::from_secs(1),
            unlisted: Duration::from_secs(60),
            silent: Duration::from_secs(60),
            linger: Duration::from_secs(60),
            tries: 5,
            pause: Duration::from_millis(500),
            idle: Duration::from_secs(600),
            life: Duration::from_secs(12 * 3600),
        }
    }
}

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
    /// Nothing of it is replaced any more, for this reason.
    Lost(String),
}

/// How many workers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// How many there shall be.
    pub expected: u32,
    /// How many instances have not joined yet.
    pub initializing: u32,
    /// How many have joined.
    pub running: u32,
}

/// A cluster that stands. Dropping it takes it down, without waiting.
pub struct Up<P: Provider, D: Door> {
    parts: Option<Parts<P, D>>,
    access: watch::Receiver<Access>,
    runtime: Handle,
}

struct Parts<P: Provider, D: Door> {
    provider: Arc<P>,
    fleet: Arc<Mutex<Fleet<P, D>>>,
    cluster: ClusterId,
    /// Whoever keeps the cluster up ends with it.
    wanted: watch::Sender<()>,
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
    fn new(mut fleet: Fleet<P, D>, access: watch::Receiver<Access>) -> Self {
        let (provider, cluster) = (Arc::clone(&fleet.provider), fleet.cluster.clone());
        let (wanted, unwanted) = watch::channel(());
        fleet.unwanted = unwanted;
        let fleet = Arc::new(Mutex::new(fleet));
        let parts = Parts { provider, fleet, cluster, wanted, keeping: None };
        Self { parts: Some(parts), access, runtime: Handle::current() }
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
        self.parts()?.fleet.lock().await.register()
    }

    /// From now on the cluster is kept up, in the background: see [`Up::pass`]. Once; to be called
    /// within a tokio runtime.
    pub fn keep(&mut self) {
        let Some(parts) = &mut self.parts else { return };
        let mut unwanted = parts.wanted.subscribe();
        let fleet = Arc::clone(&parts.fleet);
        let provider = Arc::clone(&parts.provider);
        parts.keeping = Some(tokio::spawn(async move {
            loop {
                let pause = {
                    let mut fleet = fleet.lock().await;
                    // What failed is tried again; what can't be mended is kept for who asks.
                    let _ = fleet.pass(Instant::now()).await;
                    fleet.pause()
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
        self.parts()?.fleet.lock().await.pass(now).await
    }

    /// Why the cluster is lost; `None` while it is kept up. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub async fn lost(&self) -> Result<Option<String>, Error> {
        Ok(self.parts()?.fleet.lock().await.lost.clone())
    }

    /// From now on there shall be `n` workers: the next look sees to it. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub async fn resize(&self, n: u32) -> Result<(), Error> {
        self.parts()?.fleet.lock().await.resize(n);
        Ok(())
    }

    /// How many workers there are, as of the last look. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub async fn numbers(&self) -> Result<Numbers, Error> {
        Ok(self.parts()?.fleet.lock().await.numbers())
    }

    /// What an instance wrote. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Provider::logs`].
    pub async fn logs(&self, id: &InstanceId, query: &LogQuery) -> Result<Logs, Error> {
        let parts = self.parts()?;
        parts.provider.logs(&parts.cluster, id, query).await
    }

    /// Takes the cluster down, and says what was removed.
    ///
    /// Cancel-safe: it goes on in the background.
    ///
    /// # Errors
    /// Those of [`Provider::destroy`].
    pub async fn stop(mut self) -> Result<Report, Error> {
        let parts = self.parts.take().ok_or_else(gone)?;
        let task = self.runtime.spawn(parts.end());
        task.await.map_err(|e| Error::Internal(e.to_string()))?
    }

    fn parts(&self) -> Result<&Parts<P, D>, Error> {
        self.parts.as_ref().ok_or_else(gone)
    }
}

fn gone() -> Error {
    Error::Internal("the cluster has been taken down".into())
}

impl<P: Provider, D: Door> Drop for Up<P, D> {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            self.runtime.spawn(parts.end());
        }
    }
}

impl<P: Provider, D: Door> Parts<P, D> {
    /// Ends the keeping first, so that nothing is launched any more.
    async fn end(self) -> Result<Report, Error> {
        drop(self.wanted);
        if let Some(keeping) = self.keeping {
            let _ = keeping.await;
        }
        let mut fleet = self.fleet.lock().await;
        fleet.close();
        again(&fleet.policy, || self.provider.destroy(&self.cluster)).await
    }
}

/// What is left of all clusters of a provider. Cancel-safe.
///
/// # Errors
/// Those of [`Provider::find`].
pub async fn find<P: Provider>(provider: &P, policy: &Policy) -> Result<Vec<ClusterRecord>, Error> {
    again(policy, || provider.find()).await
}

/// Removes what is left of all clusters of a provider, by tag, except those in `keep`.
///
/// Not cancel-safe: what was not reached stays.
///
/// # Errors
/// Those of [`Provider::find`]. What could not be removed is in the report.
pub async fn cleanup<P: Provider>(
    provider: &P,
    policy: &Policy,
    keep: &[ClusterId],
) -> Result<Report, Error> {
    let mut all = Report::default();
    for record in find(provider, policy).await? {
        if keep.contains(&record.cluster) {
            continue;
        }
        match again(policy, || provider.destroy(&record.cluster)).await {
            Ok(report) => {
                all.removed.extend(report.removed);
                all.left.extend(report.left);
            }
            Err(error) => all.left.push((format!("cluster {}", record.cluster), error.to_string())),
        }
    }
    Ok(all)
}
