//! A slot: it takes one chunk at a time through an R process of its own.

mod load;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustbatch_protocol::blob::INLINE;
use rustbatch_protocol::{ClientId, Context, Outcome, Output, Payload, Report, decode};
use rustbatch_queue::{Error, Leased, WorkerQueue};
use tokio::sync::{Notify, mpsc};

use crate::evaluator::{Evaluator, Fault, Host};
use crate::folder::Folder;
use crate::pipe::{Answer, FromR, ToR};
use crate::setup::{Failed, Installer};
use crate::store::Store;
use load::{head, load};

/// How long it is waited after each failed attempt to start R: a machine may be short of memory for
/// a moment.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::ZERO];

/// How long a slot is without work before its R process compiles its own functions.
const QUIET: Duration = Duration::from_millis(100);

/// What became of a chunk.
#[derive(Debug)]
pub enum End {
    /// To be settled.
    Outcome(Outcome),
    /// The R process died: to be reported as a crash, with this outcome for the client.
    Crash(Outcome),
    /// Its tasks are to run one by one, and nobody is to blame.
    Split(Outcome),
    /// The job is no more: nothing is to be said.
    Cancelled,
    /// It could not be run here: to be given back, or in the end settled with this outcome.
    Release(Outcome),
    /// R does not start any more: to be given back, and the slot is to get no other.
    Broken(String),
}

/// What all slots of a worker share.
#[derive(Debug)]
pub struct Shared {
    /// The queue.
    pub queue: WorkerQueue,
    /// The blobs.
    pub store: Store,
    /// The R executable.
    pub r: PathBuf,
    /// Where R has its temporary files.
    pub folder: Folder,
    /// What installs the packages that loops ask for, where the worker may.
    pub installer: Option<Arc<Installer>>,
}

/// A chunk for a slot, and the way to cancel it.
#[derive(Debug)]
pub struct Work {
    /// The chunk.
    pub leased: Leased,
    /// Told when the chunk is to be given up.
    pub cancel: Arc<Notify>,
    /// Told whose job it is, as soon as that is known.
    pub client: Arc<std::sync::OnceLock<ClientId>>,
}

/// Runs a slot until its inbox is closed. It tells `started` once whether R runs. Each chunk ends
/// with one message to `done`: the slot's number, the chunk, and what became of it.
pub async fn run(
    number: usize,
    shared: Arc<Shared>,
    mut inbox: mpsc::Receiver<Work>,
    started: mpsc::Sender<Result<(), String>>,
    done: mpsc::Sender<(usize, Leased, End)>,
) {
    let mut slot = Slot { shared, evaluator: None, broken: None };
    // An R process is made ready before the first chunk comes.
    slot.revive().await;
    let _ = started.send(slot.broken.clone().map_or(Ok(()), Err)).await;
    drop(started);
    loop {
        let work = tokio::select! {
            work = inbox.recv() => work,
            () = idle(&mut slot.evaluator), if slot.evaluator.is_some() => {
                // It died between chunks (a fork of a task may have killed it): nobody is to blame.
                slot.evaluator = None;
                slot.revive().await;
                continue;
            }
            () = tokio::time::sleep(QUIET), if slot.is_cold() => {
                slot.warm_up().await;
                continue;
            }
        };
        let Some(work) = work else { return };
        let end = slot.work(&work).await;
        if done.send((number, work.leased, end)).await.is_err() {
            return;
        }
        slot.revive().await;
    }
}

async fn idle(evaluator: &mut Option<Evaluator>) {
    match evaluator {
        Some(evaluator) => evaluator.idle().await,
        None => std::future::pending().await,
    }
}

struct Slot {
    shared: Arc<Shared>,
    evaluator: Option<Evaluator>,
    broken: Option<String>,
}

impl Slot {
    /// Starts an R process where there is none.
    async fn revive(&mut self) {
        if self.evaluator.is_some() {
            return;
        }
        self.broken = None;
        for pause in PAUSES {
            let Shared { r, folder, queue, installer, .. } = &*self.shared;
            let library = installer.as_ref().map(|installer| installer.library());
            let host = Host { worker: queue.id(), folder: folder.path(), library };
            match Evaluator::start(r, host).await {
                Ok(evaluator) => {
                    self.evaluator = Some(evaluator);
                    self.broken = None;
                    return;
                }
                Err(error) => self.broken = Some(error.to_string()),
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn is_cold(&self) -> bool {
        self.evaluator.as_ref().is_some_and(|evaluator| !evaluator.is_warm())
    }

    /// Has R compile its functions. Not cancel-safe, like every request.
    async fn warm_up(&mut self) {
        if let Some(evaluator) = &mut self.evaluator
            && evaluator.warm_up().await.is_err()
        {
            self.evaluator = None;
            self.revive().await;
        }
    }

    async fn work(&mut self, work: &Work) -> End {
        let started = Instant::now();
        match self.attempt(work).await {
            Ok(answered) => self.answered(work, answered).await,
            Err(Stop::Queue(error)) => self.release(&work.leased, &error),
            Err(Stop::System(error)) => self.release(&work.leased, &error),
            Err(Stop::NoR(reason)) => End::Broken(reason),
            Err(Stop::Uninstalled(failed)) => {
                let report = Report::Uninstalled(failed.into());
                End::Outcome(self.outcome(&work.leased, Duration::ZERO, report))
            }
            Err(Stop::Fault(Fault::Cancelled)) => {
                if self.evaluator.as_mut().is_some_and(|evaluator| !evaluator.is_sound()) {
                    self.evaluator = None;
                }
                if let Some(evaluator) = &mut self.evaluator {
                    evaluator.printed();
                }
                End::Cancelled
            }
            Err(Stop::Fault(Fault::Died(cause))) => {
                let outcome = self.outcome(&work.leased, started.elapsed(), Report::Crashed(cause));
                self.evaluator = None;
                End::Crash(outcome)
            }
        }
    }

    /// Puts what R answered where the client finds it.
    async fn answered(&mut self, work: &Work, answered: Answered) -> End {
        let Work { leased, cancel, .. } = work;
        let Answered { make, bytes, elapsed } = answered;
        let length = bytes.len();
        let mut outcome = self.outcome(leased, elapsed, make(Payload::Inline(Vec::new())));
        let queue = &self.shared.queue;
        match cancellable(cancel, queue.payload(leased, &outcome, bytes)).await {
            Ok(Ok(payload)) => outcome.report = make(payload),
            Ok(Err(Error::TooLarge { size, limit, .. })) => {
                outcome.report = Report::TooLarge { size, limit };
                // Each by itself may not be.
                if leased.name.n > 1 {
                    return End::Split(outcome);
                }
            }
            Ok(Err(error)) => return self.release(leased, &error),
            Err(_) => {
                // Others may need the room; if it can't be removed, it expires.
                let _ = queue.withdraw(leased, &outcome, length).await;
                return End::Cancelled;
            }
        }
        End::Outcome(outcome)
    }

    fn release(&mut self, leased: &Leased, why: &dyn std::fmt::Display) -> End {
        End::Release(self.outcome(leased, Duration::ZERO, Report::GivenUp(why.to_string())))
    }

    fn outcome(&mut self, leased: &Leased, elapsed: Duration, report: Report) -> Outcome {
        let output: Vec<Output> =
            self.evaluator.as_mut().map(Evaluator::printed).unwrap_or_default();
        outcome(&self.shared.queue, leased, elapsed, report, output)
    }

    async fn attempt(&mut self, work: &Work) -> Result<Answered, Stop> {
        let Work { leased, cancel, client } = work;
        let Shared { queue, store, installer, .. } = &*self.shared;
        let reference = &leased.chunk.context;
        let kept = cancellable(cancel, store.get(queue, &leased.job, reference)).await??;
        let context: Context = decode(&kept.bytes()?).map_err(Error::from)?;
        let _ = client.set(context.client.clone());
        install(installer.as_ref(), work, &context).await?;
        let arguments = cancellable(cancel, store.arguments(queue, leased)).await??;
        let broken = || Stop::NoR(self.broken.clone().unwrap_or_default());
        let evaluator = self.evaluator.as_mut().ok_or_else(broken)?;
        let told = evaluator.begin();
        // Two jobs may have the same context, but what the first did to its objects is not the
        // second's.
        let wanted = Some((leased.job.clone(), reference.hash));
        let head = head(leased);
        let parts: [&[u8]; 2] = [&head, &arguments];
        let mut sent = false;
        if evaluator.context != wanted {
            evaluator.context = None;
            sent = matches!(context.main, Payload::Inline(_)) && arguments.len() <= INLINE;
            let chunk = sent.then_some(parts);
            if let Some(bytes) = load(evaluator, queue, store, work, &context, chunk).await? {
                return Ok(Answered { make: Report::Refused, bytes, elapsed: Duration::ZERO });
            }
            evaluator.context = wanted;
        }
        // Chunks are sized by the time that their tasks take, not by that of the preparations.
        let started = Instant::now();
        let chunk = (!sent).then_some(&parts[..]);
        let answer = run_chunk(evaluator, queue, work, told, chunk).await?;
        match answer.kind {
            FromR::Done => Ok(Answered {
                make: Report::Values,
                bytes: answer.payload,
                elapsed: started.elapsed(),
            }),
            kind => {
                let reason = format!("R answered {kind:?} to a chunk");
                Err(Stop::Fault(Fault::Died(evaluator.end(Some(reason)).await)))
            }
        }
    }
}

/// Has R run a chunk, where it has not been sent already, and passes on what its tasks say: all, unless
/// it is cancelled. While what is said waits for Redis, a death is seen and a cancel heard.
async fn run_chunk(
    evaluator: &mut Evaluator,
    queue: &WorkerQueue,
    work: &Work,
    told: mpsc::Receiver<Vec<u8>>,
    parts: Option<&[&[u8]]>,
) -> Result<Answer, Fault> {
    let mut passing = std::pin::pin!(pass_on(queue, &work.leased, told));
    let answer = {
        let mut asking = std::pin::pin!(async {
            match parts {
                Some(parts) => evaluator.ask(ToR::Chunk, parts, &work.cancel).await,
                None => evaluator.listen(&work.cancel).await,
            }
        });
        tokio::select! {
            biased;
            answer = &mut asking => answer,
            // Never: the evaluator holds the other end.
            () = &mut passing => asking.await,
        }
    };
    // The answer may have come together with what was said last.
    if !matches!(answer, Err(Fault::Cancelled)) {
        evaluator.hush();
        cancellable(&work.cancel, passing).await?;
    }
    answer
}

/// Tells the client what a chunk's tasks say, until they say no more. What can't be told is not worth
/// a chunk that is half done.
async fn pass_on(queue: &WorkerQueue, leased: &Leased, mut told: mpsc::Receiver<Vec<u8>>) {
    while let Some(said) = told.recv().await {
        let _ = queue.signal(leased, &said).await;
    }
}

/// What R answered.
struct Answered {
    /// The kind of report that it makes.
    make: fn(Payload) -> Report,
    bytes: Vec<u8>,
    /// The time that R needed.
    elapsed: Duration,
}

/// What keeps a chunk from its outcome.
enum Stop {
    Queue(Error),
    System(std::io::Error),
    Fault(Fault),
    NoR(String),
    Uninstalled(Failed),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Queue(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

async fn cancellable<T>(cancel: &Notify, future: impl Future<Output = T>) -> Result<T, Fault> {
    tokio::select! {
        value = future => Ok(value),
        () = cancel.notified() => Err(Fault::Cancelled),
    }
}

/// Installs what the job asks for, where the worker may; what is missing then, R says.
async fn install(
    installer: Option<&Arc<Installer>>,
    work: &Work,
    context: &Context,
) -> Result<(), Stop> {
    let (Some(installer), Some(wanted)) = (installer, &context.wanted) else { return Ok(()) };
    let ensured = cancellable(&work.cancel, installer.ensure(&work.leased.job, wanted)).await?;
    ensured.map_err(Stop::Uninstalled)
}

fn outcome(
    queue: &WorkerQueue,
    leased: &Leased,
    elapsed: Duration,
    report: Report,
    output: Vec<Output>,
) -> Outcome {
    Outcome {
        worker: queue.id().clone(),
        attempt: leased.attempt,
        elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        report,
        output,
    }
}
