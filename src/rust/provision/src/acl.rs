//! Who may do what in a Redis of ours: one user for clients, one for workers, one for the server's
//! supervisor, nobody else.
//!
//! All are confined to the keys of their cluster and to the commands that the queue uses. `AUTH`
//! and `HELLO` need no permission. `CLIENT SETINFO` is not granted: Redis 7.0 takes the rule for an
//! error, and the client library bears the refusal.

use ring::digest;
use rustbatch_protocol::{ClusterId, Keys, Secret, ids};

const BOTH: &str = "+ping +info +evalsha +eval +script|load +llen +lrange +lrem +lpos +lpush \
    +rpush +hget +hmget +hgetall +hset +hsetnx +hexists +hdel +hincrby +set +get +exists +expire \
    +pexpire +pttl +del +unlink +srem +smembers +xadd";

/// A user of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// The process that has jobs done.
    Client,
    /// A process that does them.
    Worker,
    /// The supervisor of the server, who looks whether anybody is alive. `SCAN` tells the names of
    /// all keys, and there are only those of the cluster.
    Watch,
}

impl User {
    /// The user's name in Redis.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Worker => "worker",
            Self::Watch => "watch",
        }
    }

    /// The line that makes the user, for the configuration of the server of `cluster`. It holds the
    /// password's SHA-256, which is as good as nothing for guessing 256 random bits, so that a
    /// server that quotes a line of its configuration tells no secret.
    #[must_use]
    pub fn line(self, cluster: &ClusterId, password: &Secret) -> String {
        let hash = digest::digest(&digest::SHA256, password.expose().as_bytes());
        let (shared, own) = match self {
            Self::Client => (BOTH, " +xread +xtrim +xrange"),
            Self::Worker => (BOTH, " +lmove +lindex +blpop +sadd"),
            Self::Watch => ("+exists +smembers +scan", ""),
        };
        format!(
            "user {} on #{} resetchannels ~{} -@all {shared}{own}",
            self.name(),
            ids::hex(hash.as_ref()),
            Keys::new(cluster).pattern(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_confines_a_user_and_hides_its_password() {
        let cluster = "c-1".parse().expect("an id");
        let password = Secret::new("password");
        let line = User::Worker.line(&cluster, &password);
        // The SHA-256 of "password", as everybody knows it.
        let hash = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
        let start = format!("user worker on #{hash} resetchannels ~rb:{{c-1}}:* -@all +ping ");
        assert!(line.starts_with(&start), "{line}");
        assert!(line.ends_with(" +xadd +lmove +lindex +blpop +sadd"), "{line}");
        assert!(!line.contains('\n') && !line.contains("setinfo"));
    }
}
