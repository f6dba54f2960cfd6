//! One connection to Redis that comes back: every call may be repeated, so every call is.

use std::io;
use std::sync::Arc;
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
use crate::transport;
use crate::trouble::{Troubles, Witness};
use crate::way::{Guide, Way};
use crate::{Error, Timing, script};

/// How long one attempt to connect may take.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// A connection to a server, made when first used, and made again when lost or when the server has
/// become another.
///
/// Calls are serialized: one at a time, in order. All that this crate sends may be repeated.
#[derive(Debug)]
pub struct Link {
    guide: Guide,
    timing: Timing,
    generation: AtomicU64,
    /// The shortest time that a call has taken, in microseconds.
    fastest: AtomicU64,
    connection: Mutex<Option<(Arc<Way>, MultiplexedConnection)>>,
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
        Ok(Self::led(&Guide::to(server)?, timing))
    }

    /// A link to where `guide` leads, with these times. Does not connect yet.
    pub(crate) fn led(guide: &Guide, timing: &Timing) -> Self {
        Self {
            guide: guide.clone(),
            timing: *timing,
            generation: AtomicU64::new(0),
            fastest: AtomicU64::new(u64::MAX),
            connection: Mutex::new(None),
            witness: None,
            full_ends: false,
        }
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

    /// The server's address, without its password.
    pub(crate) fn address(&self) -> String {
        self.guide.way().address.clone()
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
        let again = || pauses(self.timing.pause);
        let (mut pauses, mut failed) = (again(), Failed::default());
        loop {
            let (way, began) = (self.guide.way(), Instant::now());
            if slot.as_ref().is_some_and(|(to, _)| !Arc::ptr_eq(to, &way)) {
                *slot = None;
            }
            let connected = slot.is_some();
            let attempt = tokio::select! {
                biased;
                done = self.attempt(&mut slot, &way, pipe, over) => done,
                // Whatever the server before would have said does not count any more.
                () = self.guide.leaves(&way) => {
                    (pauses, failed) = (again(), Failed::default());
                    continue;
                }
            };
            let error = match attempt {
                Ok(value) => {
                    self.answered(connected.then(|| began.elapsed()));
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
            tracing::debug!(address = way.address, %error, "again");
            // What has become a replica may be the wrong server: its name may mean another.
            if spoilt
                || error.is_io_error()
                || matches!(code.as_deref(), Some("READONLY" | "UNBLOCKED"))
            {
                *slot = None;
            }
            let pause = pauses.next().unwrap_or(self.timing.pause);
            // Cut short by another server, which may be nearer or farther.
            let _ = tokio::time::timeout(pause, self.guide.leaves(&way)).await;
            let long = failed.add(&self.timing, code.is_some(), began.elapsed());
            if long && !self.guide.is_expected() {
                return Err(self.failure(&error));
            }
            if failed.is_long(&self.timing) {
                self.complain(&error);
            }
        }
    }

    /// Notes that there was an answer, and how long it took where that tells something.
    fn answered(&self, took: Option<Duration>) {
        if let Some(took) = took {
            let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            self.fastest.fetch_min(took, Ordering::Relaxed);
        }
        if let Some(witness) = &self.witness {
            witness.end();
        }
    }

    /// Tells the user what is waited for, where somebody listens.
    fn complain(&self, error: &RedisError) {
        if let Some(witness) = &self.witness {
            let (address, reason) = (self.address(), error.to_string());
            witness.begin(Notice::Waiting { address, reason });
        }
    }

    /// Says whether the error is one to wait out, and tells the user where it may take long.
    fn bear(&self, error: &RedisError, code: Option<&str>) -> Result<(), Error> {
        if code == Some("OOM") && self.full_ends {
            return Err(Error::Full { address: self.address() });
        }
        if !passing(error) {
            let failure = self.failure(error);
            // While another server is on its way, one that does not know us is not yet it.
            let stranger = matches!(failure, Error::Credentials { .. } | Error::Untrusted { .. });
            return if stranger && self.guide.is_expected() { Ok(()) } else { Err(failure) };
        }
        if let Some("MISCONF" | "LOADING") = code {
            self.complain(error);
        }
        Ok(())
    }

    /// One attempt. A server that forgot the scripts is given them and asked again.
    async fn attempt(
        &self,
        slot: &mut Option<(Arc<Way>, MultiplexedConnection)>,
        way: &Arc<Way>,
        pipe: &Pipeline,
        over: Option<u64>,
    ) -> Result<Option<Value>, RedisError> {
        let mut connection = match slot {
            Some((_, connection)) => connection.clone(),
            None => slot.insert((Arc::clone(way), self.connect_anew(way).await?)).1.clone(),
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
    async fn connect_anew(&self, way: &Way) -> Result<MultiplexedConnection, RedisError> {
        let fresh = async {
            let mut fresh = self.connect_to(way).await?;
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
        self.connect_to(&self.guide.way()).await
    }

    async fn connect_to(&self, way: &Way) -> Result<MultiplexedConnection, RedisError> {
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(self.timing.response));
        if let Some(place) = &way.place {
            config = config.set_dns_resolver(place.clone());
        }
        way.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// What to say of an error.
    pub(crate) fn failure(&self, error: &RedisError) -> Error {
        let (address, reason) = (self.address(), error.to_string());
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
