//! Promise P10: what was not sealed for its very place is refused, counted, and does no harm.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::HashMap;

use rustbatch_protocol::{Binding, BlobRef, Chunk, ClusterKey, JobId, Kind, Payload, Seal, encode};
use support::{Act, Hand, House, Loop, argument, name, settle, take, until};

/// A chunk's payload for task `task` as someone without the cluster's key would make it.
fn foreign(house: &House, job: &JobId, task: u64) -> Vec<u8> {
    let seal = Seal::new(house.seal().cluster().clone(), ClusterKey::random().unwrap()).unwrap();
    let chunk = Chunk {
        context: BlobRef::of(&seal, b"evil"),
        arguments: Payload::Inline(argument(task, 8)),
        seed: None,
    };
    let text = name(task, 1).to_string();
    seal.seal(&Binding::new(Kind::Chunk, job, &text), &encode(&chunk).unwrap()).unwrap()
}

/// The frame of a job's newest event.
async fn newest(house: &House, job: &JobId) -> Vec<u8> {
    let events = house.keys().events(job);
    let all: redis::streams::StreamRangeReply = house.ask(&["XREVRANGE", &events, "+", "-"]).await;
    all.ids[0].get("p").unwrap()
}

async fn queued(house: &House, job: &JobId, n: u64) {
    let queue = house.keys().queue(job);
    let all = until(|| async { house.ask::<u64>(&["LLEN", &queue]).await == n });
    house.within(5, "the push", all).await;
}

/// "Sealed, bound to what they are, and checked": a worker refuses a payload that is not genuine,
/// and the client publishes the genuine one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_payload_is_replaced() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    (1..=8).for_each(|task| work.push(task, 1));
    queued(&house, work.job.id(), 8).await;
    let key = house.keys().job(work.job.id());
    let mut admin = house.admin().await;
    let genuine: HashMap<String, Vec<u8>> =
        redis::cmd("HGETALL").arg(&key).query_async(&mut admin).await.unwrap();
    let mut bent = genuine["p:7+1"].clone();
    *bent.last_mut().unwrap() ^= 1;
    let forgeries: [(&str, Vec<u8>); 7] = [
        ("p:1+1", b"garbage".to_vec()),
        ("p:2+1", foreign(&house, work.job.id(), 2)),
        ("p:3+1", genuine["p:8+1"].clone()),
        ("p:4+1", genuine["p:4+1"][..60].to_vec()),
        ("p:5+1", Vec::new()),
        ("p:6+1", b"@1+6".to_vec()),
        ("p:7+1", bent),
    ];
    for (field, forgery) in &forgeries {
        redis::pipe().hset(&key, field, forgery).exec_async(&mut admin).await.unwrap();
    }
    let hand = Hand::start(house.worker(), |_| Act::Answer);
    house.within(30, "8 tasks", work.collect(8)).await;
    work.assert_came(8, &[]);
    // The sixth names a payload that is not there: there is nothing to open.
    assert_eq!(hand.queue.refused(), 6);
    assert_eq!(work.job.rejected(), 7);
    assert_eq!(house.count(work.job.id(), "rejected").await, 7);
}

/// The payload that the tasks of a split chunk share: they are published again, all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_payload_of_a_split_chunk_is_replaced() {
    let house = House::start();
    let client = house.client().await;
    for forgery in [Some("garbage"), None] {
        let mut work = Loop::open(&client).await;
        let a = house.worker();
        work.push(1, 5);
        let whole = house.within(5, "a lease", take(&a, 1)).await.remove(0);
        let crash = support::outcome(&a, &whole, None);
        let report = rustbatch_queue::Settlement { leased: &whole, outcome: &crash };
        assert_eq!(a.crash(&report).await.unwrap(), rustbatch_queue::Verdict::Split);
        let first = house.within(5, "the first", take(&a, 1)).await.remove(0);
        assert!(settle(&a, &first).await);
        house.within(5, "the first", work.collect(1)).await;
        let key = house.keys().job(work.job.id());
        match forgery {
            Some(text) => house.ask::<u64>(&["HSET", &key, "d:1+5", text]).await,
            None => house.ask::<u64>(&["HDEL", &key, "d:1+5"]).await,
        };
        let _hand = Hand::start(house.worker(), |_| Act::Answer);
        house.within(30, "5 tasks", work.collect(5)).await;
        work.assert_came(5, &[]);
        assert!(work.job.rejected() > 0);
        work.job.close().await;
    }
}

/// Entries that were put by hand into the lists name nothing, or something genuine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_entries_lead_nowhere() {
    let house = House::start();
    let client = house.client().await;
    let (mut work, mut other) = (Loop::open(&client).await, Loop::open(&client).await);
    work.push(1, 3);
    other.push(1, 3);
    queued(&house, work.job.id(), 1).await;
    queued(&house, other.job.id(), 1).await;
    let (keys, job) = (house.keys(), work.job.id());
    let theirs = name(1, 3).entry(other.job.id());
    let mut pipe = redis::pipe();
    for entry in ["nonsense", "", "a/b/c", "/", &format!("{job}/2+1"), &theirs] {
        pipe.lpush(keys.queue(job), entry);
    }
    pipe.lpush(keys.ring(), "nojob").lpush(keys.ring(), "");
    pipe.exec_async(&mut house.admin().await).await.unwrap();
    let hands = [
        Hand::start(house.worker(), |_| Act::Answer),
        Hand::start(house.worker(), |_| Act::Answer),
    ];
    house.within(10, "3 tasks", work.collect(3)).await;
    house.within(10, "3 tasks", other.collect(3)).await;
    work.assert_came(3, &[]);
    other.assert_came(3, &[]);
    drop(hands);
}

/// Nothing that is put into the stream of events by hand is delivered; each piece is counted; and
/// the reader goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_event_is_not_delivered() {
    let house = House::start();
    let client = house.client().await;
    let (mut work, mut other) = (Loop::open(&client).await, Loop::open(&client).await);
    let a = house.worker();
    work.push(1, 1);
    other.push(2, 1);
    let leases = house.within(5, "the leases", take(&a, 2)).await;
    for leased in &leases {
        assert!(settle(&a, leased).await);
    }
    house.within(5, "a task", work.collect(1)).await;
    house.within(5, "a task", other.collect(1)).await;
    // Before the next push, which trims what came.
    let (theirs, mine) =
        (newest(&house, other.job.id()).await, newest(&house, work.job.id()).await);
    work.push(2, 1);
    queued(&house, work.job.id(), 1).await;
    let foreign = foreign(&house, work.job.id(), 2);
    let cut = theirs[..theirs.len() - 1].to_vec();
    let forgeries: [(&str, &str, &[u8]); 10] = [
        ("o", "2+1", b"garbage"),
        ("o", "2+1", &mine),
        ("o", "2+1", &theirs),
        ("o", "2+1", &cut),
        ("o", "2+1", &foreign),
        ("o", "nonsense", &theirs),
        ("n", "2+1", &theirs),
        ("n", &"0".repeat(64), b""),
        ("z", "", b""),
        ("", "", b""),
    ];
    let (kept, mut admin) = (house.keys().events(work.job.id()), house.admin().await);
    for (letter, name, payload) in forgeries {
        let mut add = redis::cmd("XADD");
        add.arg(&kept).arg("*").arg(&[("k", letter), ("n", name)]).arg("p").arg(payload);
        add.exec_async(&mut admin).await.unwrap();
    }
    let job = &work.job;
    house.within(5, "10 refusals", until(|| async { job.rejected() == 10 })).await;
    assert_eq!(work.came.len(), 1);
    let leased = house.within(5, "the lease", take(&a, 1)).await.remove(0);
    assert!(settle(&a, &leased).await);
    house.within(3, "the second task", work.collect(2)).await;
    work.assert_came(2, &[]);
    assert_eq!(work.job.rejected(), 10);
}

/// A genuine outcome that someone adds a second time enters once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_outcome_enters_once() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let a = house.worker();
    work.push(1, 2);
    let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    assert!(settle(&a, &leased).await);
    let events = house.keys().events(work.job.id());
    let frame = newest(&house, work.job.id()).await;
    let mut admin = house.admin().await;
    for _ in 0..5 {
        let mut add = redis::cmd("XADD");
        add.arg(&events).arg("*").arg(&[("k", "o"), ("n", "1+2")]).arg("p").arg(&frame);
        add.exec_async(&mut admin).await.unwrap();
    }
    work.push(3, 1);
    let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    assert!(settle(&a, &leased).await);
    house.within(5, "3 tasks", work.collect(3)).await;
    work.assert_came(3, &[]);
    assert_eq!(work.job.rejected(), 0);
}

/// What a running task says is delivered once, though it be read or put there again, and not at all
/// when it is not genuine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_is_heard_once() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let a = house.worker();
    work.push(1, 1);
    work.push(2, 1);
    let leases = house.within(5, "the leases", take(&a, 2)).await;
    a.signal(&leases[0], b"first").await.unwrap();
    let genuine = newest(&house, work.job.id()).await;
    let _: u64 = house.ask(&["CLIENT", "KILL", "USER", "client"]).await;
    a.signal(&leases[0], b"second").await.unwrap();
    let events = house.keys().events(work.job.id());
    let mut admin = house.admin().await;
    for (name, frame) in [("1+1", &genuine[..]), ("2+1", &genuine[..]), ("1+1", b"garbage")] {
        let mut add = redis::cmd("XADD");
        add.arg(&events).arg("*").arg(&[("k", "s"), ("n", name)]).arg("p").arg(frame);
        add.exec_async(&mut admin).await.unwrap();
    }
    a.signal(&leases[0], b"first").await.unwrap();
    for leased in &leases {
        assert!(settle(&a, leased).await);
    }
    house.within(9, "2 tasks", work.collect(2)).await;
    assert_eq!(work.said, [&b"first"[..], b"second", b"first"]);
    // What is refused may be read, and counted, again.
    assert!(work.job.rejected() >= 2);
}
