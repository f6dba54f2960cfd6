//! The provider `local`: instances that are processes of this machine.
//!
//! One `rustbatch-worker` runs all R processes, and is started again when it dies. Server and workers
//! notice by the end of their standard input that this process is gone, even by SIGKILL. So there is
//! never anything of a process that has ended, and what is found is this process' own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustbatch_protocol::bootstrap::WorkerBootstrap;
use rustbatch_protocol::{ClusterId, WorkerId};
use tokio::sync::mpsc::UnboundedSender;
use zeroize::Zeroizing;

use crate::Error;
use crate::fork::Here;
use crate::keeper::{Keeper, Recipe};
use crate::process::Process;
use crate::provider::{
    Bootstrap, ClusterRecord, Endpoint, Instance, InstanceId, Launched, LogQuery, Logs, Plan,
    Provider, Reach, Report, Role, ServerTerms, Site, State, Token, Unit,
};
use crate::server::{self, Folder};

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(2);

/// Processes of this machine. Dropping it kills them, without waiting, except in a forked child of
/// the process that started them.
pub struct Local {
    program: PathBuf,
    /// Whether servers will be wanted.
    serves: bool,
    redis: Mutex<Option<PathBuf>>,
    clusters: Here<Mutex<BTreeMap<ClusterId, Cluster>>>,
}

/// In the order in which they are dropped.
struct Cluster {
    workers: Vec<Worker>,
    server: Option<(InstanceId, Process)>,
    folder: Option<Folder>,
    created: SystemTime,
}

struct Worker {
    id: InstanceId,
    keeper: Keeper,
}

impl Local {
    /// A provider that runs the `rustbatch-worker` at `program`; with `serves` it looks for a Redis.
    #[must_use]
    pub fn new(program: &Path, serves: bool) -> Self {
        let clusters = Here::new(Mutex::default());
        Self { program: program.to_owned(), serves, redis: Mutex::default(), clusters }
    }

    /// From now on a worker of `cluster` that ends unasked is started again, at most five times within
    /// a minute, and the name of the one that ended is told to `deaths`: call this when the first has
    /// joined. Does nothing in a forked child. To be called within a tokio runtime; once.
    pub fn keep(&self, cluster: &ClusterId, deaths: &UnboundedSender<WorkerId>) {
        if let Some(Cluster { workers, .. }) = self.clusters().get(cluster) {
            workers.iter().for_each(|worker| worker.keeper.keep(deaths.clone()));
        }
    }

    /// How a process of `cluster` ended unasked, with the last lines of its output; `None` while all
    /// run or are started again. Cheap, and never blocks.
    #[must_use]
    pub fn died(&self, cluster: &ClusterId) -> Option<String> {
        let clusters = self.clusters();
        let Cluster { workers, server, .. } = clusters.get(cluster)?;
        // Without its server a worker ends, too: the cause is named first.
        let server = server.as_ref().and_then(|(_, process)| process.died());
        server.or_else(|| workers.iter().find_map(|worker| worker.keeper.died()))
    }

    /// The clusters of this process; none in a forked child.
    fn clusters(&self) -> Clusters<'_> {
        // Each holder leaves them whole.
        Clusters(self.clusters.get().map(|all| all.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The Redis of this machine, looked for once. Cancel-safe.
    async fn redis(&self) -> Result<PathBuf, Error> {
        let known = || self.redis.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = known().clone() {
            return Ok(path);
        }
        let path = server::find(&std::env::var_os("PATH").unwrap_or_default()).await?;
        *known() = Some(path.clone());
        Ok(path)
    }

    async fn launch_worker(
        &self,
        cluster: &ClusterId,
        told: &WorkerBootstrap,
        name: WorkerId,
    ) -> Result<(), Error> {
        let id = InstanceId(name.to_string());
        let bootstrap = WorkerBootstrap { worker: name, ..told.clone() };
        let program = self.program.clone();
        let keeper = Keeper::start(Recipe { program, bootstrap }).await?;
        let mut clusters = self.clusters();
        // Where it has been destroyed meanwhile, the worker goes, too.
        if let Some(place) = clusters.get_mut(cluster) {
            place.workers.push(Worker { id, keeper });
        }
        Ok(())
    }

    async fn launch_server(
        &self,
        cluster: &ClusterId,
        told: &Bootstrap,
        name: &WorkerId,
    ) -> Result<(), Error> {
        let line = told.line(name)?;
        let verb = [told.verb()];
        let started = Process::start("the private Redis", &self.program, &verb, None, line);
        let process = started.await?;
        if let Some(place) = self.clusters().get_mut(cluster) {
            place.server = Some((InstanceId(name.to_string()), process));
        }
        Ok(())
    }
}

/// The clusters, or nothing at all.
struct Clusters<'a>(Option<MutexGuard<'a, BTreeMap<ClusterId, Cluster>>>);

impl Clusters<'_> {
    fn get(&self, cluster: &ClusterId) -> Option<&Cluster> {
        self.0.as_ref()?.get(cluster)
    }

    fn get_mut(&mut self, cluster: &ClusterId) -> Option<&mut Cluster> {
        self.0.as_mut()?.get_mut(cluster)
    }
}

impl Cluster {
    fn instances(&mut self) -> Vec<Instance> {
        let server = self.server.as_mut().map(|(id, process)| {
            let state = match process.died() {
                Some(why) => State::Stopped { why },
                None if process.is_ready() => State::Running,
                None => State::Starting { doing: ["Redis starts", &process.said()].join("\n") },
            };
            Instance { id: id.clone(), role: Role::Server, worker: None, state }
        });
        let workers = self.workers.iter().map(|Worker { id, keeper }| {
            let state = keeper.died().map_or(State::Running, |why| State::Stopped { why });
            let worker = Some(keeper.worker());
            Instance { id: id.clone(), role: Role::Worker, worker, state }
        });
        server.into_iter().chain(workers).collect()
    }

    /// Takes out what has one of these ids.
    fn take(&mut self, ids: &[InstanceId]) -> (Vec<Worker>, Option<Process>) {
        let all = std::mem::take(&mut self.workers);
        let (gone, left) = all.into_iter().partition(|worker| ids.contains(&worker.id));
        self.workers = left;
        let server = self.server.take_if(|(id, _)| ids.contains(id));
        (gone, server.map(|(_, process)| process))
    }
}

/// Ends workers, then the server. Cancel-safe: what is still there is killed.
async fn end(workers: Vec<Worker>, server: Option<Process>) {
    for worker in workers {
        worker.keeper.stop(GRACE).await;
    }
    if let Some(server) = server {
        server.stop(GRACE).await;
    }
}

impl Provider for Local {
    async fn check(&self) -> Result<Plan, Error> {
        if self.serves {
            self.redis().await?;
        }
        Ok(Plan::default())
    }

    async fn prepare(&self, cluster: &ClusterId) -> Result<Site, Error> {
        let executable = if self.serves { self.redis().await? } else { PathBuf::new() };
        let Clusters(Some(mut clusters)) = self.clusters() else { return Err(foreign()) };
        let empty = || {
            let folder = self.serves.then(Folder::make).transpose()?;
            let created = SystemTime::now();
            Ok::<_, Error>(Cluster { workers: Vec::new(), server: None, folder, created })
        };
        if !clusters.contains_key(cluster) {
            clusters.insert(cluster.clone(), empty()?);
        }
        let folder = clusters.get(cluster).and_then(|place| place.folder.as_ref());
        let folder = folder.map(|folder| folder.path().to_owned()).unwrap_or_default();
        let server = ServerTerms { executable, folder, listen: None, lifeline: true };
        Ok(Site { cluster: cluster.clone(), server, parts: BTreeMap::new() })
    }

    async fn launch(
        &self,
        site: &Site,
        unit: &Unit,
        n: u32,
        token: &Token,
    ) -> Result<Launched, Error> {
        let names: Vec<_> = (0..n).map(|i| token.name(i)).collect::<Result<_, _>>()?;
        let ids: Vec<_> = names.iter().map(|name| InstanceId(name.to_string())).collect();
        let ours = |instance: &Instance| ids.contains(&instance.id);
        for (name, id) in names.iter().zip(&ids) {
            if self.instances(&site.cluster).await?.iter().any(|instance| instance.id == *id) {
                continue;
            }
            match &unit.bootstrap {
                Bootstrap::Worker(told) => {
                    self.launch_worker(&site.cluster, told, name.clone()).await?;
                }
                told @ Bootstrap::Server(_) => {
                    self.launch_server(&site.cluster, told, name).await?;
                }
            }
        }
        let all = self.instances(&site.cluster).await?;
        Ok(Launched { instances: all.into_iter().filter(ours).collect(), short: None })
    }

    async fn instances(&self, cluster: &ClusterId) -> Result<Vec<Instance>, Error> {
        Ok(self.clusters().get_mut(cluster).map(Cluster::instances).unwrap_or_default())
    }

    async fn terminate(&self, cluster: &ClusterId, ids: &[InstanceId]) -> Result<(), Error> {
        let taken = self.clusters().get_mut(cluster).map(|place| place.take(ids));
        if let Some((workers, server)) = taken {
            end(workers, server).await;
        }
        Ok(())
    }

    async fn endpoint(&self, cluster: &ClusterId, server: &InstanceId) -> Result<Endpoint, Error> {
        let clusters = self.clusters();
        let serves = |place: &&Cluster| place.server.as_ref().is_some_and(|(id, _)| id == server);
        let place = clusters.get(cluster).filter(serves);
        let folder = place.and_then(|place| place.folder.as_ref());
        let folder = folder.ok_or_else(|| unknown(format!("reach the server {server}")))?;
        let reach = Reach::Socket(folder.socket());
        Ok(Endpoint { client: reach.clone(), workers: reach, tunnel: None })
    }

    async fn logs(
        &self,
        cluster: &ClusterId,
        id: &InstanceId,
        query: &LogQuery,
    ) -> Result<Logs, Error> {
        let said = self.clusters().get(cluster).and_then(|place| {
            let server = place.server.as_ref().filter(|(server, _)| server == id);
            let worker = || place.workers.iter().find(|worker| worker.id == *id);
            server.map(|(_, process)| process.said()).or_else(|| Some(worker()?.keeper.said()))
        });
        let said = said.ok_or_else(|| unknown(format!("read the output of {id}")))?;
        let lines: Vec<_> = said.lines().map(|line| line.trim_start().to_owned()).collect();
        Ok(Logs { lines: lines[lines.len().saturating_sub(query.tail)..].to_vec() })
    }

    async fn remember(&self, _site: &Site, _record: &Zeroizing<Vec<u8>>) -> Result<(), Error> {
        Ok(())
    }

    async fn recall(&self, _cluster: &ClusterId) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        Ok(None)
    }

    async fn find(&self) -> Result<Vec<ClusterRecord>, Error> {
        let Clusters(Some(clusters)) = self.clusters() else { return Ok(Vec::new()) };
        let record = |(cluster, place): (&ClusterId, &Cluster)| ClusterRecord {
            cluster: cluster.clone(),
            created: Some(place.created),
            instances: place.workers.len() + usize::from(place.server.is_some()),
        };
        Ok(clusters.iter().map(record).collect())
    }

    async fn destroy(&self, cluster: &ClusterId) -> Result<Report, Error> {
        let gone = self.clusters().0.and_then(|mut clusters| clusters.remove(cluster));
        let Some(Cluster { workers, server, folder, .. }) = gone else {
            return Ok(Report::default());
        };
        let ids = workers.iter().map(|worker| &worker.id).chain(server.iter().map(|(id, _)| id));
        let mut removed: Vec<_> = ids.map(|id| format!("process {id}")).collect();
        end(workers, server.map(|(_, process)| process)).await;
        removed.extend(folder.map(|folder| format!("folder {}", folder.path().display())));
        Ok(Report { removed, left: Vec::new() })
    }
}

fn unknown(what: String) -> Error {
    Error::Refused { what, reason: "there is no such process of this R".into(), way: String::new() }
}

fn foreign() -> Error {
    Error::Internal("a local cluster is the process' that started it".into())
}
