//! What Redis knows of a job: what it lost is published again.

use std::time::{Duration, Instant};

use redis::Pipeline;
use rustbatch_protocol::ChunkName;

use super::Pump;
use crate::client::Shared;
use crate::event::{Event, Notice};
use crate::{Error, TTL, ms, script};

impl Pump {
    /// Asks Redis for what it knows of the chunks that are lacking, and publishes what it lost. A
    /// chunk that it calls closed although no event is unread is opened again.
    pub(super) async fn audit(&mut self) -> Result<(), Error> {
        let names: Vec<ChunkName> = self.ledger.iter().map(|sent| sent.name).collect();
        if names.is_empty() {
            return Ok(());
        }
        let Shared { keys, id, timing, .. } = &*self.shared;
        let mut pipe = Pipeline::new();
        script::invoke(&mut pipe, &script::AUDIT, &keys.ring())
            .arg(self.id.as_str())
            .arg(id.as_str())
            .arg(ms(timing.lease))
            .arg(ms(TTL))
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
        self.restore(&lost, true).await?;
        let again = gone.iter().chain(&lost).filter(|name| !self.unsent.contains(name));
        let tasks = again.map(|name| u64::from(name.n)).sum();
        if tasks > 0 {
            let _ = self.told.events.send(Event::Notice(Notice::Republished { tasks }));
        }
        Ok(())
    }

    /// The job's heartbeat: renews what must not expire, looks whether Redis still knows the job and
    /// whether anyone is there to work on it.
    pub(super) async fn look(&mut self) -> Result<(), Error> {
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
        // While this process slept nobody looked, so that says nothing of the workers.
        let since = self.looked.elapsed().min(2 * self.shared.timing.beat);
        self.looked = Instant::now();
        if self.ledger.tasks() == 0 || !self.shared.roll().await?.is_empty() {
            self.alone = Duration::ZERO;
            return Ok(());
        }
        self.alone += since;
        let stall = self.shared.timing.stall;
        if self.alone < stall || self.shared.guide.is_expected() {
            return Ok(());
        }
        let (finished, open) = (self.finished, self.open());
        Err(Error::NoWorkers { seconds: stall.as_secs(), finished, open })
    }
}
