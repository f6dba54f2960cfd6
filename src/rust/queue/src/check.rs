//! The first contact with a server: whether it can serve as a queue.

use std::time::Duration;

use redis::{ErrorKind, Pipeline, RedisError};
use rustbatch_protocol::bootstrap::Server;

use crate::{Error, Link, transport};

/// Checks that what answers is a Redis that can serve as a queue: reachable, Redis, 6.2 at least,
/// evicts nothing, and runs scripts whose keys follow from the one declared. Gives up after
/// `patience`.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Untrusted`], [`Error::Foreign`], [`Error::Version`],
/// [`Error::Credentials`], [`Error::Setting`], [`Error::Refused`].
pub async fn check_server(server: &Server, ring: &str, patience: Duration) -> Result<(), Error> {
    let link = Link::new(server, patience)?;
    // Before the first call, because connecting already loads the scripts.
    let info = async {
        let mut connection = link.connect().await?;
        let ask = redis::cmd("INFO");
        ask.query_async::<String>(&mut connection).await
    };
    let info = match tokio::time::timeout(patience, info).await {
        Ok(Ok(info)) => info,
        Ok(Err(error)) => return Err(first_failure(&link, &error)),
        Err(_) => {
            return Err(Error::Unreachable {
                address: link.address(),
                reason: format!("no answer within {} s", patience.as_secs()),
            });
        }
    };
    let address = || link.address();
    check_info(&info, &address)?;
    let mut trial = Pipeline::new();
    let probe = format!("{}trial", ring.strip_suffix("ring").unwrap_or(ring));
    trial.cmd("EVAL").arg(TRIAL).arg(1).arg(ring).arg(&probe);
    let answer: Vec<String> = link.call(&trial).await?;
    if answer != ["1"] {
        return Err(Error::Foreign {
            address: address(),
            reason: "it does not run scripts".into(),
        });
    }
    Ok(())
}

/// Writes and removes a key that is not declared, as the scripts do.
const TRIAL: &str = "redis.call('SET', ARGV[1], '1', 'PX', 1000) \
                     local seen = redis.call('GET', ARGV[1]) redis.call('DEL', ARGV[1]) return seen";

fn check_info(info: &str, address: &dyn Fn() -> String) -> Result<(), Error> {
    let field = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let Some(version) = field("redis_version") else {
        let reason = "its INFO names no version".to_owned();
        return Err(Error::Foreign { address: address(), reason });
    };
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let major_minor = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if field("server_name") != Some("valkey") && major_minor < (6, 2) {
        return Err(Error::Version { address: address(), found: version.to_owned() });
    }
    let policy = field("maxmemory_policy").unwrap_or("noeviction");
    if policy != "noeviction" && field("maxmemory").is_some_and(|limit| limit != "0") {
        return Err(Error::Setting {
            address: address(),
            setting: "maxmemory-policy",
            found: policy.to_owned(),
            advice: "it would throw away tasks and results when memory is short: set it to `noeviction`",
        });
    }
    Ok(())
}

/// The failure of a first contact: there, an answer that is no Redis protocol means that something
/// else listens.
fn first_failure(link: &Link, error: &RedisError) -> Error {
    match link.failure(error) {
        Error::Unreachable { address, reason }
            if !error.is_connection_refusal() && !error.is_timeout() =>
        {
            let alien = error.kind() == ErrorKind::Client || transport::tls(error).is_some();
            if error.is_connection_dropped() || alien {
                Error::Foreign { address, reason }
            } else {
                Error::Unreachable { address, reason }
            }
        }
        Error::Refused { address, reason } => Error::Foreign { address, reason },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(info: &str) -> Result<(), Error> {
        check_info(info, &|| "redis://h:1".to_owned())
    }

    #[test]
    fn servers_are_told_apart_by_what_they_say() {
        assert!(
            verdict("redis_version:7.0.15\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n")
                .is_ok()
        );
        assert!(
            verdict("redis_version:6.2.0\r\nmaxmemory:9\r\nmaxmemory_policy:noeviction\r\n")
                .is_ok()
        );
        assert!(verdict("redis_version:5.9.9\r\nserver_name:valkey\r\n").is_ok());
        assert!(matches!(verdict("redis_version:6.0.16\r\n"), Err(Error::Version { .. })));
        assert!(matches!(verdict("hello"), Err(Error::Foreign { .. })));
        let evicts = "redis_version:7.2.4\r\nmaxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\n";
        assert!(matches!(verdict(evicts), Err(Error::Setting { .. })));
    }
}
