//! What an R process that dies does to its chunk, and to nobody else's.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use rustbatch_protocol::Report;
use rustbatch_queue::{Leased, Settlement, Verdict, WorkerQueue};
use support::{Act, Hand, House, Loop, held, name, outcome, settle, take};

async fn crash(queue: &WorkerQueue, leased: &Leased) -> Verdict {
    let outcome = outcome(queue, leased, None);
    let settlement = Settlement { leased, outcome: &outcome };
    queue.crash(&settlement).await.unwrap()
}

/// "A chunk of several tasks is split: its tasks go back as chunks of one, no crash counted."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_of_five_is_split_without_blame() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let a = house.worker();
    work.push(1, 5);
    let whole = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    assert_eq!(crash(&a, &whole).await, Verdict::Split);
    assert_eq!(crash(&a, &whole).await, Verdict::Ignored, "a repeated report");
    let singles = house.within(5, "the singles", take(&a, 5)).await;
    let names: Vec<_> = singles.iter().map(|l| (l.name, l.whole, l.attempt)).collect();
    let wanted: Vec<_> = (1..=5).map(|task| (name(task, 1), name(1, 5), 1)).collect();
    assert_eq!(names, wanted);
    assert!(a.lease(9, &held(&singles)).await.unwrap().is_empty());
    let fields: Vec<String> = house.ask(&["HKEYS", &house.keys().job(work.job.id())]).await;
    assert!(!fields.iter().any(|f| f.starts_with("k:")), "{fields:?}");
    assert!(!settle(&a, &whole).await, "the whole is closed");
    for single in &singles {
        assert!(settle(&a, single).await);
    }
    house.within(5, "5 tasks", work.collect(5)).await;
    work.assert_came(5, &[]);
}

/// "A task alone counts a crash; after the third it is settled as a crash with its cause."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_alone_is_tried_three_times() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let a = house.worker();
    work.push(1, 1);
    for (attempt, verdict) in [(1, Verdict::Again), (2, Verdict::Again), (3, Verdict::Settled)] {
        let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
        assert_eq!(leased.attempt, attempt);
        assert_eq!(crash(&a, &leased).await, verdict);
    }
    let outcome = house.within(5, "the crash", work.receive()).await;
    let Report::Crashed(cause) = outcome.report else {
        panic!("not a crash: {outcome:?}");
    };
    assert_eq!(cause.words(), "killed by signal 11 (SIGSEGV)");
    work.assert_came(1, &[1]);
    assert!(a.lease(9, &[]).await.unwrap().is_empty());
}

/// "The script ignores a report for an attempt that is not the current one or a chunk that the
/// worker does not hold (else a repeated report removed another slot's lease)."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_of_the_past_or_of_others_is_ignored() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let (a, b) = (house.worker(), house.worker());
    work.push(1, 1);
    let old = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    a.release(&old).await.unwrap();
    let new = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    assert_eq!((old.attempt, new.attempt), (1, 2));
    assert_eq!(crash(&a, &old).await, Verdict::Ignored, "an old attempt");
    assert_eq!(crash(&b, &new).await, Verdict::Ignored, "not held");
    let leased: Vec<String> = house.ask(&["LRANGE", &house.keys().leased(a.id()), "0", "-1"]).await;
    assert_eq!(leased, [new.entry()]);
    let crashes: Option<u32> =
        house.ask(&["HGET", &house.keys().job(work.job.id()), "k:1+1"]).await;
    assert_eq!(crashes, None);
    assert!(b.lease(9, &[]).await.unwrap().is_empty(), "nothing was queued again");
    assert!(settle(&a, &new).await);
    house.within(5, "the task", work.collect(1)).await;
    assert_eq!(crash(&a, &new).await, Verdict::Ignored, "settled");
    work.assert_came(1, &[]);
}

/// "So the poison is found without a mark for every task, and no neighbour is blamed."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_hurts_nobody_else() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let poison = |leased: &Leased| match leased.name.contains(&name(13, 1)) {
        true => Act::Crash,
        false => Act::Answer,
    };
    let _hands: Vec<_> = (0..2).map(|_| Hand::start(house.worker(), poison)).collect();
    work.push(1, 9);
    work.push(10, 11);
    house.within(20, "20 tasks", work.collect(20)).await;
    work.assert_came(20, &[13]);
    assert_eq!(house.count(work.job.id(), "duplicates").await, 0);
}

/// "Where they are neither open nor settled": a split after a split brings no task back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_split_of_the_same_chunk_adds_nothing() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let a = house.worker();
    work.push(1, 3);
    let whole = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    assert_eq!(crash(&a, &whole).await, Verdict::Split);
    let singles = house.within(5, "the singles", take(&a, 3)).await;
    assert!(settle(&a, &singles[0]).await);
    // As if the chunk had been opened again: the payload is back and the worker holds it.
    let (keys, job) = (house.keys(), work.job.id());
    let payload: Vec<u8> = house.ask(&["HGET", &keys.job(job), "d:1+3"]).await;
    let mut pipe = redis::pipe();
    pipe.hset(keys.job(job), "p:1+3", payload).rpush(keys.leased(a.id()), whole.entry());
    pipe.exec_async(&mut house.admin().await).await.unwrap();
    assert_eq!(crash(&a, &whole).await, Verdict::Split);
    assert!(a.lease(9, &held(&singles[1..])).await.unwrap().is_empty());
    for single in &singles[1..] {
        assert!(settle(&a, single).await);
    }
    house.within(5, "3 tasks", work.collect(3)).await;
    work.assert_came(3, &[]);
}
