//! A job as the client sees it: chunks go out, events come in, and what is lacking is published
//! again whenever Redis may have forgotten it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustbatch_protocol::{ChunkName, JobId};
use tokio::sync::mpsc;

use crate::Error;
use crate::client::Client;
use crate::event::{Command, JobSpec, Sender};
use crate::pump::{Pump, Told};
use crate::reader::read;

/// An open job. Dropping it ends the job as [`Job::close`] does, without waiting.
#[derive(Debug)]
pub struct Job {
    id: JobId,
    commands: mpsc::UnboundedSender<Command>,
    rejected: Arc<AtomicU64>,
    failure: Arc<OnceLock<Error>>,
}

impl Job {
    /// Opens a job; what happens to it goes to `events`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Protocol`] without random bytes.
    pub fn open(client: &Client, spec: JobSpec, events: Sender) -> Result<Self, Error> {
        let id = JobId::random()?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let rejected = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&client.shared);
        let (link, key) = (shared.reader(), shared.keys.events(&id));
        let counter = Arc::clone(&rejected);
        let failure = Arc::new(OnceLock::new());
        let told = Told { events, rejected: counter, failure: Arc::clone(&failure) };
        let pump = Pump::new(id.clone(), spec, told, Arc::clone(&shared));
        let (entries, arrivals) = mpsc::channel(16);
        let wait = shared.timing.beat;
        let reader = tokio::spawn(async move {
            if let Some(link) = read(link, key, wait, entries).await {
                shared.give_back(link);
            }
        });
        tokio::spawn(pump.run(inbox, arrivals, reader));
        Ok(Self { id, commands, rejected, failure })
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// How many events and payloads of the job were not genuine.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Publishes a chunk with its serialized arguments. Returns at once; never blocks.
    ///
    /// # Errors
    /// [`Error::Closed`] when the job has been closed; the failure when it has failed.
    pub fn push(&self, name: ChunkName, arguments: Vec<u8>) -> Result<(), Error> {
        if let Some(failure) = self.failure.get() {
            return Err(failure.clone());
        }
        self.commands.send(Command::Push(name, arguments)).map_err(|_| Error::Closed)
    }

    /// Ends the job: what is queued is removed, what runs is interrupted. Waits until Redis knows.
    /// Cancel-safe: the job ends all the same.
    pub async fn close(self) {
        let (done, waiting) = tokio::sync::oneshot::channel();
        if self.commands.send(Command::Close(done)).is_ok() {
            let _ = waiting.await;
        }
    }
}
