//! Answers lost on the wire, chunks given back: "every member of a pipeline may be repeated".

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::time::Duration;

use rustbatch_queue::script;

use support::{Act, Hand, House, Loop, Proxy, held, name, settle, take, until};

/// "Whatever else stands in the worker's list (a reply lost on the wire) it hands out first."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_nobody_heard_of_is_handed_out_again() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let (a, b) = (house.worker(), house.worker());
    (0..4).for_each(|i| work.push(i * 2 + 1, 2));
    drop(house.within(5, "a lease", take(&a, 3)).await);
    let rest = house.within(5, "the rest", take(&b, 1)).await;
    assert_eq!(rest[0].name, name(7, 2));
    let again = a.lease(2, &[]).await.unwrap();
    let third = a.lease(9, &held(&again)).await.unwrap();
    let names: Vec<_> = again.iter().chain(&third).map(|l| (l.name.first, l.attempt)).collect();
    assert_eq!(names, [(1, 2), (3, 2), (5, 2)]);
    for leased in again.iter().chain(&third) {
        assert!(settle(&a, leased).await);
    }
    assert!(settle(&b, &rest[0]).await);
    house.within(5, "8 tasks", work.collect(8)).await;
    work.assert_came(8, &[]);
}

/// A lease call that is dropped half-way, at any point, loses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_call_may_be_dropped_half_way() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let a = house.worker();
    (1..=200).for_each(|task| work.push(task, 1));
    let leases = async {
        for microseconds in 0..100 {
            let _ =
                tokio::time::timeout(Duration::from_micros(microseconds), a.lease(2, &[])).await;
        }
        let mut done = 0;
        while done < 200 {
            for leased in take(&a, 1).await {
                done += u64::from(settle(&a, &leased).await);
            }
        }
    };
    house.within(20, "200 leases", leases).await;
    house.within(5, "200 tasks", work.collect(200)).await;
    work.assert_came(200, &[]);
}

/// Redis does what it was told, the answer is lost, and the call is repeated: for each call of a
/// worker, with results within the message and in blobs. No task is run twice for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_costs_no_task() {
    let house = House::start();
    let client = house.client().await;
    for size in [8, 2 << 20] {
        let mut work = Loop::open_with(&client, size).await;
        let proxy = Proxy::start(house.socket());
        let a = house.worker_at(&proxy.before(house.login("worker")));
        for task in 1..=6 {
            work.push(task, 1);
            // Connect before the first answer is lost, or it is that to the login.
            a.beat(&[]).await.unwrap();
            let queue = house.keys().queue(work.job.id());
            let queued = until(|| async { house.ask::<u64>(&["LLEN", &queue]).await == 1 });
            house.within(5, "the push", queued).await;
            proxy.lose(u64::from(task == 1));
            let leased = house.within(9, "a lease", take(&a, 1)).await.remove(0);
            assert_eq!(leased.attempt, if task == 1 { 2 } else { 1 });
            let arguments = a.arguments(&leased).await.unwrap().unwrap();
            let mut outcome = support::outcome(&a, &leased, Some(Vec::new()));
            let bytes = support::values(&leased, &arguments);
            let payload = a.payload(&leased, &outcome, bytes).await.unwrap();
            outcome.report = rustbatch_protocol::Report::Values(payload);
            let settlement = rustbatch_queue::Settlement { leased: &leased, outcome: &outcome };
            proxy.lose(u64::from(task % 2 == 0));
            house.within(9, "a settlement", a.settle(&settlement, 0, &[])).await.unwrap();
            assert!(proxy.lost());
            house.within(9, "the task", work.collect(task as usize)).await;
        }
        work.assert_came(6, &[]);
        assert_eq!(work.job.rejected(), 0, "a result was thrown away");
        assert_eq!(a.lease(9, &[]).await.unwrap().len(), 0, "a task would run twice");
    }
}

/// A settlement that is repeated must not take away the blob that the first one handed in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_settlement_keeps_its_blob() {
    let house = House::start();
    let client = house.client().await;
    let work = Loop::open_with(&client, 2 << 20).await;
    let a = house.worker();
    work.push(1, 1);
    let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    // The client hears of it only afterwards.
    let pause: String = house.ask(&["ACL", "SETUSER", "client", "-xread"]).await;
    let killed: u64 = house.ask(&["CLIENT", "KILL", "USER", "client"]).await;
    assert!(pause == "OK" && killed >= 1);
    assert!(settle(&a, &leased).await);
    let blobs = |keys: Vec<String>| keys.into_iter().filter(|k| k.contains("blob:")).count();
    let before = blobs(house.all_keys().await);
    assert!(!settle(&a, &leased).await);
    assert_eq!(blobs(house.all_keys().await), before);
    drop(work.job);
}

/// "Release puts a held chunk back at the head, without split or blame."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_released_comes_first_and_is_not_blamed() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let a = house.worker();
    (0..3).for_each(|i| work.push(i * 5 + 1, 5));
    let first = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    a.release(&first).await.unwrap();
    a.release(&first).await.unwrap();
    let leases = house.within(5, "the leases", take(&a, 3)).await;
    let names: Vec<_> = leases.iter().map(|l| (l.name, l.attempt)).collect();
    assert_eq!(names, [(name(1, 5), 2), (name(6, 5), 1), (name(11, 5), 1)]);
    assert!(a.lease(9, &held(&leases)).await.unwrap().is_empty(), "released twice");
    let fields: Vec<String> = house.ask(&["HKEYS", &house.keys().job(work.job.id())]).await;
    assert!(!fields.iter().any(|f| f.starts_with("k:") || f.starts_with("c:")), "{fields:?}");
    for leased in &leases {
        assert!(settle(&a, leased).await);
    }
    house.within(5, "15 tasks", work.collect(15)).await;
    work.assert_came(15, &[]);
}

/// Release wakes a sleeper, which finds the chunk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_released_is_found_by_another() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let a = house.worker();
    work.push(1, 5);
    let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    let _hand = Hand::start(house.worker(), |_| Act::Answer);
    let asleep = until(|| async { house.info("blocked_clients").await >= 2 });
    house.within(5, "sleep", asleep).await;
    a.release(&leased).await.unwrap();
    house.within(3, "5 tasks", work.collect(5)).await;
    work.assert_came(5, &[]);
}

/// What is given back after another has settled it is not queued again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_closed_is_not_released() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    let (a, b) = (house.worker(), house.worker());
    work.push(1, 5);
    let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    assert!(settle(&b, &leased).await);
    a.release(&leased).await.unwrap();
    let queue = house.keys().queue(work.job.id());
    assert_eq!(house.ask::<u64>(&["LLEN", &queue]).await, 0);
    house.within(5, "5 tasks", work.collect(5)).await;
    work.assert_came(5, &[]);
}

/// A push whose answer was lost is repeated, and changes nothing the second time: neither what is
/// open, nor what is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_push_changes_nothing() {
    let house = House::start();
    let client = house.client().await;
    let work = Loop::open(&client).await;
    work.push(1, 1);
    work.push(2, 1);
    let (keys, id) = (house.keys(), work.job.id());
    let (job, queue) = (keys.job(id), keys.queue(id));
    let queued = until(|| async { house.ask::<u64>(&["LLEN", &queue]).await == 2 });
    house.within(5, "the push", queued).await;
    let a = house.worker();
    let first = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    let payload: Vec<u8> = house.ask(&["HGET", &job, "p:1+1"]).await;
    assert!(settle(&a, &first).await);
    let mut pipe = redis::pipe();
    script::invoke(&mut pipe, &script::PUBLISH, &keys.ring());
    pipe.arg(id.as_str()).arg(client.id().as_str()).arg(9_000).arg(60_000).arg(0);
    for name in ["1+1", "2+1"] {
        pipe.arg(name).arg("").arg(&payload);
    }
    let before: Vec<String> = house.ask(&["LRANGE", &queue, "0", "-1"]).await;
    let (queued,): (u64,) = pipe.query_async(&mut house.admin().await).await.unwrap();
    assert_eq!(queued, 0);
    let after: Vec<String> = house.ask(&["LRANGE", &queue, "0", "-1"]).await;
    assert_eq!(before, after);
    let same: Vec<u8> = house.ask(&["HGET", &job, "p:2+1"]).await;
    assert_ne!(same, payload, "one name, one content for ever");
}
