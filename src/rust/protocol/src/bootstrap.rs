//! What a starting process is told over standard input or by a file of its own, because a command line
//! and an environment can be read by others.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ClusterId, Secret, Setup, WorkerId};

/// The folder of a worker on its machine, in which its R processes have their temporary files. The
/// worker removes it; who started a worker that was killed does so in its place.
#[must_use]
pub fn folder_of(worker: &WorkerId) -> PathBuf {
    std::env::temp_dir().join(format!("rustBatch-{worker}"))
}

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
    /// Host and port, over TLS, with a certificate that an authority known to everybody vouches for.
    Tls(String, u16),
    /// Host and port, over TLS, with a certificate that the cluster's own authority vouches for.
    Pinned(String, u16, Authority),
}

/// Who vouches for the server of one cluster. It is no secret.
///
/// Where a server will be reached is not known before it is launched, and differs for client and
/// workers, so its certificate is for a name that stays the same and is looked up nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The authority's certificate, as PEM; no other authority is trusted.
    pub certificate: String,
    /// The name that the server's certificate is for, whatever the server's address.
    pub name: String,
}

impl Address {
    /// Whether others on the way can see passwords and who asks for what: a connection in the clear
    /// to a host other than this one. A name is this host's when it is `localhost` or ends so.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        let Self::Tcp(host, _) = self else {
            return false;
        };
        let host = host.to_ascii_lowercase();
        let local = match host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => host == "localhost" || host.ends_with(".localhost"),
        };
        !local
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host, port) => write!(f, "redis://{host}:{port}"),
            Self::Tls(host, port) | Self::Pinned(host, port, _) => {
                write!(f, "rediss://{host}:{port}")
            }
        }
    }
}

/// The version of this protocol's programs: a worker serves clients of its own version alone.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a worker reads, as one line of JSON.
///
/// With `lifeline` the worker drains and exits when its standard input ends, that is, when the
/// process that started it is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerBootstrap {
    /// The client's [`VERSION`]. A worker of another one may not understand the rest.
    pub version: String,
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
    /// What the worker installs before it joins; where absent it never installs anything, not even
    /// what a loop asks for.
    #[serde(default)]
    pub setup: Option<Box<Setup>>,
}

/// What the supervisor of a Redis of ours reads, as one line of JSON.
///
/// It removes the folder at the end, starts Redis again when that ends unasked, and ends when its
/// limits say so; with `lifeline` also when its standard input ends, that is, when the process that
/// started it is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerBootstrap {
    /// The cluster whose keys the server holds.
    pub cluster: ClusterId,
    /// The `redis-server` or `valkey-server` executable: a path, or a name to look for.
    pub executable: PathBuf,
    /// The server's private folder, removed at the end. It is made where it is missing; one that
    /// others may enter is refused. Best where nothing is written to a disk.
    pub folder: PathBuf,
    /// Where the server listens, besides the Unix socket `redis.sock` in the folder.
    pub listen: Option<Listen>,
    /// The rest of the server's configuration, its users among it.
    pub configuration: Secret,
    /// The password of the user `watch`, who sees whether anybody is alive.
    pub watch: Secret,
    /// Whether the end of standard input ends the server.
    pub lifeline: bool,
    /// After how many seconds without a live client or worker the server ends; never when absent.
    pub idle_seconds: Option<u64>,
    /// After how many seconds the server ends in any case; never when absent.
    pub life_seconds: Option<u64>,
}

/// Where on a network a server of ours listens: over TLS, never in the clear.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listen {
    /// The one address of this machine to listen at; all of them when absent.
    pub bind: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// The server's certificate, as PEM.
    pub certificate: String,
    /// The certificate's private key, as PEM.
    pub key: Secret,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_connections_to_other_hosts_are_exposed() {
        let tcp = |host: &str| Address::Tcp(host.into(), 6379).is_exposed();
        for here in ["localhost", "LocalHost", "a.localhost", "127.0.0.1", "127.1.2.3", "::1"] {
            assert!(!tcp(here), "{here}");
        }
        assert!(!tcp("::ffff:127.0.0.1"));
        for there in ["host", "10.0.0.1", "2001:db8::2", "localhost.example.org", "0.0.0.0"] {
            assert!(tcp(there), "{there}");
        }
        let authority = Authority { certificate: String::new(), name: String::new() };
        assert!(!Address::Tls("host".into(), 1).is_exposed());
        assert!(!Address::Pinned("host".into(), 1, authority).is_exposed());
        assert!(!Address::Unix("/tmp/x".into()).is_exposed());
    }
}
