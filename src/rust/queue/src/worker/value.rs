//! Values on their way to the client: short ones travel within their outcome, long ones before it.

use std::time::{Duration, Instant};

use rustbatch_protocol::{BlobRef, Outcome, Payload, blob::INLINE};

use super::WorkerQueue;
use crate::patience::pauses;
use crate::{Error, Leased, blob};

/// Longest pause between two attempts while Redis is full.
const ROOM: Duration = Duration::from_secs(1);

impl WorkerQueue {
    /// What R answered, as the payload of an outcome: long answers become a blob of their own. Where
    /// Redis has no room for it now, that is waited for. Cancel-safe; what has been stored by then,
    /// [`WorkerQueue::withdraw`] removes.
    ///
    /// # Errors
    /// Those of [`blob::put`].
    pub async fn payload(
        &self,
        leased: &Leased,
        outcome: &Outcome,
        bytes: Vec<u8>,
    ) -> Result<Payload, Error> {
        if bytes.len() <= INLINE {
            return Ok(Payload::Inline(bytes));
        }
        let blob = self.blob(leased, outcome, bytes.len());
        let (bytes, started) = (bytes.into(), Instant::now());
        // By chance, so that of many who wait one comes first.
        let mut pauses = pauses(self.timing.pause.min(ROOM));
        loop {
            match blob::put(&self.bulk, &self.keys, &self.seal, &blob, &bytes).await {
                Err(Error::Full { .. }) if started.elapsed() < self.timing.forbearance => {
                    tokio::time::sleep(pauses.next().unwrap_or(ROOM)).await;
                }
                done => return done.map(|()| Payload::Blob(blob)),
            }
        }
    }

    /// Removes what is stored of an answer of this length that nobody waits for any more. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`blob::remove`].
    pub async fn withdraw(
        &self,
        leased: &Leased,
        outcome: &Outcome,
        length: usize,
    ) -> Result<(), Error> {
        if length <= INLINE {
            return Ok(());
        }
        // Over the connection of its parts: one that is still under way comes first.
        blob::remove(&self.bulk, &self.keys, &[self.blob(leased, outcome, length)]).await
    }

    fn blob(&self, leased: &Leased, outcome: &Outcome, length: usize) -> BlobRef {
        BlobRef::owned(&self.seal, &outcome.label(&leased.job, leased.name), length as u64)
    }
}
