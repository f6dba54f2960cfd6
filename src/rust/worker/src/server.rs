//! The supervisor of a private Redis: starts it, says when it is ready, and ends it when the process
//! that asked for it is gone.
//!
//! Redis does not notice the end of its client, so this process stands between: its standard input
//! ends with the client, however that ends, and Redis dies with this process, however this ends.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustbatch_protocol::bootstrap::ServerBootstrap;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// How long Redis may take to answer.
const READY: Duration = Duration::from_secs(15);

/// How long to wait before the socket is tried again.
const AGAIN: Duration = Duration::from_millis(5);

/// The socket's name in the server's folder, as `provision` writes it into the configuration.
const SOCKET: &str = "redis.sock";

/// Why a private Redis is not, or no longer, there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The system refuses what a supervisor needs.
    #[error("can't supervise Redis: {0}")]
    System(#[from] io::Error),
    /// The executable can't be started.
    #[error("can't run `{}`: {source}", .executable.display())]
    Run {
        /// The executable.
        executable: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Redis ended before it was ready; it said why on standard error.
    #[error("`{}` did not start: {status}", .executable.display())]
    Start {
        /// The executable.
        executable: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// Redis runs but can't be reached.
    #[error("`{}` does not answer within {} s: {last}", .executable.display(), READY.as_secs())]
    Late {
        /// The executable.
        executable: PathBuf,
        /// What the last attempt came to.
        last: io::Error,
    },
    /// Redis ended although nobody asked it to.
    #[error("Redis ended: {0}")]
    Ended(ExitStatus),
}

/// Runs a private Redis until standard input ends or SIGTERM arrives, then removes its folder.
/// Writes the line `ready` to standard output when Redis can be reached. What Redis says goes to
/// standard error. SIGINT is ignored: it is meant for the client.
///
/// To be called on the main thread, in a runtime of that thread alone, because Redis dies with the
/// thread that started it; and with no lock on standard input held, of which only the bootstrap's
/// line has been read.
///
/// Cancel-safe: Redis is killed; but the folder stays.
///
/// # Errors
/// When Redis can't be started, does not answer within 15 s, or ends unasked; then, too, it is
/// killed and its folder removed.
pub async fn run(bootstrap: ServerBootstrap) -> Result<(), ServeError> {
    let folder = bootstrap.folder.clone();
    let served = serve(bootstrap).await;
    let _ = std::fs::remove_dir_all(folder);
    served
}

async fn serve(bootstrap: ServerBootstrap) -> Result<(), ServeError> {
    // A signal that is listened to no longer ends the process, whether it is looked at or not.
    let _ignored = signal(SignalKind::interrupt())?;
    let mut stop = Stop { stdin: end_of_stdin()?, terminate: signal(SignalKind::terminate())? };
    let ServerBootstrap { executable, folder, configuration } = bootstrap;
    let run = |source| ServeError::Run { executable: executable.clone(), source };
    let mut redis = start(&executable).map_err(run)?;
    if let Some(mut stdin) = redis.stdin.take() {
        // If Redis ended without reading it, its status says more than the broken pipe.
        let _ = stdin.write_all(configuration.expose().as_bytes()).await;
    }
    drop(configuration);
    let socket = folder.join(SOCKET);
    tokio::select! {
        () = stop.asked() => return end(redis).await,
        status = redis.wait() => return Err(ServeError::Start { executable, status: status? }),
        answer = reach(&socket) => {
            answer.map_err(|last| ServeError::Late { executable, last })?;
        }
    }
    say_ready();
    tokio::select! {
        () = stop.asked() => end(redis).await,
        status = redis.wait() => Err(ServeError::Ended(status?)),
    }
}

/// What ends the server.
struct Stop {
    stdin: oneshot::Receiver<()>,
    terminate: Signal,
}

impl Stop {
    /// Waits until the server is to end. Cancel-safe.
    async fn asked(&mut self) {
        tokio::select! {
            _ = &mut self.stdin => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Tells when standard input ends. A thread reads it, because it need not be a pipe; nobody waits
/// for that thread, it ends with the process.
fn end_of_stdin() -> io::Result<oneshot::Receiver<()>> {
    let (tell, ended) = oneshot::channel();
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = tell.send(());
    })?;
    Ok(ended)
}

/// Starts Redis by way of `rustbatch-worker exec`, so that the system kills it when this process
/// ends, and in a group of its own, so that Ctrl-C does not reach it.
fn start(executable: &Path) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["exec", "--parent-pid", &std::process::id().to_string(), "--"])
        .arg(executable)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(io::stderr())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Tries the socket until it is answered; the error is what the last attempt came to.
async fn reach(socket: &Path) -> io::Result<()> {
    let mut last = io::ErrorKind::TimedOut.into();
    let tries = async {
        while let Err(error) = UnixStream::connect(socket).await {
            last = error;
            sleep(AGAIN).await;
        }
    };
    timeout(READY, tries).await.map_err(|_| last)
}

/// Nobody may be there to hear it, which standard input tells, too.
fn say_ready() {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "ready").and_then(|()| out.flush());
}

/// Kills Redis, which has nothing to write, and waits for it.
async fn end(mut redis: Child) -> Result<(), ServeError> {
    Ok(redis.kill().await?)
}

// What it does to real processes is tested in `provision/tests/local.rs`.
#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_tried_until_it_is_there() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join(SOCKET);
        let late = async {
            tokio::task::yield_now().await;
            tokio::net::UnixListener::bind(&socket)
        };
        let (reached, listener) = tokio::join!(reach(&socket), late);
        listener?;
        reached
    }
}
