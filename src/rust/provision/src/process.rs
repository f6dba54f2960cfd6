//! A process of ours on this machine: told what to do over its standard input, which is also its
//! life line, and listened to until it ends.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::Error;

/// How many lines of a process' output are kept.
const KEPT_LINES: usize = 50;

/// How much of a line is kept, in bytes.
const KEPT_BYTES: usize = 1000;

/// How long after a process' end its last words are waited for: a child of it may hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long the end of a process that was killed, or closed its standard output, is waited for.
const END: Duration = Duration::from_secs(2);

/// What a process says on standard output, as a line, when it is ready.
const READY: &[u8] = b"ready";

/// A process in a group of its own. Dropping it kills the group.
pub(crate) struct Process {
    what: &'static str,
    group: Pid,
    stdin: Option<ChildStdin>,
    ready: Option<oneshot::Receiver<()>>,
    tail: Arc<Mutex<Tail>>,
    ended: watch::Receiver<Option<String>>,
}

impl Process {
    /// Starts `program` and writes it `line`, which may be secret, and keeps the pipe open. `what`
    /// names the process in errors: "the worker". To be called within a tokio runtime.
    ///
    /// Not cancel-safe in what it did, but safe: a process that was begun is killed.
    ///
    /// # Errors
    /// [`Error::Start`] when it can't be started or does not read the line.
    pub(crate) async fn start(
        what: &'static str,
        program: &Path,
        arguments: &[&str],
        line: Zeroizing<Vec<u8>>,
    ) -> Result<Self, Error> {
        let refuse = |reason: std::io::Error| Error::Start {
            what,
            reason: format!("can't run `{}`: {reason}", program.display()),
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(refuse)?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| Error::Internal(format!("{what} has no process id")))?;
        let tail = Arc::new(Mutex::new(Tail::default()));
        let (tell_ready, ready) = oneshot::channel();
        let (tell_end, ended) = watch::channel(None);
        let stdin = child.stdin.take();
        let drains = [
            child.stdout.take().map(|out| tokio::spawn(drain(out, tail.clone(), Some(tell_ready)))),
            child.stderr.take().map(|out| tokio::spawn(drain(out, tail.clone(), None))),
        ];
        tokio::spawn(attend(child, drains, tail.clone(), tell_end));
        let mut process = Self { what, group, stdin, ready: Some(ready), tail, ended };
        process.tell(line).await?;
        Ok(process)
    }

    async fn tell(&mut self, mut line: Zeroizing<Vec<u8>>) -> Result<(), Error> {
        line.push(b'\n');
        let written = match self.stdin.as_mut() {
            Some(stdin) => timeout(END, stdin.write_all(&line)).await,
            None => {
                return Err(Error::Internal(format!("{} has no standard input", self.what)));
            }
        };
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failed(&error.to_string()).await),
            Err(_) => Err(self.late(END)),
        }
    }

    /// Whether the process has said that it is ready.
    pub(crate) fn is_ready(&mut self) -> bool {
        match self.ready.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(())) => self.ready = None,
            Some(Err(_)) => return false,
            None => {}
        }
        true
    }

    /// Its last lines.
    pub(crate) fn said(&self) -> String {
        lock(&self.tail).text()
    }

    /// What to say of a process that did not do as it should: how it ended, if it did.
    async fn failed(&mut self, otherwise: &str) -> Error {
        let _ = timeout(END, self.end()).await;
        let reason = self.died().unwrap_or_else(|| otherwise.to_owned());
        Error::Start { what: self.what, reason }
    }

    fn late(&self, waited: Duration) -> Error {
        Error::TimedOut {
            what: self.what,
            seconds: waited.as_secs(),
            said: lock(&self.tail).text(),
        }
    }

    /// How the process ended, with its last lines; `None` while it runs.
    pub(crate) fn died(&self) -> Option<String> {
        self.ended.borrow().as_ref().map(|how| format!("{} ended: {how}", self.what))
    }

    /// Waits for the process' end, and says how it came, as [`Process::died`] does. Cancel-safe; does
    /// not hold the process.
    pub(crate) fn ended(&self) -> impl Future<Output = String> + Send + use<> {
        let (what, mut ended) = (self.what, self.ended.clone());
        async move {
            // The sender goes away without a word only with the runtime.
            match ended.wait_for(Option::is_some).await.map(|how| how.clone().unwrap_or_default()) {
                Ok(how) => format!("{what} ended: {how}"),
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Waits for the process' end. Cancel-safe.
    async fn end(&mut self) {
        // The sender goes away without a word only with the runtime.
        let _ = self.ended.wait_for(Option::is_some).await;
    }

    /// Asks the process to end, by the end of its standard input and by SIGTERM (a forked child of
    /// ours may hold the pipe, too), waits up to `grace`, then kills its group.
    ///
    /// Cancel-safe: what is still there is killed.
    pub(crate) async fn stop(mut self, grace: Duration) {
        self.stdin = None;
        self.signal(Signal::TERM);
        if timeout(grace, self.end()).await.is_err() {
            self.signal(Signal::KILL);
            let _ = timeout(END, self.end()).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if self.ended.borrow().is_none() {
            let _ = kill_process_group(self.group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Waits for the end of `child` and tells how it came.
async fn attend(
    mut child: Child,
    drains: [Option<JoinHandle<()>>; 2],
    tail: Arc<Mutex<Tail>>,
    tell_end: watch::Sender<Option<String>>,
) {
    let how = match child.wait().await {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    for drain in drains.into_iter().flatten() {
        let _ = timeout(LAST_WORDS, drain).await;
    }
    let said = lock(&tail).text();
    let how = if said.is_empty() { how } else { format!("{how}\n{said}") };
    tell_end.send_replace(Some(how));
}

/// Reads all that comes, so that the pipe is never full, and keeps the end of it.
async fn drain(
    mut from: impl AsyncRead + Unpin,
    tail: Arc<Mutex<Tail>>,
    mut tell_ready: Option<oneshot::Sender<()>>,
) {
    let mut line = Vec::new();
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        for &byte in &bytes[..n] {
            if byte != b'\n' {
                if line.len() < KEPT_BYTES {
                    line.push(byte);
                }
                continue;
            }
            match tell_ready.take_if(|_| line == READY) {
                Some(teller) => {
                    let _ = teller.send(());
                }
                None => lock(&tail).push(&line),
            }
            line.clear();
        }
    }
    lock(&tail).push(&line);
}

/// The last lines of an output.
#[derive(Default)]
struct Tail(VecDeque<String>);

impl Tail {
    fn push(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        if line.trim().is_empty() {
            return;
        }
        if self.0.len() == KEPT_LINES {
            self.0.pop_front();
        }
        self.0.push_back(format!("  {}", line.trim_end()));
    }

    fn text(&self) -> String {
        self.0.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// The lock, whatever became of who held it: each holder leaves the tail whole.
fn lock(tail: &Mutex<Tail>) -> std::sync::MutexGuard<'_, Tail> {
    tail.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    async fn shell(script: &str) -> Result<Process, Error> {
        let line = Zeroizing::new(b"hello".to_vec());
        Process::start("the shell", Path::new("/bin/sh"), &["-c", script], line).await
    }

    /// Waits until the process says that it is ready.
    async fn ready(process: &mut Process) {
        let look = async {
            while !process.is_ready() {
                assert_eq!(process.died(), None);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, look).await.expect("to be ready");
    }

    /// Whether nobody of the group runs; who is dead and not yet buried does not.
    fn gone(group: Pid) -> bool {
        let list = std::process::Command::new("ps").args(["-A", "-o", "pgid=,stat="]).output();
        let list = String::from_utf8(list.expect("ps").stdout).expect("UTF-8");
        let id = group.as_raw_nonzero().to_string();
        !list
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .any(|words| matches!(words[..], [pgid, stat] if pgid == id && !stat.starts_with('Z')))
    }

    #[tokio::test]
    async fn it_is_told_a_line_and_says_that_it_is_ready() {
        let script = "read x; echo noise; echo ready; echo $x >&2; cat; exit 3";
        let mut process = shell(script).await.expect("a process");
        ready(&mut process).await;
        assert_eq!(process.died(), None);
        process.stdin = None;
        timeout(SOON, process.end()).await.expect("its end");
        let words = process.died().expect("words");
        assert!(words.starts_with("the shell ended: exit status: 3\n"), "{words}");
        assert!(words.contains("\n  noise") && words.contains("\n  hello"), "{words}");
    }

    #[tokio::test]
    async fn one_that_ends_at_once_is_quoted() {
        let mut process = shell("read x; echo why >&2; exit 4").await.expect("a process");
        timeout(SOON, process.end()).await.expect("its end");
        let text = "the shell ended: exit status: 4\n  why";
        assert_eq!((process.is_ready(), process.died().as_deref()), (false, Some(text)));
        let error = Process::start("it", Path::new("/no/such"), &[], Zeroizing::default()).await;
        let error = error.err().expect("no program").to_string();
        assert!(error.starts_with("Can't start it: can't run `/no/such`: "), "{error}");
    }

    #[tokio::test]
    async fn one_that_is_not_ready_is_quoted_all_the_same() {
        let mut process = shell("read x; echo well >&2; cat >/dev/null").await.expect("a process");
        let look = async {
            while process.said() != "  well" {
                assert!(!process.is_ready());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, look).await.expect("a word");
    }

    #[tokio::test]
    async fn stopping_asks_first_and_then_kills_the_group() {
        let process = shell("read x; echo ready; cat >/dev/null").await.expect("a process");
        let group = process.group;
        timeout(SOON, process.stop(SOON)).await.expect("a quick end");
        assert!(gone(group));
        let deaf = "trap '' TERM; read x; echo ready; (while :; do sleep 1; done) & wait; wait";
        let mut process = shell(deaf).await.expect("a process");
        ready(&mut process).await;
        let group = process.group;
        timeout(SOON, process.stop(Duration::from_millis(100))).await.expect("an end");
        assert!(gone(group));
    }

    #[tokio::test]
    async fn dropping_kills() {
        let mut process =
            shell("read x; echo ready; exec cat >/dev/null").await.expect("a process");
        ready(&mut process).await;
        let mut ended = process.ended.clone();
        drop(process);
        let how = timeout(SOON, ended.wait_for(Option::is_some)).await.expect("its end");
        assert_eq!(how.expect("words").as_deref(), Some("signal: 9 (SIGKILL)"));
    }

    #[tokio::test]
    async fn a_flood_is_drained_and_its_end_kept() {
        let script = "read x; head -c 3000000 /dev/zero | tr '\\0' x; echo; \
                      i=0; while [ $i -lt 200 ]; do echo $i; i=$((i+1)); done";
        let mut process = shell(script).await.expect("a process");
        timeout(SOON, process.end()).await.expect("its end");
        let words = process.died().expect("words");
        assert_eq!(words.lines().count(), 1 + KEPT_LINES);
        assert!(words.ends_with("\n  199"), "{words}");
    }
}
