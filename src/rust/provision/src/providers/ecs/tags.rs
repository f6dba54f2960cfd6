//! By what our things are known: their names and tags.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustbatch_protocol::ClusterId;

use crate::spec::ecs::{Ecs, Keep};

/// The tags: of which cluster, whose, for what, since when and until when, in seconds since 1970.
pub(super) const CLUSTER: &str = "rustbatch:cluster";
pub(super) const OWNER: &str = "rustbatch:owner";
pub(super) const ROLE: &str = "rustbatch:role";
pub(super) const CREATED: &str = "rustbatch:created";
pub(super) const EXPIRES: &str = "rustbatch:expires";

/// In place of the cluster, on what outlives clusters: what it is.
pub(super) const KEPT: &str = "rustbatch:kept";

/// What a thing is tagged with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tags(pub BTreeMap<String, String>);

impl Tags {
    /// Of a thing that goes with the cluster, for `role`, made now.
    pub fn new(ecs: &Ecs, owner: &str, cluster: &ClusterId, role: &str) -> Self {
        let now = SystemTime::now();
        let until = now + Duration::from_secs(3600 * u64::from(ecs.life_hours));
        let mut tags = ecs.tags.clone();
        let ours = [
            (CLUSTER, cluster.to_string()),
            (OWNER, owner.to_owned()),
            (ROLE, role.to_owned()),
            (CREATED, seconds(now)),
            (EXPIRES, seconds(until)),
        ];
        tags.extend(ours.map(|(key, value)| (key.to_owned(), value)));
        Self(tags)
    }

    /// Of a thing that stays.
    pub fn kept(ecs: &Ecs, owner: &str, what: Keep) -> Self {
        let mut tags = ecs.tags.clone();
        let ours = [
            (KEPT, kept(what).to_owned()),
            (OWNER, owner.to_owned()),
            (CREATED, seconds(SystemTime::now())),
        ];
        tags.extend(ours.map(|(key, value)| (key.to_owned(), value)));
        Self(tags)
    }

    /// As fields of a form: `<prefix>.1.Key`, `<prefix>.1.Value`, ...
    pub fn form(&self, prefix: &str) -> Vec<(String, String)> {
        let numbered = self.0.iter().zip(1..);
        let fields = numbered.flat_map(|((key, value), i)| {
            [
                (format!("{prefix}.{i}.Key"), key.clone()),
                (format!("{prefix}.{i}.Value"), value.clone()),
            ]
        });
        fields.collect()
    }

    /// As JSON's list of objects with `Key` and `Value`.
    pub fn json(&self) -> serde_json::Value {
        let pair =
            |(key, value): (&String, &String)| serde_json::json!({"Key": key, "Value": value});
        self.0.iter().map(pair).collect()
    }

    /// As ECS has them.
    pub fn ecs(&self) -> Vec<aws_sdk_ecs::types::Tag> {
        let pair = |(key, value): (&String, &String)| {
            aws_sdk_ecs::types::Tag::builder().key(key).value(value).build()
        };
        self.0.iter().map(pair).collect()
    }
}

/// What is tagged as the cluster's or as kept.
pub(super) fn kept(what: Keep) -> &'static str {
    match what {
        Keep::Network => "network",
        Keep::Role => "role",
        Keep::Logs => "logs",
    }
}

fn seconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string()
}

/// When, of a tag's seconds.
pub(super) fn time(seconds: &str) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))
}

/// The name of most things of a cluster.
pub(super) fn name(cluster: &ClusterId) -> String {
    format!("rustbatch-{cluster}")
}

/// The family of the task definitions for a role.
pub(super) fn family(cluster: &ClusterId, role: &str) -> String {
    format!("rustbatch-{cluster}-{role}")
}

/// What the tasks of a cluster say that they were started by.
pub(super) fn started_by(cluster: &ClusterId) -> String {
    format!("rustbatch/{cluster}")
}

/// Where the secrets of a cluster are; also the name of its log group.
pub(super) fn path(cluster: &ClusterId) -> String {
    format!("/rustbatch/{cluster}")
}

/// The name of a role, of which AWS takes 64 characters: the end of a cluster's id is what differs.
pub(super) fn role_name(cluster: &ClusterId, kind: &str) -> String {
    let id = cluster.as_str();
    let room = 64 - kind.len() - 1;
    format!("{kind}-{}", &id[id.len().saturating_sub(room)..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roles_name_fits_and_ends_with_the_clusters_id() {
        for id in ["a".to_owned(), format!("{}-0123456789abcdef", "n".repeat(47))] {
            let name = role_name(&id.parse().expect("an id"), "rb-start");
            assert!(name.len() <= 64 && name.starts_with("rb-start-"), "{name}");
            assert!(id.ends_with(&name[9..]), "{name}");
        }
    }

    #[test]
    fn users_tags_do_not_replace_ours() {
        let tags =
            BTreeMap::from([(OWNER.to_owned(), "x".to_owned()), ("team".into(), "t".into())]);
        let ecs = Ecs { tags, ..Ecs::default() };
        let tags = Tags::new(&ecs, "me", &"c".parse().expect("an id"), "worker");
        assert_eq!((tags.0[OWNER].as_str(), tags.0["team"].as_str()), ("me", "t"));
        assert_eq!(
            time(&tags.0[EXPIRES]),
            time(&tags.0[CREATED]).map(|t| t + Duration::from_secs(43_200))
        );
        let form = tags.form("Tag");
        assert_eq!(form[0].0, "Tag.1.Key");
        assert_eq!(form.len(), 2 * tags.0.len());
    }
}
