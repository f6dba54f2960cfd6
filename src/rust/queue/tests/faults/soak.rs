//! One loop after the other for a long time, with workers that are lost and a Redis that is killed.
//! Some seconds long, unless `RUSTBATCH_SOAK_MINUTES` says otherwise (`tools/test soak`).

use std::time::{Duration, Instant};

use crate::support::{House, Loop};
use crate::{Crew, Dice};

/// How many loops it takes until memory has found its size.
const SETTLED: u32 = 60;

/// How much more memory a long run may need at its end than when it had settled.
const GROWTH: f64 = 1.05;

/// What this process has in memory, in bytes: clients and workers together.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    resident.unwrap_or(0.0) * 4096.0
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// F22: mixed sizes, a worker lost every half second, a Redis killed every tenth loop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loop_after_loop_loses_nothing_and_grows_nothing() {
    let minutes = std::env::var("RUSTBATCH_SOAK_MINUTES").ok().and_then(|m| m.parse().ok());
    let end = minutes.map_or(Duration::from_secs(8), |m: u64| Duration::from_secs(60 * m));
    let (mut house, dice) = (House::start_saved(), Dice::new());
    let client = house.quick_client().await;
    let crew = Crew::start(&house, 8, &dice, 2, Some(Duration::from_millis(500)));
    let started = Instant::now();
    let (mut loops, mut tasks, mut settled) = (0, 0, None);
    while started.elapsed() < end || loops < 3 {
        let (n, size) = (200 + dice.below(800), 8 << dice.below(14));
        let mut work = Loop::open_with(&client, size).await;
        let mut first = 1;
        while first <= n {
            let length = (1 + dice.below(4)).min(n + 1 - first);
            work.push(first, length as u32);
            first += length;
        }
        if loops % 10 == 9 {
            house.within(90, "some tasks", work.collect(n as usize / 2)).await;
            house.kill();
            house.revive();
        }
        house.within(90, "all tasks", work.collect(n as usize)).await;
        work.assert_came(n, &[]);
        house.within(9, "the end", work.job.close()).await;
        (loops, tasks) = (loops + 1, tasks + n);
        house.assert_all_expire("between two loops").await;
        if loops == SETTLED {
            settled = Some((resident(), open_files()));
        }
    }
    let (memory, files) = (resident(), open_files());
    eprintln!("{loops} loops, {tasks} tasks, {} workers lost, {files} files", crew.lost());
    if let Some((before, open)) = settled.filter(|_| minutes.is_some()) {
        eprintln!("memory: {:.1} MB, then {:.1} MB", before / 1e6, memory / 1e6);
        assert!(memory <= before * GROWTH, "it grew");
        // A worker that is just being lost or hired has some more or less.
        assert!(files <= open + 16, "{open} files were open, then {files}");
    }
}
