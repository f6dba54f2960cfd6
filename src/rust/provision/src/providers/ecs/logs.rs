//! What instances wrote: a log group for each cluster, a stream for each container.

use aws_sdk_ecs::types::Task;
use rustbatch_protocol::ClusterId;
use serde_json::{Value, json};

use super::Fargate;
use super::instance::{id, role};
use super::tags::{Tags, path};
use crate::Error;
use crate::aws::{Service, Trouble};
use crate::spec::ecs::Keep;

/// As many lines as one call brings.
const MOST: usize = 10_000;

impl Fargate {
    pub(super) async fn cloud_watch(&self, call: &str, wanted: &Value) -> Result<Value, Trouble> {
        self.aws.json(Service::Logs, call, wanted).await
    }

    /// Makes the log group of a cluster, whose lines are not kept for ever.
    pub(super) async fn log_group(&self, cluster: &ClusterId) -> Result<String, Error> {
        let name = path(cluster);
        let owner = &self.who().await?.owner;
        let tags = match self.ecs.keeps(Keep::Logs) {
            true => Tags::kept(&self.ecs, owner, Keep::Logs),
            false => Tags::new(&self.ecs, owner, cluster, "logs"),
        };
        let wanted = json!({"logGroupName": name, "tags": tags.0});
        match self.cloud_watch("CreateLogGroup", &wanted).await {
            Ok(_) => {}
            Err(error) if error.is(&["ResourceAlreadyExistsException"]) => {}
            Err(error) => return Err(error.into()),
        }
        let days = json!({"logGroupName": name, "retentionInDays": self.ecs.log_days});
        self.cloud_watch("PutRetentionPolicy", &days).await?;
        Ok(name)
    }

    /// The last lines of a container of a task, the oldest first; none where it wrote nothing yet.
    pub(super) async fn lines(
        &self,
        cluster: &ClusterId,
        task: &Task,
        container: &str,
        tail: usize,
    ) -> Result<Vec<String>, Error> {
        let wanted = json!({
            "logGroupName": path(cluster),
            "logStreamName": format!("{}/{container}/{}", role(task), id(task)),
            "limit": tail.clamp(1, MOST),
            "startFromHead": false,
        });
        let page = match self.cloud_watch("GetLogEvents", &wanted).await {
            Ok(page) => page,
            Err(error) if error.is(&["ResourceNotFoundException"]) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let events = page["events"].as_array().cloned().unwrap_or_default();
        let line = |event: &Value| event["message"].as_str().map(|m| m.trim_end().to_owned());
        let lines: Vec<_> = events.iter().filter_map(line).collect();
        Ok(lines[lines.len().saturating_sub(tail)..].to_vec())
    }

    /// Removes the log group of a cluster. Whether there was one.
    pub(super) async fn remove_logs(&self, cluster: &ClusterId) -> Result<bool, Trouble> {
        match self.cloud_watch("DeleteLogGroup", &json!({"logGroupName": path(cluster)})).await {
            Ok(_) => Ok(true),
            Err(error) if error.is(&["ResourceNotFoundException"]) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
