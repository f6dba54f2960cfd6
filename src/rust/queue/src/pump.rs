//! The pump: it carries a job's chunks to Redis and its events from there, and knows what is lacking.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::Pipeline;
use rustbatch_protocol::{
    Binding, BlobHash, BlobRef, Chunk, ChunkName, Control, JobId, Kind, Outcome, Payload, Report,
    WorkerId, blob::INLINE, decode, encode,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::Shared;
use crate::event::{Command, Event, JobSpec, Sender};
use crate::ledger::{Ledger, Sent, Stored};
use crate::reader::{Entry, Reading, after};
use crate::{BEAT, Error, TTL, blob, ms, script};

/// How long a job waits without a live worker before it fails.
const STALL: Duration = Duration::from_secs(60);

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

/// What runs behind a [`crate::Job`].
pub struct Pump {
    id: JobId,
    spec: JobSpec,
    shared: Arc<Shared>,
    events: Sender,
    ledger: Ledger,
    /// The last event that has been taken in.
    seen: String,
    /// The tags of the signals that have been passed on.
    said: HashSet<[u8; 16]>,
    spent: Vec<BlobRef>,
    trim: Trim,
    last_alive: Instant,
    rejected: Arc<AtomicU64>,
}

impl Pump {
    /// The pump of job `id`; what is not genuine is counted in `rejected`.
    pub fn new(
        id: JobId,
        spec: JobSpec,
        events: Sender,
        rejected: Arc<AtomicU64>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            id,
            spec,
            events,
            ledger: Ledger::default(),
            seen: START.to_owned(),
            said: HashSet::new(),
            spent: Vec::new(),
            trim: Trim::default(),
            last_alive: Instant::now(),
            rejected,
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
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + BEAT, BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut closing = None;
        let mut failed = false;
        while closing.is_none() {
            let step = tokio::select! {
                command = inbox.recv() => {
                    let mut chunks = Vec::new();
                    let mut next = command;
                    closing = loop {
                        match next {
                            Some(Command::Push(name, arguments)) => chunks.push((name, arguments)),
                            Some(Command::Close(done)) => break Some(Some(done)),
                            None => break Some(None),
                        }
                        match inbox.try_recv() {
                            Ok(command) => next = Some(command),
                            Err(mpsc::error::TryRecvError::Empty) => break None,
                            Err(mpsc::error::TryRecvError::Disconnected) => next = None,
                        }
                    };
                    if closing.is_none() && !failed { self.publish(chunks).await } else { Ok(()) }
                }
                Some(reading) = arrivals.recv(), if !failed => self.absorb(reading).await,
                _ = beat.tick(), if !failed => self.look().await,
            };
            if let Err(error) = step {
                failed = true;
                let _ = self.events.send(Event::Failed(error));
            }
        }
        // The last event then shows the reader that nobody listens.
        drop(arrivals);
        let running = self.ledger.tasks() > 0;
        let _ = self.shared.drop_job(&self.id, running).await;
        let left = self.ledger.iter().filter_map(|sent| Some(sent.arguments.as_ref()?.blob));
        self.spent.extend(left);
        let _ = blob::remove(&self.shared.link, &self.shared.keys, &self.spent).await;
        // So that the next job finds the link, and makes no other.
        let _ = tokio::time::timeout(FAREWELL, reader).await;
        if let Some(Some(done)) = closing {
            let _ = done.send(());
        }
    }

    async fn publish(&mut self, chunks: Vec<(ChunkName, Vec<u8>)>) -> Result<(), Error> {
        let Shared { link, keys, seal, .. } = &*self.shared;
        for blob in self.spec.fresh.extract_if(.., |blob| blob.parts() > 1) {
            if let Some(bytes) = self.spec.blobs.get(&blob.hash) {
                blob::put(link, keys, seal, "", bytes).await?;
            }
        }
        let mut names = Vec::with_capacity(chunks.len());
        for (name, arguments) in chunks {
            let sent = self.seal(name, arguments).await?;
            names.push(name);
            self.ledger.insert(sent);
        }
        self.send(&names, false).await
    }

    async fn seal(&self, name: ChunkName, arguments: Vec<u8>) -> Result<Sent, Error> {
        let Shared { link, keys, seal, .. } = &*self.shared;
        let label = name.entry(&self.id);
        let (arguments, stored) = if arguments.len() <= INLINE {
            (Payload::Inline(arguments), None)
        } else {
            let bytes = Bytes::from(arguments);
            let blob = blob::put(link, keys, seal, &label, &bytes).await?;
            (Payload::Blob(blob), Some(Arc::new(Stored { blob, bytes })))
        };
        let chunk = Chunk { context: self.spec.context, arguments, seed: self.spec.seed };
        let text = name.to_string();
        let place = Binding::new(Kind::Chunk, &self.id, &text);
        let payload = Bytes::from(seal.seal(&place, &encode(&chunk)?)?);
        Ok(Sent { name, parent: None, payload, arguments: stored })
    }

    /// Publishes the open chunks of these names, and tidies up what has been received.
    async fn send(&mut self, names: &[ChunkName], reopen: bool) -> Result<(), Error> {
        let Shared { link, keys, id, seal, .. } = &*self.shared;
        let mut pipe = Pipeline::new();
        // A blob of one part costs no round trip of its own.
        for blob in std::mem::take(&mut self.spec.fresh) {
            if let Some(bytes) = self.spec.blobs.get(&blob.hash) {
                blob::add_part(&mut pipe, keys, seal, &blob, bytes, 0)?;
            }
        }
        if !names.is_empty() {
            script::invoke(&mut pipe, &script::PUBLISH, &keys.ring());
            pipe.arg(self.id.as_str()).arg(id.as_str()).arg(ms(TTL)).arg(u8::from(reopen));
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
                .flat_map(|name| ["c", "a", "k", "s"].map(|m| format!("{m}:{name}")));
            pipe.hdel(keys.job(&self.id), marks.collect::<Vec<_>>()).ignore();
        }
        let spent = std::mem::take(&mut self.spent);
        if !spent.is_empty() {
            pipe.unlink(spent.iter().map(|b| keys.blob(&b.hash)).collect::<Vec<_>>()).ignore();
        }
        if pipe.is_empty() { Ok(()) } else { link.call(&pipe).await }
    }

    /// Publishes chunks again, their arguments first, which may be gone with them.
    async fn restore(&mut self, names: &[ChunkName], reopen: bool) -> Result<(), Error> {
        let Shared { link, keys, seal, .. } = &*self.shared;
        let mut last = None;
        for sent in names.iter().filter_map(|name| self.ledger.get(*name)) {
            let Some(stored) = &sent.arguments else {
                continue;
            };
            // Siblings of a split share theirs, and stand side by side.
            if last.replace(stored.blob.hash) != Some(stored.blob.hash) {
                let label = sent.whole().entry(&self.id);
                blob::put(link, keys, seal, &label, &stored.bytes).await?;
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        self.send(names, reopen).await
    }

    async fn absorb(&mut self, reading: Reading) -> Result<(), Error> {
        let entries = match reading {
            Reading::Entries(entries) => entries,
            Reading::Reconnected => {
                // The server may be another, whose numbers mean something else.
                (self.seen, self.trim.upto) = (START.to_owned(), None);
                return self.audit().await;
            }
            Reading::Failed(error) => return Err(error),
        };
        for Entry { id, letter, name, payload } in entries {
            match letter.as_str() {
                "o" => self.receive(&name, payload).await?,
                "s" => self.pass_on(&name, payload),
                "n" => self.supply(&name, payload).await?,
                "r" => self.replace(&name).await?,
                _ => self.reject(),
            }
            self.seen.clone_from(&id);
            self.trim.upto = Some(id);
        }
        Ok(())
    }

    fn reject(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// An outcome: only if it is genuine, and only the tasks of it that are lacking.
    async fn receive(&mut self, name: &str, payload: Vec<u8>) -> Result<(), Error> {
        let Shared { link, keys, seal, .. } = &*self.shared;
        let place = Binding::new(Kind::Outcome, &self.id, name);
        let opened = name
            .parse::<ChunkName>()
            .and_then(|chunk| Ok((chunk, decode::<Outcome>(&seal.open(&place, payload)?)?)));
        let Ok((name, outcome)) = opened else {
            self.reject();
            tracing::warn!(name, "an outcome that is not genuine was refused");
            return Ok(());
        };
        let blob = match &outcome.report {
            Report::Values(Payload::Blob(blob)) | Report::Refused(Payload::Blob(blob)) => {
                Some(*blob)
            }
            _ => None,
        };
        self.spent.extend(blob);
        // What has come before is not fetched again: its blob is gone.
        let bytes = match (&outcome.report, blob) {
            (_, Some(blob)) if self.ledger.lacks(name) => {
                match blob::get(link, keys, seal, &blob).await {
                    Ok(Some(bytes)) => bytes,
                    // The outcome is genuine but its blob is not there: the tasks are run again.
                    Ok(None) | Err(Error::Protocol(_)) => {
                        return self.replace(&name.to_string()).await;
                    }
                    Err(error) => return Err(error),
                }
            }
            (
                Report::Values(Payload::Inline(bytes)) | Report::Refused(Payload::Inline(bytes)),
                _,
            ) => bytes.clone(),
            _ => Vec::new(),
        };
        let taken = self.ledger.take(name);
        self.spent.extend(taken.spent);
        self.trim.chunks.push(name);
        if !taken.tasks.is_empty() {
            let _ = self.events.send(Event::Outcome { name, lacking: taken.tasks, outcome, bytes });
        }
        if self.trim.chunks.len() >= 64 || !self.spent.is_empty() {
            return self.send(&[], false).await;
        }
        Ok(())
    }

    /// What a running task says: each thing once, though it may be read again.
    fn pass_on(&mut self, name: &str, payload: Vec<u8>) {
        // No two frames end in the same tag.
        let tag = payload.last_chunk::<16>().copied();
        match self.shared.seal.open(&Binding::new(Kind::Signal, &self.id, name), payload) {
            Ok(bytes) if tag.is_some_and(|tag| self.said.insert(tag)) => {
                let _ = self.events.send(Event::Signal { bytes });
            }
            Ok(_) => {}
            Err(_) => self.reject(),
        }
    }

    /// A worker lacks a blob of the context, or a chunk's arguments.
    async fn supply(&mut self, hash: &str, payload: Vec<u8>) -> Result<(), Error> {
        let Shared { link, keys, seal, .. } = &*self.shared;
        let place = Binding::new(Kind::Signal, &self.id, hash);
        let asked = seal.open(&place, payload).and_then(|bytes| decode::<WorkerId>(&bytes));
        let (Ok(worker), Ok(hash)) = (asked, hash.parse::<BlobHash>()) else {
            self.reject();
            return Ok(());
        };
        if let Some(bytes) = self.spec.blobs.get(&hash) {
            blob::put(link, keys, seal, "", bytes).await?;
        } else if let Some((whole, stored)) = self.ledger.arguments(hash) {
            blob::put(link, keys, seal, &whole.entry(&self.id), &stored.bytes).await?;
        } else {
            if self.spec.beside.contains(&hash) {
                let _ = self.events.send(Event::Need { hash, worker });
            }
            return Ok(());
        }
        self.shared.tell(&worker, &Control::Blob(hash)).await
    }

    /// A payload or a result in Redis was not genuine: the chunk is published again.
    async fn replace(&mut self, name: &str) -> Result<(), Error> {
        self.reject();
        match name.parse() {
            Ok(name) => self.restore(&[name], true).await,
            Err(_) => Ok(()),
        }
    }

    /// Asks Redis for what it knows of the chunks that are lacking, and publishes what it lost. A
    /// chunk that it calls closed although no event is unread is opened again.
    async fn audit(&mut self) -> Result<(), Error> {
        let names: Vec<ChunkName> = self.ledger.iter().map(|sent| sent.name).collect();
        if names.is_empty() {
            return Ok(());
        }
        let mut pipe = Pipeline::new();
        script::invoke(&mut pipe, &script::AUDIT, &self.shared.keys.ring())
            .arg(self.id.as_str())
            .arg(&self.seen);
        script::args(&mut pipe, names.iter().map(ChunkName::to_string));
        let (states,): (Vec<String>,) = self.shared.link.call(&pipe).await?;
        let with = |state: &str| -> Vec<ChunkName> {
            names.iter().zip(&states).filter(|(_, s)| *s == state).map(|(name, _)| *name).collect()
        };
        let (gone, lost) = (with("gone"), with("lost"));
        for name in with("split") {
            self.ledger.split(name);
        }
        self.restore(&gone, false).await?;
        self.restore(&lost, true).await
    }

    /// The job's heartbeat: renews what must not expire, looks whether Redis still knows the job and
    /// whether anyone is there to work on it.
    async fn look(&mut self) -> Result<(), Error> {
        let keys = &self.shared.keys;
        let mut pipe = Pipeline::new();
        for key in [keys.job(&self.id), keys.queue(&self.id), keys.events(&self.id)] {
            pipe.cmd("PEXPIRE").arg(key).arg(ms(TTL)).ignore();
        }
        let arguments = self
            .ledger
            .iter()
            .filter_map(|sent| sent.arguments.as_deref())
            .map(|stored| &stored.blob.hash);
        for hash in self.spec.blobs.keys().chain(&self.spec.beside).chain(arguments) {
            pipe.cmd("PEXPIRE").arg(keys.blob(hash)).arg(ms(TTL)).ignore();
        }
        self.shared.link.call::<()>(&pipe).await?;
        self.audit().await?;
        if self.ledger.tasks() == 0 || !self.shared.roll().await?.is_empty() {
            self.last_alive = Instant::now();
        } else if self.last_alive.elapsed() >= STALL {
            return Err(Error::NoWorkers { seconds: STALL.as_secs(), open: self.ledger.tasks() });
        }
        Ok(())
    }
}
