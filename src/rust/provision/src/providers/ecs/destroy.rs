//! The end of a cluster: everything that carries its tag, in the order in which AWS lets it go.

use std::time::{Duration, Instant};

use aws_sdk_ecs::types::{ClusterField, DesiredStatus};
use rustbatch_protocol::ClusterId;

use super::Fargate;
use super::instance::{id, is_gone};
use super::network::owned;
use super::refused;
use super::role::{CODE, START};
use super::tags::{CLUSTER, OWNER, role_name};
use crate::Error;
use crate::aws::{Trouble, Xml};
use crate::provider::Report;
use crate::spec::ecs::Keep;

/// The first pause before it is looked again, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// How long after a task's end its network interface may be there.
const ENI: Duration = Duration::from_secs(180);

/// What may hang on a network for ever.
const FOREIGN: &str = "; something that rustBatch has not made hangs on it, such as an endpoint of \
                       GuardDuty: remove that and call `cleanupClusters()`, or let clusters share a \
                       network, `ecsCluster(keep = \"network\")`";

/// How many tasks are stopped at once.
const AT_ONCE: usize = 5;

/// Pauses that become longer, until it is over.
struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn new(time: Duration) -> Self {
        Self { until: Instant::now() + time, pause: PAUSE.0 }
    }

    /// Waits a little. Whether there is time left.
    async fn wait(&mut self) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE.1);
        true
    }
}

impl Fargate {
    /// Ends tasks, those of a cluster that still run and are named.
    pub(super) async fn stop_tasks(
        &self,
        cluster: &ClusterId,
        named: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, Error> {
        let tasks = self.tasks_that(cluster, DesiredStatus::Running).await?;
        let ids: Vec<_> = tasks.iter().map(|task| id(task).to_owned()).collect();
        let ids: Vec<_> = ids.into_iter().filter(|id| named(id)).collect();
        let ecs_cluster = self.ecs_cluster(cluster);
        for some in ids.chunks(AT_ONCE) {
            let mut stops = tokio::task::JoinSet::new();
            for id in some {
                let request = self.aws.ecs().stop_task().cluster(&ecs_cluster).task(id);
                let request = request.reason("rustBatch has no more need of it");
                stops.spawn(async move {
                    request.send().await.map(drop).map_err(|e| Trouble::of("StopTask", &e))
                });
            }
            while let Some(stopped) = stops.join_next().await {
                match stopped.map_err(|e| Error::Internal(e.to_string()))? {
                    // It has ended meanwhile.
                    Err(trouble) if trouble.says("not found") || is_gone(&trouble) => {}
                    done => done?,
                }
            }
        }
        Ok(ids)
    }

    /// Removes a cluster. Waits for the end of its tasks, and of what hangs on them.
    pub(super) async fn remove(&self, cluster: &ClusterId) -> Result<Report, Error> {
        let there = self.own_cluster(cluster).await?;
        let mut report = Report::default();
        let forgotten = self.forget(cluster).await;
        // Whatever else fails, tasks are what costs.
        let stopped = self.stop_tasks(cluster, |_| true).await?;
        report.removed.extend(stopped.iter().map(|id| format!("task {id}")));
        match forgotten {
            Ok(()) => {}
            Err(error @ Error::Busy { .. }) => return Err(error),
            Err(error) => report.left.push(("record".to_owned(), error.to_string())),
        }
        self.await_ends(cluster, &mut report).await?;
        let mut note = |what: &str, done: Result<Vec<String>, Trouble>| match done {
            Ok(gone) => report.removed.extend(gone.iter().map(|one| format!("{what} {one}"))),
            Err(error) => report.left.push((what.to_owned(), error.to_string())),
        };
        note("task definition", self.remove_definitions(cluster).await);
        if !self.ecs.keeps(Keep::Logs) {
            let name = super::tags::path(cluster);
            note("log group", self.remove_logs(cluster).await.map(|was| one(was, &name)));
        }
        for kind in [START, CODE] {
            let name = role_name(cluster, kind);
            note("role", self.remove_role(cluster, &name).await.map(|was| one(was, &name)));
        }
        note("network", self.remove_network(cluster).await);
        if let Some(name) = there {
            let request = self.aws.ecs().delete_cluster().cluster(&name);
            let done = request.send().await.map_err(|e| Trouble::of("DeleteCluster", &e));
            note(
                "ECS cluster",
                match done {
                    // Somebody else was faster.
                    Err(trouble) if is_gone(&trouble) => Ok(Vec::new()),
                    done => done.map(|_| vec![name]),
                },
            );
        }
        // How the cluster is configured goes last: who tries again what is left has to know.
        if report.left.is_empty() {
            match self.remove_secrets(cluster).await {
                Ok(gone) => {
                    report.removed.extend(gone.iter().map(|one| format!("parameter {one}")))
                }
                Err(error) => report.left.push(("parameters".to_owned(), error.to_string())),
            }
        }
        Ok(report)
    }

    /// The ECS cluster of a cluster of ours, by name, where one was made for it.
    ///
    /// # Errors
    /// Where it is somebody else's.
    pub(super) async fn own_cluster(&self, cluster: &ClusterId) -> Result<Option<String>, Error> {
        let name = super::tags::name(cluster);
        let request = self.aws.ecs().describe_clusters().clusters(&name);
        let found = request.include(ClusterField::Tags).send().await;
        let found = found.map_err(|e| Trouble::of("DescribeClusters", &e))?;
        let there = found.clusters().iter().find(|one| one.status() != Some("INACTIVE"));
        let Some(one) = there else { return Ok(None) };
        if !self.is_ours(one.tags()).await? {
            return Err(refused(
                &format!("the cluster {cluster} belongs to somebody else"),
                "Its owner stands in the tag rustbatch:owner; `ecsCluster(owner = )` acts for them.",
            ));
        }
        Ok(Some(name))
    }

    /// Waits until all tasks have ended.
    async fn await_ends(&self, cluster: &ClusterId, report: &mut Report) -> Result<(), Error> {
        let grace = Duration::from_secs(u64::from(self.ecs.stop_timeout));
        let mut patience = Patience::new(grace + ENI);
        loop {
            let tasks = self.tasks(cluster).await?;
            let alive = tasks.iter().filter(|task| task.last_status() != Some("STOPPED"));
            let alive: Vec<_> = alive.map(|task| id(task).to_owned()).collect();
            if alive.is_empty() {
                return Ok(());
            }
            // One that was being started is listed a little late.
            self.stop_tasks(cluster, |_| true).await?;
            if !patience.wait().await {
                let why = "it was told to stop, and has not";
                report.left.extend(alive.iter().map(|id| (format!("task {id}"), why.to_owned())));
                return Ok(());
            }
        }
    }

    /// Removes the security group and the network of a cluster. What hangs on a task's interface waits
    /// for it to go.
    async fn remove_network(&self, cluster: &ClusterId) -> Result<Vec<String>, Trouble> {
        let who = self.who().await.map_err(|e| Trouble::silent("sts:GetCallerIdentity", &e))?;
        let owner = &who.owner;
        let (by, whose) = (format!("tag:{CLUSTER}"), format!("tag:{OWNER}"));
        let filter = [(by.as_str(), cluster.as_str()), (whose.as_str(), owner.as_str())];
        let mut gone = Vec::new();
        let things = [
            (
                "DescribeSecurityGroups",
                "securityGroupInfo",
                "groupId",
                "DeleteSecurityGroup",
                "GroupId",
            ),
            ("DescribeSubnets", "subnetSet", "subnetId", "DeleteSubnet", "SubnetId"),
        ];
        for (list, set, field, delete, parameter) in things {
            for thing in self.described(list, &filter).await?.items(set) {
                let id = thing.text(field);
                self.delete(delete, &[(parameter, id)]).await?;
                gone.push(id.to_owned());
            }
        }
        let gateways = self.described("DescribeInternetGateways", &filter).await?;
        for gateway in gateways.items("internetGatewaySet") {
            let id = gateway.text("internetGatewayId");
            for vpc in attached(gateway) {
                let both = [("InternetGatewayId", id), ("VpcId", vpc)];
                self.delete("DetachInternetGateway", &both).await?;
            }
            self.delete("DeleteInternetGateway", &[("InternetGatewayId", id)]).await?;
            gone.push(id.to_owned());
        }
        for vpc in self.described("DescribeVpcs", &filter).await?.items("vpcSet") {
            let id = vpc.text("vpcId");
            self.delete("DeleteVpc", &[("VpcId", id)]).await?;
            gone.push(id.to_owned());
        }
        Ok(gone)
    }

    /// Deletes one thing as soon as nothing hangs on it any more. What is gone is no error.
    async fn delete(&self, call: &str, what: &[(&str, &str)]) -> Result<(), Trouble> {
        let form: Vec<_> = what.iter().copied().map(owned).collect();
        let mut patience = Patience::new(ENI);
        loop {
            match self.ec2(call, &form).await {
                Ok(_) => return Ok(()),
                Err(error) if error.code.ends_with(".NotFound") => return Ok(()),
                Err(error) if error.is(&["Gateway.NotAttached"]) => return Ok(()),
                Err(error) if error.is(&["DependencyViolation"]) => {
                    if !patience.wait().await {
                        let message = format!("{}{FOREIGN}", error.message);
                        return Err(Trouble { message, ..error });
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The networks that a gateway is attached to.
fn attached(gateway: &Xml) -> Vec<&str> {
    gateway.items("attachmentSet").iter().map(|item| item.text("vpcId")).collect()
}

fn one(was: bool, name: &str) -> Vec<String> {
    if was { vec![name.to_owned()] } else { Vec::new() }
}
