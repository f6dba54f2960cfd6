//! How long things last, in one place, so that a test of what takes minutes can take seconds.

use std::time::Duration;

use crate::{BEAT, LEASE};

/// The times of a queue. All who share a cluster use the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often a lease is renewed, and how long a blocking wait lasts at most.
    pub beat: Duration,
    /// How long a worker's or a client's lease lasts without renewal.
    pub lease: Duration,
    /// The longest pause before a call is tried again.
    pub pause: Duration,
    /// How long an answer may take beyond what the command itself waits. A line that swallows all
    /// is noticed after this time.
    pub response: Duration,
    /// How long a call waits for a server that does not answer.
    pub patience: Duration,
    /// How long a call waits for a server that answers, but refuses for the moment: it loads, can't
    /// save, or is out of memory.
    pub forbearance: Duration,
    /// How long a job waits without a live worker, or for memory, before it fails.
    pub stall: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            beat: BEAT,
            lease: LEASE,
            pause: Duration::from_secs(5),
            response: Duration::from_secs(8),
            patience: Duration::from_secs(60),
            forbearance: Duration::from_secs(600),
            stall: Duration::from_secs(60),
        }
    }
}

impl Timing {
    /// How long after the first look at a worker that is not alive the second one counts: one
    /// heartbeat and the longest pause, so that one that only lost its connection can be back.
    #[must_use]
    pub fn second_look(&self) -> Duration {
        self.beat + self.pause
    }

    /// How long a first look is remembered.
    #[must_use]
    pub fn look(&self) -> Duration {
        self.second_look() + 4 * self.beat
    }
}
