//! The roles of tasks: one that starts them, and one that R code has where a shell is wanted.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rustbatch_protocol::ClusterId;
use serde_json::{Value, json};

use super::Fargate;
use super::carry::LINK;
use super::tags::{CLUSTER, OWNER, Tags, path, role_name};
use super::task::digest;
use crate::Error;
use crate::aws::{Service, Trouble};
use crate::spec::ecs::Keep;

/// What the names of our roles begin with: that which starts tasks, that which R code has.
pub(super) const START: &str = "rb-start";
pub(super) const CODE: &str = "rb-code";

/// Where our roles are among all of an account.
const PATH: &str = "/rustbatch/";

/// The name of a role's one policy.
const POLICY: &str = "rustbatch";

/// How long after a role was made AWS may not know it, or its policy, everywhere.
const YOUTH: Duration = Duration::from_secs(120);

impl Fargate {
    pub(super) async fn iam(
        &self,
        call: &str,
        form: &[(&str, &str)],
    ) -> Result<crate::aws::Xml, Trouble> {
        self.aws.query(Service::Iam, call, form).await
    }

    /// The role that starts tasks, by ARN.
    pub(super) async fn execution_role(&self, cluster: &ClusterId) -> Result<String, Error> {
        if let Some(named) = &self.ecs.execution_role {
            return Ok(named.clone());
        }
        let who = self.who().await?;
        let stays = self.ecs.keeps(Keep::Role);
        let (name, tags) = if stays {
            // A role is everywhere, and what it may do is in one region.
            let whose = format!("{} {}", who.owner, self.aws.region());
            let name = format!("{START}-{}", &digest(whose.as_bytes())[..16]);
            (name, Tags::kept(&self.ecs, &who.owner, Keep::Role))
        } else {
            (role_name(cluster, START), Tags::new(&self.ecs, &who.owner, cluster, "role"))
        };
        let own = if stays { "/rustbatch/*".to_owned() } else { path(cluster) };
        let (partition, account, region) = (&who.partition, &who.account, self.aws.region());
        let arn = |service: &str, what: String| {
            format!("arn:{partition}:{service}:{region}:{account}:{what}")
        };
        let secrets = ["worker", "server", LINK];
        let secrets = secrets.map(|name| arn("ssm", format!("parameter{own}/{name}")));
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
                {
                    "Effect": "Allow",
                    "Action": ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer",
                               "ecr:BatchGetImage"],
                    // Others may share theirs: it is their policy that lets in.
                    "Resource": format!("arn:{partition}:ecr:*:*:repository/*"),
                },
                {
                    "Effect": "Allow",
                    "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                    "Resource": arn("logs", format!("log-group:{own}:*")),
                },
                {"Effect": "Allow", "Action": "ssm:GetParameters", "Resource": secrets},
            ],
        });
        self.role(&name, &policy, &tags).await
    }

    /// The role that R code has, by ARN; none where nothing is wanted of it.
    pub(super) async fn task_role(&self, cluster: &ClusterId) -> Result<Option<String>, Error> {
        if self.ecs.task_role.is_some() || !self.ecs.execute_command {
            return Ok(self.ecs.task_role.clone());
        }
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Action": ["ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
                           "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"],
                "Resource": "*",
            }],
        });
        let tags = Tags::new(&self.ecs, &self.who().await?.owner, cluster, "role");
        Ok(Some(self.role(&role_name(cluster, CODE), &policy, &tags).await?))
    }

    /// The role of this name, with this policy.
    async fn role(&self, name: &str, policy: &Value, tags: &Tags) -> Result<String, Error> {
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": self.who().await?.account}},
            }],
        });
        let arn = match self.iam("GetRole", &[("RoleName", name)]).await {
            Ok(xml) => xml.text("GetRoleResult/Role/Arn").to_owned(),
            // Who may see ours alone is not told that there is none.
            Err(error) if error.is(&["NoSuchEntity", "AccessDenied"]) => {
                let trust = trust.to_string();
                let tags = tags.form("Tags.member");
                let mut form = vec![
                    ("RoleName", name),
                    ("Path", PATH),
                    ("Description", "Made by rustBatch"),
                    ("AssumeRolePolicyDocument", trust.as_str()),
                ];
                form.extend(tags.iter().map(|(k, v)| (k.as_str(), v.as_str())));
                let made = self.iam("CreateRole", &form).await?;
                *self.role_made.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Instant::now());
                made.text("CreateRoleResult/Role/Arn").to_owned()
            }
            Err(error) => return Err(error.into()),
        };
        let policy = policy.to_string();
        let form =
            [("RoleName", name), ("PolicyName", POLICY), ("PolicyDocument", policy.as_str())];
        self.iam("PutRolePolicy", &form).await?;
        Ok(arn)
    }

    /// Whether what is denied may be allowed in a moment: to a role that has just been made.
    pub(super) fn has_young_role(&self) -> bool {
        let made = *self.role_made.lock().unwrap_or_else(PoisonError::into_inner);
        made.is_some_and(|then| then.elapsed() < YOUTH)
    }

    /// Removes a role of a cluster. Whether there was one.
    ///
    /// # Errors
    /// What IAM said. A role of this name that is not tagged as ours is left alone.
    pub(super) async fn remove_role(
        &self,
        cluster: &ClusterId,
        name: &str,
    ) -> Result<bool, Trouble> {
        let there = match self.iam("GetRole", &[("RoleName", name)]).await {
            Ok(xml) => xml,
            // Who may not look has made none.
            Err(error) if error.is(&["NoSuchEntity", "AccessDenied"]) => return Ok(false),
            Err(error) => return Err(error),
        };
        let owner = self.who().await.map_err(|e| Trouble::silent("sts:GetCallerIdentity", &e))?;
        let ours = there.at("GetRoleResult/Role").is_some_and(|role| {
            role.tagged(CLUSTER, cluster.as_str()) && role.tagged(OWNER, &owner.owner)
        });
        if !ours {
            return Ok(false);
        }
        match self.iam("DeleteRolePolicy", &[("RoleName", name), ("PolicyName", POLICY)]).await {
            Err(error) if !error.is(&["NoSuchEntity"]) => return Err(error),
            _ => {}
        }
        self.iam("DeleteRole", &[("RoleName", name)]).await.map(|_| true)
    }

    /// Looks whether a role that is named is there, and tasks may have it.
    ///
    /// # Errors
    /// Where they may not.
    pub(super) async fn check_role(&self, arn: &str) -> Result<(), Error> {
        let name = arn.rsplit('/').next().unwrap_or(arn);
        let xml = match self.iam("GetRole", &[("RoleName", name)]).await {
            Ok(xml) => xml,
            // Who may not look may still be allowed to pass it.
            Err(error) if error.is(&["AccessDenied"]) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let trust = xml.text("GetRoleResult/Role/AssumeRolePolicyDocument");
        if trust.contains("ecs-tasks.amazonaws.com") {
            return Ok(());
        }
        Err(super::refused(
            &format!("the role {name} does not let tasks have it"),
            "Let the service ecs-tasks.amazonaws.com assume it (its trust policy), or name none: \
             then one is made.",
        ))
    }

    /// Whether a thing is tagged as this owner's.
    pub(super) async fn is_ours(&self, tags: &[aws_sdk_ecs::types::Tag]) -> Result<bool, Error> {
        let owner = &self.who().await?.owner;
        Ok(tags.iter().any(|tag| tag.key() == Some(OWNER) && tag.value() == Some(owner)))
    }
}
