//! What is larger than Redis can hold is said at once; what only finds it full waits.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustbatch_protocol::{BlobRef, Cause, Payload, Report};
use rustbatch_queue::{Error, Settlement, Verdict, WorkerQueue};
use support::{Act, Hand, House, Loop, argument, take};

const LIMIT: u64 = 32 << 20;

fn small() -> House {
    House::start_with(&format!("maxmemory {LIMIT}\nmaxmemory-policy noeviction"))
}

fn assert_too_large(error: &Error, length: u64) {
    let Error::TooLarge { size, limit, .. } = error else { panic!("{error}") };
    assert_eq!((*size, *limit, error.kind()), (length, LIMIT, "too_large"));
    assert!(error.to_string().starts_with("40 MiB are too many for Redis at `unix:/"), "{error}");
    assert!(error.to_string().contains("whose `maxmemory` is 32 MiB\n* Raise"), "{error}");
}

async fn blobs(house: &House) -> usize {
    house.all_keys().await.into_iter().filter(|key| key.contains("blob:")).count()
}

/// A value that never fits is its task's end, at once; one that compression makes short enough goes,
/// and so does the same one when the limit has been raised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_never_fits_is_refused_at_once() {
    let house = small();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    (1..=2).for_each(|task| work.push(task, 1));
    let a = house.worker();
    let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    let mut outcome = support::outcome(&a, &leased, Some(Vec::new()));
    let (value, before) = (argument(1, 40 << 20), blobs(&house).await);
    let started = Instant::now();
    let refused = a.payload(&leased, &outcome, value.clone()).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_too_large(&refused, 40 << 20);
    assert_eq!(blobs(&house).await, before, "something was sent");
    let short = a.payload(&leased, &outcome, vec![7; 40 << 20]).await.unwrap();
    assert!(matches!(short, Payload::Blob(_)));
    outcome.report = Report::TooLarge { size: 40 << 20, limit: LIMIT };
    let settlement = Settlement { leased: &leased, outcome: &outcome };
    assert!(a.settle(&settlement, 0, &[]).await.unwrap().0);
    house.within(5, "the end of the task", work.receive()).await;
    assert_eq!(work.last_report, Some(outcome.report.clone()));
    let _: String = house.ask(&["CONFIG", "SET", "maxmemory", "128mb"]).await;
    let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    assert!(a.payload(&leased, &outcome, value).await.is_ok());
}

/// An export or an argument that never fits is an error before anything of it is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_and_never_fits_is_an_error_before() {
    let house = small();
    let client = house.client().await;
    let bytes = Bytes::from(argument(1, 40 << 20));
    let blob = BlobRef::of(client.seal(), &bytes);
    let refused = house.within(5, "the error", client.export(blob, &bytes)).await.unwrap_err();
    assert_too_large(&refused, 40 << 20);
    assert_eq!(blobs(&house).await, 0);
    let mut work = Loop::open_with(&client, 40 << 20).await;
    work.push(1, 1);
    let refused = house.within(5, "the error", work.failure()).await;
    assert_too_large(&refused, 40 << 20);
    assert_eq!(blobs(&house).await, 1, "only the context's");
}

/// What fits, but not now, waits for room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_finds_redis_full_waits() {
    let house = small();
    let client = house.quick_client().await;
    let mut work = Loop::open_with(&client, 9 << 20).await;
    let ballast = "x".repeat(5 << 20);
    let keys = ["a", "b", "c", "d"];
    for key in keys {
        let _: String = house.ask(&["SET", key, &ballast]).await;
    }
    let _hand = Hand::start(house.quick_worker(), |_| Act::Answer);
    work.push(1, 1);
    let early = tokio::time::timeout(Duration::from_secs(1), work.receive()).await;
    assert!(early.is_err(), "there was room");
    for key in keys {
        let _: u64 = house.ask(&["UNLINK", key]).await;
    }
    house.within(9, "the task", work.collect(1)).await;
    work.assert_came(1, &[]);
}

/// Two that fit one after the other, but not together, do not hold up each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_holds_the_room_that_another_waits_for() {
    let house = small();
    let client = house.client().await;
    let work = Loop::open(&client).await;
    let (a, b) = (house.worker(), house.worker());
    let put = |queue: Arc<WorkerQueue>, task| {
        let house = &house;
        work.push(task, 1);
        async move {
            let leased = house.within(5, "a lease", take(&queue, 1)).await.remove(0);
            let outcome = support::outcome(&queue, &leased, Some(Vec::new()));
            let done = queue.payload(&leased, &outcome, argument(task, 18 << 20)).await.unwrap();
            let Payload::Blob(blob) = done else { panic!("a short one") };
            // As the client does when it has fetched it.
            let _: u64 = house.ask(&["UNLINK", &house.keys().blob(&blob.hash)]).await;
        }
    };
    let both = async { tokio::join!(put(a, 1), put(b, 2)) };
    house.within(20, "both", both).await;
}

/// An outcome that no frame can hold ends its tasks, and neither the job nor the worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_too_long_for_a_frame_is_settled_as_given_up() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    (1..=2).for_each(|task| work.push(task, 1));
    let a = house.worker();
    let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    let mut outcome = support::outcome(&a, &leased, Some(vec![7; 17 << 20]));
    let settlement = Settlement { leased: &leased, outcome: &outcome };
    assert!(a.settle(&settlement, 0, &[]).await.unwrap().0);
    house.within(5, "the end of the task", work.receive()).await;
    let Some(Report::GivenUp(why)) = &work.last_report else { panic!("{:?}", work.last_report) };
    assert!(why.starts_with("a frame of 17"), "{why}");
    // So is a crash that can't be told.
    let cause = Cause { stderr: "x".repeat(17 << 20), ..Cause::default() };
    outcome.report = Report::Crashed(cause);
    for verdict in [Verdict::Again, Verdict::Again, Verdict::Settled] {
        let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
        let settlement = Settlement { leased: &leased, outcome: &outcome };
        assert_eq!(a.crash(&settlement).await.unwrap(), verdict);
    }
    work.last_report = None;
    house.within(5, "the end of the task", work.receive()).await;
    assert!(matches!(work.last_report, Some(Report::GivenUp(_))), "{:?}", work.last_report);
}
