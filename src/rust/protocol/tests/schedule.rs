//! Chunk sizes, simulated: a loop under the schedule against the same loop in chunks of one, and in
//! one chunk for each slot.
#![allow(clippy::unwrap_used)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use rustbatch_protocol::ChunkName;
use rustbatch_protocol::schedule::Schedule;

/// What a chunk costs a worker beside its tasks, in seconds.
const HANDLING: f64 = 150e-6;

/// Nanoseconds, so that times can be ordered.
fn ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// How long a loop over `tasks` (seconds each) takes on `slots` slots, with `round_trip` between
/// everybody and Redis. A chunk is there for a worker half a round trip after it is sent; a worker
/// needs one to hand in an outcome and get the next chunk; the client hears half a round trip later.
fn makespan(tasks: &[f64], slots: u32, round_trip: f64, mut schedule: Schedule) -> f64 {
    schedule.set_round_trip(Duration::from_secs_f64(round_trip));
    let (mut now, mut sent, mut received) = (0.0, 0, 0);
    let mut queue: VecDeque<(f64, ChunkName)> = VecDeque::new();
    let mut free: BinaryHeap<Reverse<u64>> = (0..slots).map(|_| Reverse(0)).collect();
    let mut coming: BinaryHeap<Reverse<(u64, ChunkName, u64)>> = BinaryHeap::new();
    while received < tasks.len() {
        while sent < tasks.len() {
            let n = schedule.room(Some((tasks.len() - sent) as u64));
            if n == 0 {
                break;
            }
            let name = ChunkName { first: sent as u64 + 1, n };
            schedule.sent(name, 0);
            queue.push_back((now + round_trip / 2.0, name));
            sent += n as usize;
        }
        while let Some((there, name)) = queue.pop_front() {
            let Reverse(idle) = free.pop().unwrap();
            let start = (idle as f64 / 1e9).max(there) + round_trip;
            let range = name.first as usize - 1..name.tasks().end as usize - 1;
            let elapsed = HANDLING + tasks[range].iter().sum::<f64>();
            free.push(Reverse(ns(start + elapsed)));
            let heard = start + elapsed + round_trip;
            coming.push(Reverse((ns(heard), name, ns(elapsed))));
        }
        let Reverse((heard, name, elapsed)) = coming.pop().unwrap();
        now = heard as f64 / 1e9;
        schedule.received(name, name.n, Duration::from_nanos(elapsed));
        received += name.n as usize;
    }
    now
}

/// Pseudo-random numbers in (0, 1), the same every time (Park and Miller's generator).
fn uniform(n: usize) -> Vec<f64> {
    let mut state = 42_u64;
    let mut next = || {
        state = state * 48_271 % 2_147_483_647;
        state as f64 / 2_147_483_647.0
    };
    (0..n).map(|_| next()).collect()
}

/// Task times with a sum of `total` seconds.
fn scaled(mut times: Vec<f64>, total: f64) -> Vec<f64> {
    let sum: f64 = times.iter().sum();
    times.iter_mut().for_each(|time| *time *= total / sum);
    times
}

fn shapes(n: usize) -> [(&'static str, Vec<f64>); 4] {
    [
        ("constant", vec![1.0; n]),
        // Pareto's distribution with exponent 1.5: the mean is there, the variance is not.
        ("heavy tail", uniform(n).into_iter().map(|u| u.powf(-1.0 / 1.5).min(200.0)).collect()),
        ("increasing", (1..=n).map(|i| i as f64).collect()),
        ("decreasing", (1..=n).rev().map(|i| i as f64).collect()),
    ]
}

#[test]
fn it_is_never_much_worse_than_the_better_of_two_fixed_sizes() {
    // Loops long enough for the network not to be all there is: 100 round trips of work a slot.
    let mut worse = Vec::new();
    for slots in [2_u32, 7, 50, 1000] {
        for round_trip in [0.0001_f64, 0.05] {
            for per_slot in [20_usize, 500] {
                let n = per_slot * slots as usize;
                for (shape, times) in shapes(n) {
                    let tasks = scaled(times, f64::from(slots) * (100.0 * round_trip).max(0.5));
                    let run =
                        |fixed| makespan(&tasks, slots, round_trip, Schedule::new(slots, fixed));
                    let (guided, ones) = (run(None), run(Some(1)));
                    let whole = run(Some(per_slot as u32));
                    let ratio = guided / ones.min(whole);
                    if ratio > 1.15 {
                        worse.push(format!(
                            "{shape}, {slots} slots, {n} tasks, round trip {round_trip}: \
                             {guided:.3} s against {ones:.3} and {whole:.3}"
                        ));
                    }
                }
            }
        }
    }
    assert!(worse.is_empty(), "{}", worse.join("\n"));
}
