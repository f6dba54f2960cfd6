//! One R process: how it is asked, interrupted, and seen to die.
//!
//! Death is seen by waiting for the process, never by the end of a pipe, which a forked child would
//! keep open. One request is in flight; an evaluator in doubt is never used again.

mod start;

use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustbatch_protocol::{BlobHash, Cause, JobId, Output, Stream};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::sync::{Notify, mpsc};

use crate::memory::Memory;
use crate::output::{Capture, drain, some};
use crate::pipe::{Answer, Answers, FromR, Requests, ToR};
pub use start::Host;

/// How long an interrupted evaluator may take to answer.
const INTERRUPT: Duration = Duration::from_secs(1);

/// How many signals may wait to be passed on before R waits.
const SIGNALS: usize = 16;

/// How old the kernel's count of kills may be when a request is sent.
const COUNT: Duration = Duration::from_secs(1);

/// Why an evaluator can't be used any more.
#[derive(Debug)]
pub enum Fault {
    /// The process is gone.
    Died(Cause),
    /// It was cancelled, and is gone or in doubt.
    Cancelled,
}

/// A running R process.
#[derive(Debug)]
pub struct Evaluator {
    child: Child,
    pid: Pid,
    requests: Requests,
    answers: Answers,
    out: Option<ChildStdout>,
    err: Option<ChildStderr>,
    capture: Capture,
    request: i32,
    /// Who is told what the tasks of the present chunk say.
    signals: Option<mpsc::Sender<Vec<u8>>>,
    /// How many processes the kernel had killed for want of memory, and when that was looked at.
    kills: (u64, Instant),
    /// The job and the context that it has loaded.
    pub context: Option<(JobId, BlobHash)>,
    /// Whether it has compiled its own functions.
    warm: bool,
}

impl Evaluator {
    /// Sends a request and waits for its answer. The answer may be [`FromR::Need`]; the caller then asks
    /// again with the object. `cancel` interrupts it. After a fault the process is gone, and its group
    /// with it.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn ask(
        &mut self,
        kind: ToR,
        parts: &[&[u8]],
        cancel: &Notify,
    ) -> Result<Answer, Fault> {
        self.request = self.request.wrapping_add(1);
        if self.kills.1.elapsed() >= COUNT {
            self.kills = (Memory::ours().kills(), Instant::now());
        }
        self.converse(Some((kind, parts)), cancel).await
    }

    /// Waits for the next answer to the same request: [`FromR::Ready`] is not the last one to
    /// [`ToR::First`].
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn listen(&mut self, cancel: &Notify) -> Result<Answer, Fault> {
        self.converse(None, cancel).await
    }

    async fn converse(
        &mut self,
        request: Option<(ToR, &[&[u8]])>,
        cancel: &Notify,
    ) -> Result<Answer, Fault> {
        match self.exchange(request, cancel).await {
            Ok(answer) => Ok(answer),
            Err(Trouble::Ended(status)) => Err(Fault::Died(self.cause(status, None).await)),
            Err(Trouble::Broken(reason)) => Err(Fault::Died(self.end(Some(reason)).await)),
            Err(Trouble::Cancelled) => {
                if !self.interrupt().await {
                    self.end(None).await;
                }
                Err(Fault::Cancelled)
            }
        }
    }

    /// Begins with a chunk: returns where its tasks' signals are told, and nobody else's. What was
    /// printed since the last one, by a command that a task has left running, is forgotten.
    pub fn begin(&mut self) -> mpsc::Receiver<Vec<u8>> {
        drain(self.out.as_ref(), Stream::Out, &mut self.capture);
        drain(self.err.as_ref(), Stream::Err, &mut self.capture);
        self.capture.take();
        let (signals, told) = mpsc::channel(SIGNALS);
        self.signals = Some(signals);
        told
    }

    /// Ends what [`Evaluator::begin`] returned: what is said from now on is told to nobody.
    pub fn hush(&mut self) {
        self.signals = None;
    }

    /// Whether the process may be used after a cancelled request.
    pub fn is_sound(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What the tasks have printed since the last call.
    pub fn printed(&mut self) -> Vec<Output> {
        self.capture.take()
    }

    /// Whether the process has been asked to compile its own functions.
    pub fn is_warm(&self) -> bool {
        self.warm
    }

    /// Has the process compile its own functions, which takes it about 50 ms.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn warm_up(&mut self) -> Result<(), Fault> {
        self.warm = true;
        self.ask(ToR::Compile, &[], &Notify::new()).await.map(drop)
    }

    /// Waits, between requests, until the process dies; reads what its children print. Cancel-safe.
    pub async fn idle(&mut self) {
        let Self { child, out, err, capture, .. } = self;
        watch(child, out, err, capture).await;
    }

    /// Kills the process and its group, and says how it ended.
    pub async fn end(&mut self, reason: Option<String>) -> Cause {
        let _ = kill_process_group(self.pid, Signal::KILL);
        let status = self.child.wait().await.ok();
        self.cause(status, reason).await
    }

    async fn exchange(
        &mut self,
        frame: Option<(ToR, &[&[u8]])>,
        cancel: &Notify,
    ) -> Result<Answer, Trouble> {
        let Self { child, requests, answers, out, err, capture, request, pid, signals, .. } = self;
        let talk = async {
            if let Some((kind, parts)) = frame {
                requests.send(kind, *request, parts).await?;
            }
            loop {
                let answer = answers.next().await?;
                // A forked child of a task that answers too is not listened to.
                if answer.pid != pid.as_raw_pid() {
                    continue;
                }
                if answer.kind != FromR::Signal {
                    return Ok::<_, io::Error>(answer);
                }
                if let Some(signals) = signals {
                    let _ = signals.send(answer.payload).await;
                }
            }
        };
        let answer = tokio::select! {
            biased;
            answer = talk => answer,
            status = watch(child, out, err, capture) => return Err(Trouble::Ended(status)),
            () = cancel.notified() => return Err(Trouble::Cancelled),
        };
        match answer {
            Ok(answer) if answer.request == *request => {
                drain(out.as_ref(), Stream::Out, capture);
                drain(err.as_ref(), Stream::Err, capture);
                Ok(answer)
            }
            Ok(answer) => Err(Trouble::Broken(format!(
                "R answered request {} instead of {request}",
                answer.request
            ))),
            // R may have closed the pipe because it is about to end.
            Err(error) => match tokio::time::timeout(INTERRUPT, child.wait()).await {
                Ok(status) => Err(Trouble::Ended(status.ok())),
                Err(_) => Err(Trouble::Broken(error.to_string())),
            },
        }
    }

    /// Sends SIGINT to the process and what it started. Says whether it has confirmed, in time, that
    /// this very request was interrupted: only then may it be used again.
    async fn interrupt(&mut self) -> bool {
        let _ = kill_process_group(self.pid, Signal::INT);
        let Self { child, answers, out, err, capture, request, .. } = self;
        let confirmed = async {
            tokio::select! {
                answer = answers.next() => {
                    answer.is_ok_and(|a| a.request == *request && a.kind == FromR::Interrupted)
                }
                _ = watch(child, out, err, capture) => false,
            }
        };
        let confirmed = tokio::time::timeout(INTERRUPT, confirmed).await.unwrap_or(false);
        if confirmed {
            // What the task has printed must not be taken for the next one's.
            drain(self.out.as_ref(), Stream::Out, &mut self.capture);
            drain(self.err.as_ref(), Stream::Err, &mut self.capture);
        }
        confirmed
    }

    /// How the process ended; what is left of its group ends too.
    async fn cause(&mut self, status: Option<ExitStatus>, reason: Option<String>) -> Cause {
        use std::os::unix::process::ExitStatusExt;
        let _ = kill_process_group(self.pid, Signal::KILL);
        drain(self.out.as_ref(), Stream::Out, &mut self.capture);
        drain(self.err.as_ref(), Stream::Err, &mut self.capture);
        let signal = status.and_then(|s| s.signal());
        // Who broke the protocol was killed by us.
        let killed = reason.is_none() && signal == Some(Signal::KILL.as_raw());
        let exceeded = if killed { Memory::ours().explain(self.kills.0) } else { None };
        Cause {
            exit: status.and_then(|s| s.code()),
            signal,
            out_of_memory: exceeded.is_some(),
            limit: exceeded.and_then(|exceeded| exceeded.limit),
            peak: exceeded.and_then(|exceeded| exceeded.peak),
            reason,
            stderr: self.capture.last_words(),
        }
    }
}

impl Drop for Evaluator {
    fn drop(&mut self) {
        // While the leader has not been waited for, its number can't have become another group's.
        if self.is_sound() {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }
}

enum Trouble {
    Ended(Option<ExitStatus>),
    Broken(String),
    Cancelled,
}

/// Reads what the process prints until it ends. Cancel-safe.
async fn watch(
    child: &mut Child,
    out: &mut Option<ChildStdout>,
    err: &mut Option<ChildStderr>,
    capture: &mut Capture,
) -> Option<ExitStatus> {
    let (mut from_out, mut from_err) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            status = child.wait() => return status.ok(),
            n = some(out, &mut from_out), if out.is_some() => match n {
                0 => *out = None,
                _ => capture.feed(Stream::Out, &from_out),
            },
            n = some(err, &mut from_err), if err.is_some() => match n {
                0 => *err = None,
                _ => capture.feed(Stream::Err, &from_err),
            },
        }
    }
}
