//! Servers that are lost for good, and their successors at another address (promise P6).

use std::time::{Duration, Instant};

use rustbatch_queue::{Error, Notice, Timing};

use crate::support::{Act, Hand, House, Loop, Proxy, quick, take, until};
use crate::{Crew, Dice};

/// A job under way, its server killed for good, another one elsewhere with workers of its own. A clone
/// of the client is told, and all follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_elsewhere_takes_over() {
    let (mut old, dice) = (House::start(), Dice::new());
    let client = old.quick_client().await;
    let (mut small, mut large) =
        (Loop::open(&client).await, Loop::open_with(&client, 5 << 19).await);
    let crew = Crew::start(&old, 6, &dice, 4, None);
    (0..1000).for_each(|i| small.push(i * 3 + 1, 3));
    (1..=40).for_each(|task| large.push(task, 1));
    let both = async { tokio::join!(small.collect(800), large.collect(10)) };
    old.within(30, "a part", both).await;
    old.kill();
    drop(crew);
    let new = old.elsewhere();
    client.clone().moved(&new.login("client")).unwrap();
    let _crew = Crew::start(&new, 6, &dice, 4, None);
    let both = async { tokio::join!(small.collect(3000), large.collect(40)) };
    new.within(60, "the rest", both).await;
    small.assert_came(3000, &[]);
    large.assert_came(40, &[]);
    assert!(matches!(small.notices[..], [Notice::Republished { .. }]), "{:?}", small.notices);
    // The next loop finds itself there, with the reader of one before.
    let id = small.job.id().clone();
    new.within(9, "the end", small.job.close()).await;
    new.assert_clean(&id).await;
    let mut next = Loop::open(&client).await;
    (1..=50).for_each(|task| next.push(task, 1));
    new.within(9, "50 tasks", next.collect(50)).await;
    next.assert_came(50, &[]);
}

/// Nobody waits for what a server that is gone would have said: all are at the other one at once,
/// although the old one keeps its connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_silent_is_left_at_once() {
    let old = House::start();
    let proxy = Proxy::start(old.socket());
    let client = old.client_at(proxy.before(old.login("client"))).await;
    let mut work = Loop::open(&client).await;
    let queue = old.keys().queue(work.job.id());
    (1..=20).for_each(|task| work.push(task, 1));
    let queued = until(|| async { old.ask::<u64>(&["LLEN", &queue]).await == 20 });
    old.within(9, "the push", queued).await;
    proxy.swallow(true);
    // The pump is in the middle of a call, the reader in the middle of a wait.
    work.push(21, 1);
    let asks = tokio::spawn({
        let client = client.clone();
        async move { client.roll().await }
    });
    let new = old.elsewhere();
    let moved = Instant::now();
    client.moved(&new.login("client")).unwrap();
    let queued = until(|| async { new.ask::<u64>(&["LLEN", &queue]).await == 21 });
    new.within(9, "21 tasks", queued).await;
    assert_eq!(new.within(9, "an answer", asks).await.unwrap().unwrap(), []);
    assert!(moved.elapsed() < Duration::from_secs(2), "{:?}", moved.elapsed());
    let _hand = Hand::start(new.worker(), |_| Act::Answer);
    new.within(9, "21 tasks", work.collect(21)).await;
    work.assert_came(21, &[]);
    assert_eq!(old.ask::<u64>(&["LLEN", &queue]).await, 20, "the old one was still used");
}

/// While a server and workers are on their way, nothing ends for want of them: neither because the old
/// one stays away for longer than patience lasts, nor because somebody else answers in its place, nor
/// because no worker is there yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_is_waited_for() {
    let mut old = House::start();
    let patience = Duration::from_secs(1);
    let timing = Timing { patience, stall: patience, ..quick() };
    let client = old.client_with(old.login("client"), timing).await;
    let mut work = Loop::open(&client).await;
    (1..=9).for_each(|task| work.push(task, 1));
    let worker = old.worker();
    old.within(9, "a lease", take(&worker, 1)).await;
    client.expect(Duration::from_secs(60));
    old.kill();
    tokio::time::sleep(2 * patience).await;
    // A server at its address that does not know us.
    old.revive();
    let _: String = old.ask(&["ACL", "SETUSER", "client", "resetpass", ">other"]).await;
    let _: u64 = old.ask(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let new = old.elsewhere();
    client.moved(&new.login("client")).unwrap();
    let queue = new.keys().queue(work.job.id());
    let queued = until(|| async { new.ask::<u64>(&["LLEN", &queue]).await == 9 });
    new.within(9, "9 tasks", queued).await;
    tokio::time::sleep(2 * patience).await;
    let _hand = Hand::start(new.quick_worker(), |_| Act::Answer);
    new.within(9, "9 tasks", work.collect(9)).await;
    work.assert_came(9, &[]);
}

/// ... but not for ever, and the end says how much there was to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_come_ends_the_loop() {
    let mut old = House::start();
    let patience = Duration::from_secs(1);
    let client = old.client_with(old.login("client"), Timing { patience, ..quick() }).await;
    let mut work = Loop::open(&client).await;
    work.push(1, 1);
    client.expect(3 * patience);
    let started = Instant::now();
    old.kill();
    let failed = tokio::time::timeout(10 * patience, work.failure()).await.unwrap();
    assert!(matches!(failed, Error::Away { finished: 0, open: 1, .. }), "{failed}");
    assert!(started.elapsed() >= 3 * patience, "{:?}", started.elapsed());
}
