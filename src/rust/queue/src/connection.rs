//! One connection to Redis that comes back: every call may be repeated, so every call is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind, FromRedisValue, Pipeline, RedisError, ServerErrorKind, Value,
};
use rustbatch_protocol::bootstrap::Server;
use tokio::sync::Mutex;

use crate::transport::{self, Place};
use crate::{Error, script};

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take beyond what the command itself waits.
const RESPONSE: Duration = Duration::from_secs(15);

/// A connection to one server, made when first used and made again when lost.
///
/// Calls are serialized: one at a time, in order. All that this crate sends may be repeated.
#[derive(Debug)]
pub struct Link {
    address: String,
    client: redis::Client,
    place: Option<Place>,
    patience: Duration,
    generation: AtomicU64,
    /// The shortest time that a call has taken, in microseconds.
    fastest: AtomicU64,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Link {
    /// A link to `server`; a call gives up after `patience` without an answer. Does not connect yet.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the address cannot be one.
    pub fn new(server: &Server, patience: Duration) -> Result<Self, Error> {
        let address = server.address.to_string();
        let (client, place) = transport::open(server)
            .map_err(|e| Error::Unreachable { address: address.clone(), reason: e.to_string() })?;
        Ok(Self {
            address,
            client,
            place,
            patience,
            generation: AtomicU64::new(0),
            fastest: AtomicU64::new(u64::MAX),
            connection: Mutex::new(None),
        })
    }

    /// How often the link has connected. A change tells that what Redis said before may be lost.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How long a message and its answer take: the shortest time that a call has taken.
    pub fn round_trip(&self) -> Duration {
        match self.fastest.load(Ordering::Relaxed) {
            u64::MAX => Duration::ZERO,
            fastest => Duration::from_micros(fastest),
        }
    }

    /// Sends a pipeline and reads its answers, connecting and repeating for as long as `patience`
    /// allows. The answers to ignored commands are left out.
    ///
    /// Not cancel-safe while a blocking pop is under way: the server would still pop for it.
    ///
    /// # Errors
    /// Those of [`Error`] that concern a server.
    pub async fn call<T: FromRedisValue>(&self, pipe: &Pipeline) -> Result<T, Error> {
        let mut slot = self.connection.lock().await;
        let started = Instant::now();
        let mut pauses = pauses();
        loop {
            match self.attempt(&mut slot, pipe).await {
                Ok(value) => {
                    return T::from_redis_value(value).map_err(|e| self.failure(&e.into()));
                }
                Err(error) if !passing(&error) => return Err(self.failure(&error)),
                Err(error) if started.elapsed() >= self.patience => {
                    return Err(self.failure(&error));
                }
                Err(error) => {
                    tracing::debug!(address = self.address, %error, "again");
                    // What has become a replica may be the wrong server: its name may mean another.
                    let replica = matches!(code(&error).as_deref(), Some("READONLY" | "UNBLOCKED"));
                    if error.is_io_error() || replica {
                        *slot = None;
                    }
                }
            }
            tokio::time::sleep(pauses.next().unwrap_or(CONNECT)).await;
        }
    }

    /// One attempt. A server that forgot the scripts is given them and asked again.
    async fn attempt(
        &self,
        slot: &mut Option<MultiplexedConnection>,
        pipe: &Pipeline,
    ) -> Result<Value, RedisError> {
        let mut connection = match slot {
            Some(connection) => connection.clone(),
            None => {
                let mut fresh = self.connect().await?;
                script::load_all().exec_async(&mut fresh).await?;
                self.generation.fetch_add(1, Ordering::AcqRel);
                slot.insert(fresh).clone()
            }
        };
        match pipe.query_async(&mut connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                script::load_all().exec_async(&mut connection).await?;
                pipe.query_async(&mut connection).await
            }
            answer => answer,
        }
    }

    /// A new connection, on which nothing has been said. Cancel-safe.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(RESPONSE));
        if let Some(place) = &self.place {
            config = config.set_dns_resolver(place.clone());
        }
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// What to say of an error.
    pub(crate) fn failure(&self, error: &RedisError) -> Error {
        let (address, reason) = (self.address.clone(), error.to_string());
        if let Some(reason) = transport::distrust(error) {
            return Error::Untrusted { address, reason };
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => Error::Credentials { address, reason },
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType | ErrorKind::RESP3NotSupported => {
                Error::Foreign { address, reason }
            }
            ErrorKind::Server(_) | ErrorKind::Extension => match code(error).as_deref() {
                Some("NOAUTH" | "WRONGPASS" | "NOPERM") => Error::Credentials { address, reason },
                // What a script may not do has no code of its own before Redis 7.2.
                _ if reason.contains("The user executing the script can't") => {
                    Error::Credentials { address, reason }
                }
                _ => Error::Refused { address, reason },
            },
            _ => Error::Unreachable { address, reason },
        }
    }
}

/// Exponential back-off with jitter, 10 ms to 5 s, without end.
fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(10))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .build()
}

/// Whether waiting may mend the error: a lost connection, a server that loads, saves, fails over, or
/// is out of memory. A server that can't be trusted is none that was lost.
fn passing(error: &RedisError) -> bool {
    (error.is_io_error() && transport::distrust(error).is_none())
        || code(error).is_some_and(|code| {
            matches!(
                code.as_str(),
                "OOM"
                    | "MISCONF"
                    | "LOADING"
                    | "READONLY"
                    | "UNBLOCKED"
                    | "BUSY"
                    | "MASTERDOWN"
                    | "TRYAGAIN"
                    | "CLUSTERDOWN"
            )
        })
}

/// The code of the server's first refusal. Of a pipeline, the error itself has none.
fn code(error: &RedisError) -> Option<String> {
    let refusals = error.clone().into_server_errors()?;
    refusals.first().map(|(_, refusal)| refusal.code().to_owned())
}

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
        Ok(Err(error)) => return Err(link.first_failure(&error)),
        Err(_) => {
            return Err(Error::Unreachable {
                address: link.address,
                reason: format!("no answer within {} s", patience.as_secs()),
            });
        }
    };
    let address = || link.address.clone();
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

impl Link {
    /// The failure of a first contact: there, an answer that is no Redis protocol means that
    /// something else listens.
    fn first_failure(&self, error: &RedisError) -> Error {
        match self.failure(error) {
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
