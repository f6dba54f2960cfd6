//! The queue as one worker sees it: it leases, settles, reports crashes, releases, and waits.
//!
//! Two connections: one for commands, one that waits and renews the lease; and one more for what is
//! large, where something is, so that nothing waits behind it. The caller makes one lease call at a
//! time, and tells it all that it holds.

mod open;
mod say;
mod value;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::Pipeline;
use rustbatch_protocol::bootstrap::Server;
use rustbatch_protocol::{
    Binding, BlobRef, ClientId, JobId, Keys, Kind, Outcome, Payload, Report, Seal, WorkerId,
    blob::INLINE, encode,
};

use crate::lease::{Leased, Settlement, Verdict, Wake};
use crate::sweep::{Sweeper, sweep};
use crate::{CRASHES, Error, Link, TTL, Timing, blob, ms, script};

/// How long a part of something large may take.
const LONG: Duration = Duration::from_secs(60);

/// What wakes a worker that waits without a message for it.
const NUDGE: &[u8] = b"nudge";

/// A worker's end of the queue.
#[derive(Debug)]
pub struct WorkerQueue {
    link: Link,
    waiter: Link,
    bulk: Link,
    timing: Timing,
    /// When the waiter renewed the lease.
    renewed: Mutex<Option<Instant>>,
    /// The waiter's connection, as last seen.
    generation: AtomicU64,
    keys: Keys,
    seal: Seal,
    id: WorkerId,
    slots: u32,
    /// The last control message's number, by client: a repeated one is refused.
    heard: Mutex<HashMap<ClientId, u64>>,
    refused: AtomicU64,
}

impl WorkerQueue {
    /// The end of the queue of worker `id` with `slots` slots. Does not connect yet.
    ///
    /// # Errors
    /// Those of [`Link::new`].
    pub fn new(server: &Server, seal: Seal, id: WorkerId, slots: u32) -> Result<Self, Error> {
        Self::with_timing(server, seal, id, slots, Timing::default())
    }

    /// The same with other times than the usual ones.
    ///
    /// # Errors
    /// Those of [`Link::new`].
    pub fn with_timing(
        server: &Server,
        seal: Seal,
        id: WorkerId,
        slots: u32,
        timing: Timing,
    ) -> Result<Self, Error> {
        let long = Timing { response: LONG.max(timing.response), ..timing };
        Ok(Self {
            link: Link::with(server, &timing)?,
            waiter: Link::with(server, &timing)?,
            bulk: Link::with(server, &long)?.ending_when_full(),
            timing,
            renewed: Mutex::new(None),
            generation: AtomicU64::new(0),
            keys: Keys::new(seal.cluster()),
            seal,
            id,
            slots,
            heard: Mutex::new(HashMap::new()),
            refused: AtomicU64::new(0),
        })
    }

    /// The worker's id.
    #[must_use]
    pub fn id(&self) -> &WorkerId {
        &self.id
    }

    /// The times that this worker keeps.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// How many messages and payloads were not genuine.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn invoke<'p>(&self, pipe: &'p mut Pipeline, script: &redis::Script) -> &'p mut Pipeline {
        script::invoke(pipe, script, &self.keys.ring())
    }

    /// Leases chunks for `free` slots; `held` are the entries of all that the worker holds. One call
    /// at a time. What was leased by a call that was cut off is handed out by the next.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn lease(&self, free: usize, held: &[String]) -> Result<Vec<Leased>, Error> {
        let mut pipe = Pipeline::new();
        self.add_lease(&mut pipe, free, held);
        let (handed,): (Vec<Handed>,) = self.link.call(&pipe).await?;
        self.open(handed).await
    }

    /// Hands in an outcome, gives up its lease and leases for `free` slots, in one round trip.
    /// `held` no longer names what is settled. Says also whether the outcome was the first.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn settle(
        &self,
        settlement: &Settlement<'_>,
        free: usize,
        held: &[String],
    ) -> Result<(bool, Vec<Leased>), Error> {
        let Leased { job, name, attempt, .. } = settlement.leased;
        let frame = self.seal_outcome(settlement)?;
        let mut pipe = Pipeline::new();
        self.invoke(&mut pipe, &script::SETTLE)
            .arg(self.id.as_str())
            .arg(job.as_str())
            .arg(name.to_string())
            .arg(*attempt)
            .arg(frame)
            .arg(ms(TTL));
        self.add_lease(&mut pipe, free, held);
        let (verdict, handed): (String, Vec<Handed>) = self.link.call(&pipe).await?;
        if verdict == "late" {
            self.discard(settlement.outcome).await?;
        }
        Ok((verdict == "taken", self.open(handed).await?))
    }

    /// Reports that the R process died under a chunk, or that a chunk of several tasks is to be split
    /// for another reason; `outcome` is what the client is told when the
    /// task ran alone and has used up its tries.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn crash(&self, settlement: &Settlement<'_>) -> Result<Verdict, Error> {
        let Leased { job, name, attempt, .. } = settlement.leased;
        let mut pipe = Pipeline::new();
        self.invoke(&mut pipe, &script::CRASH)
            .arg(self.id.as_str())
            .arg(job.as_str())
            .arg(name.to_string())
            .arg(*attempt)
            .arg(self.seal_outcome(settlement)?)
            .arg(ms(TTL))
            .arg(CRASHES);
        let (verdict,): (String,) = self.link.call(&pipe).await?;
        Ok(match verdict.as_str() {
            "split" => Verdict::Split,
            "again" => Verdict::Again,
            "settled" => Verdict::Settled,
            _ => Verdict::Ignored,
        })
    }

    /// Gives a chunk back, without blame.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn release(&self, leased: &Leased) -> Result<(), Error> {
        let mut pipe = Pipeline::new();
        self.invoke(&mut pipe, &script::RELEASE)
            .arg(self.id.as_str())
            .arg(leased.job.as_str())
            .arg(leased.name.to_string())
            .arg(ms(TTL))
            .ignore();
        self.link.call(&pipe).await
    }

    /// Renews the lease; says of each job, given with its client, whether it is still wanted. Sweeps
    /// where nobody else does.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn beat(&self, jobs: &[(JobId, ClientId)]) -> Result<Vec<bool>, Error> {
        self.renew(&self.link, jobs).await
    }

    async fn renew(&self, link: &Link, jobs: &[(JobId, ClientId)]) -> Result<Vec<bool>, Error> {
        let mut pipe = Pipeline::new();
        self.invoke(&mut pipe, &script::BEAT)
            .arg(self.id.as_str())
            .arg(self.slots)
            .arg(ms(self.timing.lease))
            .arg(ms(TTL));
        script::args(
            &mut pipe,
            jobs.iter().flat_map(|(job, client)| [job.as_str(), client.as_str()]),
        );
        let ((wanted, sweeps),): ((Vec<bool>, bool),) = link.call(&pipe).await?;
        if sweeps {
            let sweeper = Sweeper::Worker(self.id.as_str());
            sweep(link, &self.keys, &self.seal, &self.timing, sweeper).await?;
        }
        Ok(wanted)
    }

    /// Waits for a message and, where `bell`, for work; at most as long as a heartbeat. Renews the
    /// lease now and then: over this connection it waits behind nothing. A new connection counts as a
    /// bell, because what Redis said over the one before may be lost. Never drop the future half-way:
    /// the server would hand the next message to nobody.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn wait(&self, bell: bool) -> Result<Wake, Error> {
        self.stay().await?;
        let now = self.waiter.generation();
        if self.generation.swap(now, Ordering::AcqRel) < now && now > 1 {
            return Ok(Wake::Bell);
        }
        let mut pipe = Pipeline::new();
        pipe.cmd("BLPOP").arg(self.keys.control(&self.id));
        if bell {
            pipe.arg(self.keys.bell());
        }
        pipe.arg(self.timing.beat.as_secs_f64());
        let answer = self.waiter.call_over::<(Option<(String, Vec<u8>)>,)>(now, &pipe).await?;
        let Some((popped,)) = answer else {
            return Ok(Wake::Nothing);
        };
        Ok(match popped {
            None => Wake::Nothing,
            Some((key, _)) if key == self.keys.bell() => Wake::Bell,
            Some((_, bytes)) if bytes == NUDGE => Wake::Nothing,
            Some((_, bytes)) => self.hear(&bytes).map_or(Wake::Nothing, Wake::Control),
        })
    }

    /// Renews the lease where it is time, over the connection that else only waits: so nothing that is
    /// large, refused or repeated on the way of the commands lets it run out. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn stay(&self) -> Result<(), Error> {
        if self.is_renewal_due() {
            self.renew(&self.waiter, &[]).await?;
        }
        Ok(())
    }

    /// Whether the waiter is to renew the lease, which is so again after half a heartbeat.
    fn is_renewal_due(&self) -> bool {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        let due = renewed.is_none_or(|last| last.elapsed() >= self.timing.beat / 2);
        if due {
            *renewed = Some(Instant::now());
        }
        due
    }

    /// The link for a blob: small ones wait for no connection of their own.
    fn carrier(&self, blob: &BlobRef) -> &Link {
        if blob.length <= INLINE as u64 { &self.link } else { &self.bulk }
    }

    /// Ends this worker's own wait, so that it waits again, for something else.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn nudge(&self) -> Result<(), Error> {
        let key = self.keys.control(&self.id);
        let mut pipe = Pipeline::new();
        pipe.rpush(&key, NUDGE).ignore();
        pipe.cmd("PEXPIRE").arg(&key).arg(ms(TTL)).ignore();
        self.link.call(&pipe).await
    }

    /// Says that this worker is no more, so that nobody waits for its lease to run out. What it
    /// still holds has been released before.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn leave(&self) -> Result<(), Error> {
        let mut pipe = Pipeline::new();
        pipe.del(self.keys.alive(&self.id)).ignore();
        pipe.srem(self.keys.workers(), self.id.as_str()).ignore();
        pipe.del(self.keys.control(&self.id)).ignore();
        self.link.call(&pipe).await
    }

    /// Fetches a blob and gives `take` its parts in order; says whether Redis has it whole and genuine.
    /// Else what was taken is worth nothing, and what is not genuine is removed. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn read(&self, blob: &BlobRef, take: impl FnMut(&[u8])) -> Result<bool, Error> {
        match blob::read(self.carrier(blob), &self.keys, &self.seal, blob, take).await {
            Err(Error::Protocol(error)) => {
                tracing::warn!(blob = %blob.hash, %error, "a blob that is not genuine was removed");
                self.refused.fetch_add(1, Ordering::Relaxed);
                blob::remove(&self.link, &self.keys, &[*blob]).await?;
                Ok(false)
            }
            found => found,
        }
    }

    /// Fetches a blob; `None` when Redis does not have it whole and genuine. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn fetch(&self, blob: &BlobRef) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = Vec::with_capacity(usize::try_from(blob.length).unwrap_or(0));
        let whole = self.read(blob, |part| bytes.extend_from_slice(part)).await?;
        Ok(whole.then_some(bytes))
    }

    /// The arguments of a chunk; `None` when Redis no longer has them whole and genuine: then
    /// [`WorkerQueue::need`] gets them from the client.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn arguments(&self, leased: &Leased) -> Result<Option<Vec<u8>>, Error> {
        match &leased.chunk.arguments {
            Payload::Inline(bytes) => Ok(Some(bytes.clone())),
            Payload::Blob(blob) => self.fetch(blob).await,
        }
    }

    fn add_lease(&self, pipe: &mut Pipeline, free: usize, held: &[String]) {
        self.invoke(pipe, &script::LEASE)
            .arg(self.id.as_str())
            .arg(self.slots)
            .arg(ms(self.timing.lease))
            .arg(ms(TTL))
            .arg(free);
        script::args(pipe, held);
    }

    /// Seals an outcome. In place of one that can't be, because it is too long, goes one that says so.
    fn seal_outcome(&self, settlement: &Settlement<'_>) -> Result<Vec<u8>, Error> {
        let Leased { job, name, .. } = settlement.leased;
        let name = name.to_string();
        let place = Binding::new(Kind::Outcome, job, &name);
        let seal = |outcome: &Outcome| self.seal.seal(&place, &encode(outcome)?);
        let sealed = seal(settlement.outcome).or_else(|error| {
            let Outcome { worker, attempt, elapsed_us, .. } = settlement.outcome;
            let (worker, report) = (worker.clone(), Report::GivenUp(error.to_string()));
            let (attempt, elapsed_us, output) = (*attempt, *elapsed_us, Vec::new());
            seal(&Outcome { worker, attempt, elapsed_us, report, output })
        });
        Ok(sealed?)
    }

    /// Removes the blob of an outcome that came second.
    async fn discard(&self, outcome: &Outcome) -> Result<(), Error> {
        use rustbatch_protocol::Report::{
            Crashed, GivenUp, Lost, Refused, TooLarge, Uninstalled, Values,
        };
        match &outcome.report {
            Values(Payload::Blob(blob)) | Refused(Payload::Blob(blob)) => {
                blob::remove(&self.link, &self.keys, &[*blob]).await
            }
            Values(_) | Refused(_) | Crashed(_) | Uninstalled(_) => Ok(()),
            Lost(..) | TooLarge { .. } | GivenUp(_) => Ok(()),
        }
    }
}

/// Entry, attempt, the name under which the payload is sealed, the payload.
type Handed = (String, u32, String, Vec<u8>);
