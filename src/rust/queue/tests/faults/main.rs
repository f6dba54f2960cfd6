//! The faults that the queue survives, each injected here: lost hosts, servers that go away or
//! forget, servers that are lost for good and come again elsewhere, lines that spoil what they carry, clients that sleep or die, and all of it together.
//!
//! Chance is drawn from a seed, which is printed; `RUSTBATCH_SEED` repeats it. Most cases run with
//! times that are a tenth of the real ones (`support::quick`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod clients;
mod crowd;
mod hosts;
mod lines;
mod moves;
mod servers;
mod soak;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::{Act, Hand, House};

/// Numbers by chance.
struct Dice(AtomicU64);

impl Dice {
    /// From `RUSTBATCH_SEED`, or another seed every time.
    fn new() -> Arc<Self> {
        let given = std::env::var("RUSTBATCH_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = given.unwrap_or(now | 1);
        eprintln!("RUSTBATCH_SEED={seed}");
        Arc::new(Self(AtomicU64::new(seed)))
    }

    /// A number below `n`.
    fn below(&self, n: u64) -> u64 {
        let mut state = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
        state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (state ^ (state >> 31)) % n
    }
}

/// A crew of workers with short times, each taking 0 to `longest` ms a task, of whom some are lost
/// every so often, without a farewell, and replaced.
struct Crew {
    stop: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Crew {
    fn start(
        house: &House,
        n: usize,
        dice: &Arc<Dice>,
        longest: u64,
        every: Option<Duration>,
    ) -> Self {
        Self::decimated(house, n, dice, longest, every, 1)
    }

    /// As [`Crew::start`], of whom so `many` are lost at once.
    fn decimated(
        house: &House,
        n: usize,
        dice: &Arc<Dice>,
        longest: u64,
        every: Option<Duration>,
        many: usize,
    ) -> Self {
        let server = house.login("worker");
        let (seal, dice) = (house.seal(), Arc::clone(dice));
        let hire = {
            let dice = Arc::clone(&dice);
            move || {
                let id = rustbatch_protocol::WorkerId::random().unwrap();
                let timing = support::quick();
                let queue =
                    rustbatch_queue::WorkerQueue::with_timing(&server, seal.clone(), id, 1, timing);
                let dice = Arc::clone(&dice);
                Hand::start(Arc::new(queue.unwrap()), move |leased| {
                    let time = (0..leased.name.n).map(|_| dice.below(1000 * longest + 1)).sum();
                    Act::Work(Duration::from_micros(time))
                })
            }
        };
        let stop = Arc::new(AtomicBool::new(false));
        let lost = Arc::new(AtomicU64::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&lost));
        let task = tokio::spawn(async move {
            let mut hands: Vec<_> = (0..n).map(|_| hire()).collect();
            let Some(every) = every else { return std::future::pending().await };
            loop {
                tokio::time::sleep(every).await;
                if !stopped.load(Ordering::SeqCst) {
                    for _ in 0..many {
                        hands[dice.below(n as u64) as usize] = hire();
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        });
        Self { stop, lost, task }
    }

    /// No more is lost from now on.
    fn spare(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }
}
