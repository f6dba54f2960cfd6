//! Chunk sizes: guided self-scheduling on measured task times.
//!
//! Small probes first; then chunks that take tens of milliseconds, never more than a fraction of
//! what is left for each slot, so that uneven tasks still balance (C. D. Polychronopoulos and
//! D. J. Kuck, "Guided self-scheduling", IEEE Transactions on Computers 36, 1987; the fraction is
//! that of S. F. Hummel, E. Schonberg and L. E. Flynn, "Factoring", Communications of the ACM 35,
//! 1992). Pure arithmetic: times are handed in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ChunkName;

/// What a chunk should take: long enough that handing it over, which takes a millisecond or more
/// where all cores work, costs little; short enough that an interrupt or a crash wastes little.
const TARGET: Duration = Duration::from_millis(100);

/// Over a slow network a chunk should take this many round trips, so that handing it over costs a
/// small part of it.
const ROUND_TRIPS: f64 = 20.0;

/// No chunk is worth less than this: what it takes to hand one over without a network.
const LEAST: Duration = Duration::from_micros(500);

/// Each step takes at most one part in `FACTOR` of what is left for a slot.
const FACTOR: u64 = 2;

/// The most tasks of a chunk: what a worker is asked to keep in one hand.
const MOST: u64 = 10_000;

/// The most bytes of arguments in a chunk of several tasks.
const MOST_BYTES: f64 = (4 << 20) as f64;

/// The most bytes of arguments that may be under way, so that an iterator over more than fits in
/// memory needs no more than this; one chunk is always allowed.
const WINDOW_BYTES: usize = 256 << 20;

/// Weight of all earlier chunks is multiplied by this at each new one: a moving average over about
/// ten.
const FADE: f64 = 0.9;

/// Sizes the chunks of one job.
#[derive(Debug, Clone)]
pub struct Schedule {
    slots: u64,
    fixed: Option<u32>,
    round_trip: f64,
    /// Faded sums over the chunks seen: seconds and tasks.
    seconds: f64,
    tasks: f64,
    /// Sums over the chunks sent: bytes of arguments and tasks.
    sent_bytes: f64,
    sent_tasks: f64,
    /// Tasks whose outcome has been seen.
    seen: u64,
    out: Out,
}

/// The chunks that are under way.
#[derive(Debug, Clone, Default)]
struct Out {
    /// By first task: how many tasks the chunk has, how many are lacking, the bytes of its arguments.
    chunks: BTreeMap<u64, (u32, u32, usize)>,
    bytes: usize,
}

impl Schedule {
    /// A schedule for `slots` slots; `fixed` is the user's own chunk size.
    #[must_use]
    pub fn new(slots: u32, fixed: Option<u32>) -> Self {
        Self {
            slots: u64::from(slots.max(1)),
            fixed,
            round_trip: 0.0,
            seconds: 0.0,
            tasks: 0.0,
            sent_bytes: 0.0,
            sent_tasks: 0.0,
            seen: 0,
            out: Out::default(),
        }
    }

    /// A message to Redis and its answer take so long.
    pub fn set_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = round_trip.as_secs_f64();
    }

    /// Of the outcome of the chunk `name`, for which R needed `elapsed`, `new` tasks were lacking.
    pub fn received(&mut self, name: ChunkName, new: u32, elapsed: Duration) {
        self.seconds = self.seconds * FADE + elapsed.as_secs_f64();
        self.tasks = self.tasks * FADE + f64::from(name.n);
        self.seen += u64::from(new);
        // What is left of a split chunk comes back in pieces.
        let Some((&first, chunk)) = self.out.chunks.range_mut(..=name.first).next_back() else {
            return;
        };
        chunk.1 = chunk.1.saturating_sub(new);
        if chunk.1 == 0 {
            self.out.bytes -= chunk.2;
            self.out.chunks.remove(&first);
        }
    }

    /// The chunk `name` was sent with `bytes` of arguments.
    pub fn sent(&mut self, name: ChunkName, bytes: usize) {
        self.sent_bytes += bytes as f64;
        self.sent_tasks += f64::from(name.n);
        self.out.bytes += bytes;
        self.out.chunks.insert(name.first, (name.n, name.n, bytes));
    }

    /// How many tasks the next chunk should have: 0 while enough is under way. Each slot has a chunk
    /// in hand and one waiting.
    #[must_use]
    pub fn room(&self, left: Option<u64>) -> u32 {
        let count = self.out.chunks.len() as u64;
        let full = count > self.slots * 2 || count > 0 && self.out.bytes >= WINDOW_BYTES;
        if full { 0 } else { self.next(left) }
    }

    /// How many tasks the next chunk should have, at least 1; `left` is how many tasks are not yet
    /// sent, where that is known.
    fn next(&self, left: Option<u64>) -> u32 {
        let most = left.unwrap_or(u64::MAX).clamp(1, MOST);
        if let Some(fixed) = self.fixed {
            return u64::from(fixed).clamp(1, left.unwrap_or(u64::MAX).max(1)) as u32;
        }
        if self.tasks <= 0.0 {
            return 1;
        }
        let rate = self.tasks / self.seconds.max(1e-9);
        let by_time = rate * TARGET.as_secs_f64().max(ROUND_TRIPS * self.round_trip);
        // A smaller piece than this would not end the loop sooner; a larger one than an even share
        // is not wanted on the word of the tasks seen so far.
        let least = (rate * LEAST.as_secs_f64().max(self.round_trip)).min(by_time) as u64;
        let least = least.min(left.unwrap_or(u64::MAX).div_ceil(self.slots));
        let by_bytes = MOST_BYTES / (self.sent_bytes.max(1.0) / self.sent_tasks.max(1.0));
        // Of a loop without a known end, at most as much again as has been seen.
        let by_share = left.unwrap_or(self.seen * FACTOR).div_ceil(FACTOR * self.slots);
        (by_time.min(by_bytes) as u64).min(by_share.max(least)).clamp(1, most) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(slots: u32, elapsed: Duration) -> Schedule {
        let mut schedule = Schedule::new(slots, None);
        schedule.sent(name(1, 1), 0);
        schedule.received(name(1, 1), 1, elapsed);
        schedule
    }

    fn name(first: u64, n: u32) -> ChunkName {
        ChunkName { first, n }
    }

    #[test]
    fn the_window_bounds_chunks_and_bytes_and_lets_one_pass() {
        let mut schedule = Schedule::new(2, Some(1));
        for first in 1..=5 {
            assert_eq!(schedule.room(None), 1);
            schedule.sent(name(first, 1), 10);
        }
        assert_eq!(schedule.room(None), 0);
        schedule.received(name(3, 1), 1, Duration::ZERO);
        assert_eq!(schedule.room(None), 1);
        let mut large = Schedule::new(2, Some(1));
        large.sent(name(1, 1), WINDOW_BYTES);
        assert_eq!(large.room(None), 0);
        large.received(name(1, 1), 1, Duration::ZERO);
        assert_eq!(large.room(None), 1);
    }

    #[test]
    fn a_split_chunk_is_under_way_until_its_last_task_is_there() {
        let mut schedule = Schedule::new(1, Some(10));
        for first in [1, 11, 21] {
            schedule.sent(name(first, 10), 10);
        }
        for task in 11..21 {
            assert_eq!(schedule.room(None), 0, "{task}");
            schedule.received(name(task, 1), 1, Duration::ZERO);
        }
        assert_eq!(schedule.room(None), 10);
        assert_eq!(schedule.out.bytes, 20);
    }

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
        let short = seen(2, Duration::from_micros(10));
        assert!(short.next(Some(1_000_000)) > 1000);
        assert!(short.next(Some(10_000)) <= 2500);
        let long = seen(2, Duration::from_secs(1));
        assert_eq!(long.next(Some(1_000_000)), 1);
    }

    #[test]
    fn the_end_is_cut_into_ever_smaller_pieces() {
        let schedule = seen(2, Duration::from_micros(10));
        let mut left = 10_000_u64;
        let mut sizes = Vec::new();
        while left > 0 {
            let n = schedule.next(Some(left));
            sizes.push(n);
            left -= u64::from(n);
        }
        assert!(sizes.windows(2).all(|pair| pair[0] >= pair[1]), "{sizes:?}");
        // Down to what is worth handing over, 50 tasks of 10 microseconds, and then to even shares.
        assert!(sizes.iter().filter(|&&n| n < 49).count() <= 8, "{sizes:?}");
    }

    #[test]
    fn over_a_slow_network_chunks_are_longer() {
        let mut schedule = seen(2, Duration::from_millis(1));
        assert_eq!(schedule.room(Some(1000)), 100);
        schedule.set_round_trip(Duration::from_millis(50));
        assert_eq!(schedule.room(Some(10_000)), 1000);
        assert_eq!(schedule.room(Some(60)), 30);
    }

    #[test]
    fn large_arguments_make_small_chunks() {
        let mut schedule = Schedule::new(2, None);
        schedule.sent(name(1, 1), 1 << 20);
        schedule.received(name(1, 1), 1, Duration::from_micros(10));
        assert_eq!(schedule.next(Some(1_000_000)), 4);
    }
}
