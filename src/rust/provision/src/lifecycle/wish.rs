//! What is wanted of a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rustbatch_protocol::Setup;
use rustbatch_protocol::bootstrap::Server;
use serde::{Deserialize, Serialize};

/// The cluster that is wanted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wish {
    /// What it is called; a part of its id.
    pub name: Option<String>,
    /// How many instances with workers there are at least, and at the start.
    pub least: u32,
    /// How many there are at most, when much waits; `least` where the number stays.
    pub most: u32,
    /// How many R processes a worker.
    pub slots: u32,
    /// Processors of an instance, in thousandths; the provider's usual size when absent.
    pub cpu: Option<u32>,
    /// Memory of an instance, in MiB; the provider's usual size when absent.
    pub memory: Option<u64>,
    /// The container's image; the provider's usual one when absent.
    pub image: Option<String>,
    /// The environment of a worker, by name. No secret stands in it.
    pub environment: BTreeMap<String, String>,
    /// What workers install before they join; they install nothing, ever, when absent.
    pub setup: Option<Box<Setup>>,
    /// The R of the workers.
    pub r: PathBuf,
    /// A Redis that runs already; a server is launched where there is none.
    pub redis: Option<Server>,
}

/// How long is waited, and how often tried.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Policy {
    /// Whether a start waits until all workers have joined; else until the first has.
    pub all: bool,
    /// How long the server may take to run.
    pub server: Duration,
    /// How long a worker may take to join.
    pub join: Duration,
    /// How often it is looked at the instances during a start.
    pub look: Duration,
    /// How often it is looked at them when the cluster stands.
    pub rest: Duration,
    /// How long an instance may be unknown to its provider after it was launched.
    pub unlisted: Duration,
    /// How long a worker that had joined may be without a lease before its instance is replaced.
    pub silent: Duration,
    /// How long there may be more workers than are needed.
    pub linger: Duration,
    /// How often a call that was [`Error::Busy`] is made again.
    pub tries: usize,
    /// The first pause before that, and before what died is replaced again; it doubles.
    pub pause: Duration,
    /// How long instances without a life line stay without work, in whole seconds.
    pub idle: Duration,
    /// How long they stay in any case, in whole seconds.
    pub life: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            all: false,
            server: Duration::from_secs(300),
            join: Duration::from_secs(300),
            look: Duration::from_secs(1),
            rest: Duration::from_secs(1),
            unlisted: Duration::from_secs(60),
            silent: Duration::from_secs(60),
            linger: Duration::from_secs(60),
            tries: 5,
            pause: Duration::from_millis(500),
            idle: Duration::from_secs(600),
            life: Duration::from_secs(12 * 3600),
        }
    }
}
