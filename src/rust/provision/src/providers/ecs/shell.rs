//! The command that opens a shell in an instance.

use rustbatch_protocol::ClusterId;

use super::Fargate;
use super::config::refused;
use super::instance::{id, role};
use crate::Error;
use crate::provider::InstanceId;

impl Fargate {
    /// The command lines that open a shell in a task: by `aws ecs execute-command` where that is on
    /// (which needs Amazon's session-manager-plugin), by ssh where a key may log in. Cancel-safe.
    ///
    /// # Errors
    /// Where neither is on, or there is no such task.
    pub async fn shell(
        &self,
        cluster: &ClusterId,
        instance: &InstanceId,
    ) -> Result<Vec<String>, Error> {
        if !self.ecs.execute_command && self.ecs.ssh_public_key.is_none() {
            return Err(refused(
                "there is no way into its tasks",
                "Start it with `ecsCluster(executeCommand = TRUE)`, or with an `sshPublicKey`.",
            ));
        }
        let task = self.task(cluster, instance).await?;
        let mut lines = Vec::new();
        if self.ecs.execute_command {
            lines.push(format!(
                "aws ecs execute-command --region {} --cluster {} --task {} --container {} \
                 --interactive --command /bin/sh",
                self.aws.region(),
                self.ecs_cluster(cluster),
                id(&task),
                role(&task)
            ));
        }
        if self.ecs.ssh_public_key.is_some() {
            lines.push(format!("ssh root@{}", self.client_host(&task).await?));
        }
        Ok(lines)
    }
}
