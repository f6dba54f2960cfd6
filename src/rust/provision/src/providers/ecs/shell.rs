//! The command that opens a shell in an instance.

use rustbatch_protocol::ClusterId;

use super::Fargate;
use super::instance::{id, role};
use crate::Error;
use crate::provider::InstanceId;

impl Fargate {
    /// The commands, each with its arguments, that open a shell in a task: `aws ecs execute-command`
    /// where that is on (which needs Amazon's session-manager-plugin), `ssh` where a key may log in.
    /// Cancel-safe.
    ///
    /// # Errors
    /// Where neither is on, or there is no such task.
    pub async fn shell(
        &self,
        cluster: &ClusterId,
        instance: &InstanceId,
    ) -> Result<Vec<Vec<String>>, Error> {
        if !self.ecs.execute_command && self.ecs.ssh_public_key.is_none() {
            return Err(Error::Refused {
                what: "open a shell in a task".into(),
                reason: "the cluster was started without a way in".into(),
                way:
                    "Start one with `ecsCluster(executeCommand = TRUE)`, or with an `sshPublicKey`."
                        .into(),
            });
        }
        let task = self.task(cluster, instance).await?;
        let mut commands = Vec::new();
        if self.ecs.execute_command {
            let container = role(&task).to_string();
            let cluster = self.ecs_cluster(cluster);
            let [verb, task] = ["execute-command", id(&task)];
            let words = ["aws", "ecs", verb, "--region", self.aws.region(), "--cluster", &cluster];
            let more = ["--task", task, "--container", &container, "--interactive", "--command"];
            let all = words.iter().chain(&more).chain(&["/bin/sh"]);
            commands.push(all.map(|&word| word.to_owned()).collect());
        }
        if self.ecs.ssh_public_key.is_some() {
            commands.push(vec!["ssh".into(), format!("root@{}", self.client_host(&task).await?)]);
        }
        Ok(commands)
    }
}
