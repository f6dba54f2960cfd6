//! One instance, as it is to be made.

use std::collections::BTreeMap;

use rustbatch_protocol::WorkerId;
use rustbatch_protocol::bootstrap::{ServerBootstrap, WorkerBootstrap};
use zeroize::Zeroizing;

use super::Role;
use crate::Error;

/// One instance, as it is to be made.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Processors, in thousandths; the provider's usual size when absent.
    pub cpu: Option<u32>,
    /// Memory, in MiB; the provider's usual size when absent.
    pub memory: Option<u64>,
    /// How many R processes; 0 for a server.
    pub slots: u32,
    /// The container's image; the provider's usual one when absent.
    pub image: Option<String>,
    /// The environment, by name. No secret stands in it.
    pub environment: BTreeMap<String, String>,
    /// What `rustbatch-worker` is told. It holds secrets.
    pub bootstrap: Bootstrap,
}

impl Unit {
    /// What the instance is for.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.bootstrap {
            Bootstrap::Server(_) => Role::Server,
            Bootstrap::Worker(_) => Role::Worker,
        }
    }
}

/// What an instance's `rustbatch-worker` is told, on standard input or from a file that nobody else
/// can read.
#[derive(Debug, Clone)]
pub enum Bootstrap {
    /// For `rustbatch-worker server`.
    Server(Box<ServerBootstrap>),
    /// For `rustbatch-worker work`. Its name is to be replaced by that of the instance's worker.
    Worker(Box<WorkerBootstrap>),
}

impl Bootstrap {
    /// The argument of `rustbatch-worker`.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Server(_) => "server",
            Self::Worker(_) => "work",
        }
    }

    /// The line, without its end, that the instance is told whose worker has this name; a server has
    /// no use for it.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn line(&self, worker: &WorkerId) -> Result<Zeroizing<Vec<u8>>, Error> {
        let line = match self {
            Self::Server(told) => serde_json::to_vec(told),
            Self::Worker(told) => {
                serde_json::to_vec(&WorkerBootstrap { worker: worker.clone(), ..(**told).clone() })
            }
        };
        line.map(Zeroizing::new).map_err(|e| Error::Internal(e.to_string()))
    }
}
