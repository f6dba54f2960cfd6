//! How many tasks a second the queue carries to a thousand workers: all in this process, without R,
//! each with its own connections. For `tools/bench`.
//!
//! Every task is a chunk of its own, the hardest case, and every value is checked. Prints the tasks
//! a second and the peak of Redis' memory in MB.

use std::io::{self, Write};
use std::time::Instant;

#[path = "../tests/support/mod.rs"]
mod support;

use support::{Act, Hand, House, Loop};

const WORKERS: usize = 1000;
const TASKS: usize = 20_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> io::Result<()> {
    let house = House::start();
    let client = house.client().await;
    let hands: Vec<_> =
        (0..WORKERS).map(|_| Hand::start(house.worker(), |_| Act::Answer)).collect();
    // A first task each, so that all have connected.
    let mut warm = Loop::open(&client).await;
    (1..=WORKERS as u64).for_each(|task| warm.push(task, 1));
    house.within(60, "the first tasks", warm.collect(WORKERS)).await;
    warm.job.close().await;

    let mut work = Loop::open(&client).await;
    let start = Instant::now();
    (1..=TASKS as u64).for_each(|task| work.push(task, 1));
    house.within(120, "the tasks", work.collect(TASKS)).await;
    let seconds = start.elapsed().as_secs_f64();
    work.assert_came(TASKS as u64, &[]);
    let peak = house.info("used_memory_peak").await as f64 / 1e6;
    work.job.close().await;
    drop(hands);
    writeln!(io::stdout(), "rate\t{:.0}\npeak\t{peak:.1}", TASKS as f64 / seconds)
}
