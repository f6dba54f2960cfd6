//! Promise P1: every task's value arrives once, whatever is executed twice.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use rustbatch_queue::{Leased, Settlement};
use support::{Act, Hand, House, Loop, name, outcome, settle, take, until};

/// Pushes tasks up to `tasks` in chunks whose sizes go round; says how many chunks they are.
fn push_all(work: &Loop, tasks: u64, sizes: &[u32]) -> usize {
    let (mut first, mut chunks) = (1, 0);
    for &size in sizes.iter().cycle() {
        let n = u64::from(size).min(tasks + 1 - first);
        if n == 0 {
            break;
        }
        work.push(first, n as u32);
        (first, chunks) = (first + n, chunks + 1);
    }
    chunks
}

/// "A chunk is never nowhere, and is closed once"; "no key without a time to live".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tasks_come_back_once_and_nothing_stays() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let hands: Vec<_> = (0..4).map(|_| Hand::start(house.worker(), |_| Act::Answer)).collect();
    push_all(&work, 10_000, &[1, 7, 50, 3, 200, 1, 1, 25]);
    house.within(60, "10,000 tasks", work.collect(10_000)).await;
    work.assert_came(10_000, &[]);
    assert_eq!(work.job.rejected(), 0);
    assert!(hands.iter().all(|hand| hand.queue.refused() == 0));
    let id = work.job.id().clone();
    assert_eq!(house.count(&id, "duplicates").await, 0);
    house.within(5, "the end", work.job.close()).await;
    house.assert_clean(&id).await;
}

/// "Whatever creates a key sets its expiry in the same script (a list made again by a push has none)":
/// after each step of a chunk's life, every key that there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_expires_at_every_moment() {
    let house = House::start();
    let client = house.client().await;
    let work = Loop::open_with(&client, 2 << 20).await;
    let a = house.worker();
    a.beat(&[]).await.unwrap();
    house.assert_all_expire("a worker").await;
    work.push(1, 2);
    let queue = house.keys().queue(work.job.id());
    house.within(5, "the push", until(|| async { house.ask(&["EXISTS", &queue]).await })).await;
    house.assert_all_expire("a push").await;
    let whole = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    house.assert_all_expire("a lease").await;
    a.release(&whole).await.unwrap();
    house.assert_all_expire("a release").await;
    let whole = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    let crash = outcome(&a, &whole, None);
    a.crash(&Settlement { leased: &whole, outcome: &crash }).await.unwrap();
    house.assert_all_expire("a split").await;
    let singles = house.within(5, "the singles", take(&a, 2)).await;
    a.crash(&Settlement { leased: &singles[1], outcome: &crash }).await.unwrap();
    house.assert_all_expire("a crash").await;
    a.need(work.job.id(), &work.context).await.unwrap();
    house.assert_all_expire("a need").await;
    assert!(settle(&a, &singles[0]).await);
    house.assert_all_expire("a settlement").await;
    house.ask::<u64>(&["DEL", &house.keys().control(a.id())]).await;
    client.drain().await.unwrap();
    house.assert_all_expire("a message").await;
    house.ask::<u64>(&["DEL", &house.keys().control(a.id())]).await;
    a.nudge().await.unwrap();
    house.assert_all_expire("a nudge").await;
}

/// "Marks of a chunk are removed when the client trims its outcome".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_been_received_leaves_no_marks() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let _hand = Hand::start(house.worker(), |_| Act::Answer);
    push_all(&work, 640, &[1]);
    house.within(20, "640 tasks", work.collect(640)).await;
    let (job, events) = (house.keys().job(work.job.id()), house.keys().events(work.job.id()));
    let trimmed = until(|| async {
        let fields: usize = house.ask(&["HLEN", &job]).await;
        let left: usize = house.ask(&["XLEN", &events]).await;
        fields <= 64 * 3 && left <= 64
    });
    house.within(5, "the trim", trimmed).await;
}

/// "The first outcome of an open chunk closes it, a later one is counted and dropped."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_outcome_is_counted_and_dropped() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let (a, b) = (house.worker(), house.worker());
    work.push(1, 3);
    let first = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    assert!(settle(&a, &first).await);
    assert!(!settle(&a, &first).await, "the same worker again");
    assert!(!settle(&b, &first).await, "another worker");
    work.push(4, 1);
    let last = house.within(5, "a lease", take(&b, 1)).await.remove(0);
    assert!(settle(&b, &last).await);
    house.within(5, "4 tasks", work.collect(4)).await;
    work.assert_came(4, &[]);
    assert_eq!(house.count(work.job.id(), "duplicates").await, 2);
}

/// "A late outcome of an unknown chunk is dropped", and creates nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_outcome_creates_no_key() {
    let house = House::start();
    let client = house.client().await;
    let work = Loop::open(&client).await;
    let a = house.worker();
    work.push(1, 1);
    let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    let unknown = Leased { name: name(999, 1), whole: name(999, 1), ..leased.clone() };
    assert!(!settle(&a, &unknown).await);
    let events = house.keys().events(work.job.id());
    assert_eq!(house.ask::<u64>(&["XLEN", &events]).await, 0);
    let id = work.job.id().clone();
    house.within(5, "the end", work.job.close()).await;
    assert!(!settle(&a, &leased).await);
    a.release(&leased).await.unwrap();
    let crash = outcome(&a, &leased, None);
    a.crash(&Settlement { leased: &leased, outcome: &crash }).await.unwrap();
    a.need(&id, &leased.chunk.context).await.unwrap();
    house.assert_clean(&id).await;
}
