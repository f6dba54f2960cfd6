//! What a starting process is told over standard input, because a command line and an environment
//! can be read by others.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ClusterId, Secret, WorkerId};

/// Where Redis is, and how to be let in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Server {
    /// How it is reached.
    pub address: Address,
    /// The ACL user; none for the password-only form.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The database number.
    #[serde(default)]
    pub database: i64,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// Host and port, in the clear.
    Tcp(String, u16),
    /// Host and port, over TLS, with a certificate that the system's authorities vouch for.
    Tls(String, u16),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host, port) => write!(f, "redis://{host}:{port}"),
            Self::Tls(host, port) => write!(f, "rediss://{host}:{port}"),
        }
    }
}

/// What a worker reads from its standard input, as one line of JSON.
///
/// With `lifeline` the worker drains and exits when its standard input ends, that is, when the
/// process that started it is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerBootstrap {
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster's key, as hexadecimal digits.
    pub key: Secret,
    /// This worker's name, new for every process.
    pub worker: WorkerId,
    /// Redis.
    pub server: Server,
    /// How many R processes.
    pub slots: u32,
    /// The R executable.
    pub r: PathBuf,
    /// Whether the end of standard input ends the worker.
    pub lifeline: bool,
    /// After how many seconds without work the worker exits; never when absent.
    pub idle_seconds: Option<u64>,
    /// After how many seconds the worker exits in any case; never when absent.
    pub life_seconds: Option<u64>,
}

/// What the supervisor of a private Redis reads from its standard input, as one line of JSON. It
/// ends the server and removes the folder when its standard input ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerBootstrap {
    /// The `redis-server` or `valkey-server` executable.
    pub executable: PathBuf,
    /// The server's private folder, mode 0700, removed at the end.
    pub folder: PathBuf,
    /// The server's configuration, passwords included.
    pub configuration: Secret,
}
