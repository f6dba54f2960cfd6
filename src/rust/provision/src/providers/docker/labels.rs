//! By what the things of a cluster are known: names and labels.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use rustbatch_protocol::ClusterId;

use crate::docker::Seen;
use crate::provider::{Role, Site};

/// The labels: which cluster, since when there is one (in seconds since 1970), and what for.
pub(super) const CLUSTER: &str = "rustbatch.cluster";
pub(super) const CREATED: &str = "rustbatch.created";
pub(super) const ROLE: &str = "rustbatch.role";

/// The role of a container that never runs: it holds the cluster's record, which only those can read
/// who may use Docker.
pub(super) const RECORD: &str = "record";
/// What the names of our networks begin with; the cluster's id follows.
pub(super) const NETWORK: &str = "rustbatch-";

/// What is found of a cluster.
#[derive(Default)]
pub(super) struct Found {
    pub created: Option<SystemTime>,
    pub instances: usize,
}

impl Found {
    /// Notes what one of its things says: `created`, in seconds since 1970, and how many instances that
    /// have not stopped it is.
    pub fn note(&mut self, created: &str, instances: usize) {
        let since = created.parse().ok().map(Duration::from_secs);
        let created = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
        self.created = self.created.into_iter().chain(created).min();
        self.instances += instances;
    }
}

pub(super) fn network(cluster: &ClusterId) -> String {
    format!("{NETWORK}{cluster}")
}

pub(super) fn labels(site: &Site, role: &str) -> BTreeMap<String, String> {
    let created = site.parts.get("created").map(|created| (CREATED, created.as_str()));
    let all = [(CLUSTER, site.cluster.as_str()), (ROLE, role)].into_iter().chain(created);
    all.map(|(name, says)| (name.to_owned(), says.to_owned())).collect()
}

pub(super) fn label(cluster: &ClusterId) -> String {
    format!("{CLUSTER}={cluster}")
}

/// Whether it was made by this provider: others may use one of its labels.
pub(super) fn is_ours(seen: &Seen) -> bool {
    let role = seen.label(ROLE);
    let known = role == Some(RECORD)
        || [Role::Server, Role::Worker].iter().any(|known| role == Some(&*known.to_string()));
    known && seen.label(CREATED).is_some_and(is_time)
}

/// Whether it is a number of seconds.
pub(super) fn is_time(created: &str) -> bool {
    created.parse::<u64>().is_ok()
}
