//! The provider `local`: instances that are processes of this machine.
//!
//! One `rustbatch-worker` runs all R processes. Server and workers notice by the end of their standard
//! input that this process is gone, even by SIGKILL. So there is never anything of a process that has
//! ended, and what is found is this process' own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustbatch_protocol::bootstrap::ServerBootstrap;
use rustbatch_protocol::{ClusterId, WorkerId};
use rustbatch_queue::family;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::Error;
use crate::fork::Here;
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
    /// Told when a process has ended.
    ended: Arc<Notify>,
}

/// In the order in which they are dropped.
struct Cluster {
    workers: Vec<Worker>,
    server: Option<Server>,
    created: SystemTime,
}

/// In the order in which they are dropped.
struct Worker {
    id: InstanceId,
    process: Process,
    below: Below,
}

/// What was started below a worker. Dropping it ends all of that which the worker has left behind.
struct Below(WorkerId);

impl Drop for Below {
    fn drop(&mut self) {
        family::end(&self.0);
    }
}

/// In the order in which they are dropped.
struct Server {
    id: InstanceId,
    process: Process,
    /// Another one for each server: who still looks for the last one must not find one that does not
    /// know his password.
    folder: Folder,
}

impl Local {
    /// A provider that runs the `rustbatch-worker` at `program`; with `serves` it looks for a Redis.
    #[must_use]
    pub fn new(program: &Path, serves: bool) -> Self {
        let (clusters, ended) = (Here::new(Mutex::default()), Arc::default());
        Self { program: program.to_owned(), serves, redis: Mutex::default(), clusters, ended }
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

    /// Starts one process, and keeps it where the cluster has not been destroyed meanwhile.
    async fn start(
        &self,
        cluster: &ClusterId,
        told: &Bootstrap,
        name: WorkerId,
    ) -> Result<(), Error> {
        let id = InstanceId(name.to_string());
        let start = async |what, told: &Bootstrap| {
            let line = told.line(&name)?;
            let process = Process::start(what, &self.program, &[told.verb()], line).await?;
            let (over, ended) = (process.ended(), Arc::clone(&self.ended));
            tokio::spawn(async move {
                over.await;
                ended.notify_one();
            });
            Ok::<_, Error>(process)
        };
        match told {
            Bootstrap::Worker(_) => {
                let below = Below(name.clone());
                let process = start("the worker", told).await?;
                if let Some(place) = self.clusters().get_mut(cluster) {
                    place.workers.push(Worker { id, process, below });
                }
            }
            Bootstrap::Server(told) => {
                let folder = Folder::make()?;
                let place = folder.path().to_owned();
                let told = ServerBootstrap { folder: place, ..(**told).clone() };
                let process =
                    start("the private Redis", &Bootstrap::Server(Box::new(told))).await?;
                if let Some(place) = self.clusters().get_mut(cluster) {
                    place.server = Some(Server { id, process, folder });
                }
            }
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
        let server = self.server.as_mut().map(|Server { id, process, .. }| {
            let state = match process.died() {
                Some(why) => State::Stopped { why },
                None if process.is_ready() => State::Running,
                None => State::Starting { doing: ["Redis starts", &process.said()].join("\n") },
            };
            Instance { id: id.clone(), role: Role::Server, worker: None, state }
        });
        let workers = self.workers.iter().map(|Worker { id, process, below }| {
            let state = process.died().map_or(State::Running, |why| State::Stopped { why });
            let worker = Some(below.0.clone());
            Instance { id: id.clone(), role: Role::Worker, worker, state }
        });
        server.into_iter().chain(workers).collect()
    }

    /// Takes out what has one of these ids.
    fn take(&mut self, ids: &[InstanceId]) -> (Vec<Worker>, Option<Server>) {
        let all = std::mem::take(&mut self.workers);
        let (gone, left) = all.into_iter().partition(|worker| ids.contains(&worker.id));
        self.workers = left;
        (gone, self.server.take_if(|server| ids.contains(&server.id)))
    }
}

/// Ends workers, then the server. Cancel-safe: what is still there is killed.
async fn end(workers: Vec<Worker>, server: Option<Server>) {
    for Worker { process, below, .. } in workers {
        process.stop(GRACE).await;
        drop(below);
    }
    if let Some(Server { process, folder, .. }) = server {
        process.stop(GRACE).await;
        drop(folder);
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
        clusters.entry(cluster.clone()).or_insert_with(|| Cluster {
            workers: Vec::new(),
            server: None,
            created: SystemTime::now(),
        });
        // Each server gets a folder of its own when it is launched.
        let folder = PathBuf::new();
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
            self.start(&site.cluster, &unit.bootstrap, name.clone()).await?;
        }
        let all = self.instances(&site.cluster).await?;
        Ok(Launched { instances: all.into_iter().filter(ours).collect(), short: None })
    }

    async fn instances(&self, cluster: &ClusterId) -> Result<Vec<Instance>, Error> {
        Ok(self.clusters().get_mut(cluster).map(Cluster::instances).unwrap_or_default())
    }

    async fn changed(&self) {
        self.ended.notified().await;
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
        let known = clusters.get(cluster).and_then(|place| place.server.as_ref());
        let known = known.filter(|known| known.id == *server);
        let known = known.ok_or_else(|| unknown(format!("reach the server {server}")))?;
        let reach = Reach::Socket(known.folder.socket());
        Ok(Endpoint { client: reach.clone(), workers: reach, tunnel: None, hint: None })
    }

    async fn logs(
        &self,
        cluster: &ClusterId,
        id: &InstanceId,
        query: &LogQuery,
    ) -> Result<Logs, Error> {
        let said = self.clusters().get(cluster).and_then(|place| {
            let server = place.server.as_ref().filter(|server| server.id == *id);
            let worker = || place.workers.iter().find(|worker| worker.id == *id);
            server.map(|server| server.process.said()).or_else(|| Some(worker()?.process.said()))
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
        let Some(Cluster { workers, server, .. }) = gone else {
            return Ok(Report::default());
        };
        let ids = workers.iter().map(|worker| &worker.id).chain(server.iter().map(|s| &s.id));
        let mut removed: Vec<_> = ids.map(|id| format!("process {id}")).collect();
        let folder = server.as_ref().map(|server| server.folder.path().display().to_string());
        end(workers, server).await;
        removed.extend(folder.map(|folder| format!("folder {folder}")));
        Ok(Report { removed, left: Vec::new() })
    }
}

fn unknown(what: String) -> Error {
    Error::Refused { what, reason: "there is no such process of this R".into(), way: String::new() }
}

fn foreign() -> Error {
    Error::Internal("a local cluster is the process' that started it".into())
}
