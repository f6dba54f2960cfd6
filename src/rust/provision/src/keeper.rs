//! Keeping a worker of this machine: one that ends unasked is started again, under a new name, as
//! long as that does not happen all the time.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustbatch_protocol::WorkerId;
use rustbatch_protocol::bootstrap::WorkerBootstrap;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::process::Process;
use crate::{Error, family};

/// How often a worker is started again within [`WITHIN`].
const AGAIN: usize = 5;
const WITHIN: Duration = Duration::from_secs(60);

/// How a worker is started.
pub(crate) struct Recipe {
    /// `rustbatch-worker`.
    pub(crate) program: PathBuf,
    /// What it is told; its name is that of the first one.
    pub(crate) bootstrap: WorkerBootstrap,
}

impl Recipe {
    /// Starts a worker of this name. Cancel-safe: what was begun is killed.
    async fn start(&self, worker: &WorkerId) -> Result<Process, Error> {
        let bootstrap = WorkerBootstrap { worker: worker.clone(), ..self.bootstrap.clone() };
        let line = serde_json::to_vec(&bootstrap).map_err(|e| Error::Internal(e.to_string()))?;
        let mark = Some((family::VARIABLE, worker.as_str()));
        Process::start("the worker", &self.program, &["work"], mark, Zeroizing::new(line)).await
    }
}

/// A worker, and what keeps it. Dropping it kills the worker, without waiting.
pub(crate) struct Keeper {
    recipe: Arc<Recipe>,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    worker: WorkerId,
    /// `None` when it has been taken down.
    process: Option<Process>,
    /// Why it is not started again any more.
    lost: Option<String>,
    keeping: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the worker, which is not yet kept: one that can't start is not to be tried again. To be
    /// called within a tokio runtime.
    ///
    /// Cancel-safe: what was begun is killed.
    ///
    /// # Errors
    /// Those of [`Process::start`].
    pub(crate) async fn start(recipe: Recipe) -> Result<Self, Error> {
        let worker = recipe.bootstrap.worker.clone();
        let process = Some(recipe.start(&worker).await?);
        let kept = Kept { worker, process, lost: None, keeping: None };
        Ok(Self { recipe: Arc::new(recipe), kept: Arc::new(Mutex::new(kept)) })
    }

    /// From now on the worker is started again when it ends, and the name of the one that ended is
    /// told to `deaths`. To be called within a tokio runtime; once.
    pub(crate) fn keep(&self, deaths: UnboundedSender<WorkerId>) {
        let task = keep(Arc::clone(&self.recipe), Arc::clone(&self.kept), deaths);
        lock(&self.kept).keeping = Some(tokio::spawn(task));
    }

    /// The name of the worker that there is now.
    pub(crate) fn worker(&self) -> WorkerId {
        lock(&self.kept).worker.clone()
    }

    /// Its last lines.
    pub(crate) fn said(&self) -> String {
        lock(&self.kept).process.as_ref().map(Process::said).unwrap_or_default()
    }

    /// How the worker ended, with its last lines, if it is not started again; else `None`.
    pub(crate) fn died(&self) -> Option<String> {
        let kept = lock(&self.kept);
        match (&kept.lost, &kept.keeping) {
            (None, None) => kept.process.as_ref()?.died(),
            (lost, _) => lost.clone(),
        }
    }

    /// Ends the worker, at the latest after `grace`; it is not started again. Cancel-safe: what is
    /// still there is killed.
    pub(crate) async fn stop(self, grace: Duration) {
        let (process, keeping) = {
            let mut kept = lock(&self.kept);
            (kept.process.take(), kept.keeping.take())
        };
        if let Some(keeping) = keeping {
            keeping.abort();
            // One that is being started is killed with it.
            let _ = keeping.await;
        }
        if let Some(process) = process {
            process.stop(grace).await;
        }
        family::end(&lock(&self.kept).worker);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut kept = lock(&self.kept);
        if kept.process.take().is_some() {
            family::end(&kept.worker);
        }
        if let Some(keeping) = kept.keeping.take() {
            keeping.abort();
        }
    }
}

/// Starts the worker again whenever it has ended, until it has been taken down, or ends too often.
/// Cancel-safe: a worker that is being started is killed.
async fn keep(recipe: Arc<Recipe>, kept: Arc<Mutex<Kept>>, deaths: UnboundedSender<WorkerId>) {
    let mut starts = VecDeque::new();
    loop {
        let Some(ended) = lock(&kept).process.as_ref().map(Process::ended) else { return };
        let mut words = ended.await;
        let dead = lock(&kept).worker.clone();
        family::end(&dead);
        // Who listened may be gone; the worker is needed all the same.
        let _ = deaths.send(dead);
        loop {
            starts.retain(|start: &Instant| start.elapsed() < WITHIN);
            if starts.len() >= AGAIN {
                let often = format!("{AGAIN} times within {} s", WITHIN.as_secs());
                lock(&kept).lost = Some(format!("{words}\n* It had been started again {often}."));
                return;
            }
            starts.push_back(Instant::now());
            match again(&recipe, &kept).await {
                Ok(()) => break,
                Err(error) => words = error.to_string(),
            }
        }
    }
}

/// Starts a worker in place of the one that has ended.
async fn again(recipe: &Recipe, kept: &Mutex<Kept>) -> Result<(), Error> {
    let worker = WorkerId::random()?;
    let process = recipe.start(&worker).await?;
    let mut kept = lock(kept);
    // Taken down meanwhile: this one goes, too.
    if kept.process.is_some() {
        (kept.worker, kept.process) = (worker, Some(process));
    }
    Ok(())
}

/// The lock, whatever became of who held it: each holder leaves it whole.
fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use rustbatch_protocol::Secret;
    use rustbatch_protocol::bootstrap::{Address, Server, VERSION};
    use rustix::process::{
        Pid, Signal, WaitId, WaitIdOptions, kill_process, test_kill_process, waitid,
    };
    use tokio::sync::mpsc::unbounded_channel;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(20);

    /// A worker that notes what it was told and its process, and then does `script`.
    fn recipe(folder: &Path, script: &str) -> Recipe {
        let program = folder.join("worker");
        let text = format!("#!/bin/sh\nread x; echo \"$$ $x\" >> $0.told\n{script}\n");
        std::fs::write(&program, text).expect("to write");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("to change the mode");
        let address = Address::Tcp("127.0.0.1".into(), 1);
        let server = Server { address, username: None, password: None, database: 0 };
        let bootstrap = WorkerBootstrap {
            version: VERSION.to_owned(),
            cluster: "c-1".parse().expect("an id"),
            key: Secret::new("00"),
            worker: WorkerId::random().expect("an id"),
            server,
            slots: 3,
            r: "R".into(),
            lifeline: true,
            idle_seconds: None,
            life_seconds: None,
            setup: None,
        };
        Recipe { program, bootstrap }
    }

    /// The processes that were started, and what they were told.
    fn told(folder: &Path) -> Vec<(Pid, WorkerBootstrap)> {
        let text = std::fs::read_to_string(folder.join("worker.told")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map(|(whole, _)| whole.to_owned()).unwrap_or_default();
        let started = whole.lines().map(|line| {
            let (pid, line) = line.split_once(' ').expect("two words");
            let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a process");
            (pid, serde_json::from_str(line).expect("a bootstrap"))
        });
        started.collect()
    }

    /// Looks again until it is so.
    async fn until(what: &str, mut so: impl FnMut() -> bool) {
        let look = async {
            while !so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(SOON, look).await.is_ok(), "in vain: {what}");
    }

    const STAYS: &str = "exec cat > /dev/null";

    #[tokio::test]
    async fn a_worker_that_dies_is_started_again_under_a_new_name() {
        let place = tempfile::tempdir().expect("a folder");
        let keeper = Keeper::start(recipe(place.path(), STAYS)).await.expect("a worker");
        let (tell, mut deaths) = unbounded_channel();
        keeper.keep(tell);
        for round in 1..=3 {
            until("a start", || told(place.path()).len() == round).await;
            let (pid, bootstrap) = told(place.path()).pop().expect("one");
            assert_eq!((bootstrap.slots, bootstrap.cluster.as_str()), (3, "c-1"));
            kill_process(pid, Signal::KILL).expect("to kill");
            let dead = timeout(SOON, deaths.recv()).await.expect("a word");
            assert_eq!(dead, Some(bootstrap.worker));
            assert_eq!(keeper.died(), None);
        }
        until("the fourth", || told(place.path()).len() == 4).await;
        let mut names: Vec<_> = told(place.path()).into_iter().map(|(_, b)| b.worker).collect();
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        assert_eq!(names.len(), 4);
        keeper.stop(SOON).await;
        let left =
            told(place.path()).into_iter().filter(|(pid, _)| test_kill_process(*pid).is_ok());
        assert_eq!(left.count(), 0);
        // It was not started again when it was stopped, and nobody mourns it.
        assert_eq!((told(place.path()).len(), deaths.recv().await), (4, None));
    }

    #[tokio::test]
    async fn one_that_ends_all_the_time_is_lost_with_its_last_words() {
        let place = tempfile::tempdir().expect("a folder");
        let keeper = Keeper::start(recipe(place.path(), "echo why >&2; exit 4")).await;
        let keeper = keeper.expect("a worker");
        until("its end", || keeper.died().is_some()).await;
        let once = "the worker ended: exit status: 4\n  why";
        assert_eq!(keeper.died().as_deref(), Some(once), "before it is kept");
        let (tell, mut deaths) = unbounded_channel();
        keeper.keep(tell);
        until("despair", || keeper.died().is_some()).await;
        let words = format!("{once}\n* It had been started again 5 times within 60 s.");
        assert_eq!(keeper.died(), Some(words));
        assert_eq!(told(place.path()).len(), 1 + AGAIN);
        let mut dead = 0;
        while deaths.recv().await.is_some() {
            dead += 1;
        }
        assert_eq!(dead, 1 + AGAIN);
    }

    #[tokio::test]
    async fn one_that_can_not_be_started_again_is_lost() {
        let place = tempfile::tempdir().expect("a folder");
        let keeper = Keeper::start(recipe(place.path(), STAYS)).await.expect("a worker");
        keeper.keep(unbounded_channel().0);
        until("a start", || told(place.path()).len() == 1).await;
        std::fs::remove_file(place.path().join("worker")).expect("to remove");
        kill_process(told(place.path())[0].0, Signal::KILL).expect("to kill");
        until("despair", || keeper.died().is_some()).await;
        let words = keeper.died().expect("words");
        assert!(words.starts_with("Can't start the worker: can't run `"), "{words}");
    }

    #[tokio::test]
    async fn dropping_the_keeper_kills_the_worker_for_good() {
        let place = tempfile::tempdir().expect("a folder");
        let keeper = Keeper::start(recipe(place.path(), STAYS)).await.expect("a worker");
        let (tell, mut deaths) = unbounded_channel();
        keeper.keep(tell);
        until("a start", || told(place.path()).len() == 1).await;
        let pid = told(place.path())[0].0;
        drop(keeper);
        // At once, not when the runtime comes to it: nothing is awaited here.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let deadline = Instant::now() + SOON;
        while waitid(WaitId::Pid(pid), look).expect("a child").is_none() {
            assert!(Instant::now() < deadline, "it was not killed");
            std::thread::sleep(Duration::from_millis(5));
        }
        let word = timeout(SOON, deaths.recv()).await.expect("the end of the keeping");
        assert_eq!(word, None);
        until("its end", || test_kill_process(pid).is_err()).await;
        assert_eq!(told(place.path()).len(), 1);
    }
}
