//! Promise P9: what is large travels as blobs, and does not stay.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use rustbatch_protocol::{BlobRef, Control};
use rustbatch_queue::{Wake, WorkerQueue, blob};
use support::{Act, Hand, House, Loop, take, until};

async fn blobs(house: &House) -> Vec<String> {
    let keys = house.all_keys().await.into_iter();
    keys.filter(|key| key.contains("blob:")).collect()
}

/// Asks for a blob until the client says that it is there; `None` when Redis has it not even then.
async fn ask(queue: &WorkerQueue, work: &Loop, blob: &BlobRef) -> Option<Vec<u8>> {
    queue.need(work.job.id(), blob).await.unwrap();
    while queue.wait(false).await.unwrap() != Wake::Control(Control::Blob(blob.hash)) {}
    queue.fetch(blob).await.unwrap()
}

/// Arguments and results of 10 MB, in several parts; split, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_megabytes_go_both_ways_and_are_removed() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open_with(&client, 10 << 20).await;
    let mut crashes = std::sync::atomic::AtomicU32::new(0);
    *crashes.get_mut() = 1;
    let _hand = Hand::start(house.worker(), move |leased| {
        use std::sync::atomic::Ordering::SeqCst;
        let first = leased.name.n > 1 && crashes.swap(0, SeqCst) == 1;
        if first { Act::Crash } else { Act::Answer }
    });
    work.push(1, 1);
    work.push(2, 2);
    house.within(30, "3 tasks", work.collect(3)).await;
    work.assert_came(3, &[]);
    let context = house.keys().blob(&work.context.hash);
    let removed = until(|| async { blobs(&house).await == [context.as_str()] });
    house.within(5, "the blobs' end", removed).await;
    let id = work.job.id().clone();
    work.job.close().await;
    house.assert_clean(&id).await;
}

/// What a closed job had not worked on is removed with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_arguments_of_a_closed_job_are_removed() {
    let house = House::start();
    let client = house.client().await;
    let work = Loop::open_with(&client, 2 << 20).await;
    (1..=3).for_each(|task| work.push(task, 1));
    house.within(9, "the blobs", until(|| async { blobs(&house).await.len() == 4 })).await;
    let context = house.keys().blob(&work.context.hash);
    house.within(5, "the end", work.job.close()).await;
    assert_eq!(blobs(&house).await, [context]);
}

/// "The worker keeps the chunk, the client sends the blob and tells it by `ctl`": for a blob that is
/// missing, cut short, or not genuine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_blob_is_sent_again() {
    let house = House::start();
    let client = house.client().await;
    let work = Loop::open(&client).await;
    work.push(1, 1);
    let a = house.worker();
    let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    let context = leased.chunk.context;
    let genuine = Some(b"the context".to_vec());
    assert_eq!(a.fetch(&context).await.unwrap(), genuine);
    let key = house.keys().blob(&context.hash);
    assert_eq!(house.ask::<u64>(&["DEL", &key]).await, 1);
    assert_eq!(a.fetch(&context).await.unwrap(), None);
    assert_eq!(house.within(9, "the blob", ask(&a, &work, &context)).await, genuine);
    assert_eq!(a.refused(), 0);
    let _: u64 = house.ask(&["HSET", &key, "0", "garbage"]).await;
    assert_eq!(a.fetch(&context).await.unwrap(), None);
    assert_eq!(a.refused(), 1);
    assert_eq!(house.within(9, "the blob", ask(&a, &work, &context)).await, genuine);
}

/// A result whose blob is gone, or not genuine, is worked out again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_without_its_blob_is_worked_out_again() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open_with(&client, 2 << 20).await;
    work.push(1, 1);
    let a = house.worker();
    let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    let mut outcome = support::outcome(&a, &leased, Some(Vec::new()));
    let arguments = a.arguments(&leased).await.unwrap().unwrap();
    let bytes = support::values(&leased, &arguments);
    let payload = a.payload(&leased, &outcome, bytes).await.unwrap();
    let rustbatch_protocol::Payload::Blob(blob) = &payload else {
        panic!("not a blob");
    };
    let _: u64 = house.ask(&["HSET", &house.keys().blob(&blob.hash), "0", "garbage"]).await;
    outcome.report = rustbatch_protocol::Report::Values(payload);
    let settlement = rustbatch_queue::Settlement { leased: &leased, outcome: &outcome };
    assert!(a.settle(&settlement, 0, &[]).await.unwrap().0);
    let _hand = Hand::start(a, |_| Act::Answer);
    house.within(9, "the task", work.collect(1)).await;
    work.assert_came(1, &[]);
    assert_eq!(work.job.rejected(), 1);
}

/// A Redis that is emptied, or rolled back, while it is given a blob lacks the first parts of it, or
/// some between: that is not taken for the whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_lacks_a_part_is_sent_again() {
    let house = House::start();
    let client = house.client().await;
    let work = Loop::open_with(&client, 5 << 19).await;
    work.push(1, 1);
    let a = house.worker();
    let leased = house.within(9, "a lease", take(&a, 1)).await.remove(0);
    let rustbatch_protocol::Payload::Blob(blob) = &leased.chunk.arguments else {
        panic!("short arguments")
    };
    let key = house.keys().blob(&blob.hash);
    for part in ["0", "1", "2"] {
        assert_eq!(house.ask::<u64>(&["HDEL", &key, part]).await, 1);
        assert_eq!(a.arguments(&leased).await.unwrap(), None);
        let again = house.within(9, "the blob", ask(&a, &work, blob)).await;
        assert_eq!(again, Some(support::argument(1, 5 << 19)));
    }
}

/// A client that dies between any two of the commands that store a blob leaves nothing for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_half_stored_goes_by_itself() {
    let house = House::start();
    let client = house.client().await;
    let bytes = support::argument(1, 5 << 19);
    let blob = BlobRef::of(client.seal(), &bytes);
    let mut pipe = redis::Pipeline::new();
    for part in 0..blob.parts() {
        blob::add_part(&mut pipe, &house.keys(), client.seal(), &blob, &bytes, part).unwrap();
    }
    let mut connection = house.admin().await;
    for (number, command) in pipe.cmd_iter().enumerate() {
        command.exec_async(&mut connection).await.unwrap();
        house.assert_all_expire(&format!("after command {number}")).await;
    }
    assert!(client.renew(blob).await.unwrap());
}
