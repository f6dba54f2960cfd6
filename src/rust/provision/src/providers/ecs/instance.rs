//! The tasks of a cluster, as ECS tells of them.

use std::sync::PoisonError;
use std::time::SystemTime;

use aws_sdk_ecs::types::{DesiredStatus, Task};
use rustbatch_protocol::ClusterId;

use super::Fargate;
use super::run::group;
use super::stopped;
use super::tags::{family, name, started_by};
use super::task::{INIT, short};
use crate::Error;
use crate::aws::Trouble;
use crate::provider::{Instance, InstanceId, Role, State};

/// How many tasks can be asked about in one call.
const HUNDRED: usize = 100;

/// How many last lines tell why a task ended.
const LAST_WORDS: usize = 20;

/// What is done at each step of a task's life until it runs.
pub(super) const STEPS: [(&str, &str); 3] = [
    ("PROVISIONING", "waiting for room on Fargate"),
    ("PENDING", "pulling images"),
    ("ACTIVATING", "connecting to its network"),
];

/// The id of a task: the end of its ARN.
pub(super) fn id(task: &Task) -> &str {
    short(task.task_arn().unwrap_or_default())
}

/// The role of a task of ours.
pub(super) fn role(task: &Task) -> Role {
    let server = group(Role::Server);
    if task.group() == Some(server.as_str()) { Role::Server } else { Role::Worker }
}

/// Whether what was asked for is not there, in any of ECS's ways to say so.
pub(super) fn is_gone(trouble: &Trouble) -> bool {
    trouble.is(&["ClusterNotFoundException"]) || trouble.says("cluster was not found")
}

impl Fargate {
    /// The ECS cluster of a cluster, by name.
    pub(super) fn ecs_cluster(&self, cluster: &ClusterId) -> String {
        self.ecs.ecs_cluster.clone().unwrap_or_else(|| name(cluster))
    }

    /// The tasks of a cluster, those too that ended within the last hour.
    pub(super) async fn tasks(&self, cluster: &ClusterId) -> Result<Vec<Task>, Error> {
        let mut all = self.tasks_that(cluster, DesiredStatus::Running).await?;
        all.extend(self.tasks_that(cluster, DesiredStatus::Stopped).await?);
        // One may have ended between the two lists.
        all.sort_by(|a, b| a.task_arn().cmp(&b.task_arn()));
        all.dedup_by(|a, b| a.task_arn() == b.task_arn());
        let prices: Vec<_> = all.iter().map(|task| self.spent_on(task)).collect();
        self.ledger(cluster, prices);
        Ok(all)
    }

    /// Those that shall run, or that shall not.
    pub(super) async fn tasks_that(
        &self,
        cluster: &ClusterId,
        desired: DesiredStatus,
    ) -> Result<Vec<Task>, Error> {
        let ecs_cluster = self.ecs_cluster(cluster);
        // Where others run tasks too, theirs are not even looked at.
        let families: Vec<_> = match &self.ecs.ecs_cluster {
            None => vec![None],
            Some(_) => ["server", "worker"].map(|role| Some(family(cluster, role))).into(),
        };
        let mut arns = Vec::new();
        for family in families {
            let request = self.aws.ecs().list_tasks().cluster(&ecs_cluster).set_family(family);
            let mut pages = request.desired_status(desired.clone()).into_paginator().send();
            while let Some(page) = pages.next().await {
                match page {
                    Ok(page) => arns.extend_from_slice(page.task_arns()),
                    Err(error) => {
                        let trouble = Trouble::of("ListTasks", &error);
                        return if is_gone(&trouble) {
                            Ok(Vec::new())
                        } else {
                            Err(trouble.into())
                        };
                    }
                }
            }
        }
        let mut tasks = self.described_tasks(&ecs_cluster, &arns).await?;
        let ours = started_by(cluster);
        tasks.retain(|task| task.started_by() == Some(&ours));
        Ok(tasks)
    }

    /// The one task of this id.
    pub(super) async fn task(
        &self,
        cluster: &ClusterId,
        wanted: &InstanceId,
    ) -> Result<Task, Error> {
        let ids = [wanted.0.clone()];
        let found = self.described_tasks(&self.ecs_cluster(cluster), &ids).await?;
        let ours = started_by(cluster);
        let mut found = found.into_iter().filter(|task| task.started_by() == Some(&ours));
        found.next().ok_or_else(|| Error::Refused {
            what: format!("find the task {wanted}"),
            reason: "there is none of this id".into(),
            way: String::new(),
        })
    }

    /// What ECS tells of these tasks.
    async fn described_tasks(&self, ecs_cluster: &str, ids: &[String]) -> Result<Vec<Task>, Error> {
        let mut tasks = Vec::new();
        for hundred in ids.chunks(HUNDRED) {
            let request = self.aws.ecs().describe_tasks().cluster(ecs_cluster);
            let described = request.set_tasks(Some(hundred.to_vec())).send().await;
            let described = described.map_err(|e| Trouble::of("DescribeTasks", &e))?;
            tasks.extend_from_slice(described.tasks());
        }
        Ok(tasks)
    }

    /// A task in the words of all providers.
    pub(super) async fn instance(&self, cluster: &ClusterId, task: &Task) -> Instance {
        let (id, role) = (id(task).to_owned(), role(task));
        let worker = match role {
            Role::Server => None,
            Role::Worker => id.parse().ok(),
        };
        let state = match phase(task) {
            Phase::Starting(doing) => State::Starting { doing: doing.into() },
            Phase::Running => State::Running,
            Phase::Stopped => State::Stopped { why: self.last_words(cluster, task).await },
        };
        Instance { id: InstanceId(id), role, worker, state }
    }

    /// Why a task ended, with its last lines; asked once, because it stays so.
    async fn last_words(&self, cluster: &ClusterId, task: &Task) -> String {
        let id = id(task);
        let known = self.words.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if let Some(known) = known {
            return known;
        }
        let why = stopped::why(task);
        if why.contains(stopped::CAPACITY) {
            *self.spare() = Some(std::time::Instant::now());
        }
        let container = stopped::culprit(task).map_or(INIT, |(name, _)| name).to_owned();
        // What can't be read is not worth an error here.
        let said = self.lines(cluster, task, &container, LAST_WORDS).await.unwrap_or_default();
        let lines: String = said.iter().map(|line| format!("\n  {line}")).collect();
        let way = stopped::way(task, &why).map_or(String::new(), |way| format!("\n* {way}"));
        let words = format!("the task {id}: {why}{lines}{way}");
        // Lines arrive a little later than the end.
        let young = task.stopped_at().is_none_or(|then| {
            let age = SystemTime::now()
                .duration_since(SystemTime::try_from(*then).unwrap_or(SystemTime::UNIX_EPOCH));
            age.is_ok_and(|age| age.as_secs() < 30)
        });
        if !said.is_empty() || !young {
            let mut known = self.words.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(id.to_owned(), words.clone());
        }
        words
    }
}

/// Where in its life a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It will run; what is done for it.
    Starting(&'static str),
    /// Its program runs.
    Running,
    /// Its program has ended.
    Stopped,
}

/// Where a task is. One that is being stopped still runs, until its container has ended: a worker
/// whose spare capacity is taken back has two minutes to give back what it holds.
pub(super) fn phase(task: &Task) -> Phase {
    let last = task.last_status().unwrap_or_default();
    if let Some((_, doing)) = STEPS.iter().find(|(step, _)| *step == last) {
        return Phase::Starting(doing);
    }
    let name = role(task).to_string();
    let main = task.containers().iter().find(|container| container.name() == Some(&name));
    let ended = main.is_none_or(|main| main.last_status() == Some("STOPPED"));
    match last {
        "RUNNING" => Phase::Running,
        "STOPPED" | "DELETED" | "DEPROVISIONING" => Phase::Stopped,
        _ if ended => Phase::Stopped,
        _ => Phase::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ecs::types::Container;

    #[test]
    fn a_task_that_is_being_stopped_runs_until_its_container_ends() {
        let task = |last: &str, main: &str| {
            let init = Container::builder().name(INIT).last_status("STOPPED").build();
            let main = Container::builder().name("worker").last_status(main).build();
            // What a guard of the account puts into every task.
            let other = Container::builder().name("guard").last_status("STOPPED").build();
            let task = Task::builder().last_status(last).containers(other).containers(init);
            phase(&task.containers(main).build())
        };
        assert_eq!(task("PROVISIONING", "PENDING"), Phase::Starting(STEPS[0].1));
        assert_eq!(task("PENDING", "PENDING"), Phase::Starting(STEPS[1].1));
        assert_eq!(task("RUNNING", "RUNNING"), Phase::Running);
        assert_eq!(task("STOPPING", "RUNNING"), Phase::Running);
        assert_eq!(task("DEACTIVATING", "STOPPED"), Phase::Stopped);
        assert_eq!(task("DEPROVISIONING", "STOPPED"), Phase::Stopped);
        assert_eq!(task("STOPPED", "STOPPED"), Phase::Stopped);
    }
}
