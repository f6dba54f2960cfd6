//! The background threads: one tokio runtime for the process, started at first use, never by loading
//! the package.
//!
//! A forked child (`parallel::mclapply`) has its parent's memory without its threads: it forgets the
//! runtime it inherited, and starts its own.
#![allow(unsafe_code)]

use std::future::Future;
use std::mem::{self, MaybeUninit};
use std::process;
use std::ptr;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{AbortHandle, JoinHandle};

use crate::boundary::from_panic;
use crate::failure::{Failure, Raised};
use crate::interrupt::{TICK, wait};

const THREADS: usize = 2;

/// How often a wait looks whether what it waits for can still come.
pub const LOOK: Duration = Duration::from_millis(250);

const FAREWELL: Duration = Duration::from_millis(500);

/// The runtime, and the process that started it. Only R's thread comes here, so a fork, which R's
/// thread makes as well, never finds this locked.
static RUNTIME: Mutex<Option<(Origin, Runtime)>> = Mutex::new(None);

/// The process in which something was made.
///
/// Whatever holds connections or tasks keeps one, and asks it first: threads do not survive a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin(u32);

impl Origin {
    /// This process.
    pub fn here() -> Self {
        Self(process::id())
    }

    /// Is this still the process?
    pub fn is_here(self) -> bool {
        self == Self::here()
    }

    /// A failure of the kind `forked` in a child of the process.
    pub fn check(self, what: &str) -> Result<(), Failure> {
        if self.is_here() {
            return Ok(());
        }
        let text = format!(
            "The {what} belongs to the R process that made it, and can't be used in a forked child \
             of that process (as of `parallel::mclapply()`)."
        );
        Err(Failure::new("forked", text))
    }
}

/// The runtime of this process, started now if there is none.
pub fn handle() -> Result<Handle, Failure> {
    let mut slot = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((origin, runtime)) = slot.take() {
        if origin.is_here() {
            let handle = runtime.handle().clone();
            *slot = Some((origin, runtime));
            return Ok(handle);
        }
        // The parent's: its threads are not here, and its sockets are not ours to close.
        mem::forget(runtime);
    }
    let runtime = start()?;
    let handle = runtime.handle().clone();
    *slot = Some((Origin::here(), runtime));
    Ok(handle)
}

fn start() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("rustBatch")
        .on_thread_start(block_signals)
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new("internal", format!("Can't start background threads: {error}"))
        })
}

/// Is the runtime of this process started?
pub fn is_started() -> bool {
    let slot = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    slot.as_ref().is_some_and(|(origin, _)| origin.is_here())
}

/// Runs a future on the background threads while R's thread waits for it, open to Ctrl-C.
///
/// When the wait is interrupted (or R jumps from it otherwise) the task is aborted at its next
/// `.await`: whatever must not be cut in two is for [`run_whole`]. A panic in the future is
/// a failure of the kind `internal`. The future sees no R.
pub fn run<T, E>(future: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    run_while(future, || Ok(()))
}

/// [`run`], which ends as soon as `watch`, asked several times a second, is a failure.
pub fn run_while<T, E>(
    future: impl Future<Output = Result<T, E>> + Send + 'static,
    watch: impl Fn() -> Result<(), Failure>,
) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    let pending = Pending::begin(future)?;
    loop {
        match pending.wait()? {
            Some(value) => return Ok(value),
            None => watch()?,
        }
    }
}

/// [`run`], for what must not be cut in two: after an interrupt it goes on, and R's end waits for it.
pub fn run_whole<T, E>(
    future: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    let pending = Pending::lasting(future)?;
    loop {
        if let Some(value) = pending.wait()? {
            return Ok(value);
        }
    }
}

/// A future that runs on the background threads. Dropping it aborts it, as an interrupt does; one that
/// [lasts](Pending::lasting) goes on.
pub struct Pending<T, E> {
    inbox: mpsc::Receiver<Result<Result<T, E>, tokio::task::JoinError>>,
    task: AbortHandle,
    lasts: bool,
}

impl<T, E> Pending<T, E>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    /// Begins it.
    pub fn begin(
        future: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<Self, Failure> {
        let handle = handle()?;
        let (pending, answered) = Self::spawn(&handle, future, false);
        handle.spawn(answered);
        Ok(pending)
    }

    /// Begins what must not be cut in two: it goes on whoever waits for it, and R's end waits for it.
    pub fn lasting(
        future: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<Self, Failure> {
        let (pending, answered) = Self::spawn(&handle()?, future, true);
        farewell(answered);
        Ok(pending)
    }

    fn spawn(
        handle: &Handle,
        future: impl Future<Output = Result<T, E>> + Send + 'static,
        lasts: bool,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (answer, inbox) = mpsc::sync_channel(1);
        let running = handle.spawn(future);
        let task = running.abort_handle();
        let answered = async move {
            // Nobody listens after an interrupt.
            let _ = answer.send(running.await);
        };
        (Self { inbox, task, lasts }, answered)
    }

    /// Waits for [`LOOK`], open to Ctrl-C: the value, once, or nothing yet.
    pub fn wait(&self) -> Result<Option<T>, Failure> {
        match wait(&self.inbox, Some(Instant::now() + LOOK))? {
            None => Ok(None),
            Some(Ok(result)) => result.map(Some).map_err(Into::into),
            Some(Err(ended)) => Err(ended_early(ended).into()),
        }
    }
}

impl<T, E> Pending<T, E> {
    /// Whether it has ended, well or not.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

impl<T, E> Drop for Pending<T, E> {
    fn drop(&mut self) {
        // One that has ended does not mind.
        if !self.lasts {
            self.task.abort();
        }
    }
}

fn ended_early(ended: tokio::task::JoinError) -> Raised {
    match ended.try_into_panic() {
        Ok(panic) => from_panic(panic.as_ref(), None),
        Err(_) => Raised::new("cancelled", "The background task was cancelled."),
    }
}

/// What has to be done before R ends, and goes on in the background until then.
static FAREWELLS: Mutex<Vec<(Origin, JoinHandle<()>)>> = Mutex::new(Vec::new());

/// Does something in the background that R's end waits for, see [`say_farewell`]. Never blocks.
pub fn farewell(future: impl Future<Output = ()> + Send + 'static) {
    // Without threads there is nothing that could be done.
    if let Ok(handle) = handle() {
        let mut all = FAREWELLS.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, task)| !task.is_finished());
        all.push((Origin::here(), handle.spawn(future)));
    }
}

/// Waits so long at most for what [`farewell`] began. Whether all of it is done. A forked child waits
/// for nothing.
pub fn say_farewell(within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        let mut all = FAREWELLS.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(origin, task)| origin.is_here() && !task.is_finished());
        if all.is_empty() || Instant::now() >= deadline {
            return all.is_empty();
        }
        drop(all);
        std::thread::sleep(TICK);
    }
}

/// Stops the background threads, as the package is unloaded.
pub fn shutdown() {
    let mut slot = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    match slot.take() {
        Some((origin, runtime)) if origin.is_here() => runtime.shutdown_timeout(FAREWELL),
        Some((_, runtime)) => mem::forget(runtime),
        None => {}
    }
}

/// Blocks every signal in the calling thread: R's handlers may jump, and belong to R's thread. Every
/// thread that is started by other means than the runtime calls this first.
pub fn block_signals() {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigfillset()` initialises the set; no previous mask is asked for.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut());
    }
}
