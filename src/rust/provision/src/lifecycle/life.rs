//! How long a cluster lives, whatever becomes of who started it: what is launched later lives no longer
//! than what was launched first.

use std::time::{Duration, Instant, SystemTime};

use super::Door;
use super::fleet::Fleet;
use crate::provider::Provider;

impl<P: Provider, D: Door> Fleet<P, D> {
    /// Its life begins at `now`. One that ends with this process needs no other end.
    pub fn begin_life(&mut self, now: Instant) {
        let lifeline = self.site.as_ref().is_some_and(|site| site.server.lifeline);
        let end = seconds(now).saturating_add(self.policy.life.as_secs());
        self.until = (!lifeline).then_some(end);
    }

    /// How long an instance that is launched at `now` may stay.
    pub fn life_left(&self, now: Instant) -> Duration {
        let left = |until: u64| Duration::from_secs(until.saturating_sub(seconds(now)));
        self.until.map_or(self.policy.life, left)
    }

    /// Why nothing is done for it any more at `now`; nothing while it lives.
    pub fn life_is_over(&self, now: Instant) -> Option<String> {
        let over = self.until.is_some_and(|until| until <= seconds(now));
        over.then(|| format!("its lifetime of {} is over (`lifetime`)", span(self.policy.life)))
    }
}

/// The time of the wall at `now`, in seconds since 1970: it goes on while a machine sleeps, and another
/// process knows it, too.
fn seconds(now: Instant) -> u64 {
    let ahead = now.saturating_duration_since(Instant::now());
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (wall + ahead).as_secs()
}

/// A time in the largest unit of which it is a multiple.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 3600 && seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_said_in_its_largest_unit() {
        for (seconds, said) in [(43_200, "12 h"), (5400, "90 min"), (90, "90 s"), (0, "0 s")] {
            assert_eq!(span(Duration::from_secs(seconds)), said);
        }
    }
}
