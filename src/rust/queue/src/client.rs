//! The client of a cluster: it keeps its lease, knows the workers, and opens jobs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::Pipeline;
use rustbatch_protocol::bootstrap::Server;
use rustbatch_protocol::{
    BlobHash, BlobRef, ClientId, Control, ControlMessage, JobId, Keys, Seal, WorkerId,
};

use crate::sweep::{Sweeper, sweep};
use crate::trouble::Troubles;
use crate::way::Guide;
use crate::whys::Whys;
use crate::{Error, Link, TTL, Timing, blob, limit, ms, script};

/// How long a part of something large may take.
const LONG: Duration = Duration::from_secs(60);

/// How long is waited before Redis is asked again whether it has room.
pub(crate) const AGAIN: Duration = Duration::from_millis(100);

/// How many bytes of exports may stay in Redis for the next loop, beyond those of open jobs.
const SHELF: u64 = 256 << 20;

/// The greatest id that an event can have.
const LAST: &str = "18446744073709551615-18446744073709551615";

/// A worker that is alive, and its slots.
pub type Roll = Vec<(WorkerId, u32)>;

/// How much a cluster has to do, and who does it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// How many chunks wait for a worker.
    pub waiting: u64,
    /// The workers that are alive.
    pub workers: Vec<Busy>,
}

/// A worker that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy {
    /// Its name.
    pub worker: WorkerId,
    /// Its slots.
    pub slots: u32,
    /// How many chunks it holds.
    pub held: u64,
}

/// A client of one cluster. A clone is the same client.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    /// Leads all links to the server.
    pub guide: Guide,
    pub link: Link,
    /// For the heartbeat alone: it waits behind nothing.
    pulse: Link,
    /// For what is large.
    pub bulk: Link,
    pub timing: Timing,
    pub troubles: Troubles,
    /// How many bytes the open chunks of a job may take in Redis, and the connection of the heartbeat
    /// over which that was found.
    room: AtomicU64,
    room_as_of: AtomicU64,
    pub keys: Keys,
    pub seal: Seal,
    pub id: ClientId,
    /// Links that read events, kept for the next job.
    readers: Mutex<Vec<Link>>,
    /// Exports in Redis, the one used last at the back.
    shelf: Mutex<VecDeque<BlobRef>>,
    /// Of what workers died.
    whys: Whys,
    /// The number of the last control message. Held while one is sent: they arrive in order.
    counter: tokio::sync::Mutex<u64>,
}

impl Client {
    /// Connects to `server`, which [`crate::check_server`] has found fit, and starts the heartbeat,
    /// which ends with the last clone. Must be called within a tokio runtime. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn connect(server: Server, seal: Seal) -> Result<Self, Error> {
        Self::connect_with(server, seal, Timing::default()).await
    }

    /// The same with other times than the usual ones.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn connect_with(server: Server, seal: Seal, timing: Timing) -> Result<Self, Error> {
        let long = Timing { response: LONG.max(timing.response), ..timing };
        let (troubles, guide) = (Troubles::default(), Guide::to(&server)?);
        let link = |timing| Link::led(&guide, timing).telling(&troubles);
        let shared = Arc::new(Shared {
            link: link(&timing).ending_when_full(),
            pulse: link(&timing),
            bulk: link(&long).ending_when_full(),
            guide: guide.clone(),
            room: AtomicU64::new(u64::MAX),
            room_as_of: AtomicU64::new(0),
            timing,
            troubles: troubles.clone(),
            keys: Keys::new(seal.cluster()),
            id: ClientId::random()?,
            readers: Mutex::new(Vec::new()),
            shelf: Mutex::new(VecDeque::new()),
            whys: Whys::default(),
            counter: tokio::sync::Mutex::new(0),
            seal,
        });
        shared.beat().await?;
        let weak = Arc::downgrade(&shared);
        tokio::spawn(async move {
            loop {
                // Twice as often as a lease needs, so that a worker's death is seen in time.
                tokio::time::sleep(timing.beat / 2).await;
                let Some(shared) = weak.upgrade() else { return };
                // A beat that fails is made up by the next; a job says what is wrong.
                let _ = shared.beat().await;
            }
        });
        Ok(Self { shared })
    }

    /// The server is another one from now on, at another address or of other users: connections are
    /// made anew there, also by clones and running jobs, and what has not been received is published
    /// again. Whatever a call waits for at the moment, it asks there again.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the address cannot be one; then all stays as it is.
    pub fn moved(&self, server: &Server) -> Result<(), Error> {
        self.shared.guide.lead(server)
    }

    /// Somebody replaces what is lost: a server, of which [`Client::moved`] will tell, or workers. Up
    /// to this time from now nothing ends for want of them.
    pub fn expect(&self, within: Duration) {
        self.shared.guide.expect(within);
    }

    /// The client's id.
    #[must_use]
    pub fn id(&self) -> &ClientId {
        &self.shared.id
    }

    /// The seal of the cluster.
    #[must_use]
    pub fn seal(&self) -> &Seal {
        &self.shared.seal
    }

    /// How long a message to Redis and its answer take; zero before the first.
    #[must_use]
    pub fn round_trip(&self) -> std::time::Duration {
        self.shared.link.round_trip()
    }

    /// The workers that are alive now, and their slots. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn roll(&self) -> Result<Roll, Error> {
        self.shared.roll().await
    }

    /// How many chunks wait, and who is alive and holds how many. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn load(&self) -> Result<Load, Error> {
        type Answer = (u64, Vec<(String, u32, u64)>);
        let mut pipe = Pipeline::new();
        script::invoke(&mut pipe, &script::LOAD, &self.shared.keys.ring());
        let ((waiting, workers),): (Answer,) = self.shared.link.call(&pipe).await?;
        let busy = |(id, slots, held): (String, _, _)| {
            Some(Busy { worker: id.parse().ok()?, slots, held })
        };
        Ok(Load { waiting, workers: workers.into_iter().filter_map(busy).collect() })
    }

    /// Puts the bytes of an export into Redis, unless they are there, and remembers it as used last. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`blob::put`].
    pub async fn export(&self, blob: BlobRef, bytes: &Bytes) -> Result<(), Error> {
        let Shared { bulk, keys, seal, timing, .. } = &*self.shared;
        let started = Instant::now();
        loop {
            match blob::put(bulk, keys, seal, &blob, bytes).await {
                // What is received meanwhile makes room.
                Err(Error::Full { .. }) if started.elapsed() < timing.stall => {
                    tokio::time::sleep(AGAIN).await;
                }
                done => break done?,
            }
        }
        self.remember(blob);
        Ok(())
    }

    /// Renews an export that Redis should have, and remembers it as used last; says whether all of it
    /// is there. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`blob::renew`].
    pub async fn renew(&self, blob: BlobRef) -> Result<bool, Error> {
        let there = blob::renew(&self.shared.link, &self.shared.keys, &blob).await?;
        if there {
            self.remember(blob);
        }
        Ok(there)
    }

    /// Tells a worker that a blob that it asked for is in Redis. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn supplied(&self, worker: &WorkerId, hash: BlobHash) -> Result<(), Error> {
        self.shared.tell(worker, &Control::Blob(hash)).await
    }

    /// Remembers an export as used last.
    pub fn remember(&self, blob: BlobRef) {
        let mut shelf = self.shared.shelf();
        shelf.retain(|other| other.hash != blob.hash);
        shelf.push_back(blob);
    }

    /// Gives back at once what a worker held that is known to be dead: neither its lease nor a second
    /// look is waited for. Cancel-safe: what is not done here, a heartbeat does.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn bury(&self, worker: &WorkerId) -> Result<(), Error> {
        self.bury_because(worker, "").await
    }

    /// As [`Client::bury`], of a worker that died of `why`: who waits for a task that is settled as lost
    /// thereby is told. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn bury_because(&self, worker: &WorkerId, why: &str) -> Result<(), Error> {
        self.shared.whys.note(worker, why);
        let Shared { link, keys, timing, .. } = &*self.shared;
        let mut pipe = Pipeline::new();
        pipe.del(keys.alive(worker)).ignore();
        // As a first look leaves it when the second is due.
        let left = timing.look() - timing.second_look();
        pipe.cmd("SET").arg(keys.look(worker)).arg(1).arg("PX").arg(ms(left)).ignore();
        link.call::<()>(&pipe).await?;
        self.shared.beat().await
    }

    /// Tells every worker that is alive to drain: to lease no more, finish, and exit. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn drain(&self) -> Result<(), Error> {
        self.shared.tell_all(&Control::Drain).await
    }

    /// Tells these workers to drain; one that is not there does not hear it. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn drain_these(&self, workers: &[WorkerId]) -> Result<(), Error> {
        self.shared.tell_these(workers, &Control::Drain).await
    }
}

impl Shared {
    /// The heartbeat: renews the client's lease and sweeps.
    async fn beat(&self) -> Result<(), Error> {
        let sweeper = Sweeper::Client(self.id.as_str(), &self.whys);
        sweep(&self.pulse, &self.keys, &self.seal, &self.timing, sweeper).await?;
        let now = self.pulse.generation();
        if self.room_as_of.load(Ordering::Acquire) != now {
            let limit = limit::ask(&self.pulse).await?;
            // The rest is for results: if arguments took all, none could come back.
            self.room.store(limit.map_or(u64::MAX, |limit| limit / 4), Ordering::Release);
            self.room_as_of.store(now, Ordering::Release);
        }
        Ok(())
    }

    /// How many bytes the open chunks of a job may take in Redis.
    pub fn room(&self) -> u64 {
        self.room.load(Ordering::Acquire)
    }

    pub async fn roll(&self) -> Result<Roll, Error> {
        let mut pipe = Pipeline::new();
        script::invoke(&mut pipe, &script::ROLL, &self.keys.ring());
        let (roll,): (Vec<(String, u32)>,) = self.link.call(&pipe).await?;
        Ok(roll.into_iter().filter_map(|(id, slots)| Some((id.parse().ok()?, slots))).collect())
    }

    /// Sends a control message to one worker.
    pub async fn tell(&self, worker: &WorkerId, control: &Control) -> Result<(), Error> {
        self.tell_these(std::slice::from_ref(worker), control).await
    }

    pub async fn tell_all(&self, control: &Control) -> Result<(), Error> {
        let workers: Vec<_> = self.roll().await?.into_iter().map(|(worker, _)| worker).collect();
        self.tell_these(&workers, control).await
    }

    async fn tell_these(&self, workers: &[WorkerId], control: &Control) -> Result<(), Error> {
        let mut counter = self.counter.lock().await;
        let mut pipe = Pipeline::new();
        for worker in workers {
            *counter += 1;
            let message = ControlMessage::seal(&self.seal, &self.id, worker, *counter, control)?;
            let key = self.keys.control(worker);
            pipe.rpush(&key, message).ignore();
            pipe.cmd("PEXPIRE").arg(&key).arg(ms(TTL)).ignore();
        }
        if workers.is_empty() { Ok(()) } else { self.link.call(&pipe).await }
    }

    /// Ends a job in Redis: removes its keys, wakes its reader and, where `running`, interrupts it.
    /// The reader may be between two waits: the last event stays a little, behind all that it has
    /// read, so that it can't miss it.
    pub async fn drop_job(&self, job: &JobId, running: bool) -> Result<(), Error> {
        let mut pipe = Pipeline::new();
        script::invoke(&mut pipe, &script::DROP, &self.keys.ring()).arg(job.as_str());
        pipe.arg(LAST).arg(ms(self.timing.beat)).ignore();
        self.link.call::<()>(&pipe).await?;
        if running {
            self.tell_all(&Control::Drop(job.clone())).await?;
        }
        self.clear_shelf().await
    }

    /// Removes the exports used longest ago, as far as they exceed the budget.
    async fn clear_shelf(&self) -> Result<(), Error> {
        let mut surplus = Vec::new();
        {
            let mut shelf = self.shelf();
            let mut total: u64 = shelf.iter().map(|blob| blob.length).sum();
            while total > SHELF {
                let Some(oldest) = shelf.pop_front() else {
                    break;
                };
                total -= oldest.length;
                surplus.push(oldest);
            }
        }
        blob::remove(&self.link, &self.keys, &surplus).await
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, VecDeque<BlobRef>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A link for reading events: one that a job before has given back, or a new one.
    pub fn reader(&self) -> Link {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Link::led(&self.guide, &self.timing))
    }

    pub fn give_back(&self, reader: Link) {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
    }
}
