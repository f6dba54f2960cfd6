//! What comes from Redis: outcomes, needs, signals; each only if it is genuine.

use std::sync::atomic::Ordering;
use std::time::Instant;

use rustbatch_protocol::{
    Binding, BlobHash, BlobRef, ChunkName, Control, Kind, Outcome, Payload, Report, WorkerId,
    decode,
};

use super::{Pump, START};
use crate::client::Shared;
use crate::event::Event;
use crate::reader::{Entry, Reading};
use crate::{Error, blob};

impl Pump {
    pub(super) async fn absorb(&mut self, reading: Reading) -> Result<(), Error> {
        let entries = match reading {
            Reading::Entries(entries) => entries,
            Reading::Reconnected => {
                // The server may be another, whose numbers mean something else.
                (self.seen, self.trim.upto) = (START.to_owned(), None);
                return self.audit().await;
            }
            Reading::Failed(error) => return Err(error),
        };
        let mut full = None;
        for mut entry in entries {
            self.seen.clone_from(&entry.id);
            self.trim.upto = Some(entry.id.clone());
            match self.take_in(&mut entry).await {
                // What frees memory may come behind it.
                Err(error @ Error::Full { .. }) => {
                    self.deferred.push_back(entry);
                    full = Some(error);
                }
                done => done?,
            }
        }
        full.map_or(Ok(()), Err)
    }

    /// Takes one event in. What Redis had no room for may be taken in again.
    pub(super) async fn take_in(&mut self, entry: &mut Entry) -> Result<(), Error> {
        let Entry { letter, name, payload, .. } = entry;
        match letter.as_str() {
            "o" => {
                let done = self.receive(name, std::mem::take(payload)).await;
                // What needed room was a chunk to be published again.
                "r".clone_into(letter);
                done
            }
            "s" => {
                self.pass_on(name, std::mem::take(payload));
                Ok(())
            }
            "n" => self.supply(name, payload.clone()).await,
            "r" => self.replace(name).await,
            _ => {
                self.reject();
                Ok(())
            }
        }
    }

    fn reject(&self) {
        self.told.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// An outcome: only if it is genuine, and only the tasks of it that are lacking.
    async fn receive(&mut self, name: &str, payload: Vec<u8>) -> Result<(), Error> {
        let Shared { bulk, keys, seal, .. } = &*self.shared;
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
                match blob::get(bulk, keys, seal, &blob).await {
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
            self.finished += taken.tasks.len() as u64;
            // There is room again, or soon.
            self.full = self.full.map(|_| Instant::now());
            let _ = self.told.events.send(Event::Outcome {
                name,
                lacking: taken.tasks,
                outcome,
                bytes,
            });
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
                let _ = self.told.events.send(Event::Signal { bytes });
            }
            Ok(_) => {}
            Err(_) => self.reject(),
        }
    }

    /// A worker lacks a blob of the context, or a chunk's arguments.
    async fn supply(&mut self, hash: &str, payload: Vec<u8>) -> Result<(), Error> {
        let Shared { bulk, keys, seal, .. } = &*self.shared;
        let place = Binding::new(Kind::Signal, &self.id, hash);
        let asked = seal.open(&place, payload).and_then(|bytes| decode::<WorkerId>(&bytes));
        let (Ok(worker), Ok(hash)) = (asked, hash.parse::<BlobHash>()) else {
            self.reject();
            return Ok(());
        };
        if let Some(bytes) = self.spec.blobs.get(&hash) {
            let blob = BlobRef { hash, length: bytes.len() as u64 };
            blob::put(bulk, keys, seal, &blob, bytes).await?;
        } else if let Some(stored) = self.ledger.arguments(hash) {
            blob::put(bulk, keys, seal, &stored.blob, &stored.bytes).await?;
        } else {
            if self.spec.beside.contains(&hash) {
                let _ = self.told.events.send(Event::Need { hash, worker });
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
}
