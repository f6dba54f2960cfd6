//! Workers that end because nobody has work for them are no loss, and come again with the work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustbatch_provision::lifecycle::{self, Policy, Progress};
use tokio::sync::mpsc::unbounded_channel;

use super::fake::{Fake, policy, wish};
use super::others::attach;
use super::{Cluster, launches, names, numbers, stands, workers};

fn second(second: u64) -> Duration {
    Duration::from_secs(second)
}

/// Nothing happens for ten minutes, then all workers end by themselves.
async fn rest(fake: &Fake, holders: &[&Cluster], now: Instant) {
    for seconds in (0..=600).step_by(10) {
        for up in holders {
            up.pass(now + second(seconds)).await.expect("a pass");
        }
    }
    for worker in workers(fake) {
        fake.world().stop(&worker.id, "exit code 0");
    }
}

#[tokio::test]
async fn workers_that_had_no_work_come_again_when_some_waits() {
    let fake = Fake::default();
    let (tell, mut lines) = unbounded_channel();
    let all = Policy { all: true, ..policy() };
    let provider = Arc::new(fake.clone());
    let up = lifecycle::start(provider, fake.clone(), wish(2), all, Progress(Some(tell)));
    let (up, now) = (up.await.expect("a cluster"), Instant::now());
    rest(&fake, &[&up], now).await;
    for seconds in (601..9000).step_by(100) {
        up.pass(now + second(seconds)).await.expect("a pass");
        assert_eq!(up.numbers(), numbers(2, 0, 0));
    }
    assert_eq!((launches(&fake), workers(&fake).len()), (1, 0), "they cost something");
    fake.world().waiting = 1;
    for _ in 0..2 {
        up.pass(now + second(9000)).await.expect("a pass");
    }
    assert_eq!((up.numbers(), launches(&fake)), (numbers(2, 0, 2), 2));
    let mut said = Vec::new();
    while let Ok(line) = lines.try_recv() {
        said.push(line);
    }
    let told = [
        "a worker has ended for want of work",
        "workers had ended for want of work: starting them again",
    ];
    assert_eq!(said, told);
}

#[tokio::test]
async fn who_has_worked_and_ends_is_lost() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 2).await;
    let busy = workers(&fake).remove(0);
    fake.world().held.insert(busy.worker.expect("a name"), 1);
    up.pass(now + second(300)).await.expect("a pass");
    fake.world().held.clear();
    rest(&fake, &[&up], now).await;
    for _ in 0..2 {
        up.pass(now + second(601)).await.expect("a pass");
    }
    assert_eq!(up.numbers(), numbers(2, 0, 1), "one in place of the lost one");
    assert_eq!(names(&fake).len(), 1);
}

#[tokio::test]
async fn who_takes_over_starts_none_that_had_no_work() {
    let fake = Fake::default();
    let (first, now) = stands(&fake, 2).await;
    first.pass(now).await.expect("a pass");
    let other = attach(&fake, &first).await.expect("the cluster");
    rest(&fake, &[&first, &other], now).await;
    other.pass(now + second(601)).await.expect("a pass");
    fake.world().keepers.clear();
    for seconds in 602..610 {
        other.pass(now + second(seconds)).await.expect("a pass");
    }
    assert_eq!((launches(&fake), other.numbers()), (1, numbers(2, 0, 0)));
    fake.world().waiting = 1;
    for _ in 0..2 {
        other.pass(now + second(610)).await.expect("a pass");
    }
    assert_eq!(other.numbers(), numbers(2, 0, 2));
}

#[tokio::test]
async fn more_workers_are_asked_for_although_some_rest() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 2).await;
    rest(&fake, &[&up], now).await;
    up.pass(now + second(601)).await.expect("a pass");
    up.resize(3, 3).await.expect("a size");
    for _ in 0..2 {
        up.pass(now + second(602)).await.expect("a pass");
    }
    assert_eq!(up.numbers(), numbers(3, 0, 3));
}
