//! How often what dies is replaced: not all the time, and each time later.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How often within [`WITHIN`].
pub(crate) const TIMES: u32 = 5;

/// The time that is looked back on.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// Whether something may be replaced now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// It may, and has been counted.
    Now,
    /// Later.
    Wait,
    /// It was replaced too often; later perhaps.
    Spent,
}

/// Counts replacements. The first is granted at once, each further one after twice the pause.
#[derive(Debug)]
pub(crate) struct Budget {
    pause: Duration,
    granted: VecDeque<Instant>,
}

impl Budget {
    /// A budget of which nothing is spent; `pause` is that before the second replacement.
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause, granted: VecDeque::new() }
    }

    /// Asks for a replacement at `now`.
    pub(crate) fn ask(&mut self, now: Instant) -> Grant {
        self.granted.retain(|&then| now.saturating_duration_since(then) < WITHIN);
        let Ok(count @ 0..TIMES) = u32::try_from(self.granted.len()) else {
            return Grant::Spent;
        };
        let pause = if count == 0 { Duration::ZERO } else { self.pause * (1 << (count - 1)) };
        match self.granted.back() {
            Some(&last) if now.saturating_duration_since(last) < pause => Grant::Wait,
            _ => {
                self.granted.push_back(now);
                Grant::Now
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_a_minute_each_after_twice_the_pause() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut budget = Budget::new(Duration::from_secs(1));
        for granted in [0, 1000, 3000, 7000, 15_000] {
            if granted > 0 {
                assert_eq!(budget.ask(at(granted - 1)), Grant::Wait, "{granted}");
            }
            assert_eq!(budget.ask(at(granted)), Grant::Now, "{granted}");
        }
        assert_eq!(budget.ask(at(59_999)), Grant::Spent);
        assert_eq!(budget.ask(at(60_000)), Grant::Now);
    }
}
