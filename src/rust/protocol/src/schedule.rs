//! Chunk sizes: guided self-scheduling on measured task times.
//!
//! Small probes first; then chunks that take tens of milliseconds, never more than a fraction of
//! what is left for each slot, so that uneven tasks still balance (C. D. Polychronopoulos and
//! D. J. Kuck, "Guided self-scheduling", IEEE Transactions on Computers 36, 1987; the fraction is
//! that of S. F. Hummel, E. Schonberg and L. E. Flynn, "Factoring", Communications of the ACM 35,
//! 1992). Pure arithmetic: times are handed in.

use std::time::Duration;

/// What a chunk should take: long enough that handing it over costs little, short enough that a
/// loop ends evenly and an interrupt or a crash wastes little.
const TARGET: Duration = Duration::from_millis(20);

/// Each step takes at most one part in `FACTOR` of what is left for a slot.
const FACTOR: u64 = 2;

/// The most tasks of a chunk: what a worker is asked to keep in one hand.
const MOST: u64 = 10_000;

/// The most bytes of arguments in a chunk of several tasks.
const MOST_BYTES: f64 = (4 << 20) as f64;

/// How fast old measurements fade: a new chunk counts as much as the nine before it together fade.
const FADE: f64 = 0.9;

/// Sizes the chunks of one job.
#[derive(Debug, Clone)]
pub struct Schedule {
    slots: u64,
    fixed: Option<u32>,
    /// Faded sums over the chunks seen: seconds and tasks.
    seconds: f64,
    tasks: f64,
    /// Sums over the chunks sent: bytes of arguments and tasks.
    sent_bytes: f64,
    sent_tasks: f64,
    /// Tasks whose outcome has been seen.
    seen: u64,
}

impl Schedule {
    /// A schedule for `slots` slots; `fixed` is the user's own chunk size.
    #[must_use]
    pub fn new(slots: u32, fixed: Option<u32>) -> Self {
        Self {
            slots: u64::from(slots.max(1)),
            fixed,
            seconds: 0.0,
            tasks: 0.0,
            sent_bytes: 0.0,
            sent_tasks: 0.0,
            seen: 0,
        }
    }

    /// The number of slots changed.
    pub fn set_slots(&mut self, slots: u32) {
        self.slots = u64::from(slots.max(1));
    }

    /// A chunk of `n` tasks came back after `elapsed` of R's time.
    pub fn observe(&mut self, n: u32, elapsed: Duration) {
        self.seconds = self.seconds * FADE + elapsed.as_secs_f64();
        self.tasks = self.tasks * FADE + f64::from(n);
        self.seen += u64::from(n);
    }

    /// A chunk of `n` tasks was sent with `bytes` of arguments.
    pub fn sent(&mut self, n: u32, bytes: usize) {
        self.sent_bytes += bytes as f64;
        self.sent_tasks += f64::from(n);
    }

    /// How many chunks may be under way and not yet back: each slot has one in hand and one waiting.
    #[must_use]
    pub fn window(&self) -> u64 {
        self.slots * 2 + 1
    }

    /// How many tasks the next chunk should have, at least 1; `left` is how many tasks are not yet
    /// sent, where that is known.
    #[must_use]
    pub fn next(&self, left: Option<u64>) -> u32 {
        let most = left.unwrap_or(u64::MAX).clamp(1, MOST);
        if let Some(fixed) = self.fixed {
            return u64::from(fixed).clamp(1, left.unwrap_or(u64::MAX).max(1)) as u32;
        }
        if self.tasks <= 0.0 {
            return 1;
        }
        let by_time = TARGET.as_secs_f64() * self.tasks / self.seconds.max(1e-9);
        let by_bytes = MOST_BYTES / (self.sent_bytes.max(1.0) / self.sent_tasks.max(1.0));
        // Of a loop without a known end, at most as much again as has been seen.
        let by_share = left.unwrap_or(self.seen * FACTOR).div_ceil(FACTOR * self.slots);
        (by_time.min(by_bytes) as u64).min(by_share).clamp(1, most) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_single_and_a_fixed_size_is_kept() {
        assert_eq!(Schedule::new(4, None).next(Some(1000)), 1);
        let fixed = Schedule::new(4, Some(7));
        assert_eq!(fixed.next(Some(1000)), 7);
        assert_eq!(fixed.next(Some(3)), 3);
        assert_eq!(fixed.next(None), 7);
    }

    #[test]
    fn short_tasks_travel_together_and_long_ones_alone() {
        let mut short = Schedule::new(2, None);
        short.observe(1, Duration::from_micros(10));
        assert!(short.next(Some(1_000_000)) > 1000);
        assert!(short.next(Some(10_000)) <= 2500);
        let mut long = Schedule::new(2, None);
        long.observe(1, Duration::from_secs(1));
        assert_eq!(long.next(Some(1_000_000)), 1);
    }

    #[test]
    fn the_end_is_cut_into_ever_smaller_pieces() {
        let mut schedule = Schedule::new(2, None);
        schedule.observe(1, Duration::from_micros(1));
        let mut left = 10_000_u64;
        let mut sizes = Vec::new();
        while left > 0 {
            let n = schedule.next(Some(left));
            sizes.push(n);
            left -= u64::from(n);
        }
        assert!(sizes.windows(2).all(|pair| pair[0] >= pair[1]), "{sizes:?}");
        assert_eq!(sizes.last(), Some(&1));
    }

    #[test]
    fn large_arguments_make_small_chunks() {
        let mut schedule = Schedule::new(2, None);
        schedule.observe(1, Duration::from_micros(10));
        schedule.sent(1, 1 << 20);
        assert_eq!(schedule.next(Some(1_000_000)), 4);
    }
}
