//! One connection to Redis that comes back: every call may be repeated, so every call is.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind, FromRedisValue, Pipeline, RedisError, ServerErrorKind, Value,
};
use rustbatch_protocol::bootstrap::Server;
use tokio::sync::Mutex;

use crate::event::Notice;
use crate::patience::{Failed, code, crossing, passing, pauses};
use crate::transport::{self, Place};
use crate::trouble::{Troubles, Witness};
use crate::{Error, Timing, script};

/// How long one attempt to connect may take.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// A connection to one server, made when first used and made again when lost.
///
/// Calls are serialized: one at a time, in order. All that this crate sends may be repeated.
#[derive(Debug)]
pub struct Link {
    address: String,
    client: redis::Client,
    place: Option<Place>,
    timing: Timing,
    generation: AtomicU64,
    /// The shortest time that a call has taken, in microseconds.
    fastest: AtomicU64,
    connection: Mutex<Option<MultiplexedConnection>>,
    witness: Option<Witness>,
    /// Whether a call ends at once when Redis is out of memory.
    full_ends: bool,
}

impl Link {
    /// A link to `server`; a call gives up after `patience` without success. Does not connect yet.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the address cannot be one.
    pub fn new(server: &Server, patience: Duration) -> Result<Self, Error> {
        let timing = Timing { patience, forbearance: patience, ..Timing::default() };
        Self::with(server, &timing)
    }

    /// A link to `server` with these times. Does not connect yet.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the address cannot be one.
    pub fn with(server: &Server, timing: &Timing) -> Result<Self, Error> {
        let address = server.address.to_string();
        let (client, place) = transport::open(server)
            .map_err(|e| Error::Unreachable { address: address.clone(), reason: e.to_string() })?;
        Ok(Self {
            address,
            client,
            place,
            timing: *timing,
            generation: AtomicU64::new(0),
            fastest: AtomicU64::new(u64::MAX),
            connection: Mutex::new(None),
            witness: None,
            full_ends: false,
        })
    }

    /// The same link, which tells `troubles` what it waits for.
    #[must_use]
    pub(crate) fn telling(mut self, troubles: &Troubles) -> Self {
        self.witness = Some(Witness::new(troubles.clone()));
        self
    }

    /// The same link, whose calls end with [`Error::Full`] when Redis is out of memory.
    #[must_use]
    pub(crate) fn ending_when_full(mut self) -> Self {
        self.full_ends = true;
        self
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

    /// Sends a pipeline and reads its answers, connecting and repeating for as long as patience
    /// allows. The answers to ignored commands are left out.
    ///
    /// Not cancel-safe while a blocking pop is under way: the server would still pop for it.
    ///
    /// # Errors
    /// Those of [`Error`] that concern a server.
    pub async fn call<T: FromRedisValue>(&self, pipe: &Pipeline) -> Result<T, Error> {
        let value = self.insist(pipe, None).await?.unwrap_or(Value::Nil);
        T::from_redis_value(value).map_err(|e| self.failure(&e.into()))
    }

    /// As [`Link::call`], but over the connection of this [`Link::generation`] alone: `None` as soon
    /// as there is another, over which nothing has been sent yet.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn call_over<T: FromRedisValue>(
        &self,
        generation: u64,
        pipe: &Pipeline,
    ) -> Result<Option<T>, Error> {
        let value = self.insist(pipe, Some(generation)).await?;
        value.map(T::from_redis_value).transpose().map_err(|e| self.failure(&e.into()))
    }

    async fn insist(&self, pipe: &Pipeline, over: Option<u64>) -> Result<Option<Value>, Error> {
        let mut slot = self.connection.lock().await;
        let mut pauses = pauses(self.timing.pause);
        let mut failed = Failed::default();
        loop {
            let began = Instant::now();
            let connected = slot.is_some();
            let error = match self.attempt(&mut slot, pipe, over).await {
                Ok(value) => {
                    if connected {
                        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                        self.fastest.fetch_min(took, Ordering::Relaxed);
                    }
                    if let Some(witness) = &self.witness {
                        witness.end();
                    }
                    return Ok(value);
                }
                Err(error) => error,
            };
            let code = code(&error);
            // A server that spoke Redis a moment ago was spoilt on the way.
            let spoilt = connected && error.kind() == ErrorKind::Parse;
            if !spoilt {
                self.bear(&error, code.as_deref())?;
            }
            tracing::debug!(address = self.address, %error, "again");
            // What has become a replica may be the wrong server: its name may mean another.
            if spoilt
                || error.is_io_error()
                || matches!(code.as_deref(), Some("READONLY" | "UNBLOCKED"))
            {
                *slot = None;
            }
            let pause = pauses.next().unwrap_or(self.timing.pause);
            tokio::time::sleep(pause).await;
            if failed.add(&self.timing, code.is_some(), began.elapsed()) {
                return Err(self.failure(&error));
            }
            if let Some(witness) = self.witness.as_ref().filter(|_| failed.is_long(&self.timing)) {
                let (address, reason) = (self.address.clone(), error.to_string());
                witness.begin(Notice::Waiting { address, reason });
            }
        }
    }

    /// Says whether the error is one to wait out, and tells the user where it may take long.
    fn bear(&self, error: &RedisError, code: Option<&str>) -> Result<(), Error> {
        if code == Some("OOM") && self.full_ends {
            return Err(Error::Full { address: self.address.clone() });
        }
        if !passing(error) {
            return Err(self.failure(error));
        }
        if let (Some(witness), Some("MISCONF" | "LOADING")) = (&self.witness, code) {
            let (address, reason) = (self.address.clone(), error.to_string());
            witness.begin(Notice::Waiting { address, reason });
        }
        Ok(())
    }

    /// One attempt. A server that forgot the scripts is given them and asked again.
    async fn attempt(
        &self,
        slot: &mut Option<MultiplexedConnection>,
        pipe: &Pipeline,
        over: Option<u64>,
    ) -> Result<Option<Value>, RedisError> {
        let mut connection = match slot {
            Some(connection) => connection.clone(),
            None => slot.insert(self.connect_anew().await?).clone(),
        };
        if over.is_some_and(|over| over != self.generation()) {
            return Ok(None);
        }
        let longest = self.timing.response + self.timing.beat + crossing(pipe);
        connection.set_response_timeout(longest);
        match pipe.query_async(&mut connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                script::load_all().exec_async(&mut connection).await?;
                pipe.query_async(&mut connection).await
            }
            answer => answer,
        }
        .map(Some)
    }

    /// A new connection, which knows the scripts.
    async fn connect_anew(&self) -> Result<MultiplexedConnection, RedisError> {
        let fresh = async {
            let mut fresh = self.connect().await?;
            script::load_all().exec_async(&mut fresh).await?;
            Ok::<_, RedisError>(fresh)
        };
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let fresh = tokio::time::timeout(CONNECT, fresh).await.map_err(late)??;
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(fresh)
    }

    /// A new connection, on which nothing has been said. Cancel-safe.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(self.timing.response));
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
