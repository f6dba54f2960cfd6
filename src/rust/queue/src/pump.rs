//! The pump: it carries a job's chunks to Redis and its events from there, and knows what is lacking.

mod intake;
mod look;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::Pipeline;
use rustbatch_protocol::{
    Binding, BlobRef, Chunk, ChunkName, JobId, Kind, Payload, blob::INLINE, encode,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::{AGAIN, Shared};
use crate::event::{Command, Event, JobSpec, Sender};
use crate::ledger::{Ledger, Sent, Stored};
use crate::reader::{Entry, Reading, after};
use crate::{Error, TTL, blob, ms, script};

/// How long a job that is closed waits for its reader, which its last event wakes.
const FAREWELL: Duration = Duration::from_millis(200);

/// Before the first event.
const START: &str = "0-0";

/// What to remove from Redis with the next message to it.
#[derive(Debug, Default)]
struct Trim {
    upto: Option<String>,
    chunks: Vec<ChunkName>,
}

/// Where a job tells how it fares.
pub struct Told {
    /// What happens.
    pub events: Sender,
    /// How much was not genuine.
    pub rejected: Arc<AtomicU64>,
    /// Why it can't go on.
    pub failure: Arc<OnceLock<Error>>,
}

/// What runs behind a [`crate::Job`].
pub struct Pump {
    id: JobId,
    spec: JobSpec,
    shared: Arc<Shared>,
    told: Told,
    ledger: Ledger,
    /// The last event that has been taken in.
    seen: String,
    /// The tags of the signals that have been passed on.
    said: HashSet<[u8; 16]>,
    spent: Vec<BlobRef>,
    trim: Trim,
    /// What Redis has no room for: chunks to seal, names to publish, events to take in.
    waiting: VecDeque<(ChunkName, Bytes)>,
    unsent: Vec<ChunkName>,
    deferred: VecDeque<Entry>,
    /// Since when Redis has had no room, where it has none.
    full: Option<Instant>,
    finished: u64,
    /// The last look, and for how long no worker has been alive.
    looked: Instant,
    alone: Duration,
}

impl Pump {
    /// The pump of job `id`.
    pub fn new(id: JobId, spec: JobSpec, told: Told, shared: Arc<Shared>) -> Self {
        Self {
            id,
            spec,
            told,
            ledger: Ledger::default(),
            seen: START.to_owned(),
            said: HashSet::new(),
            spent: Vec::new(),
            trim: Trim::default(),
            waiting: VecDeque::new(),
            unsent: Vec::new(),
            deferred: VecDeque::new(),
            full: None,
            finished: 0,
            looked: Instant::now(),
            alone: Duration::ZERO,
            shared,
        }
    }

    /// Carries until the job is closed.
    pub async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Command>,
        mut arrivals: mpsc::Receiver<Reading>,
        reader: JoinHandle<()>,
    ) {
        let every = self.shared.timing.beat;
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let troubles = self.hand_on_troubles();
        let mut closing = None;
        let mut failed = false;
        while closing.is_none() {
            let step = tokio::select! {
                command = inbox.recv() => {
                    closing = self.collect(command, &mut inbox);
                    let idle = closing.is_some() || failed || self.full.is_some();
                    if idle { Ok(()) } else { self.publish().await }
                }
                Some(reading) = arrivals.recv(), if !failed => {
                    let done = self.absorb(reading).await;
                    // What came may have made room.
                    let goes_on = done.is_ok() && self.full.is_none() && !self.waiting.is_empty();
                    if goes_on { self.publish().await } else { done }
                }
                _ = beat.tick(), if !failed => self.look().await,
                _ = again.tick(), if self.full.is_some() && !failed => self.retry().await,
            };
            if let Err(error) = self.make_room(step) {
                failed = true;
                let _ = self.told.failure.set(error.clone());
                let _ = self.told.events.send(Event::Failed(error));
            }
        }
        troubles.abort();
        // The last event then shows the reader that nobody listens.
        drop(arrivals);
        let running = self.ledger.tasks() > 0;
        let left = self.ledger.iter().filter_map(|sent| Some(sent.arguments.as_ref()?.blob));
        self.spent.extend(left);
        let tidy = async {
            let _ = self.shared.drop_job(&self.id, running).await;
            let _ = blob::remove(&self.shared.link, &self.shared.keys, &self.spent).await;
        };
        // Where Redis has stayed away, the next loop must not wait behind this; all of it expires.
        let patience = if failed { FAREWELL } else { Duration::MAX };
        let _ = tokio::time::timeout(patience, tidy).await;
        // So that the next job finds the link, and makes no other.
        let _ = tokio::time::timeout(FAREWELL, reader).await;
        if let Some(Some(done)) = closing {
            let _ = done.send(());
        }
    }

    /// Tells the user what the links wait for: this pump may itself be waiting in a call.
    fn hand_on_troubles(&self) -> JoinHandle<()> {
        let (troubles, events) = (self.shared.troubles.clone(), self.told.events.clone());
        tokio::spawn(async move {
            troubles.listen(|notice| events.send(Event::Notice(notice)).is_ok()).await;
        })
    }

    /// Takes in a command and all behind it; says whether the job is to end, and who waits for it.
    fn collect(
        &mut self,
        command: Option<Command>,
        inbox: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Option<Option<tokio::sync::oneshot::Sender<()>>> {
        let mut next = command;
        loop {
            match next {
                Some(Command::Push(name, arguments)) => {
                    self.waiting.push_back((name, arguments.into()));
                }
                Some(Command::Close(done)) => return Some(Some(done)),
                None => return Some(None),
            }
            match inbox.try_recv() {
                Ok(command) => next = Some(command),
                Err(mpsc::error::TryRecvError::Empty) => return None,
                Err(mpsc::error::TryRecvError::Disconnected) => next = None,
            }
        }
    }

    /// What a step's failure means. A Redis without memory is no failure while results come in, which
    /// makes room.
    fn make_room(&mut self, step: Result<(), Error>) -> Result<(), Error> {
        match step {
            Err(full @ Error::Full { .. }) => {
                let since = *self.full.get_or_insert_with(Instant::now);
                if since.elapsed() < self.shared.timing.stall { Ok(()) } else { Err(full) }
            }
            Err(Error::Unreachable { address, reason }) => Err(Error::Away {
                address,
                reason,
                seconds: self.shared.timing.patience.as_secs(),
                finished: self.finished,
                open: self.open(),
            }),
            other => other,
        }
    }

    /// How many tasks have not finished: of all, where their number is known, else of those pushed.
    fn open(&self) -> u64 {
        let waiting = self.waiting.iter().map(|(name, _)| u64::from(name.n));
        let pushed = self.ledger.tasks() + waiting.sum::<u64>();
        self.spec.tasks.map_or(pushed, |all| all.saturating_sub(self.finished))
    }

    /// Tries again what Redis had no room for.
    async fn retry(&mut self) -> Result<(), Error> {
        while let Some(mut entry) = self.deferred.pop_front() {
            if let Err(error) = self.take_in(&mut entry).await {
                self.deferred.push_front(entry);
                return Err(error);
            }
        }
        // What has been received is removed first.
        self.send(&[], false).await?;
        self.publish().await?;
        self.full = None;
        Ok(())
    }

    /// Publishes what waits.
    async fn publish(&mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let Shared { bulk, keys, seal, .. } = &*shared;
        let large = |blob: &&BlobRef| blob.parts() > 1;
        while let Some(&blob) = self.spec.fresh.iter().find(large) {
            if let Some(bytes) = self.spec.blobs.get(&blob.hash) {
                blob::put(bulk, keys, seal, &blob, bytes).await?;
            }
            self.spec.fresh.retain(|other| other.hash != blob.hash);
        }
        let mut room = self.room();
        while let Some((name, arguments)) = self.waiting.front() {
            if room == 0 {
                break;
            }
            room = room.saturating_sub(arguments.len() as u64);
            let stored = if arguments.len() > INLINE {
                let length = arguments.len() as u64;
                let blob = BlobRef::owned(seal, &name.entry(&self.id), length);
                blob::put(bulk, keys, seal, &blob, arguments).await?;
                Some(blob)
            } else {
                None
            };
            if let Some((name, arguments)) = self.waiting.pop_front() {
                let sent = self.seal(name, arguments, stored)?;
                self.ledger.insert(sent);
                self.unsent.push(name);
            }
        }
        if self.unsent.is_empty() {
            return Ok(());
        }
        let names = self.unsent.clone();
        self.send(&names, false).await?;
        self.unsent.clear();
        Ok(())
    }

    /// How many more bytes Redis may be given. There is room for one chunk always.
    fn room(&self) -> u64 {
        let room = self.shared.room();
        if room == u64::MAX {
            return room;
        }
        let bytes = |sent: &Sent| match &sent.arguments {
            Some(stored) => stored.blob.length,
            None => sent.payload.len() as u64,
        };
        room.saturating_sub(self.ledger.iter().map(bytes).sum())
    }

    /// Seals a chunk whose arguments are in Redis where they do not fit the message.
    fn seal(
        &self,
        name: ChunkName,
        arguments: Bytes,
        stored: Option<BlobRef>,
    ) -> Result<Sent, Error> {
        let (arguments, stored) = match stored {
            None => (Payload::Inline(arguments.into()), None),
            Some(blob) => {
                let bytes = arguments;
                (Payload::Blob(blob), Some(Arc::new(Stored { blob, bytes })))
            }
        };
        let chunk = Chunk { context: self.spec.context, arguments, seed: self.spec.seed };
        let text = name.to_string();
        let place = Binding::new(Kind::Chunk, &self.id, &text);
        let payload = Bytes::from(self.shared.seal.seal(&place, &encode(&chunk)?)?);
        Ok(Sent { name, parent: None, payload, arguments: stored })
    }

    /// Publishes the open chunks of these names, and tidies up what has been received.
    async fn send(&mut self, names: &[ChunkName], reopen: bool) -> Result<(), Error> {
        let Shared { link, keys, id, seal, timing, .. } = &*self.shared;
        let mut pipe = Pipeline::new();
        // A blob of one part costs no round trip of its own.
        let fresh: &[BlobRef] = if names.is_empty() { &[] } else { &self.spec.fresh };
        for blob in fresh.iter().filter(|blob| blob.parts() == 1) {
            if let Some(bytes) = self.spec.blobs.get(&blob.hash) {
                blob::add_part(&mut pipe, keys, seal, blob, bytes, 0)?;
            }
        }
        if !names.is_empty() {
            script::invoke(&mut pipe, &script::PUBLISH, &keys.ring());
            pipe.arg(self.id.as_str()).arg(id.as_str()).arg(ms(timing.lease)).arg(ms(TTL));
            pipe.arg(u8::from(reopen));
            for sent in names.iter().filter_map(|name| self.ledger.get(*name)) {
                let parent = sent.parent.map(|parent| parent.to_string()).unwrap_or_default();
                pipe.arg(sent.name.to_string()).arg(parent).arg(&sent.payload[..]);
            }
            pipe.ignore();
        }
        let trim = std::mem::take(&mut self.trim);
        if let Some(upto) = &trim.upto {
            pipe.cmd("XTRIM").arg(keys.events(&self.id)).arg("MINID").arg(after(upto)).ignore();
        }
        if !trim.chunks.is_empty() {
            let marks = trim
                .chunks
                .iter()
                .flat_map(|name| ["c", "a", "k", "s", "l"].map(|m| format!("{m}:{name}")));
            pipe.hdel(keys.job(&self.id), marks.collect::<Vec<_>>()).ignore();
        }
        let spent = std::mem::take(&mut self.spent);
        if !spent.is_empty() {
            pipe.unlink(spent.iter().map(|b| keys.blob(&b.hash)).collect::<Vec<_>>()).ignore();
        }
        if !pipe.is_empty() {
            link.call::<()>(&pipe).await?;
        }
        if !names.is_empty() {
            self.spec.fresh.retain(|blob| blob.parts() > 1);
        }
        Ok(())
    }

    /// Publishes chunks again, their arguments first, which may be gone with them.
    async fn restore(&mut self, names: &[ChunkName], reopen: bool) -> Result<(), Error> {
        let Shared { bulk, keys, seal, .. } = &*self.shared;
        let mut last = None;
        for sent in names.iter().filter_map(|name| self.ledger.get(*name)) {
            let Some(stored) = &sent.arguments else {
                continue;
            };
            // Siblings of a split share theirs, and stand side by side.
            if last.replace(stored.blob.hash) != Some(stored.blob.hash) {
                blob::put(bulk, keys, seal, &stored.blob, &stored.bytes).await?;
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        self.send(names, reopen).await
    }
}
