//! What runs the instances of a cluster: the trait, and its words.
//!
//! A provider is small. It says what there is and does what it is told, once: waiting, retrying,
//! scaling and taking down are [`crate::lifecycle`]'s. It can be made again from its configuration;
//! whatever it makes carries the cluster's id as a tag, and by that tag alone it finds it again.

mod unit;

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustbatch_protocol::{ClusterId, Secret, WorkerId};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Error;
pub use unit::{Bootstrap, Unit};

/// What runs the instances of clusters.
///
/// Every call is made once, has a time-out of its own where it speaks to somebody, and is never cut
/// short by the lifecycle. An error that may go away by itself is [`Error::Busy`], and the call is
/// made again; all others are final.
pub trait Provider: Send + Sync + 'static {
    /// Looks for all that can be known wrong before it costs money: programs, credentials, quota,
    /// sizes. Makes nothing. Cancel-safe.
    ///
    /// # Errors
    /// Whatever would make a later step fail, with what to do.
    fn check(&self) -> impl Future<Output = Result<Plan, Error>> + Send;

    /// Makes what the instances of `cluster` need around them (network, role, secret, folder), tagged,
    /// and returns it. What is there is used again.
    ///
    /// # Errors
    /// Then it may have made a part of it, which [`Provider::destroy`] takes away.
    fn prepare(&self, cluster: &ClusterId) -> impl Future<Output = Result<Site, Error>> + Send;

    /// Starts `n` instances of `unit`, and does not wait until they run. Fewer is a result, not an
    /// error. Called again with the same token it starts none anew, and returns the same ones.
    ///
    /// # Errors
    /// Where none was started, or where it can't be known: the tag finds them.
    fn launch(
        &self,
        site: &Site,
        unit: &Unit,
        n: u32,
        token: &Token,
    ) -> impl Future<Output = Result<Launched, Error>> + Send;

    /// The instances of a cluster that are known, with those that have stopped, as long as the
    /// provider remembers why. One that was launched just now may be missing for a minute. Cancel-safe.
    ///
    /// # Errors
    /// Where they can't be listed. A cluster without any is no error.
    fn instances(
        &self,
        cluster: &ClusterId,
    ) -> impl Future<Output = Result<Vec<Instance>, Error>> + Send;

    /// Returns when an instance of any cluster may have ended since it returned last: then it is looked
    /// at once. Never returns where the provider is not told. Cancel-safe.
    fn changed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Whether an instance that never ran, and stopped because of `why`, may run when it is launched again
    /// a little later: what was made a moment ago may not be known everywhere yet.
    fn may_pass(&self, _why: &str) -> bool {
        false
    }

    /// Why a cluster may cost no more than it has cost, as of the last look at its instances: then they are
    /// ended.
    fn overspent(&self, _cluster: &ClusterId) -> Option<String> {
        None
    }

    /// Ends instances and forgets them, where that is the provider's to do. What has ended, is unknown
    /// or another cluster's is left alone.
    ///
    /// # Errors
    /// Where one may still run.
    fn terminate(
        &self,
        cluster: &ClusterId,
        ids: &[InstanceId],
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// How the server is reached. Asked when the server runs, and again when it does not answer; opens
    /// the way for this machine, or a tunnel, where one is needed.
    ///
    /// # Errors
    /// Where there is no such server, or no way to it.
    fn endpoint(
        &self,
        cluster: &ClusterId,
        server: &InstanceId,
    ) -> impl Future<Output = Result<Endpoint, Error>> + Send;

    /// What an instance wrote, also after its end, as long as the provider keeps it. Cancel-safe.
    ///
    /// # Errors
    /// Where there is no such instance, or its output can't be read.
    fn logs(
        &self,
        cluster: &ClusterId,
        id: &InstanceId,
        query: &LogQuery,
    ) -> impl Future<Output = Result<Logs, Error>> + Send;

    /// Keeps `record`, which holds secrets, with what the cluster has, where only those can read it
    /// who may use the provider as its owner does; in place of the one before. It goes with the cluster.
    /// Does nothing where a cluster ends with the process that started it.
    ///
    /// # Errors
    /// Where it can't be kept; the one before may be lost, too.
    fn remember(
        &self,
        site: &Site,
        record: &Zeroizing<Vec<u8>>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The record of a cluster; nothing where none is kept. Cancel-safe.
    ///
    /// # Errors
    /// Where it can't be read.
    fn recall(
        &self,
        cluster: &ClusterId,
    ) -> impl Future<Output = Result<Option<Zeroizing<Vec<u8>>>, Error>> + Send;

    /// The clusters of which something is left, by our tag alone. Cancel-safe.
    ///
    /// # Errors
    /// Where they can't be listed.
    fn find(&self) -> impl Future<Output = Result<Vec<ClusterRecord>, Error>> + Send;

    /// Removes all that carries our tag and this id, and nothing else: first the record, by which other
    /// clients know that it is meant so, then instances. A cluster of which nothing is left is no error.
    ///
    /// # Errors
    /// Where it can't be known what is left; what could not be removed is in the report.
    fn destroy(&self, cluster: &ClusterId) -> impl Future<Output = Result<Report, Error>> + Send;
}

/// What will be made, as far as it is known before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// What the user should know: sizes rounded up, quotas nearly reached.
    pub notes: Vec<String>,
    /// The most workers that there may be now, and what allows no more, in words; none known when absent.
    pub most_workers: Option<(u32, String)>,
    /// What an hour of the whole cluster costs, in US dollars; unknown when absent.
    pub dollars_per_hour: Option<f64>,
}

impl Plan {
    /// `what` allows no more workers than this.
    pub fn allow(&mut self, workers: f64, what: &str) {
        let workers = workers.min(f64::from(u32::MAX)) as u32;
        if self.most_workers.as_ref().is_none_or(|(most, _)| workers < *most) {
            self.most_workers = Some((workers, what.to_owned()));
        }
    }
}

/// What a cluster costs, in US dollars; rather too much than too little.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// For an hour, as it is now.
    pub per_hour: f64,
    /// So far, as far as this process and the provider remember.
    pub so_far: f64,
    /// What it may cost in all, where that is limited.
    pub limit: Option<f64>,
}

/// What the instances of a cluster have around them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Site {
    /// The cluster.
    pub cluster: ClusterId,
    /// How a server is started here.
    pub server: ServerTerms,
    /// What the provider has made or found, its name by what it is: `network`, `subnet`, `secret`.
    /// Only the provider reads it. No secret stands in it.
    pub parts: BTreeMap<String, String>,
}

/// What a server's bootstrap has to say at a site.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerTerms {
    /// The `redis-server` or `valkey-server` of the instance: a path, or a name.
    pub executable: PathBuf,
    /// A folder on the instance, best where nothing is written to a disk.
    pub folder: PathBuf,
    /// The port to listen at, over TLS, and the one address, all of them when absent; a Unix socket
    /// in the folder alone where there is no port.
    pub listen: Option<(Option<IpAddr>, u16)>,
    /// Whether what starts instances keeps their standard input open as long as the client lives:
    /// servers and workers end with it then, and need no other limit.
    pub lifeline: bool,
}

/// What an instance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It runs Redis.
    Server,
    /// It runs a worker.
    Worker,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Worker => "worker",
        })
    }
}

/// What makes a launch one that can be repeated: new for each launch that is meant, kept for each
/// time it is tried. 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// [`Error::Internal`] when the system gives no random bytes.
    pub fn random() -> Result<Self, Error> {
        let digits = Secret::random()?.expose()[..32].to_owned();
        Ok(Self(digits))
    }

    /// The token as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of instance number `i` of this launch, and of its worker, for a provider that may name
    /// them: nobody ever had it, and a launch that is repeated has the same.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn name(&self, i: u32) -> Result<WorkerId, Error> {
        Ok(format!("{}-{i}", self.0).parse()?)
    }
}

/// What the provider calls an instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub String);

impl std::fmt::Display for InstanceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The instances that a launch has begun.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Launched {
    /// The instances.
    pub instances: Vec<Instance>,
    /// Why there are fewer than were asked for; absent when there are all.
    pub short: Option<String>,
}

/// One container, process, or task of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// What the provider calls it.
    pub id: InstanceId,
    /// What it is for.
    pub role: Role,
    /// The name under which its worker joins, by which its lease is known: that of [`Token::name`], or
    /// one that the worker makes of the instance's id. Absent for a server.
    pub worker: Option<WorkerId>,
    /// How it is.
    pub state: State,
}

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It will run.
    Starting {
        /// What is done for that now, in words: "pulling the image".
        doing: String,
    },
    /// Its program runs; that a worker works, its lease says.
    Running,
    /// It has ended, and will not run again.
    Stopped {
        /// Why, with its last lines where they are known.
        why: String,
    },
}

impl State {
    /// Whether it has ended.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        matches!(self, Self::Stopped { .. })
    }
}

/// How a server is reached.
pub struct Endpoint {
    /// By the client.
    pub client: Reach,
    /// By the workers.
    pub workers: Reach,
    /// What has to live as long as the client's way is used: a tunnel.
    pub tunnel: Option<Box<dyn Any + Send + Sync>>,
    /// What to look at where the client can't reach it, in a sentence: whom it lets in. Nothing where
    /// there is nothing to say.
    pub hint: Option<String>,
}

/// Where a server listens, for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// At a Unix socket.
    Socket(PathBuf),
    /// At a host and a port, over TLS.
    Host(String, u16),
}

/// What is wanted of an instance's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogQuery {
    /// How many lines from its end.
    pub tail: usize,
}

/// What an instance wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logs {
    /// The lines, the oldest first, without their ends.
    pub lines: Vec<String>,
}

/// A cluster of which something is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRecord {
    /// Its id.
    pub cluster: ClusterId,
    /// When it was made, by the provider's clock, where that is known.
    pub created: Option<SystemTime>,
    /// How many of its instances have not stopped.
    pub instances: usize,
}

impl ClusterRecord {
    /// How old it is at `now`; nothing where that is unknown or yet to come.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        now.duration_since(self.created?).ok()
    }
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What is gone, in words: "container rb-1".
    pub removed: Vec<String>,
    /// What could not be removed, and why.
    pub left: Vec<(String, String)>,
}
