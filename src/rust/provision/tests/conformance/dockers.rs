//! `docker` on trial, at a daemon that others may use meanwhile.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustbatch_protocol::ClusterId;
use rustbatch_provision::Error;
use rustbatch_provision::provider::{
    ClusterRecord, Endpoint, Instance, InstanceId, Launched, LogQuery, Logs, Plan, Provider,
    Report, Site, Token, Unit,
};
use rustbatch_provision::providers::Containers;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::Ground;
use super::support::docker::{R, REDIS, available};
use super::support::supervisor;

/// What `docker` says, by lines.
fn docker(words: &[&str]) -> Vec<String> {
    let done = Command::new("docker").args(words).output().expect("docker");
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).lines().map(str::to_owned).collect()
}

pub struct Dockers {
    provider: Arc<Ours>,
    /// A container whose name and labels resemble ours, and the cluster that it would be of.
    stranger: ClusterId,
}

impl Dockers {
    fn name(&self) -> String {
        format!("rustbatch-{}", self.stranger)
    }
}

impl Drop for Dockers {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", &self.name()]).output();
        // A rule that is broken ends before its clusters do.
        let known = self.provider.known().clone();
        for cluster in known.iter().filter(|_| std::thread::panicking()) {
            for left in self.left(cluster) {
                let _ = Command::new("docker").args(["rm", "--force", &left]).output();
                let _ = Command::new("docker").args(["network", "rm", &left]).output();
            }
        }
    }
}

impl Ground for Dockers {
    const REMEMBERS: bool = true;
    type Provider = Ours;

    fn new() -> Option<Self> {
        let daemon = tokio::task::block_in_place(|| Handle::current().block_on(available()))?;
        let stranger = ClusterId::random().expect("an id");
        let of = Containers {
            docker: daemon,
            executable: supervisor(),
            image: R.into(),
            server_image: REDIS.into(),
            serves: true,
        };
        let known = Mutex::new(BTreeSet::from([stranger.clone()]));
        let ground = Self { provider: Arc::new(Ours { of, known }), stranger };
        let (name, label) = (ground.name(), format!("rustbatch.clusters={}", ground.stranger));
        let labels = ["--label", &label, "--label", "rustbatch.role=worker"];
        let words = ["run", "--detach", "--network", "none", "--name", &name];
        docker(&[&words[..], &labels, &[R, "sleep", "600"]].concat());
        Some(ground)
    }

    fn provider(&self) -> Arc<Ours> {
        Arc::clone(&self.provider)
    }

    fn speak(&self, _: &ClusterId, id: &InstanceId, words: &str) {
        docker(&["exec", &id.0, "sh", "-c", "echo \"$0\" >/proc/1/fd/2", words]);
    }

    fn break_down(&self, cluster: &ClusterId, id: &InstanceId, why: &str) {
        self.speak(cluster, id, why);
        // All but the first process, which buries the others, and ends with the worker. It may take this
        // shell with it.
        let kill = ["exec", &id.0, "sh", "-c", "kill -KILL -1"];
        Command::new("docker").args(kill).output().expect("docker");
    }

    fn left(&self, cluster: &ClusterId) -> Vec<String> {
        let label = format!("label=rustbatch.cluster={cluster}");
        let mut all = docker(&["ps", "--all", "--quiet", "--filter", &label]);
        let name = format!("rustbatch-{cluster}");
        let networks = docker(&["network", "ls", "--format", "{{.Name}}"]).into_iter();
        all.extend(networks.filter(|network| *network == name));
        all.sort();
        all
    }

    fn strangers_are_well(&self) -> bool {
        docker(&["inspect", "--format", "{{.State.Status}}", &self.name()]) == ["running"]
    }
}

/// The provider, of whose daemon nothing is shown but the clusters of this ground, and the stranger's if
/// it were taken for one.
pub struct Ours {
    of: Containers,
    known: Mutex<BTreeSet<ClusterId>>,
}

impl Ours {
    fn known(&self) -> MutexGuard<'_, BTreeSet<ClusterId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provider for Ours {
    async fn check(&self) -> Result<Plan, Error> {
        self.of.check().await
    }

    async fn prepare(&self, cluster: &ClusterId) -> Result<Site, Error> {
        self.known().insert(cluster.clone());
        self.of.prepare(cluster).await
    }

    async fn launch(
        &self,
        site: &Site,
        unit: &Unit,
        n: u32,
        token: &Token,
    ) -> Result<Launched, Error> {
        self.of.launch(site, unit, n, token).await
    }

    async fn instances(&self, cluster: &ClusterId) -> Result<Vec<Instance>, Error> {
        self.of.instances(cluster).await
    }

    async fn terminate(&self, cluster: &ClusterId, ids: &[InstanceId]) -> Result<(), Error> {
        self.of.terminate(cluster, ids).await
    }

    async fn endpoint(&self, cluster: &ClusterId, server: &InstanceId) -> Result<Endpoint, Error> {
        self.of.endpoint(cluster, server).await
    }

    async fn logs(
        &self,
        cluster: &ClusterId,
        id: &InstanceId,
        query: &LogQuery,
    ) -> Result<Logs, Error> {
        self.of.logs(cluster, id, query).await
    }

    async fn remember(&self, site: &Site, record: &Zeroizing<Vec<u8>>) -> Result<(), Error> {
        self.of.remember(site, record).await
    }

    async fn recall(&self, cluster: &ClusterId) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        self.of.recall(cluster).await
    }

    async fn find(&self) -> Result<Vec<ClusterRecord>, Error> {
        let mut all = self.of.find().await?;
        let known = self.known();
        all.retain(|record| known.contains(&record.cluster));
        Ok(all)
    }

    async fn destroy(&self, cluster: &ClusterId) -> Result<Report, Error> {
        self.of.destroy(cluster).await
    }
}
