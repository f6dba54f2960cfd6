//! The chunks that this worker could not run and has given back, and how often.
//!
//! The cause may lie in this machine alone, so another worker is to have the time to take them; where
//! none does, or none is better, the loop must not wait for ever.

use std::collections::HashMap;
use std::time::Duration;

use rustbatch_queue::Leased;

/// How often a chunk is tried before it is given up.
const TRIES: u32 = 3;

/// Pause after a chunk is given back for the first time; as much longer each time.
const PAUSE: Duration = Duration::from_secs(1);

/// What has been given back. A pause stands between two entries, so they never become many.
#[derive(Debug, Default)]
pub struct Returns(HashMap<String, u32>);

impl Returns {
    /// A chunk could not be run: how long this worker is to take nothing when it has been given back;
    /// `None` when it has been tried often enough.
    pub fn add(&mut self, leased: &Leased) -> Option<Duration> {
        let times = self.0.entry(leased.entry()).or_default();
        *times += 1;
        let pause = (*times < TRIES).then_some(PAUSE * *times);
        if pause.is_none() {
            self.forget(leased);
        }
        pause
    }

    /// A chunk has ended.
    pub fn forget(&mut self, leased: &Leased) {
        if !self.0.is_empty() {
            self.0.remove(&leased.entry());
        }
    }
}
