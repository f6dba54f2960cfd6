//! Clients that sleep or die, and two on one cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustbatch_queue::Client;
use tokio::sync::Semaphore;

use crate::support::{Act, Hand, House, Ice, Loop, quick, take, until};

/// A client and a loop on a runtime that can be stopped.
async fn on_ice(house: &House) -> (Ice, Client, Loop) {
    let ice = Ice::new();
    let (server, seal) = (house.login("client"), house.seal());
    let client = ice.run(Client::connect_with(server, seal, quick())).await.unwrap();
    let same = client.clone();
    let work = ice.run(async move { Loop::open(&same).await }).await;
    (ice, client, work)
}

/// F29: a client that slept for six leases registers again, publishes what it lacks, and its loop
/// completes. Meanwhile nothing new is begun for it. Its own sleep is not taken for the server's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_slept_goes_on() {
    let house = House::start();
    let (ice, client, mut work) = on_ice(&house).await;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let mut hand = Hand::start(house.quick_worker(), move |leased| match leased.name.first {
        1..=10 => Act::Answer,
        _ => Act::Hold(Arc::clone(&held)),
    });
    (1..=100).for_each(|task| work.push(task, 1));
    house.within(9, "10 tasks", work.collect(10)).await;
    while house.within(9, "the next", hand.leases()).await.name.first <= 10 {}
    let frozen = ice.freeze().await;
    // The server cuts who sleeps, in the middle of its waits; the sleep outlasts its patience.
    let _: u64 = house.ask(&["CLIENT", "KILL", "USER", "client"]).await;
    let lease = house.keys().client(client.id());
    let gone = until(|| async { !house.ask::<bool>(&["EXISTS", &lease]).await });
    house.within(9, "the lease's end", gone).await;
    gate.add_permits(1);
    tokio::time::sleep(quick().patience + Duration::from_secs(2)).await;
    let queue = house.keys().queue(work.job.id());
    assert_eq!(house.ask::<u64>(&["LLEN", &queue]).await, 89, "something was begun for nobody");
    // And Redis loses what it is sleeping over.
    let _: String = house.ask(&["FLUSHALL"]).await;
    drop(frozen);
    gate.add_permits(100);
    house.within(20, "100 tasks", work.collect(100)).await;
    work.assert_came(100, &[]);
    assert_eq!(house.ask::<u64>(&["EXISTS", &lease]).await, 1);
}

/// The same without a loss: what a worker was told to give up is queued, and begun again when the
/// client is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_meanwhile_is_not_lost() {
    let house = House::start();
    let (ice, client, mut work) = on_ice(&house).await;
    (1..=20).for_each(|task| work.push(task, 1));
    let a = house.quick_worker();
    let leased = house.within(9, "a lease", take(&a, 2)).await;
    let frozen = ice.freeze().await;
    let lease = house.keys().client(client.id());
    let gone = until(|| async { !house.ask::<bool>(&["EXISTS", &lease]).await });
    house.within(9, "the lease's end", gone).await;
    let job = (work.job.id().clone(), client.id().clone());
    assert_eq!(a.beat(std::slice::from_ref(&job)).await.unwrap(), [false]);
    // Given up: the worker holds it no more, and leases again.
    assert!(a.lease(2, &[]).await.unwrap().is_empty());
    assert_eq!(house.ask::<u64>(&["LLEN", &house.keys().queue(&job.0)]).await, 20);
    assert_eq!(house.ask::<u64>(&["LLEN", &house.keys().ring()]).await, 0);
    house.assert_all_expire("while nobody waits for the job").await;
    drop((frozen, leased));
    let _hand = Hand::start(a, |_| Act::Answer);
    house.within(20, "20 tasks", work.collect(20)).await;
    work.assert_came(20, &[]);
}

/// F16: of a client that died nothing is begun any more, and every key goes by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_dead_client_nothing_stays() {
    let house = House::start();
    let (ice, client, mut work) = on_ice(&house).await;
    let mut hands: Vec<_> = (0..2)
        .map(|_| Hand::start(house.quick_worker(), |_| Act::Work(Duration::from_millis(5))))
        .collect();
    (1..=5000).for_each(|task| work.push(task, 1));
    house.within(9, "50 tasks", work.collect(50)).await;
    let (job, lease) = (work.job.id().clone(), house.keys().client(client.id()));
    let frozen = ice.freeze().await;
    // Dead: its sockets are closed, and it says nothing any more.
    let _: u64 = house.ask(&["CLIENT", "KILL", "USER", "client"]).await;
    let gone = until(|| async { !house.ask::<bool>(&["EXISTS", &lease]).await });
    house.within(9, "the lease's end", gone).await;
    let queue = house.keys().queue(&job);
    let still = until(|| async {
        let before: u64 = house.ask(&["LLEN", &queue]).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        house.ask::<u64>(&["LLEN", &queue]).await == before
    });
    house.within(9, "the workers' stop", still).await;
    assert!(house.ask::<u64>(&["LLEN", &queue]).await > 0);
    house.assert_all_expire("after the client's death").await;
    hands.clear();
    house.assert_all_expire("after the workers' death").await;
    std::mem::forget(frozen);
}

/// F25: a loop of a second begins at the next free slot beside chunks of an hour; one client dies,
/// the other is unharmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_loop_beside_a_long_one() {
    let house = House::start();
    let (ice, _client, long) = on_ice(&house).await;
    let id = long.job.id().clone();
    let (busy, free) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let hands: Vec<_> = (0..3)
        .map(|n| {
            let gate = Arc::clone(if n == 0 { &free } else { &busy });
            let id = id.clone();
            Hand::start(house.quick_worker(), move |leased| match leased.job == id {
                true => Act::Hold(Arc::clone(&gate)),
                false => Act::Work(Duration::from_millis(100)),
            })
        })
        .collect();
    (1..=200).for_each(|task| long.push(task, 1));
    let queue = house.keys().queue(&id);
    let taken = until(|| async { house.ask::<u64>(&["LLEN", &queue]).await == 197 });
    house.within(9, "three chunks of an hour", taken).await;
    let other = house.quick_client().await;
    let mut short = Loop::open(&other).await;
    short.push(1, 1);
    let queue = house.keys().queue(short.job.id());
    let pushed = until(|| async { house.ask::<u64>(&["LLEN", &queue]).await == 1 });
    house.within(5, "the push", pushed).await;
    // One slot becomes free.
    let freed = Instant::now();
    free.add_permits(2);
    house.within(5, "the short loop", short.collect(1)).await;
    assert!(freed.elapsed() < Duration::from_secs(1), "{:?}", freed.elapsed());
    let _frozen = ice.freeze().await;
    (2..=50).for_each(|task| short.push(task, 1));
    free.add_permits(1);
    house.within(30, "the rest", short.collect(50)).await;
    short.assert_came(50, &[]);
    busy.add_permits(10);
    drop(hands);
}
