//! What can be known wrong before it costs money; what there is; where a task is reached.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{DesiredStatus, Task};
use rustbatch_protocol::ClusterId;
use serde_json::json;

use super::instance::id;
use super::refused;
use super::size::Size;
use super::tags::{CLUSTER, CREATED, OWNER, Tags, name, time};
use super::{Fargate, carry};
use crate::Error;
use crate::aws::{Service, Trouble};
use crate::provider::{ClusterRecord, Plan};
use crate::spec::ecs::{Spot, Way};

impl Fargate {
    /// See [`crate::provider::Provider::check`].
    pub(super) async fn look(&self) -> Result<Plan, Error> {
        let ecs = &self.ecs;
        ecs.carrier()?;
        carry::check(ecs)?;
        self.who().await?;
        let mut plan = Plan::default();
        let worker = Size::fitting(ecs.cpu, ecs.memory)?;
        let server = Size::fitting(ecs.server_cpu, ecs.server_memory)?;
        plan.notes.extend(worker.rounded("worker", ecs.cpu, ecs.memory));
        plan.notes.extend(server.rounded("server", ecs.server_cpu, ecs.server_memory));
        self.price(&mut plan, server, worker)?;
        self.check_quota(&mut plan, server, worker).await?;
        if let Some(network) = self.given_network().await? {
            self.check_routes(&network).await?;
        }
        for role in [&ecs.execution_role, &ecs.task_role].into_iter().flatten() {
            self.check_role(role).await?;
        }
        if !ecs.security_groups.is_empty() {
            let numbered = ecs.security_groups.iter().zip(1..);
            let form: Vec<_> =
                numbered.map(|(group, i)| (format!("GroupId.{i}"), group.clone())).collect();
            self.ec2("DescribeSecurityGroups", &form).await?;
        }
        if let Some(named) = &ecs.ecs_cluster {
            self.check_cluster(named).await?;
        }
        Ok(plan)
    }

    /// Looks whether an ECS cluster that is named can run what is wanted.
    async fn check_cluster(&self, named: &str) -> Result<(), Error> {
        let found = self.aws.ecs().describe_clusters().clusters(named).send().await;
        let found = found.map_err(|e| Trouble::of("DescribeClusters", &e))?;
        let active = found.clusters().iter().find(|one| one.status() == Some("ACTIVE"));
        let Some(one) = active else {
            return Err(refused(
                &format!("there is no ECS cluster {named} in {}", self.aws.region()),
                "Name another `ecsCluster`, another `region`, or none: then one is made.",
            ));
        };
        let wanted = match self.ecs.spot {
            Spot::Never => vec!["FARGATE"],
            _ => vec!["FARGATE", "FARGATE_SPOT"],
        };
        let there = one.capacity_providers();
        if wanted.iter().all(|name| there.iter().any(|have| have == name)) {
            return Ok(());
        }
        Err(refused(
            &format!("the ECS cluster {named} lacks a capacity provider of {}", wanted.join(", ")),
            &format!(
                "`aws ecs put-cluster-capacity-providers --cluster {named} --capacity-providers \
                 FARGATE FARGATE_SPOT --default-capacity-provider-strategy []` gives it both."
            ),
        ))
    }

    /// The ECS cluster for a cluster: that which is named, or ours.
    pub(super) async fn make_cluster(&self, cluster: &ClusterId) -> Result<String, Error> {
        if let Some(named) = &self.ecs.ecs_cluster {
            return Ok(named.clone());
        }
        // Asked for again with other tags, and their times differ, it would be refused.
        if let Some(name) = self.own_cluster(cluster).await? {
            return Ok(name);
        }
        let name = name(cluster);
        let tags = Tags::new(&self.ecs, &self.who().await?.owner, cluster, "cluster");
        let request = self.aws.ecs().create_cluster().cluster_name(&name);
        let providers = ["FARGATE", "FARGATE_SPOT"].map(str::to_owned).to_vec();
        let request = request.set_capacity_providers(Some(providers));
        match request.set_tags(Some(tags.ecs())).send().await {
            Ok(_) => Ok(name),
            Err(error) => {
                let trouble = Trouble::of("CreateCluster", &error);
                // With the first cluster of an account its role is made.
                Err(self.young(trouble).into())
            }
        }
    }

    /// What there is of all clusters of this owner.
    pub(super) async fn clusters(&self) -> Result<Vec<ClusterRecord>, Error> {
        let mut records = Vec::new();
        for (id, created) in self.tagged().await? {
            let Ok(cluster) = id.parse::<ClusterId>() else { continue };
            if !self.is_there(&cluster).await? {
                continue;
            }
            let made = self.of(&cluster).await?;
            let alive = made.tasks_that(&cluster, DesiredStatus::Running).await?.len();
            let created = created.as_deref().and_then(time);
            records.push(ClusterRecord { cluster, created, instances: alive });
        }
        Ok(records)
    }

    /// Whether there is something of a cluster: AWS lists for hours what has been deleted. What is kept
    /// of it goes last.
    async fn is_there(&self, cluster: &ClusterId) -> Result<bool, Error> {
        if self.is_configured(cluster).await? {
            return Ok(true);
        }
        match self.own_cluster(cluster).await {
            // One of this name is somebody else's.
            Err(Error::Refused { .. }) => Ok(false),
            there => Ok(there?.is_some()),
        }
    }

    /// The clusters of this owner of which AWS lists something: when each was made.
    async fn tagged(&self) -> Result<BTreeMap<String, Option<String>>, Error> {
        let owner = &self.who().await?.owner;
        let mut found = BTreeMap::new();
        let mut next = String::new();
        loop {
            let mut wanted = json!({
                "TagFilters": [{"Key": OWNER, "Values": [owner]}, {"Key": CLUSTER}],
                "ResourcesPerPage": 100,
            });
            if !next.is_empty() {
                wanted["PaginationToken"] = next.as_str().into();
            }
            let page = self.aws.json(Service::Tagging, "GetResources", &wanted).await?;
            for thing in page["ResourceTagMappingList"].as_array().into_iter().flatten() {
                let tag = |key: &str| {
                    let tags = thing["Tags"].as_array()?;
                    let tag = tags.iter().find(|tag| tag["Key"] == key)?;
                    tag["Value"].as_str().map(str::to_owned)
                };
                let arn = thing["ResourceARN"].as_str().unwrap_or_default();
                if let Some(cluster) = tag(CLUSTER).filter(|_| lasts(arn)) {
                    found.entry(cluster).or_insert(tag(CREATED));
                }
            }
            next = page["PaginationToken"].as_str().unwrap_or_default().to_owned();
            if next.is_empty() {
                return Ok(found);
            }
        }
    }

    /// By which host the client reaches a task.
    pub(super) async fn client_host(&self, task: &Task) -> Result<String, Error> {
        if self.ecs.reach == Way::Private {
            return self.private_host(task);
        }
        let interface = detail(task, "networkInterfaceId").ok_or_else(|| no_address(task))?;
        let form = [("NetworkInterfaceId.1".to_owned(), interface)];
        let xml = self.ec2("DescribeNetworkInterfaces", &form).await?;
        let found = xml.items("networkInterfaceSet");
        let host = found.first().map_or("", |found| found.text("association/publicIp"));
        if host.is_empty() { Err(no_address(task)) } else { Ok(host.to_owned()) }
    }

    /// By which host other tasks reach it.
    pub(super) fn private_host(&self, task: &Task) -> Result<String, Error> {
        detail(task, "privateIPv4Address").ok_or_else(|| no_address(task))
    }
}

/// Whether what has this ARN is gone when it has been deleted: definitions and tasks are remembered.
fn lasts(arn: &str) -> bool {
    !arn.contains(":task-definition/") && !arn.contains(":task/")
}

/// What is known of a task's network interface.
fn detail(task: &Task, name: &str) -> Option<String> {
    let details = task.attachments().iter().flat_map(|attachment| attachment.details());
    let mut found = details.filter(|detail| detail.name() == Some(name));
    found.find_map(|detail| detail.value().map(str::to_owned))
}

/// A task that has just begun to run may not have one yet.
fn no_address(task: &Task) -> Error {
    let what = format!("reach the task {}", id(task));
    Error::Busy { what, reason: "it has no address yet".into() }
}
