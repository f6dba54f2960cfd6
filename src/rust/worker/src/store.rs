//! The blobs that a worker has fetched, for all of its slots.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustbatch_protocol::{BlobHash, BlobRef, JobId, Payload};
use rustbatch_queue::{Error, Leased, WorkerQueue};
use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::kept::Kept;

/// How many bytes of blobs are kept.
const BUDGET: u64 = 1 << 30;

/// How long a worker waits for a blob that it has asked for.
const PATIENCE: Duration = Duration::from_secs(30);

type Cell = Arc<AsyncMutex<Option<Arc<Kept>>>>;

#[derive(Debug, Default)]
struct Cells {
    /// Counts uses, so that the one longest ago is known.
    clock: u64,
    by_hash: HashMap<BlobHash, Place>,
}

#[derive(Debug)]
struct Place {
    used: u64,
    length: u64,
    cell: Cell,
}

/// A cache of blobs by hash. Each is fetched once, however many slots ask.
#[derive(Debug, Default)]
pub struct Store {
    cells: Mutex<Cells>,
    arrived: Notify,
}

impl Store {
    /// A blob, from the cache or from Redis; where Redis lacks it, the job's client is asked.
    /// Cancel-safe.
    ///
    /// # Errors
    /// Those of the queue; [`Error::BlobGone`] when the client does not send it in time.
    pub async fn get(
        &self,
        queue: &WorkerQueue,
        job: &JobId,
        blob: &BlobRef,
    ) -> Result<Arc<Kept>, Error> {
        let cell = self.cell(blob);
        let mut slot = cell.lock().await;
        if let Some(kept) = &*slot {
            return Ok(Arc::clone(kept));
        }
        let kept = match Kept::fetch(queue, blob).await? {
            Some(kept) => kept,
            None => self.ask(queue, job, blob, || Kept::fetch(queue, blob)).await?,
        };
        Ok(Arc::clone(slot.insert(Arc::new(kept))))
    }

    /// A client says that it has put a blob into Redis.
    pub fn arrived(&self) {
        self.arrived.notify_waiters();
    }

    /// The arguments of a chunk, which are used once and not kept; where Redis lacks them, the job's
    /// client is asked. Cancel-safe.
    ///
    /// # Errors
    /// As for [`Store::get`].
    pub async fn arguments(&self, queue: &WorkerQueue, leased: &Leased) -> Result<Vec<u8>, Error> {
        match (queue.arguments(leased).await?, &leased.chunk.arguments) {
            (Some(bytes), _) => Ok(bytes),
            (None, Payload::Inline(_)) => Ok(Vec::new()),
            (None, Payload::Blob(blob)) => {
                self.ask(queue, &leased.job, blob, || queue.arguments(leased)).await
            }
        }
    }

    /// Asks the client for a blob, and fetches it when it says that it is there.
    async fn ask<T, F>(
        &self,
        queue: &WorkerQueue,
        job: &JobId,
        blob: &BlobRef,
        fetch: impl Fn() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Option<T>, Error>>,
    {
        let wait = async {
            loop {
                let arrived = self.arrived.notified();
                queue.need(job, blob).await?;
                arrived.await;
                if let Some(found) = fetch().await? {
                    return Ok(found);
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or(Err(Error::BlobGone(blob.length)))
    }

    /// The place of a blob; what was used longest ago and does not fit any more is forgotten.
    fn cell(&self, blob: &BlobRef) -> Cell {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.clock += 1;
        let Cells { clock, by_hash } = &mut *cells;
        let fresh = || Place { used: 0, length: blob.length, cell: Cell::default() };
        let place = by_hash.entry(blob.hash).or_insert_with(fresh);
        place.used = *clock;
        let cell = Arc::clone(&place.cell);
        let mut total: u64 = by_hash.values().map(|place| place.length).sum();
        while total > BUDGET && by_hash.len() > 1 {
            let oldest = by_hash.iter().min_by_key(|(_, place)| place.used).map(|(&hash, _)| hash);
            let gone = oldest.and_then(|hash| by_hash.remove(&hash));
            total -= gone.map_or(total, |place| place.length);
        }
        cell
    }
}
