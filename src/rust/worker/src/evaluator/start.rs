//! How an R process comes to be: its pipes, its environment, its script, and its first answer.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use rustbatch_protocol::{Secret, WorkerId};
use rustbatch_queue::family;
use rustix::process::Pid;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::sync::Notify;

use super::{Evaluator, Fault};
use crate::exec;
use crate::memory::Memory;
use crate::output::Capture;
use crate::pipe::{Answers, Requests, ToR};

/// The script that R runs.
const SCRIPT: &str = concat!(
    ".rustBatch <- local(envir = new.env(parent = baseenv()), {\n",
    include_str!("pipes.R"),
    include_str!("session.R"),
    include_str!("compile.R"),
    include_str!("context.R"),
    include_str!("chunk.R"),
    include_str!("serve.R"),
    "})\n.rustBatch()\n"
);

/// What R does first. Given the script as its file, it would parse it anew after every line.
const READ_SCRIPT: &str = "eval(suppressWarnings(parse('/dev/fd/5',keep.source=FALSE)))";

/// How long R may take to start.
const START: Duration = Duration::from_secs(60);

/// How many bytes the pipe with R's answers is to hold.
#[cfg(target_os = "linux")]
const PIPE: usize = 1 << 20;

/// R processes are to be killed before the worker, which reports their death.
const OOM_SCORE: u32 = 500;

/// What an evaluator has of its worker.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// The worker, by whose name what the tasks start is known.
    pub worker: &'a WorkerId,
    /// The folder of its temporary files.
    pub folder: &'a Path,
    /// The library that comes before R's own.
    pub library: Option<&'a Path>,
}

impl Evaluator {
    /// Starts `r` as `host` has it, and waits until it is ready. Call it on the process' first thread.
    ///
    /// # Errors
    /// When R can't be run, or ends or does not answer: with its last words.
    pub async fn start(r: &Path, host: Host<'_>) -> io::Result<Self> {
        let secret = Secret::random().map_err(io::Error::other)?;
        let mut evaluator = Self::spawn(r, host, &secret)?;
        let (hello, never) = ([secret.expose().as_bytes()], Notify::new());
        let greeted = evaluator.ask(ToR::Hello, &hello, &never);
        match tokio::time::timeout(START, greeted).await {
            Ok(Ok(_)) => {
                // What R said while it started is no task's.
                evaluator.printed();
                Ok(evaluator)
            }
            Ok(Err(Fault::Died(cause))) => {
                let said = if cause.stderr.is_empty() {
                    String::new()
                } else {
                    format!(": {}", cause.stderr)
                };
                Err(io::Error::other(format!(
                    "R ({}) did not start: it {}{said}",
                    r.display(),
                    cause.words()
                )))
            }
            Ok(Err(Fault::Cancelled)) | Err(_) => {
                let _ = evaluator.end(None).await;
                Err(io::Error::other(format!(
                    "R ({}) did not start within {} s",
                    r.display(),
                    START.as_secs()
                )))
            }
        }
    }

    fn spawn(r: &Path, host: Host<'_>, secret: &Secret) -> io::Result<Self> {
        let (to_r, requests) =
            io::pipe().map(|(read, write)| (OwnedFd::from(read), OwnedFd::from(write)))?;
        let (answers, from_r) =
            io::pipe().map(|(read, write)| (OwnedFd::from(read), OwnedFd::from(write)))?;
        widen(&from_r);
        let (script, mut writer) = io::pipe()?;
        let mut command = exec::command(r, Some(OOM_SCORE))?;
        command
            .args(["--no-echo", "--no-restore", "--no-save", "--no-init-file", "-e", READ_SCRIPT])
            .env("TMPDIR", host.folder)
            .env(family::VARIABLE, host.worker.as_str())
            .envs(host.library.into_iter().flat_map(exec::libraries))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .fd_mappings(vec![
                FdMapping { parent_fd: to_r, child_fd: 3 },
                FdMapping { parent_fd: from_r, child_fd: 4 },
                FdMapping { parent_fd: script.into(), child_fd: 5 },
            ])
            .map_err(io::Error::other)?;
        let mut command = Command::from(command);
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        // The command holds our copies of R's ends; without them a dead R ends the pipes.
        drop(command);
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = id.ok_or_else(|| io::Error::other("R ended at once"))?;
        // Shorter than what a pipe holds, so this does not wait for R. One that has ended already is
        // seen by the wait for it, which says more.
        let _ = io::Write::write_all(&mut writer, SCRIPT.as_bytes());
        Ok(Self {
            out: child.stdout.take(),
            err: child.stderr.take(),
            child,
            pid,
            requests: Requests::new(pipe::Sender::from_owned_fd(requests)?),
            answers: Answers::new(pipe::Receiver::from_owned_fd(answers)?, secret.expose()),
            capture: Capture::new(secret.expose()),
            request: 0,
            signals: None,
            kills: (Memory::ours().kills(), Instant::now()),
            context: None,
            warm: false,
        })
    }
}

/// Lets a pipe hold more than its usual 64 KiB, where the system allows it, so that large results
/// take fewer turns.
#[cfg(target_os = "linux")]
fn widen(pipe: &OwnedFd) {
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE);
}

#[cfg(not(target_os = "linux"))]
fn widen(_: &OwnedFd) {}
