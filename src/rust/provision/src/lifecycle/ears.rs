//! What the instances say that are waited for, so that their set-up is seen while it runs.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::Door;
use super::fleet::Fleet;
use crate::provider::{Instance, InstanceId, LogQuery, Provider, State};

/// How often it is listened: each time asks somebody.
const OFTEN: Duration = Duration::from_secs(1);

/// To how many instances: they do the same.
const FEW: usize = 3;

/// What has been heard.
pub(super) struct Ears {
    /// When logs were last read; at first, when waiting began: who joins soon need not be heard.
    listened: Instant,
    /// The last line of each.
    last: HashMap<InstanceId, String>,
    /// All lines, each of which is passed on once.
    all: HashSet<String>,
}

impl Ears {
    /// Ears that begin to listen a while after `now`.
    pub fn new(now: Instant) -> Self {
        Self { listened: now, last: HashMap::new(), all: HashSet::new() }
    }

    /// The last line that was heard of an instance.
    pub fn heard(&self, id: &InstanceId) -> Option<&str> {
        self.last.get(id).map(String::as_str)
    }

    /// Passes on the last line of a few instances that run and have not joined, where that is new. One
    /// whose output can't be read is passed over.
    pub async fn listen<P: Provider, D: Door>(
        &mut self,
        fleet: &Fleet<P, D>,
        listed: &HashMap<InstanceId, Instance>,
    ) {
        if self.listened.elapsed() < OFTEN {
            return;
        }
        let runs = |id| listed.get(id).is_some_and(|i| i.state == State::Running);
        let waiting = fleet.members.iter().filter(|(id, m)| m.seen.is_none() && runs(*id));
        for (id, _) in waiting.take(FEW) {
            let logs = fleet.provider.logs(&fleet.cluster, id, &LogQuery { tail: 1 }).await;
            let line = logs.ok().and_then(|mut logs| logs.lines.pop()).unwrap_or_default();
            let line = line.trim_end();
            if line.is_empty() {
                continue;
            }
            self.last.insert(id.clone(), line.to_owned());
            if self.all.insert(line.to_owned()) {
                fleet.progress.say(format!("{id}: {line}"));
            }
        }
        self.listened = Instant::now();
    }
}
