//! A worker of one slot that needs no R: it leases, works and settles as it is told to.

use std::sync::Arc;
use std::time::Duration;

use rustbatch_protocol::{Control, Payload, Report};
use rustbatch_queue::{Error, Leased, Settlement, Verdict, Wake, WorkerQueue};
use tokio::sync::{Barrier, Semaphore, mpsc};

use super::tasks::{outcome, values};

/// What a hand does with a chunk.
pub enum Act {
    /// Answers with the values.
    Answer,
    /// Waits for the others, then answers.
    Meet(Arc<Barrier>),
    /// Waits for the gate to open, then answers.
    Hold(Arc<Semaphore>),
    /// Works for so long, then answers.
    Work(Duration),
    /// Dies under it.
    Crash,
    /// Gives it back.
    Release,
}

/// What a hand has done.
#[derive(Debug)]
pub enum Did {
    Lease(Leased),
    Settle(bool),
    Crash(Verdict),
    Hear(Control),
}

/// A worker that runs on its own. Dropping it ends it.
pub struct Hand {
    pub queue: Arc<WorkerQueue>,
    pub did: mpsc::UnboundedReceiver<Did>,
    task: tokio::task::JoinHandle<()>,
    beat: tokio::task::JoinHandle<()>,
}

/// Without a farewell: as a host is lost.
impl Drop for Hand {
    fn drop(&mut self) {
        self.task.abort();
        self.beat.abort();
    }
}

impl Hand {
    pub fn start(
        queue: Arc<WorkerQueue>,
        plan: impl Fn(&Leased) -> Act + Send + Sync + 'static,
    ) -> Self {
        let (log, did) = mpsc::unbounded_channel();
        let worker = Worker { queue: Arc::clone(&queue), plan: Box::new(plan), log };
        let task = tokio::spawn(async move { worker.run().await.expect("the worker goes on") });
        let (beating, every) = (Arc::clone(&queue), queue.timing().beat);
        let beat = tokio::spawn(async move {
            while beating.stay().await.is_ok() {
                tokio::time::sleep(every).await;
            }
        });
        Self { queue, did, task, beat }
    }

    /// What the hand does next.
    pub async fn next(&mut self) -> Did {
        self.did.recv().await.expect("the worker is there")
    }

    /// Waits until the hand has leased a chunk.
    pub async fn leases(&mut self) -> Leased {
        loop {
            if let Did::Lease(leased) = self.next().await {
                return leased;
            }
        }
    }

    /// Waits until the worker has ended, as a drain has it end.
    pub async fn ended(&mut self) {
        (&mut self.task).await.unwrap();
        self.beat.abort();
    }
}

struct Worker {
    queue: Arc<WorkerQueue>,
    plan: Box<dyn Fn(&Leased) -> Act + Send + Sync>,
    log: mpsc::UnboundedSender<Did>,
}

impl Worker {
    fn note(&self, did: Did) {
        let _ = self.log.send(did);
    }

    async fn run(&self) -> Result<(), Error> {
        let mut ready = self.queue.lease(1, &[]).await?;
        loop {
            if let Some(leased) = ready.pop() {
                self.note(Did::Lease(leased.clone()));
                ready = self.work(&leased).await?;
                continue;
            }
            if let Wake::Control(control) = self.queue.wait(true).await? {
                let drain = control == Control::Drain;
                self.note(Did::Hear(control));
                if drain {
                    return self.queue.leave().await;
                }
            }
            ready = self.queue.lease(1, &[]).await?;
        }
    }

    async fn work(&self, leased: &Leased) -> Result<Vec<Leased>, Error> {
        let queue = &self.queue;
        match (self.plan)(leased) {
            Act::Answer => {}
            Act::Meet(barrier) => {
                barrier.wait().await;
            }
            Act::Work(time) => tokio::time::sleep(time).await,
            Act::Hold(gate) => drop(gate.acquire().await),
            Act::Crash => {
                let outcome = outcome(queue, leased, None);
                let settlement = Settlement { leased, outcome: &outcome };
                self.note(Did::Crash(queue.crash(&settlement).await?));
                return queue.lease(1, &[]).await;
            }
            Act::Release => {
                queue.release(leased).await?;
                return queue.lease(1, &[]).await;
            }
        }
        let bytes = values(leased, &self.arguments(leased).await?);
        let mut outcome = outcome(queue, leased, Some(Vec::new()));
        outcome.report = match queue.payload(leased, &outcome, bytes).await {
            Ok(payload) => Report::Values(payload),
            Err(Error::TooLarge { size, limit, .. }) => Report::TooLarge { size, limit },
            Err(error) => return Err(error),
        };
        let settlement = Settlement { leased, outcome: &outcome };
        if leased.name.n > 1 && matches!(outcome.report, Report::TooLarge { .. }) {
            self.note(Did::Crash(queue.crash(&settlement).await?));
            return queue.lease(1, &[]).await;
        }
        let (taken, ready) = queue.settle(&settlement, 1, &[]).await?;
        self.note(Did::Settle(taken));
        Ok(ready)
    }

    /// The arguments; when Redis has lost them, the client is asked until it sends them again.
    async fn arguments(&self, leased: &Leased) -> Result<Vec<u8>, Error> {
        loop {
            if let Some(bytes) = self.queue.arguments(leased).await? {
                return Ok(bytes);
            }
            if let Payload::Blob(blob) = &leased.chunk.arguments {
                self.queue.need(&leased.job, blob).await?;
            }
            if let Wake::Control(control) = self.queue.wait(false).await? {
                self.note(Did::Hear(control));
            }
        }
    }
}

/// The entries of what a worker holds.
pub fn held(leases: &[Leased]) -> Vec<String> {
    leases.iter().map(Leased::entry).collect()
}

/// Leases until `n` chunks are there; the caller sets the deadline.
pub async fn take(queue: &WorkerQueue, n: usize) -> Vec<Leased> {
    let mut leases = Vec::new();
    while leases.len() < n {
        let more = queue.lease(n - leases.len(), &held(&leases)).await.unwrap();
        if more.is_empty() {
            queue.wait(true).await.unwrap();
        }
        leases.extend(more);
    }
    leases
}

/// Works on a chunk and hands its values in; says whether they were taken.
pub async fn settle(queue: &WorkerQueue, leased: &Leased) -> bool {
    let arguments = queue.arguments(leased).await.unwrap().unwrap();
    let mut outcome = outcome(queue, leased, Some(Vec::new()));
    let bytes = values(leased, &arguments);
    outcome.report = Report::Values(queue.payload(leased, &outcome, bytes).await.unwrap());
    let settlement = Settlement { leased, outcome: &outcome };
    queue.settle(&settlement, 0, &[]).await.unwrap().0
}
