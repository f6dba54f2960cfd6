//! The worker's main loop: it leases for free slots, settles what they finish, renews its lease, and
//! ends when nobody needs it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustbatch_protocol::bootstrap::WorkerBootstrap;
use rustbatch_protocol::{ClientId, ClusterKey, Control, JobId, Outcome, Report, Seal};
use rustbatch_queue::{BEAT, Error, Leased, Settlement, Wake, WorkerQueue};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use crate::folder::Folder;
use crate::lifeline::Lifeline;
use crate::returns::Returns;
use crate::setup::{self, Installer};
use crate::slot::{self, End, Shared, Work};

/// How long a worker that is no longer needed tries to say so.
const FAREWELL: Duration = Duration::from_millis(200);

/// How long what runs may go on after SIGTERM, or when the worker's life is over, before it is handed
/// back. Who sends SIGTERM kills 10 s later (Docker's default), or later than that.
const GRACE: Duration = Duration::from_secs(5);

/// How long handing back may take: with Redis away, the lease runs out all the same.
const HAND_BACK: Duration = Duration::from_secs(3);

/// A chunk in a slot's hands.
struct Held {
    leased: Leased,
    cancel: Arc<Notify>,
    client: Arc<OnceLock<ClientId>>,
    /// The last heartbeat found the job or its client gone.
    doubtful: bool,
}

/// Why a worker ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The queue can't be used.
    #[error(transparent)]
    Queue(#[from] Error),
    /// R does not start.
    #[error("{0}")]
    NoR(String),
    /// What it shall have can't be installed.
    #[error(transparent)]
    Setup(#[from] crate::setup::Failed),
    /// The system refuses something.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

struct Supervisor {
    shared: Arc<Shared>,
    slots: Vec<mpsc::Sender<Work>>,
    free: Vec<usize>,
    held: HashMap<usize, Held>,
    /// How many slots have no R and can't get one.
    broken: usize,
    /// Whether the waiter is to listen to the bell as well.
    listen: Arc<AtomicBool>,
    draining: bool,
    /// Since when what runs has had its last seconds, and why.
    ending: Option<(Instant, &'static str)>,
    returns: Returns,
    /// Until when nothing is leased.
    rest: Option<Instant>,
    last_work: Instant,
}

/// Works until the life line ends, a client or SIGTERM says to drain, Redis stays away for a minute,
/// or idle time or life are over. After SIGTERM, and at the end of its life, what takes too long is
/// handed back, without blame.
///
/// # Errors
/// [`Failed`].
pub async fn work(bootstrap: WorkerBootstrap) -> Result<(), Failed> {
    let key = ClusterKey::from_hex(&bootstrap.key).map_err(Error::from)?;
    let seal = Seal::new(bootstrap.cluster.clone(), key).map_err(Error::from)?;
    let folder = Folder::new(&bootstrap.worker)?;
    let limits = Limits {
        idle: bootstrap.idle_seconds.map(Duration::from_secs),
        end: bootstrap
            .life_seconds
            .and_then(|life| Instant::now().checked_add(Duration::from_secs(life))),
    };
    let mut lifeline = Lifeline::new(bootstrap.lifeline)?;
    let library = folder.path().join("library");
    tokio::select! {
        biased;
        () = lifeline.ended() => return Ok(()),
        prepared = setup::before_joining(&bootstrap, &library) => prepared?,
    }
    let installer = bootstrap
        .setup
        .map(|setup| Installer::new(bootstrap.r.clone(), library, setup.repositories));
    let queue = WorkerQueue::new(&bootstrap.server, seal, bootstrap.worker, bootstrap.slots)?;
    let store = Default::default();
    let shared = Arc::new(Shared { queue, store, r: bootstrap.r, folder, installer });
    let count = bootstrap.slots as usize;
    let (done, finished) = mpsc::channel(count);
    let (started, starts) = mpsc::channel(count);
    let slots = (0..count)
        .map(|number| {
            let (work, inbox) = mpsc::channel(1);
            let (shared, started) = (Arc::clone(&shared), started.clone());
            tokio::spawn(slot::run(number, shared, inbox, started, done.clone()));
            work
        })
        .collect();
    let supervisor = Supervisor {
        shared,
        slots,
        free: (0..count).rev().collect(),
        held: HashMap::new(),
        broken: 0,
        listen: Arc::new(AtomicBool::new(true)),
        draining: false,
        ending: None,
        returns: Returns::default(),
        rest: None,
        last_work: Instant::now(),
    };
    let shared = Arc::clone(&supervisor.shared);
    let overdue = after(limits.end, GRACE + HAND_BACK + FAREWELL);
    tokio::select! {
        biased;
        // Even while a call waits for a Redis that is gone.
        () = lifeline.ended() => {}
        () = overdue => {}
        ended = async {
            drop(started);
            first_r(starts).await?;
            supervisor.run(finished, limits).await
        } => return ended,
    }
    let _ = tokio::time::timeout(FAREWELL, shared.queue.leave()).await;
    Ok(())
}

/// Waits until R runs in a slot: a worker in which it does not is none, and never joins.
async fn first_r(mut starts: mpsc::Receiver<Result<(), String>>) -> Result<(), Failed> {
    let mut reason = String::new();
    while let Some(start) = starts.recv().await {
        match start {
            Ok(()) => return Ok(()),
            Err(error) => reason = error,
        }
    }
    Err(Failed::NoR(reason))
}

/// Waits until `time` has passed since then; for ever where there is no then.
async fn after(then: Option<Instant>, time: Duration) {
    match then {
        Some(then) => tokio::time::sleep_until((then + time).into()).await,
        None => std::future::pending().await,
    }
}

struct Limits {
    idle: Option<Duration>,
    /// When the worker's life is over.
    end: Option<Instant>,
}

impl Supervisor {
    async fn run(
        mut self,
        mut finished: mpsc::Receiver<(usize, Leased, End)>,
        limits: Limits,
    ) -> Result<(), Failed> {
        let mut wakes = self.wait_in_background();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // What was published before this worker came rings no bell for it.
        self.lease().await?;
        while !(self.draining && self.held.is_empty()) {
            tokio::select! {
                biased;
                _ = terminate.recv() => self.end("SIGTERM"),
                () = after(limits.end, Duration::ZERO), if self.ending.is_none() => {
                    self.end("the worker's life is over");
                }
                Some((number, leased, end)) = finished.recv() => {
                    self.finish(number, leased, end).await?;
                }
                () = after(self.ending.map(|(since, _)| since), GRACE) => {
                    let handed = tokio::time::timeout(HAND_BACK, self.hand_back()).await;
                    return Ok(handed.unwrap_or(Ok(()))?);
                }
                () = after(self.rest, Duration::ZERO) => {
                    self.rest = None;
                    self.lease().await?;
                }
                Some(wake) = wakes.recv() => self.wake(wake?).await?,
                _ = beat.tick() => {
                    self.beat().await?;
                    if limits.idle.is_some_and(|limit| self.idle() >= limit) {
                        self.drain();
                    }
                }
            }
        }
        Ok(self.shared.queue.leave().await?)
    }

    /// Waits for bell and messages, one wait after the other: a wait is never broken off.
    /// The waits renew the lease, and go on while the commands are held up.
    fn wait_in_background(&self) -> mpsc::UnboundedReceiver<Result<Wake, Error>> {
        let (tell, wakes) = mpsc::unbounded_channel();
        let (shared, listen) = (Arc::clone(&self.shared), Arc::clone(&self.listen));
        tokio::spawn(async move {
            loop {
                let wake = shared.queue.wait(listen.load(Ordering::Acquire)).await;
                let over = wake.is_err();
                if tell.send(wake).is_err() || over {
                    return;
                }
            }
        });
        wakes
    }

    fn entries(&self) -> Vec<String> {
        self.held.values().map(|held| held.leased.entry()).collect()
    }

    fn room(&self) -> usize {
        if self.draining || self.rest.is_some() { 0 } else { self.free.len() }
    }

    /// How long there has been nothing to do.
    fn idle(&self) -> Duration {
        if self.held.is_empty() { self.last_work.elapsed() } else { Duration::ZERO }
    }

    async fn lease(&mut self) -> Result<(), Error> {
        let leases = self.shared.queue.lease(self.room(), &self.entries()).await?;
        self.give(leases).await
    }

    /// Gives chunks to free slots, and sees to it that the waiter listens to the right keys.
    async fn give(&mut self, leases: Vec<Leased>) -> Result<(), Error> {
        for leased in leases {
            let Some(number) = self.free.pop() else {
                self.shared.queue.release(&leased).await?;
                continue;
            };
            self.last_work = Instant::now();
            let (cancel, client) = (Arc::new(Notify::new()), Arc::new(OnceLock::new()));
            let held = Held {
                leased: leased.clone(),
                cancel: Arc::clone(&cancel),
                client: Arc::clone(&client),
                doubtful: false,
            };
            self.held.insert(number, held);
            // A slot that is free has an empty inbox.
            let _ = self.slots[number].try_send(Work { leased, cancel, client });
        }
        let listen = self.room() > 0;
        if listen && !self.listen.swap(listen, Ordering::AcqRel) {
            self.shared.queue.nudge().await?;
        }
        self.listen.store(listen, Ordering::Release);
        Ok(())
    }

    async fn finish(&mut self, number: usize, leased: Leased, end: End) -> Result<(), Failed> {
        self.held.remove(&number);
        self.last_work = Instant::now();
        match end {
            End::Broken(_) => self.broken += 1,
            _ => self.free.push(number),
        }
        if !matches!(end, End::Release(_)) {
            self.returns.forget(&leased);
        }
        let queue = &self.shared.queue;
        let leases = match end {
            End::Outcome(outcome) => {
                let settlement = Settlement { leased: &leased, outcome: &outcome };
                queue.settle(&settlement, self.room(), &self.entries()).await?.1
            }
            End::Crash(outcome) | End::Split(outcome) => {
                queue.crash(&Settlement { leased: &leased, outcome: &outcome }).await?;
                queue.lease(self.room(), &self.entries()).await?
            }
            End::Broken(reason) => {
                queue.release(&leased).await?;
                if self.broken < self.slots.len() {
                    return Ok(());
                }
                queue.leave().await?;
                return Err(Failed::NoR(reason));
            }
            End::Release(outcome) => self.give_back(&leased, &outcome).await?,
            End::Cancelled => queue.lease(self.room(), &self.entries()).await?,
        };
        Ok(self.give(leases).await?)
    }

    /// Gives back what could not be run here, and pauses; what has been tried often enough is settled.
    async fn give_back(
        &mut self,
        leased: &Leased,
        outcome: &Outcome,
    ) -> Result<Vec<Leased>, Error> {
        if let Report::GivenUp(reason) = &outcome.report {
            crate::exec::complain(&format_args!("chunk {} can't be run: {reason}", leased.name));
        }
        let queue = &self.shared.queue;
        let Some(pause) = self.returns.add(leased) else {
            let settlement = Settlement { leased, outcome };
            return Ok(queue.settle(&settlement, self.room(), &self.entries()).await?.1);
        };
        queue.release(leased).await?;
        self.rest = self.rest.max(Some(Instant::now() + pause));
        Ok(Vec::new())
    }

    async fn wake(&mut self, wake: Wake) -> Result<(), Error> {
        match wake {
            // Also when no slot is free any more: the lease passes the token on.
            Wake::Bell => self.lease().await?,
            Wake::Nothing => {}
            Wake::Control(Control::Drop(job)) => self.cancel(&HashSet::from([job])),
            Wake::Control(Control::Blob(_)) => self.shared.store.arrived(),
            Wake::Control(Control::Drain) => self.drain(),
        }
        Ok(())
    }

    fn cancel(&self, jobs: &HashSet<JobId>) {
        for held in self.held.values().filter(|held| jobs.contains(&held.leased.job)) {
            held.cancel.notify_one();
        }
    }

    /// Leases no more; what runs has some seconds left.
    fn end(&mut self, why: &'static str) {
        self.drain();
        self.ending.get_or_insert((Instant::now(), why));
    }

    /// Leases no more; the loop ends with the last chunk.
    fn drain(&mut self) {
        self.draining = true;
        self.listen.store(false, Ordering::Release);
    }

    /// Gives back what the slots hold, and leaves: R ends with this process.
    async fn hand_back(&self) -> Result<(), Error> {
        let why = self.ending.map_or("", |(_, why)| why);
        for held in self.held.values() {
            crate::exec::complain(&format_args!("chunk {} given back: {why}", held.leased.name));
            self.shared.queue.release(&held.leased).await?;
        }
        self.shared.queue.leave().await
    }

    /// Renews the lease. A job that two heartbeats in a row find without itself or its client is
    /// given up.
    async fn beat(&mut self) -> Result<(), Error> {
        let known: Vec<(usize, (JobId, ClientId))> = self
            .held
            .iter()
            .filter_map(|(&n, held)| {
                Some((n, (held.leased.job.clone(), held.client.get()?.clone())))
            })
            .collect();
        let jobs: Vec<_> = known.iter().map(|(_, job)| job.clone()).collect();
        let wanted = self.shared.queue.beat(&jobs).await?;
        for ((number, _), wanted) in known.into_iter().zip(wanted) {
            let Some(held) = self.held.get_mut(&number) else { continue };
            if !wanted && held.doubtful {
                held.cancel.notify_one();
            }
            held.doubtful = !wanted;
        }
        Ok(())
    }
}
