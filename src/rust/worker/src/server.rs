//! The supervisor of a Redis of ours: starts it, says when it is ready, starts it again when it dies,
//! and ends it when nobody needs it any more.
//!
//! Redis does not notice the end of its client, so this process stands between: its standard input
//! ends with the client, however that ends, and Redis dies with this process, however this ends. On
//! a machine of its own nobody holds its standard input; there it looks who is alive, and stops.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustbatch_protocol::Keys;
use rustbatch_protocol::bootstrap::{Address, Server, ServerBootstrap};
use tokio::process::Child;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::exec::complain;
use crate::lifeline::Lifeline;
use crate::redis::{self, READY, Redis};

/// How often Redis is started again within [`WITHIN`].
const RESTARTS: usize = 5;

/// The time in which so many restarts are too many.
const WITHIN: Duration = Duration::from_secs(60);

/// Longest pause between two looks for a live client or worker.
const LONGEST: Duration = Duration::from_secs(30);

/// Shortest pause between two looks for a live client or worker.
const SHORTEST: Duration = Duration::from_millis(100);

/// Why a Redis of ours is not, or no longer, there.
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
    /// Redis ended unasked, too often.
    #[error("Redis ended: {status}, as {before} times within the minute before")]
    Ended {
        /// How it ended at last.
        status: ExitStatus,
        /// How often it was started again.
        before: usize,
    },
}

/// Runs a Redis until standard input ends (with a life line), SIGTERM arrives, or its limits are
/// reached, then removes its folder. Writes the line `ready` to standard output when Redis can be
/// reached for the first time. When Redis dies it is started again: at the same place, with the same
/// users, empty. What Redis says goes to standard error. SIGINT is ignored: it is meant for the
/// client.
///
/// To be called on the main thread, in a runtime of that thread alone, because Redis dies with the
/// thread that started it; and with no lock on standard input held, of which only the bootstrap's
/// line has been read.
///
/// Cancel-safe: Redis is killed; but the folder stays.
///
/// # Errors
/// When others may enter the folder, or Redis can't be started, does not answer within 15 s, or ends
/// unasked for the sixth time within a minute; then, too, it is killed and its folder removed, unless
/// that is not ours.
pub async fn run(bootstrap: ServerBootstrap) -> Result<(), ServeError> {
    redis::private(&bootstrap.folder)?;
    let folder = bootstrap.folder.clone();
    let served = serve(bootstrap).await;
    let _ = std::fs::remove_dir_all(folder);
    served
}

async fn serve(bootstrap: ServerBootstrap) -> Result<(), ServeError> {
    // A signal that is listened to no longer ends the process, whether it is looked at or not.
    let _ignored = signal(SignalKind::interrupt())?;
    let mut stop = Stop {
        lifeline: Lifeline::new(bootstrap.lifeline)?,
        terminate: signal(SignalKind::terminate())?,
    };
    let redis = Redis {
        executable: bootstrap.executable,
        folder: bootstrap.folder,
        listen: bootstrap.listen,
        configuration: bootstrap.configuration,
    };
    let limits = Limits {
        idle: bootstrap.idle_seconds.map(Duration::from_secs),
        life: bootstrap.life_seconds.map(Duration::from_secs),
        keys: Keys::new(&bootstrap.cluster),
        watch: Server {
            address: Address::Unix(redis.socket()),
            username: Some(WATCH.to_owned()),
            password: Some(bootstrap.watch),
            database: 0,
        },
    };
    let mut process = None;
    let served = tokio::select! {
        () = stop.asked() => Ok(()),
        why = limits.reached() => {
            complain(&why);
            Ok(())
        }
        error = keep(&redis, &mut process) => Err(error),
    };
    if let Some(mut process) = process {
        // It has nothing to write, and may have ended.
        let _ = process.kill().await;
    }
    served
}

/// Keeps Redis running in `process`, until it can't.
async fn keep(redis: &Redis, process: &mut Option<Child>) -> ServeError {
    let mut ends = VecDeque::new();
    loop {
        let status = match live(redis, process, ends.is_empty()).await {
            Ok(status) => status,
            Err(error) => return error,
        };
        ends.push_back(Instant::now());
        ends.retain(|end| end.elapsed() < WITHIN);
        if ends.len() > RESTARTS {
            return ServeError::Ended { status, before: RESTARTS };
        }
        complain(&format_args!("Redis ended: {status}; it is started again, empty"));
    }
}

/// One life of Redis, from its start to its end.
async fn live(
    redis: &Redis,
    process: &mut Option<Child>,
    first: bool,
) -> Result<ExitStatus, ServeError> {
    let executable = || redis.executable.clone();
    let started = redis.start().await;
    let child = process
        .insert(started.map_err(|source| ServeError::Run { executable: executable(), source })?);
    tokio::select! {
        status = child.wait() => {
            let status = status?;
            // Why it did not come back may pass; why it did not come may not.
            return match first {
                true => Err(ServeError::Start { executable: executable(), status }),
                false => Ok(status),
            };
        }
        answer = redis.reach() => {
            answer.map_err(|last| ServeError::Late { executable: executable(), last })?;
        }
    }
    if first {
        say_ready();
    }
    Ok(child.wait().await?)
}

/// The user as whom the supervisor looks who is alive; `provision` makes it.
const WATCH: &str = "watch";

/// How long the server is needed.
struct Limits {
    idle: Option<Duration>,
    life: Option<Duration>,
    keys: Keys,
    watch: Server,
}

impl Limits {
    /// Waits until the server is not needed any more, and says why. Cancel-safe.
    async fn reached(&self) -> String {
        tokio::select! {
            why = self.dead() => why,
            why = self.deserted() => why,
        }
    }

    async fn dead(&self) -> String {
        let Some(life) = self.life else {
            return std::future::pending().await;
        };
        sleep(life).await;
        format!("the server's life of {} s is over", life.as_secs())
    }

    /// A look that fails has seen nobody: what does not answer serves nobody either.
    async fn deserted(&self) -> String {
        let Some(idle) = self.idle else {
            return std::future::pending().await;
        };
        let pause = (idle / 4).clamp(SHORTEST, LONGEST);
        let mut seen = Instant::now();
        while seen.elapsed() < idle {
            sleep(pause).await;
            if rustbatch_queue::anybody_alive(&self.watch, &self.keys).await.unwrap_or(false) {
                seen = Instant::now();
            }
        }
        format!("neither a client nor a worker has been alive for {} s", idle.as_secs())
    }
}

/// What ends the server from outside.
struct Stop {
    lifeline: Lifeline,
    terminate: Signal,
}

impl Stop {
    /// Waits until the server is to end. Cancel-safe.
    async fn asked(&mut self) {
        tokio::select! {
            () = self.lifeline.ended() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Nobody may be there to hear it, which standard input tells, too.
fn say_ready() {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "ready").and_then(|()| out.flush());
}
