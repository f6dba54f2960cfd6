//! Values on their way to the client: short ones travel within their outcome, long ones before it.

use std::time::{Duration, Instant};

use rustbatch_protocol::{BlobRef, Outcome, Payload, blob::INLINE};

use super::WorkerQueue;
use crate::patience::pauses;
use crate::{Error, Leased, blob};

/// How long it is waited at most before it is tried again whether Redis has room.
const ROOM: Duration = Duration::from_secs(1);

impl WorkerQueue {
    /// What R answered, as the payload of an outcome: long answers become a blob of their own. Where
    /// Redis has no room for it now, that is waited for.
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
        let label = outcome.label(&leased.job, leased.name);
        let blob = BlobRef::owned(&self.seal, &label, bytes.len() as u64);
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
}
