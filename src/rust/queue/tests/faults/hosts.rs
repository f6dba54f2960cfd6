//! Lost hosts: what they held comes back, and nobody is blamed who is not to blame.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustbatch_protocol::Report;
use rustbatch_queue::{LOSSES, Timing};

use crate::support::{Act, Hand, House, Ice, Loop, name, quick, settle, take, until};
use crate::{Crew, Dice};

/// Chunks of 1, 1, 3 and 8 tasks, 10,000 tasks in all.
fn push_ten_thousand(work: &Loop) {
    let (mut first, mut sizes) = (1, [1, 1, 3, 8].into_iter().cycle());
    while first <= 10_000 {
        let n = sizes.next().unwrap_or(1).min(10_001 - first as u32);
        work.push(first, n);
        first += u64::from(n);
    }
}

/// F1: 10,000 tasks over 16 workers, of whom four are lost every 100 ms, 300 in all: nothing is lost or
/// doubled, and it takes at most twice as long as without, and the time that a loss needs to be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_workers_lost_at_random_lose_nothing() {
    let (house, dice) = (House::start(), Dice::new());
    let client = house.quick_client().await;
    let crew = Crew::start(&house, 16, &dice, 20, None);
    let mut calm = Loop::open(&client).await;
    let started = Instant::now();
    push_ten_thousand(&calm);
    house.within(60, "10,000 tasks", calm.collect(10_000)).await;
    let undisturbed = started.elapsed();
    drop(crew);
    let every = Duration::from_millis(100);
    let crew = Crew::decimated(&house, 16, &dice, 20, Some(every), 4);
    let mut work = Loop::open(&client).await;
    let started = Instant::now();
    push_ten_thousand(&work);
    let killing = async {
        while crew.lost() < 300 {
            work.receive().await;
        }
    };
    house.within(60, "300 losses", killing).await;
    assert!(work.came.len() < 10_000, "all came before 300 were lost");
    crew.spare();
    house.within(60, "10,000 tasks", work.collect(10_000)).await;
    let took = started.elapsed();
    eprintln!("{} workers lost; {took:?}, undisturbed {undisturbed:?}", crew.lost());
    let seen = quick().lease + quick().second_look() + quick().beat;
    assert!(took <= 2 * undisturbed + seen, "{took:?}, undisturbed {undisturbed:?}");
    work.assert_came(10_000, &[]);
    let id = work.job.id().clone();
    house.within(9, "the end", work.job.close()).await;
    house.assert_clean(&id).await;
}

/// Promise P3 with the real times: a lost host is seen within 30 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_host_is_seen_within_30_seconds() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    work.push(1, 1);
    let mut lost = Hand::start(house.worker(), |_| Act::Work(Duration::from_secs(900)));
    house.within(5, "a lease", lost.leases()).await;
    drop(lost);
    let at = Instant::now();
    let _hand = Hand::start(house.worker(), |_| Act::Answer);
    house.within(31, "the task", work.collect(1)).await;
    assert!(at.elapsed() <= Duration::from_secs(30), "{:?}", at.elapsed());
    work.assert_came(1, &[]);
}

/// F3: a worker that stands still beyond its lease goes on afterwards: its outcome is late, and it
/// works again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_worker_comes_back() {
    let house = House::start();
    let client = house.quick_client().await;
    let mut work = Loop::open(&client).await;
    let (ice, queue) = (Ice::new(), house.quick_worker());
    let mut paused =
        ice.run(async move { Hand::start(queue, |_| Act::Work(Duration::from_millis(300))) }).await;
    work.push(1, 1);
    house.within(5, "a lease", paused.leases()).await;
    let frozen = ice.freeze().await;
    let other = Hand::start(house.quick_worker(), |_| Act::Answer);
    house.within(9, "the task", work.collect(1)).await;
    assert!(!client.roll().await.unwrap().iter().any(|(id, _)| id == paused.queue.id()));
    drop((frozen, other));
    work.push(2, 1);
    house.within(9, "its next task", work.collect(2)).await;
    assert_eq!(house.count(work.job.id(), "duplicates").await, 1);
    assert!(client.roll().await.unwrap().iter().any(|(id, _)| id == paused.queue.id()));
    work.assert_came(2, &[]);
}

/// "What was leased but not started goes back whole, at the head. A started chunk of several tasks
/// is split. A started single task counts one loss."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_started_goes_back_whole() {
    let house = House::start();
    let client = house.quick_client().await;
    let mut work = Loop::open(&client).await;
    for (first, n) in [(1, 3), (4, 3), (7, 1), (8, 1), (9, 1)] {
        work.push(first, n);
    }
    let a = house.quick_worker();
    let leases = house.within(5, "the leases", take(&a, 4)).await;
    let job = house.keys().job(work.job.id());
    // As a worker that holds chunks for later marks them when it begins.
    for waiting in ["s:4+3", "s:8+1"] {
        let _: u64 = house.ask(&["HDEL", &job, waiting]).await;
    }
    assert_eq!(leases.len(), 4);
    let queue = house.keys().queue(work.job.id());
    let back = until(|| async { house.ask::<usize>(&["LLEN", &queue]).await == 7 });
    house.within(9, "the sweep", back).await;
    let entries: Vec<String> = house.ask(&["LRANGE", &queue, "0", "-1"]).await;
    let names: Vec<_> = entries.iter().map(|e| e.split_once('/').unwrap().1).collect();
    assert_eq!(names, ["1+1", "2+1", "3+1", "4+3", "7+1", "8+1", "9+1"]);
    let losses: Vec<Option<u32>> = house.ask(&["HMGET", &job, "l:7+1", "l:8+1", "l:1+1"]).await;
    assert_eq!(losses, [Some(1), None, None]);
    let workers: Vec<String> = house.ask(&["SMEMBERS", &house.keys().workers()]).await;
    assert!(workers.is_empty(), "{workers:?}");
    assert_eq!(house.ask::<u64>(&["LLEN", &house.keys().bell()]).await, 1);
    house.assert_all_expire("after the sweep").await;
    let _hand = Hand::start(house.quick_worker(), |_| Act::Answer);
    house.within(9, "9 tasks", work.collect(9)).await;
    work.assert_came(9, &[]);
}

/// F11: a task that costs its host is tried six times alone, its neighbours are unharmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_for_hosts_is_found() {
    let house = House::start();
    let client = house.quick_client().await;
    let mut work = Loop::open(&client).await;
    let alone = Arc::new(AtomicU32::new(0));
    let (dying, died) = tokio::sync::mpsc::unbounded_channel();
    let hire = |alone: &Arc<AtomicU32>| {
        let (alone, dying) = (Arc::clone(alone), dying.clone());
        let queue = house.quick_worker();
        let id = queue.id().clone();
        Hand::start(queue, move |leased| {
            if !leased.name.contains(&name(4, 1)) {
                return Act::Answer;
            }
            alone.fetch_add(u32::from(leased.name.n == 1), Ordering::SeqCst);
            let _ = dying.send(id.clone());
            Act::Work(Duration::from_secs(900))
        })
    };
    let hands = Arc::new(Mutex::new(vec![hire(&alone), hire(&alone)]));
    work.push(1, 8);
    work.push(9, 2);
    let mut died = died;
    let losing = async {
        while let Some(id) = died.recv().await {
            let fresh = hire(&alone);
            let mut hands = hands.lock().unwrap();
            hands.retain(|hand| hand.queue.id() != &id);
            hands.push(fresh);
        }
    };
    tokio::select! {
        () = house.within(60, "10 tasks", work.collect(10)) => {}
        () = losing => {}
    }
    work.assert_came(10, &[4]);
    assert_eq!(alone.load(Ordering::SeqCst), LOSSES);
    assert_eq!(work.last_report, Some(Report::Lost(LOSSES, String::new())));
}

/// "Without a client, by one worker at a time": the first that comes; and "the second look counts
/// when one heartbeat and the longest back-off have passed".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_sweep_where_no_client_does() {
    let house = House::start();
    let ice = Ice::new();
    let (server, seal) = (house.login("client"), house.seal());
    let client = ice.run(rustbatch_queue::Client::connect_with(server, seal, quick()));
    let client = client.await.unwrap();
    let sleeper = client.id().to_string();
    let work = ice.run(async move { Loop::open(&client).await }).await;
    work.push(1, 1);
    let a = house.quick_worker();
    house.within(5, "a lease", take(&a, 1)).await;
    let _frozen = ice.freeze().await;
    let (b, c) = (house.quick_worker(), house.quick_worker());
    let sweeper = format!("{}sweeper", house.keys().pattern().trim_end_matches('*'));
    let queue = house.keys().queue(work.job.id());
    let look = house.keys().alive(a.id()).replace("alive:", "look:");
    let started = Instant::now();
    let (mut looked, mut sweepers) = (None, std::collections::HashSet::new());
    let swept = async {
        while house.ask::<u64>(&["LLEN", &queue]).await == 0 {
            for worker in [&b, &c] {
                worker.beat(&[]).await.unwrap();
                let who: Option<String> = house.ask(&["GET", &sweeper]).await;
                sweepers.extend(who.filter(|who| who != &sleeper));
            }
            if looked.is_none() && house.ask::<bool>(&["EXISTS", &look]).await {
                looked = Some(Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    house.within(20, "the sweep", swept).await;
    assert_eq!(sweepers.len(), 1, "{sweepers:?}");
    let Timing { beat, pause, .. } = quick();
    assert!(looked.unwrap().elapsed() + Duration::from_millis(80) >= beat + pause);
    assert!(started.elapsed() >= quick().lease);
}

/// A worker whose first look was taken, but which is alive at the second, keeps what it holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_alive_again_keeps_what_it_holds() {
    let house = House::start();
    let client = house.quick_client().await;
    let mut work = Loop::open(&client).await;
    work.push(1, 2);
    let a = house.quick_worker();
    let leased = house.within(5, "a lease", take(&a, 1)).await.remove(0);
    let look = house.keys().alive(a.id()).replace("alive:", "look:");
    let looked = until(|| async { house.ask(&["EXISTS", &look]).await });
    house.within(9, "the first look", looked).await;
    a.beat(&[]).await.unwrap();
    let gone = until(|| async { !house.ask::<bool>(&["EXISTS", &look]).await });
    house.within(9, "its end", gone).await;
    let held: Vec<String> = house.ask(&["LRANGE", &house.keys().leased(a.id()), "0", "-1"]).await;
    assert_eq!(held, [leased.entry()]);
    assert!(settle(&a, &leased).await);
    house.within(5, "2 tasks", work.collect(2)).await;
    work.assert_came(2, &[]);
}
