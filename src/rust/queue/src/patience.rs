//! What a call does when it fails: which errors are waited out, how long, and with what pauses.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use redis::{Pipeline, RedisError};

use crate::Timing;
use crate::connection::CONNECT;
use crate::transport;

/// The slowest line, in bytes a second, that what is sent may have to cross.
const SLOWEST: u64 = 64 << 10;

/// For how long a call has failed. Each attempt counts for as long as one can last: the time that the
/// process itself slept is nobody's failure.
#[derive(Debug, Default)]
pub struct Failed {
    unanswered: Duration,
    refused: Duration,
}

impl Failed {
    /// Counts an attempt and the pause after it; says whether that was too much.
    pub fn add(&mut self, timing: &Timing, answered: bool, took: Duration) -> bool {
        let longest = CONNECT + timing.response + timing.beat + timing.pause;
        if answered {
            self.refused += took.min(longest);
            self.unanswered = Duration::ZERO;
        } else {
            self.unanswered += took.min(longest);
        }
        self.unanswered >= timing.patience || self.refused >= timing.forbearance
    }

    /// Whether it has lasted so long that the user is told.
    pub fn is_long(&self, timing: &Timing) -> bool {
        self.unanswered.max(self.refused) >= timing.lease
    }
}

/// How long what is sent may take to cross the slowest line.
pub fn crossing(pipe: &Pipeline) -> Duration {
    let arguments = pipe.cmd_iter().flat_map(redis::Cmd::args_iter);
    let bytes: usize = arguments
        .map(|argument| match argument {
            redis::Arg::Simple(bytes) => bytes.len(),
            _ => 0,
        })
        .sum();
    Duration::from_secs(bytes as u64 / SLOWEST)
}

/// Exponential back-off with jitter, from 10 ms to `longest`, without end.
pub fn pauses(longest: Duration) -> impl Iterator<Item = Duration> {
    // The jitter adds up to as much again.
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(10))
        .with_max_delay(longest / 2)
        .without_max_times()
        .build()
}

/// Whether waiting may mend the error: a lost connection, a server that loads, saves, fails over, is
/// out of memory, or has forgotten the scripts again as soon as it had them. A server that can't be
/// trusted is none that was lost.
pub fn passing(error: &RedisError) -> bool {
    (error.is_io_error() && transport::distrust(error).is_none())
        || code(error).is_some_and(|code| {
            matches!(
                code.as_str(),
                "OOM"
                    | "NOSCRIPT"
                    | "MISCONF"
                    | "LOADING"
                    | "READONLY"
                    | "UNBLOCKED"
                    | "BUSY"
                    | "MASTERDOWN"
                    | "TRYAGAIN"
                    | "CLUSTERDOWN"
            )
        })
}

/// The code of the server's first refusal. Of a pipeline, the error itself has none.
pub fn code(error: &RedisError) -> Option<String> {
    let refusals = error.clone().into_server_errors()?;
    refusals.first().map(|(_, refusal)| refusal.code().to_owned())
}
