//! Lines that spoil what they carry.

use std::time::{Duration, Instant};

use rustbatch_queue::Timing;

use crate::support::{Act, Hand, House, Loop, Proxy, quick, settle, take, until};
use crate::{Crew, Dice};

/// Two workers and a client, each behind a proxy of its own.
async fn lined(timing: Timing) -> (House, Proxy, Proxy, Loop, Vec<Hand>) {
    let house = House::start();
    let (near, far) = (Proxy::start(house.socket()), Proxy::start(house.socket()));
    let client = house.client_with(near.before(house.login("client")), timing).await;
    let work = Loop::open(&client).await;
    let server = far.before(house.login("worker"));
    let hire = |server| Hand::start(house.worker_with(server, timing), |_| Act::Work(MOMENT));
    let hands = vec![hire(&server), hire(&house.login("worker"))];
    (house, near, far, work, hands)
}

const MOMENT: Duration = Duration::from_millis(2);

/// F7 with the real times: a line to a worker swallows everything for 30 s; it works again within
/// 15 s of the healing, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_worker_is_back_within_15_seconds() {
    let (house, _near, far, mut work, hands) = lined(Timing::default()).await;
    (1..=100).for_each(|task| work.push(task, 1));
    house.within(20, "the first tasks", work.collect(50)).await;
    far.swallow(true);
    tokio::time::sleep(Duration::from_secs(30)).await;
    far.swallow(false);
    let healed = Instant::now();
    let id = hands[0].queue.id().clone();
    let alive = house.keys().alive(&id);
    let back = until(|| async { house.ask(&["EXISTS", &alive]).await });
    house.within(15, "the worker", back).await;
    assert!(healed.elapsed() < Duration::from_secs(15));
    house.within(30, "100 tasks", work.collect(100)).await;
    work.assert_came(100, &[]);
}

/// F7 for the client, with the real times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_client_is_back_within_15_seconds() {
    let (house, near, _far, mut work, _hands) = lined(Timing::default()).await;
    (1..=100).for_each(|task| work.push(task, 1));
    house.within(20, "the first tasks", work.collect(50)).await;
    near.swallow(true);
    (101..=200).for_each(|task| work.push(task, 1));
    tokio::time::sleep(Duration::from_secs(30)).await;
    near.swallow(false);
    house.within(16, "200 tasks", work.collect(200)).await;
    work.assert_came(200, &[]);
}

/// Bytes that come one by one, late, over connections that are cut again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_delays_and_cuts_lose_nothing() {
    let (house, near, far, mut work, _hands) = lined(quick()).await;
    let dice = Dice::new();
    for proxy in [&near, &far] {
        proxy.split(true);
        proxy.delay(Duration::from_millis(1));
    }
    (1..=300).for_each(|task| work.push(task, 1));
    house.within(60, "in pieces", work.collect(150)).await;
    near.cut_after(400_000);
    far.cut_after(400_000);
    let cuts = async {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50 + dice.below(100))).await;
            if dice.below(2) == 0 { near.cut_all() } else { far.cut_all() }
        }
    };
    let ((), ()) = house.within(90, "cut", async { tokio::join!(work.collect(300), cuts) }).await;
    work.assert_came(300, &[]);
}

/// Hundreds of cut connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_cuts_lose_nothing() {
    let (house, near, far, mut work, _hands) = lined(quick()).await;
    let dice = Dice::new();
    (1..=3000).for_each(|task| work.push(task, 1 + u32::from(task > 3000)));
    let cuts = async {
        for _ in 0..300 {
            tokio::time::sleep(Duration::from_millis(20 + dice.below(20))).await;
            if dice.below(2) == 0 { near.cut_all() } else { far.cut_all() }
        }
    };
    let both = async { tokio::join!(work.collect(3000), cuts) };
    house.within(120, "3,000 tasks", both).await;
    work.assert_came(3000, &[]);
    assert!(house.info("total_connections_received").await > 300);
}

/// Bits turned over on the way never become a value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turned_bits_do_not_become_values() {
    let (house, near, far, mut work, _hands) = lined(quick()).await;
    (1..=400).for_each(|task| work.push(task, 1));
    for n in 1..=10 {
        far.flip(1);
        if n > 5 {
            near.flip(1);
        }
        house.within(60, "some tasks", work.collect(n * 38)).await;
    }
    house.within(60, "400 tasks", work.collect(400)).await;
    work.assert_came(400, &[]);
}

/// What is genuine in Redis, but was spoilt on its way to a worker, is handed out again (else it is
/// open and in no list).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_spoilt_on_the_way_is_handed_out_again() {
    let house = House::start();
    let far = Proxy::start(house.socket());
    let client = house.client().await;
    let mut work = Loop::open_with(&client, 9000).await;
    work.push(1, 1);
    let queue = house.keys().queue(work.job.id());
    let pushed = until(|| async { house.ask::<u64>(&["LLEN", &queue]).await == 1 });
    house.within(5, "the push", pushed).await;
    let worker = house.worker_at(&far.before(house.login("worker")));
    assert!(worker.lease(0, &[]).await.unwrap().is_empty());
    // The middle of the answer is the middle of the payload.
    far.flip(1);
    assert!(worker.lease(1, &[]).await.unwrap().is_empty());
    assert!(far.flipped() && worker.refused() == 1);
    let leased = house.within(5, "the lease", take(&worker, 1)).await.remove(0);
    assert!(settle(&worker, &leased).await);
    house.within(5, "the task", work.collect(1)).await;
    work.assert_came(1, &[]);
}

/// A heartbeat never waits behind a long upload: 12 MiB at 1 MiB/s are 12 s, eight leases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_upload_does_not_stop_the_heart() {
    let house = House::start();
    let (near, far) = (Proxy::start(house.socket()), Proxy::start(house.socket()));
    let client = house.client_with(near.before(house.login("client")), quick()).await;
    let mut work = Loop::open_with(&client, 6 << 20).await;
    let server = far.before(house.login("worker"));
    let hand = Hand::start(house.worker_with(&server, quick()), |_| Act::Answer);
    near.slow_up(1 << 20);
    far.slow_up(1 << 20);
    work.push(1, 1);
    let leases = [house.keys().client(client.id()), house.keys().alive(hand.queue.id())];
    let there =
        until(|| async { house.ask::<u64>(&["EXISTS", &leases[0], &leases[1]]).await == 2 });
    house.within(5, "the leases", there).await;
    let watch = async {
        loop {
            let there: u64 = house.ask(&["EXISTS", &leases[0], &leases[1]]).await;
            assert_eq!(there, 2, "a lease ran out");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = house.within(60, "the task", work.collect(1)) => {}
        () = watch => {}
    }
    work.assert_came(1, &[]);
    assert_eq!(house.count(work.job.id(), "duplicates").await, 0);
}

/// The scripts are forgotten again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_forgotten_again_and_again() {
    let (house, dice) = (House::start(), Dice::new());
    let client = house.quick_client().await;
    let mut work = Loop::open(&client).await;
    let _crew = Crew::start(&house, 4, &dice, 2, None);
    (1..=2000).for_each(|task| work.push(task, 1));
    let flush = async {
        for _ in 0..70 {
            tokio::time::sleep(Duration::from_millis(dice.below(30))).await;
            let _: String = house.ask(&["SCRIPT", "FLUSH"]).await;
        }
    };
    let both = async { tokio::join!(work.collect(2000), flush) };
    house.within(60, "2,000 tasks", both).await;
    work.assert_came(2000, &[]);
}
