//! The provider `ecs`: each instance a task of AWS Fargate, the server one of them.
//!
//! Tasks are started by `RunTask`, one for each instance, not by a service: a service would start
//! again what has ended by itself, and a forgotten cluster would cost money for ever. Everything that
//! is made carries the cluster's id and its owner as tags, and by these alone is found and removed.

mod carry;
mod check;
mod cost;
mod destroy;
mod instance;
mod logs;
mod network;
mod price;
mod quota;
mod role;
mod routes;
mod run;
mod secret;
mod shell;
mod size;
mod stopped;
mod tags;
mod task;

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Instant;

use rustbatch_protocol::{ClusterId, WorkerId};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::Error;
use crate::aws::{Aws, Identity, Login};
use crate::provider::{
    ClusterRecord, Endpoint, Instance, InstanceId, Launched, LogQuery, Logs, Plan, Provider, Reach,
    Report, ServerTerms, Site, Token, Unit,
};
pub use crate::spec::ecs::{Architecture, Ecs, Keep, Spot, Way};
pub use size::Size;

/// Tasks of AWS Fargate.
#[derive(Debug)]
pub struct Fargate {
    aws: Aws,
    ecs: Ecs,
    who: OnceCell<Who>,
    /// The name of the executable in its bucket.
    key: OnceCell<String>,
    /// Why tasks ended, by their ids: it is asked once.
    words: Mutex<HashMap<String, String>>,
    /// What has been spent, by cluster.
    ledgers: Mutex<BTreeMap<ClusterId, cost::Ledger>>,
    /// Since when there is no spare capacity.
    spare: Mutex<Option<Instant>>,
    /// How often a call has found no room at all, by its token.
    vain: Mutex<HashMap<String, u32>>,
    /// What each launch may start, by its token.
    grants: Mutex<HashMap<String, cost::Grant>>,
    /// When a role was made last: it is not known everywhere at once.
    role_made: Mutex<Option<Instant>>,
}

/// Who speaks to AWS.
#[derive(Debug)]
struct Who {
    /// In the tag of everything that is ours.
    owner: String,
    account: String,
    /// `aws`, or that of China or of the government.
    partition: String,
}

impl Fargate {
    /// The provider of these clusters, for who has logged in. Asks AWS nothing yet. `endpoint` is
    /// where all of AWS is reached; where the environment says when absent. Cancel-safe.
    ///
    /// # Errors
    /// Where no region is named anywhere.
    pub async fn new(ecs: Ecs, login: &Login, endpoint: Option<&str>) -> Result<Self, Error> {
        let aws = Aws::connect(login, ecs.region.as_deref(), endpoint).await?;
        Ok(Self::over(aws, ecs))
    }

    fn over(aws: Aws, ecs: Ecs) -> Self {
        Self {
            aws,
            ecs,
            who: OnceCell::new(),
            key: OnceCell::new(),
            words: Mutex::default(),
            ledgers: Mutex::default(),
            spare: Mutex::default(),
            vain: Mutex::default(),
            grants: Mutex::default(),
            role_made: Mutex::default(),
        }
    }

    /// The provider as it was configured when it made this cluster, but for who asks, and from where; as
    /// it is, where nothing is known of that. Cancel-safe.
    ///
    /// # Errors
    /// Where AWS can't be asked.
    pub async fn of(&self, cluster: &ClusterId) -> Result<Self, Error> {
        let ecs = match self.remembered(cluster).await? {
            Some(ecs) => {
                let Ecs { region, executable, client_address, .. } = self.ecs.clone();
                Ecs { region, executable, client_address, ..ecs }
            }
            None => self.ecs.clone(),
        };
        // The same one, though a session may have another name by now.
        let owner = Some(self.who().await?.owner.clone());
        Ok(Self::over(self.aws.clone(), Ecs { owner, ..ecs }))
    }

    async fn who(&self) -> Result<&Who, Error> {
        let ask = async || {
            let Identity { account, arn, .. } = self.aws.identity().await?;
            let partition = arn.split(':').nth(1).unwrap_or("aws").to_owned();
            let owner = self.ecs.owner.clone().unwrap_or_else(|| lasting(&arn).to_owned());
            Ok(Who { owner, account, partition })
        };
        self.who.get_or_try_init(ask).await
    }
}

impl Provider for Fargate {
    async fn check(&self) -> Result<Plan, Error> {
        self.look().await
    }

    async fn prepare(&self, cluster: &ClusterId) -> Result<Site, Error> {
        // First, because it may fail and costs nothing.
        self.upload().await?;
        self.put_configuration(cluster).await?;
        // Next, because it takes a while until a role is known everywhere.
        let execution_role = self.execution_role(cluster).await?;
        let task_role = self.task_role(cluster).await?;
        let network = self.network(cluster).await?;
        let groups = self.groups(cluster, &network).await?;
        let mut parts = BTreeMap::from([
            ("executionRole", execution_role),
            ("vpc", network.vpc),
            ("subnets", network.subnets.join(",")),
            ("securityGroups", groups.join(",")),
            ("logGroup", self.log_group(cluster).await?),
            ("ecsCluster", self.make_cluster(cluster).await?),
        ]);
        parts.extend(task_role.map(|role| ("taskRole", role)));
        let server = ServerTerms {
            executable: "redis-server".into(),
            folder: "/dev/shm/redis".into(),
            listen: Some((None, network::PORT)),
            lifeline: false,
        };
        let parts = parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Site { cluster: cluster.clone(), server, parts })
    }

    async fn launch(
        &self,
        site: &Site,
        unit: &Unit,
        n: u32,
        token: &Token,
    ) -> Result<Launched, Error> {
        let (unit, affordable) = self.within_budget(&site.cluster, unit, n, token).await?;
        // The name that stands in it is replaced by the task's id.
        let told = unit.bootstrap.line(&WorkerId::random()?)?;
        let told = std::str::from_utf8(&told).map_err(|e| Error::Internal(e.to_string()))?;
        self.put_secret(&site.cluster, &unit.role().to_string(), told).await?;
        self.put_link(&site.cluster).await?;
        let mut launched = self.run(site, &unit, affordable, token).await?;
        if affordable < n && launched.short.is_none() {
            launched.short = Some("more would cost more than `maxCostPerHour`".into());
        }
        Ok(launched)
    }

    async fn instances(&self, cluster: &ClusterId) -> Result<Vec<Instance>, Error> {
        let mut instances = Vec::new();
        for task in self.tasks(cluster).await? {
            instances.push(self.instance(cluster, &task).await);
        }
        Ok(instances)
    }

    fn may_pass(&self, why: &str) -> bool {
        let asked = ["AccessDenied", "ResourceInitializationError", "nable to assume the role"];
        self.has_young_role() && asked.iter().any(|words| why.contains(words))
    }

    fn overspent(&self, cluster: &ClusterId) -> Option<String> {
        self.overspent_budget(cluster)
    }

    async fn terminate(&self, cluster: &ClusterId, ids: &[InstanceId]) -> Result<(), Error> {
        let named = |id: &str| ids.iter().any(|named| named.0 == id);
        self.stop_tasks(cluster, named).await.map(drop)
    }

    async fn endpoint(&self, cluster: &ClusterId, server: &InstanceId) -> Result<Endpoint, Error> {
        let task = self.task(cluster, server).await?;
        let hint = Some(self.welcome(cluster).await?);
        let client = Reach::Host(self.client_host(&task).await?, network::PORT);
        let workers = Reach::Host(self.private_host(&task)?, network::PORT);
        Ok(Endpoint { client, workers, tunnel: None, hint })
    }

    async fn logs(
        &self,
        cluster: &ClusterId,
        id: &InstanceId,
        query: &LogQuery,
    ) -> Result<Logs, Error> {
        let task = self.task(cluster, id).await?;
        let main = instance::role(&task).to_string();
        let mut lines = self.lines(cluster, &task, &main, query.tail).await?;
        if lines.is_empty() {
            lines = self.lines(cluster, &task, task::INIT, query.tail).await?;
        }
        Ok(Logs { lines })
    }

    async fn remember(&self, site: &Site, record: &Zeroizing<Vec<u8>>) -> Result<(), Error> {
        self.put_record(&site.cluster, record).await
    }

    async fn recall(&self, cluster: &ClusterId) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        self.record(cluster).await
    }

    async fn find(&self) -> Result<Vec<ClusterRecord>, Error> {
        self.clusters().await
    }

    async fn destroy(&self, cluster: &ClusterId) -> Result<Report, Error> {
        self.of(cluster).await?.remove(cluster).await
    }
}

/// Whom an ARN names, without the name of a session that tools make of the time, and which is another
/// one at the next login: `botocore-session-1700000000`, `assume-role-from-profile-1700000000000`.
fn lasting(arn: &str) -> &str {
    let Some((role, session)) = arn.rsplit_once('/') else { return arn };
    let end = session.rsplit('-').next().unwrap_or_default();
    let made = end.len() >= 10 && end.bytes().all(|b| b.is_ascii_digit());
    if made && arn.contains(":assumed-role/") { role } else { arn }
}

/// What can't be as it is wanted.
fn refused(reason: &str, way: &str) -> Error {
    let what = "make this cluster on ECS".to_owned();
    Error::Refused { what, reason: reason.to_owned(), way: way.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_assumes_a_role_is_known_again_at_the_next_login() {
        let arn = |session: &str| format!("arn:aws:sts::1:assumed-role/fit/{session}");
        for session in ["botocore-session-1700000000", "1700000000000000000", "a-1700000000000"] {
            assert_eq!(lasting(&arn(session)), "arn:aws:sts::1:assumed-role/fit");
        }
        for lasts in [arn("jane@example.com"), arn("i-0123456789abcdef0"), arn("jane-2")] {
            assert_eq!(lasting(&lasts), lasts);
        }
        let user = "arn:aws:iam::1:user/fit-1700000000";
        assert_eq!(lasting(user), user);
    }
}
