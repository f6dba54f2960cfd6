//! Servers that go away, forget, or refuse for a while.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustbatch_queue::{Error, Notice, check_server};
use tokio::sync::Semaphore;

use crate::support::{Act, Hand, House, Loop, quick, settle, take, until};
use crate::{Crew, Dice};

/// F4: Redis is killed twice and comes back with what it saved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_killed_twice_loses_nothing() {
    let (mut house, dice) = (House::start_saved(), Dice::new());
    let client = house.quick_client().await;
    let mut work = Loop::open(&client).await;
    let _crew = Crew::start(&house, 8, &dice, 4, None);
    (1..=4000).for_each(|task| work.push(task, 1));
    for part in [1000, 2500] {
        house.within(60, "a part", work.collect(part)).await;
        house.kill();
        house.revive();
    }
    house.within(60, "4,000 tasks", work.collect(4000)).await;
    work.assert_came(4000, &[]);
    let id = work.job.id().clone();
    house.within(9, "the end", work.job.close()).await;
    house.assert_clean(&id).await;
}

/// F4b: Redis comes back as it was half a second before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_rolled_back_loses_nothing() {
    let (mut house, dice) = (House::start_saved(), Dice::new());
    let client = house.quick_client().await;
    let mut work = Loop::open(&client).await;
    let _crew = Crew::start(&house, 8, &dice, 4, None);
    (1..=4000).for_each(|task| work.push(task, 1));
    for part in [800, 2200] {
        house.within(60, "a part", work.collect(part)).await;
        let before = std::fs::metadata(house.aof()).unwrap().len();
        let more = part + 300;
        house.within(60, "half a second more", work.collect(more)).await;
        house.kill();
        let file = std::fs::OpenOptions::new().write(true).open(house.aof()).unwrap();
        assert!(file.metadata().unwrap().len() > before);
        file.set_len(before).unwrap();
        house.revive();
    }
    house.within(60, "4,000 tasks", work.collect(4000)).await;
    work.assert_came(4000, &[]);
}

/// F5: Redis comes back empty; the user is told once, with the number of tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_redis_is_filled_and_told_of_once() {
    let mut house = House::start();
    let client = house.quick_client().await;
    let mut work = Loop::open(&client).await;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let _hand = Hand::start(house.quick_worker(), move |leased| match leased.name.first > 20 {
        true => Act::Hold(Arc::clone(&held)),
        false => Act::Answer,
    });
    (1..=50).for_each(|i| work.push(i * 2 - 1, 2));
    house.within(9, "20 tasks", work.collect(20)).await;
    house.kill();
    house.revive();
    gate.add_permits(100);
    house.within(20, "100 tasks", work.collect(100)).await;
    work.assert_came(100, &[]);
    assert_eq!(work.notices, [Notice::Republished { tasks: 80 }]);
}

/// F6: Redis stays away: the worker's calls end after its patience, and so does the loop, with the
/// number of what had finished; what is pushed afterwards is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stays_away_ends_the_loop() {
    let mut house = House::start();
    let client = house.quick_client().await;
    let mut work = Loop::open(&client).await;
    let gate = Arc::new(Semaphore::new(7));
    let hand = Hand::start(house.quick_worker(), move |_| Act::Hold(Arc::clone(&gate)));
    (1..=10).for_each(|task| work.push(task, 1));
    house.within(9, "a task", work.collect(1)).await;
    drop(hand);
    let came = work.came.len() as u64;
    let worker = house.quick_worker();
    assert!(worker.lease(0, &[]).await.unwrap().is_empty());
    house.kill();
    let started = Instant::now();
    let (waited, failed) = tokio::join!(worker.wait(true), work.failure());
    assert!(matches!(waited, Err(Error::Unreachable { .. })), "{waited:?}");
    let took = started.elapsed();
    assert!((quick().patience..2 * quick().patience).contains(&took), "{took:?}");
    let Error::Away { finished, open, .. } = &failed else { panic!("{failed}") };
    let now = work.came.len() as u64;
    assert!(now >= came && (*finished, *open) == (now, 10 - now), "{failed}");
    assert_eq!(failed.kind(), "unreachable");
    assert!(matches!(work.notices[..], [Notice::Waiting { .. }]), "{:?}", work.notices);
    let refused = work.job.push(crate::support::name(11, 1), Vec::new()).unwrap_err();
    assert!(matches!(refused, Error::Away { .. }), "{refused}");
}

/// F13: 200 results of 1 MB through a Redis of 64 MB: it completes, and no -OOM reaches the user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_redis_holds_results_back() {
    let house = House::start_with("maxmemory 64mb\nmaxmemory-policy noeviction");
    let client = house.quick_client().await;
    let mut work = Loop::open_with(&client, 1 << 20).await;
    let mut hands: Vec<_> =
        (0..4).map(|_| Hand::start(house.quick_worker(), |_| Act::Answer)).collect();
    (1..=200).for_each(|task| work.push(task, 1));
    house.within(60, "200 tasks", work.collect(200)).await;
    work.assert_came(200, &[]);
    assert_eq!(work.notices, []);
    let peak = house.info("used_memory_peak").await;
    assert!(peak < 80 << 20, "Redis needed {peak} bytes");
    hands.clear();
}

/// "-OOM stops leasing, keeps the outcome and retries": the leases of worker and client go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_stops_no_heart() {
    let house = House::start();
    let client = house.quick_client().await;
    let mut work = Loop::open(&client).await;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let mut hand = Hand::start(house.quick_worker(), move |_| Act::Hold(Arc::clone(&held)));
    (1..=2).for_each(|task| work.push(task, 1));
    house.within(5, "a lease", hand.leases()).await;
    let _: String = house.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    gate.add_permits(9);
    work.push(3, 1);
    tokio::time::sleep(quick().lease * 3).await;
    let (a, c) = (house.keys().alive(hand.queue.id()), house.keys().client(client.id()));
    assert_eq!(house.ask::<u64>(&["EXISTS", &a, &c]).await, 2, "a lease ran out");
    let held: Vec<String> =
        house.ask(&["LRANGE", &house.keys().leased(hand.queue.id()), "0", "-1"]).await;
    assert_eq!(held.len(), 1, "{held:?}");
    assert!(work.came.is_empty());
    let _: String = house.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    house.within(15, "3 tasks", work.collect(3)).await;
    work.assert_came(3, &[]);
    assert_eq!(house.count(work.job.id(), "duplicates").await, 0, "an outcome was not kept");
}

/// A Redis that stays full although nothing comes in any more ends the loop with the cause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stays_full_ends_the_loop() {
    let house = House::start();
    let client = house.quick_client().await;
    let mut work = Loop::open(&client).await;
    let _: String = house.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    work.push(1, 1);
    let failed = house.within(20, "the failure", work.failure()).await;
    assert!(matches!(failed, Error::Full { .. }), "{failed}");
    assert_eq!(work.notices, []);
}

/// A Redis that would throw tasks away is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_evicts_is_refused() {
    let house = House::start_with("maxmemory 64mb\nmaxmemory-policy allkeys-lru");
    let ring = house.keys().ring();
    let checked = check_server(&house.login("client"), &ring, Duration::from_secs(5)).await;
    let text = checked.unwrap_err().to_string();
    assert!(text.contains("maxmemory-policy allkeys-lru"), "{text}");
}

/// A small disk, gone with the test.
struct Disk(tempfile::TempDir);

impl Drop for Disk {
    fn drop(&mut self) {
        // Redis may still be going.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// F14: the disk is full, so Redis refuses to write: the user is told once, the loop waits, and
/// completes when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs", &path]);
    if !mount.status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: a_full_disk_is_waited_out needs to mount a tmpfs");
        return;
    }
    let disk = Disk(folder);
    let house = House::start_with(&format!("dir {path}\nappendonly yes\nappendfsync everysec"));
    let client = house.quick_client().await;
    let mut work = Loop::open(&client).await;
    let _hand = Hand::start(house.quick_worker(), |_| Act::Answer);
    work.push(1, 1);
    house.within(9, "a task", work.collect(1)).await;
    let ballast = disk.0.path().join("ballast");
    let _ = std::fs::write(&ballast, vec![1; 9 << 20]);
    (2..=60).for_each(|task| work.push(task, 1));
    let told = async {
        while !work.notices.iter().any(|n| matches!(n, Notice::Waiting { .. })) {
            work.step().await;
        }
    };
    house.within(20, "the notice", told).await;
    std::fs::remove_file(&ballast).unwrap();
    house.within(40, "60 tasks", work.collect(60)).await;
    let waits = work.notices.iter().filter(|n| matches!(n, Notice::Waiting { .. })).count();
    work.assert_came(60, &[]);
    assert_eq!(waits, 1, "{:?}", work.notices);
}

/// A reader notices at once that its connection is another, although nothing is to be read: what
/// Redis has lost is published again long before a wait would have ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnect_is_noticed_at_once() {
    let mut house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    work.push(1, 1);
    work.push(2, 1);
    let queue = house.keys().queue(work.job.id());
    let worker = house.worker();
    let leased = house.within(5, "a lease", take(&worker, 1)).await.remove(0);
    assert!(settle(&worker, &leased).await);
    // Now the client has heard that both were published.
    house.within(5, "a task", work.collect(1)).await;
    drop(worker);
    house.restart_empty();
    let started = Instant::now();
    let again = until(|| async { house.ask::<u64>(&["LLEN", &queue]).await == 1 });
    house.within(9, "the task again", again).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let _hand = Hand::start(house.worker(), |_| Act::Answer);
    house.within(9, "the task", work.collect(2)).await;
}

/// "And again after every reconnect": an idle worker that is given back a chunk by a rollback works
/// on it, though no bell rings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_leases_after_a_reconnect() {
    let house = House::start();
    let worker = house.quick_worker();
    worker.wait(true).await.unwrap();
    let waits = tokio::spawn(async move {
        let mut wakes = Vec::new();
        for _ in 0..2 {
            wakes.push(worker.wait(true).await.unwrap());
        }
        wakes
    });
    let asleep = until(|| async { house.info("blocked_clients").await == 1 });
    house.within(5, "sleep", asleep).await;
    let _: u64 = house.ask(&["CLIENT", "KILL", "USER", "worker"]).await;
    let wakes = house.within(5, "the wakes", waits).await.unwrap();
    assert!(wakes.contains(&rustbatch_queue::Wake::Bell), "{wakes:?}");
}

/// A list that was lost alone: what is open is put back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_queue_is_made_again() {
    let house = House::start();
    let client = house.quick_client().await;
    let mut work = Loop::open(&client).await;
    (1..=20).for_each(|task| work.push(task, 1));
    let queue = house.keys().queue(work.job.id());
    until(async || house.ask::<u64>(&["LLEN", &queue]).await == 20).await;
    let gone: u64 = house.ask(&["DEL", &queue]).await;
    assert_eq!(gone, 1);
    let _hand = Hand::start(house.quick_worker(), |_| Act::Answer);
    house.within(9, "20 tasks", work.collect(20)).await;
    work.assert_came(20, &[]);
}
