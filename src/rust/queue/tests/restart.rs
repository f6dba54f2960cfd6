//! Promise P6: what Redis forgets, the client publishes again; and how its refusals are borne.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::sync::Arc;

use support::{Act, Hand, House, Loop, Proxy, settle, take, until};
use tokio::sync::Semaphore;

/// A loop of 600 tasks in chunks of 3 of `size` bytes, over two workers that stop in the middle.
async fn halfway(house: &House, size: usize) -> (Loop, Vec<Hand>, Arc<Semaphore>) {
    let client = house.client().await;
    let mut work = Loop::open_with(&client, size).await;
    let gate = Arc::new(Semaphore::new(0));
    let hand = || {
        let gate = Arc::clone(&gate);
        Hand::start(house.worker(), move |leased| match leased.name.first > 300 {
            true => Act::Hold(Arc::clone(&gate)),
            false => Act::Answer,
        })
    };
    let hands = vec![hand(), hand()];
    (0..200).for_each(|i| work.push(i * 3 + 1, 3));
    house.within(20, "the first half", work.collect(300)).await;
    (work, hands, gate)
}

/// The loop ends with every value once, and nothing of it stays.
async fn finish(house: &House, mut work: Loop, gate: &Semaphore) {
    gate.add_permits(1);
    house.within(40, "the second half", work.collect(600)).await;
    work.assert_came(600, &[]);
    assert_eq!(work.job.rejected(), 0);
    let id = work.job.id().clone();
    house.within(9, "the end", work.job.close()).await;
    house.assert_clean(&id).await;
}

/// "When its heartbeat finds the job gone, it publishes every chunk it has not received."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_loses_nothing() {
    let house = House::start();
    let (work, _hands, gate) = halfway(&house, 8).await;
    let _: String = house.ask(&["FLUSHALL"]).await;
    finish(&house, work, &gate).await;
}

/// Arguments that are blobs are published again, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_loses_no_argument() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open_with(&client, 3 << 20).await;
    (1..=4).for_each(|task| work.push(task, 1));
    let queue = house.keys().queue(work.job.id());
    let queued = until(|| async { house.ask::<u64>(&["LLEN", &queue]).await == 4 });
    house.within(9, "the push", queued).await;
    let a = house.worker();
    let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    let _: String = house.ask(&["FLUSHALL"]).await;
    assert_eq!(a.arguments(&leased).await.unwrap(), None);
    // Who leases it now finds its arguments; who holds it from before asks for them.
    let again = house.within(9, "a lease", take(&house.worker(), 1)).await.remove(0);
    assert!(a.arguments(&again).await.unwrap().is_some());
    let _hand = Hand::start(house.worker(), |_| Act::Answer);
    assert!(settle(&a, &again).await);
    house.within(30, "4 tasks", work.collect(4)).await;
    work.assert_came(4, &[]);
    let id = work.job.id().clone();
    work.job.close().await;
    house.assert_clean(&id).await;
    let blobs = house.all_keys().await.into_iter().filter(|k| k.contains("blob:")).count();
    assert!(blobs <= 1, "only the context's may stay: {blobs}");
}

/// "An error NOSCRIPT loads the scripts and repeats the whole pipeline."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_scripts_are_loaded_again() {
    let house = House::start();
    let (work, _hands, gate) = halfway(&house, 8).await;
    for _ in 0..20 {
        let _: String = house.ask(&["SCRIPT", "FLUSH"]).await;
        tokio::task::yield_now().await;
    }
    finish(&house, work, &gate).await;
}

/// "A restart of Redis loses nothing; if it comes back empty, the client publishes again."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_killed_and_empty_loses_nothing() {
    let mut house = House::start();
    let (work, _hands, gate) = halfway(&house, 8).await;
    house.restart_empty();
    finish(&house, work, &gate).await;
}

/// A new server's clock, and so the numbers of its events, may be behind those of the old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_redis_may_be_behind_in_time() {
    let mut house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    work.push(1, 1);
    let hand = Hand::start(house.worker(), |_| Act::Answer);
    house.within(9, "a task", work.collect(1)).await;
    let events = house.keys().events(work.job.id());
    let _: String = house.ask(&["XADD", &events, "9999999999999-0", "k", "x"]).await;
    let job = &work.job;
    house.within(5, "the future", until(|| async { job.rejected() == 1 })).await;
    house.restart_empty();
    (2..=50).for_each(|task| work.push(task, 1));
    house.within(20, "50 tasks", work.collect(50)).await;
    work.assert_came(50, &[]);
    assert_eq!(hand.queue.refused(), 0);
}

/// Cut connections, again and again, at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_nothing() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let _hands: Vec<_> = (0..3).map(|_| Hand::start(house.worker(), |_| Act::Answer)).collect();
    (1..=2000).for_each(|task| work.push(task, 1));
    for n in 1..=10 {
        house.within(30, "some tasks", work.collect(n * 190)).await;
        let _: u64 = house.ask(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    }
    house.within(40, "2,000 tasks", work.collect(2000)).await;
    work.assert_came(2000, &[]);
    assert_eq!(work.job.rejected(), 0);
    let id = work.job.id().clone();
    house.within(9, "the end", work.job.close()).await;
    house.assert_clean(&id).await;
}

/// What is read again after a reconnect has come before, and its blob is gone: that is no forgery.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_read_again_are_not_missed() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open_with(&client, 2 << 20).await;
    let a = house.worker();
    for task in 1..=4 {
        work.push(task, 1);
        let leased = house.within(9, "a lease", take(&a, 1)).await.remove(0);
        assert!(settle(&a, &leased).await);
        house.within(9, "a task", work.collect(task as usize)).await;
        let blobs = until(|| async {
            let keys = house.all_keys().await;
            keys.iter().filter(|key| key.contains("blob:")).count() == 1
        });
        house.within(5, "the blobs' end", blobs).await;
        let _: u64 = house.ask(&["CLIENT", "KILL", "USER", "client"]).await;
        // What is said next comes with all that is read again.
        a.signal(&leased, b"go on").await.unwrap();
        house.within(9, "the signal", work.hear()).await;
    }
    work.push(5, 1);
    let leased = house.within(9, "a lease", take(&a, 1)).await.remove(0);
    assert!(settle(&a, &leased).await);
    house.within(9, "the last task", work.collect(5)).await;
    work.assert_came(5, &[]);
    assert_eq!(work.job.rejected(), 0);
}

/// "-OOM retries; -READONLY reconnects": neither ends a loop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_that_pass_are_waited_out() {
    let house = House::start();
    let house = &house;
    let (mut work, _hands, gate) = halfway(house, 8).await;
    let set = |on: bool| {
        let limit = if on { "1" } else { "0" };
        ["CONFIG", "SET", "maxmemory", limit]
    };
    let _: String = house.ask(&set(true)).await;
    gate.add_permits(1);
    work.push(601, 1);
    let refused = until(|| async { house.info("total_error_replies").await > 9 });
    house.within(9, "refusals", refused).await;
    let _: String = house.ask(&set(false)).await;
    house.within(20, "601 tasks", work.collect(601)).await;
    let connected = house.info("total_connections_received").await;
    let _: String = house.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    work.push(602, 1);
    // A replica may be the wrong server, so the client looks again who answers: besides our own
    // connections, which ask, there are others.
    let mut asked = 1;
    let anew = until(|| {
        asked += 1;
        // The three that Redis itself cut are not meant.
        let limit = connected + asked + 8;
        async move { house.info("total_connections_received").await > limit }
    });
    house.within(9, "a new connection", anew).await;
    let _: String = house.ask(&["REPLICAOF", "NO", "ONE"]).await;
    house.within(20, "602 tasks", work.collect(602)).await;
    work.assert_came(602, &[]);
}

/// "A chunk that Redis calls closed and that neither stream nor client has is opened again."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_outcome_is_worked_out_again() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    work.push(1, 1);
    let a = house.worker();
    let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    let job = house.keys().job(work.job.id());
    let mut pipe = redis::pipe();
    pipe.hdel(&job, "p:1+1").hset(&job, "c:1+1", "1");
    pipe.exec_async(&mut house.admin().await).await.unwrap();
    assert!(!settle(&a, &leased).await);
    let _hand = Hand::start(a, |_| Act::Answer);
    house.within(20, "the task", work.collect(1)).await;
    work.assert_came(1, &[]);
}

/// ... but not one whose outcome is still on its way over a slow line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_on_a_slow_line_are_waited_for() {
    let house = House::start();
    let proxy = Proxy::start(house.socket());
    let client = house.client_at(proxy.before(house.login("client"))).await;
    let mut work = Loop::open_with(&client, 3 << 19).await;
    (1..=16).for_each(|task| work.push(task, 1));
    let a = house.worker();
    let leases = house.within(20, "the leases", take(&a, 16)).await;
    // 24 MiB of results, about 24 s: the client looks four times.
    proxy.slow_down(1 << 20);
    for leased in &leases {
        assert!(settle(&a, leased).await);
        // The reader reads each by itself.
        let reads = until(|| async { house.info("blocked_clients").await == 1 });
        house.within(5, "the reader", reads).await;
    }
    house.within(40, "16 tasks", work.collect(16)).await;
    work.assert_came(16, &[]);
    assert_eq!(a.lease(9, &[]).await.unwrap().len(), 0, "a task would run twice");
}
