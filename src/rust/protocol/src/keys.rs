//! The names of the keys in Redis. All stand under `rb:{<cluster>}:`, so that one ACL pattern covers
//! a cluster and Redis Cluster keeps it on one node.

use crate::{BlobHash, ClientId, ClusterId, JobId, WorkerId};

/// Names every key of one cluster.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// The keys of `cluster`.
    #[must_use]
    pub fn new(cluster: &ClusterId) -> Self {
        Self { prefix: format!("rb:{{{cluster}}}:") }
    }

    fn name(&self, rest: std::fmt::Arguments<'_>) -> String {
        format!("{}{rest}", self.prefix)
    }

    /// List of the jobs that have queued chunks; also the one declared key of every script, from
    /// which the script derives the prefix.
    #[must_use]
    pub fn ring(&self) -> String {
        self.name(format_args!("ring"))
    }

    /// Hash: the payloads of a job's open chunks, closed marks, attempts, crash counts.
    #[must_use]
    pub fn job(&self, job: &JobId) -> String {
        self.name(format_args!("job:{job}"))
    }

    /// List of the entries (`<job>/<chunk>`) that wait for a worker.
    #[must_use]
    pub fn queue(&self, job: &JobId) -> String {
        self.name(format_args!("job:{job}:queue"))
    }

    /// Stream of what the client must hear: outcomes, needs, signals.
    #[must_use]
    pub fn events(&self, job: &JobId) -> String {
        self.name(format_args!("job:{job}:events"))
    }

    /// Set of the workers that have registered.
    #[must_use]
    pub fn workers(&self) -> String {
        self.name(format_args!("workers"))
    }

    /// A worker's lease, renewed by its heartbeat; its value is the number of its slots.
    #[must_use]
    pub fn alive(&self, worker: &WorkerId) -> String {
        self.name(format_args!("alive:{worker}"))
    }

    /// List of the entries that a worker holds.
    #[must_use]
    pub fn leased(&self, worker: &WorkerId) -> String {
        self.name(format_args!("leased:{worker}"))
    }

    /// List of sealed control messages to one worker.
    #[must_use]
    pub fn control(&self, worker: &WorkerId) -> String {
        self.name(format_args!("ctl:{worker}"))
    }

    /// A first look at a worker that was not alive.
    #[must_use]
    pub fn look(&self, worker: &WorkerId) -> String {
        self.name(format_args!("look:{worker}"))
    }

    /// List of at most one token that wakes an idle worker.
    #[must_use]
    pub fn bell(&self) -> String {
        self.name(format_args!("bell"))
    }

    /// Hash of a blob's sealed parts, by their number.
    #[must_use]
    pub fn blob(&self, hash: &BlobHash) -> String {
        self.name(format_args!("blob:{hash}"))
    }

    /// A client's lease, renewed by its heartbeat.
    #[must_use]
    pub fn client(&self, client: &ClientId) -> String {
        self.name(format_args!("client:{client}"))
    }

    /// Hash: how many workers there shall be, at least and at most.
    #[must_use]
    pub fn size(&self) -> String {
        self.name(format_args!("size"))
    }

    /// The pattern of the leases of all clients.
    #[must_use]
    pub fn clients(&self) -> String {
        self.name(format_args!("client:*"))
    }

    /// The pattern that an ACL user of this cluster is confined to.
    #[must_use]
    pub fn pattern(&self) -> String {
        self.name(format_args!("*"))
    }
}
