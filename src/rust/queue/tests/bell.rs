//! Waiting: one token, passed on, wakes as many as there is work for.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustbatch_protocol::{JobId, Seal};
use rustbatch_queue::Wake;
use support::{Act, Hand, House, Loop, take, until};
use tokio::sync::Barrier;

/// "A lease that leaves work behind rings it again (the baton)." Each of the six waits for the five
/// others; without the baton, they wake by their time-outs, after five seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_sleepers_work_at_once() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let together = Arc::new(Barrier::new(6));
    let _hands: Vec<_> = (0..6)
        .map(|_| {
            let together = Arc::clone(&together);
            Hand::start(house.worker(), move |_| Act::Meet(Arc::clone(&together)))
        })
        .collect();
    // Six workers and the reader of events.
    let asleep = until(|| async { house.info("blocked_clients").await >= 7 });
    house.within(4, "sleep", asleep).await;
    (1..=6).for_each(|task| work.push(task, 1));
    house.within(3, "six tasks at once", work.collect(6)).await;
    work.assert_came(6, &[]);
}

/// The baton, step by step: each lease that leaves work behind rings for the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bell_has_one_token_and_rings_while_work_is_left() {
    let house = House::start();
    let client = house.client().await;
    let work = Loop::open(&client).await;
    (1..=3).for_each(|task| work.push(task, 1));
    let (bell, queue) = (house.keys().bell(), house.keys().queue(work.job.id()));
    let queued = until(|| async { house.ask::<u64>(&["LLEN", &queue]).await == 3 });
    house.within(5, "the push", queued).await;
    let a = house.worker();
    // However often it is rung, by a chunk that comes back or a lease that leaves work behind.
    for _ in 0..3 {
        let leased = house.within(5, "a lease", a.lease(1, &[])).await.unwrap();
        a.release(&leased[0]).await.unwrap();
    }
    let mut leases = Vec::new();
    for left in [2, 1, 0] {
        assert_eq!(house.ask::<u64>(&["LLEN", &bell]).await, 1);
        assert_eq!(a.wait(true).await.unwrap(), Wake::Bell);
        assert_eq!(house.ask::<u64>(&["LLEN", &bell]).await, 0);
        leases.extend(a.lease(1, &support::held(&leases)).await.unwrap());
        assert_eq!(house.ask::<u64>(&["LLEN", &queue]).await, left);
    }
    assert_eq!(leases.len(), 3);
    assert_eq!(house.ask::<u64>(&["LLEN", &bell]).await, 0, "nothing is left to ring for");
    assert_eq!(house.ask::<u64>(&["LLEN", &house.keys().ring()]).await, 0);
}

/// A nudge ends the wait of its own worker, and of nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nudge_ends_a_wait() {
    let house = House::start();
    let (a, b) = (house.worker(), house.worker());
    let (waiter, other) = (Arc::clone(&a), Arc::clone(&b));
    let wait = tokio::spawn(async move { waiter.wait(false).await });
    let still = tokio::spawn(async move { other.wait(true).await });
    let asleep = until(|| async { house.info("blocked_clients").await >= 2 });
    house.within(4, "sleep", asleep).await;
    let started = Instant::now();
    a.nudge().await.unwrap();
    let woken = house.within(3, "the nudge", wait).await.unwrap().unwrap();
    assert_eq!(woken, Wake::Nothing);
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!(!still.is_finished());
    assert_eq!(a.refused(), 0);
    b.nudge().await.unwrap();
    house.within(3, "the nudge", still).await.unwrap().unwrap();
}

/// "The jobs of the ring take turns": a small loop is not stuck behind a large one of another
/// client, and neither hears of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_take_turns_and_do_not_see_each_other() {
    let house = House::start();
    let (one, two) = (house.client().await, house.client().await);
    let (mut large, mut small) = (Loop::open(&one).await, Loop::open(&two).await);
    (1..=1000).for_each(|task| large.push(task, 1));
    let queue = house.keys().queue(large.job.id());
    let queued = until(|| async { house.ask::<u64>(&["LLEN", &queue]).await == 1000 });
    house.within(5, "the push", queued).await;
    (1..=10).for_each(|task| small.push(task, 1));
    let queue = house.keys().queue(small.job.id());
    let queued = until(|| async { house.ask::<u64>(&["LLEN", &queue]).await == 10 });
    house.within(5, "the push", queued).await;
    let a = house.worker();
    let first = house.within(5, "20 leases", take(&a, 20)).await;
    let of = |job: &JobId| first.iter().filter(|l| &l.job == job).count();
    assert_eq!((of(large.job.id()), of(small.job.id())), (10, 10));
    for leased in &first {
        assert!(support::settle(&a, leased).await);
    }
    house.within(5, "the small loop", small.collect(10)).await;
    small.assert_came(10, &[]);
    let (gone, hand) = (small.job.id().clone(), Hand::start(a, |_| Act::Answer));
    house.within(5, "the end of the small loop", small.job.close()).await;
    house.within(20, "the large loop", large.collect(1000)).await;
    large.assert_came(1000, &[]);
    assert_eq!((large.job.rejected(), hand.queue.refused()), (0, 0));
    house.assert_clean(&gone).await;
}

/// A second cluster on the same Redis, with a key of its own, is another world.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_sees_nothing_of_another() {
    let house = House::start();
    let client = house.client().await;
    let work = Loop::open(&client).await;
    work.push(1, 1);
    let key = rustbatch_protocol::ClusterKey::random().unwrap();
    let seal = Seal::new("other".parse().unwrap(), key).unwrap();
    let id = rustbatch_protocol::WorkerId::random().unwrap();
    let refused = rustbatch_queue::WorkerQueue::new(&house.login("worker"), seal, id, 1).unwrap();
    let error = house.within(5, "a refusal", refused.lease(1, &[])).await.unwrap_err();
    assert_eq!(error.kind(), "credentials", "{error}");
}
