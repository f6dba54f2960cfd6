//! Of what workers died, as far as their provider has told this client.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use rustbatch_protocol::WorkerId;

/// How many are remembered: a task that is settled as lost is so soon after its worker's death.
const MANY: usize = 256;

/// How many characters of each: what is told ends with the last lines of a log.
const LONG: usize = 4096;

/// The last deaths.
#[derive(Debug, Default)]
pub struct Whys(Mutex<VecDeque<(WorkerId, String)>>);

impl Whys {
    /// Notes of what a worker died, cut where it is too long.
    pub fn note(&self, worker: &WorkerId, why: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.truncate(MANY - 1);
        all.push_front((worker.clone(), why.chars().take(LONG).collect()));
    }

    /// Of what the worker died; empty where that is not known.
    pub fn of(&self, worker: &WorkerId) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(dead, _)| dead == worker).map(|(_, why)| why.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_deaths_are_remembered_and_no_more_than_that() {
        let whys = Whys::default();
        let ids: Vec<WorkerId> =
            (0..=MANY).map(|i| format!("w{i}").parse().expect("a name")).collect();
        ids.iter().for_each(|id| whys.note(id, "it was evicted"));
        assert_eq!((whys.of(&ids[0]), whys.of(&ids[1])), (String::new(), "it was evicted".into()));
        whys.note(&ids[1], &"ä".repeat(LONG + 1));
        assert_eq!(whys.of(&ids[1]), "ä".repeat(LONG));
    }
}
