//! Opening what comes from Redis: nothing is believed that is not genuine.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use redis::Pipeline;
use rustbatch_protocol::{Binding, ChunkName, Control, ControlMessage, Kind, decode};

use super::{Handed, WorkerQueue};
use crate::{Error, Leased, TTL, ms, script};

impl WorkerQueue {
    /// Opens what was handed out; what is not genuine is taken out of the queue.
    pub(super) async fn open(&self, handed: Vec<Handed>) -> Result<Vec<Leased>, Error> {
        let mut leases = Vec::with_capacity(handed.len());
        for (entry, attempt, whole, payload) in handed {
            match self.open_one(&entry, attempt, &whole, payload.clone()) {
                Ok(leased) => leases.push(leased),
                Err(error) => {
                    tracing::warn!(entry, %error, "a payload that is not genuine was refused");
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    self.reject(&entry, &whole, &payload).await?;
                }
            }
        }
        Ok(leases)
    }

    fn open_one(
        &self,
        entry: &str,
        attempt: u32,
        whole: &str,
        payload: Vec<u8>,
    ) -> Result<Leased, rustbatch_protocol::Error> {
        let (job, name) = ChunkName::from_entry(entry)?;
        let chunk = decode(&self.seal.open(&Binding::new(Kind::Chunk, &job, whole), payload)?)?;
        let range: ChunkName = whole.parse()?;
        if !range.contains(&name) {
            let text = format!("{name} of {whole}");
            return Err(rustbatch_protocol::Error::Name(text, "part of a chunk"));
        }
        Ok(Leased { job, name, whole: range, attempt, chunk })
    }

    async fn reject(&self, entry: &str, whole: &str, payload: &[u8]) -> Result<(), Error> {
        let (job, chunk) = entry.split_once('/').unwrap_or((entry, ""));
        let mut pipe = Pipeline::new();
        self.invoke(&mut pipe, &script::REJECT).arg(self.id.as_str()).arg(job).arg(chunk);
        pipe.arg(ms(TTL)).arg(whole).arg(payload).ignore();
        self.link.call(&pipe).await
    }

    /// A control message, if it is genuine and new.
    pub(super) fn hear(&self, bytes: &[u8]) -> Option<Control> {
        let heard = ControlMessage::read(bytes).ok().and_then(|message| {
            let (client, counter) = (message.client.clone(), message.counter);
            let control = message.open(&self.seal, &self.id).ok()?;
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let last = heard.entry(client).or_default();
            (counter > *last).then(|| {
                *last = counter;
                control
            })
        });
        if heard.is_none() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("a control message that is not genuine, or not new, was refused");
        }
        heard
    }
}
