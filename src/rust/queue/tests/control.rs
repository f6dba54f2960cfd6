//! What a worker is told, and believes.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::sync::Arc;

use rustbatch_protocol::{
    ClientId, ClusterKey, Control, ControlMessage, JobId, Report, Seal, WorkerId, encode,
};
use rustbatch_queue::{LOSSES, Load, Wake, WorkerQueue};
use support::{Act, Did, Hand, House, Loop, take, until};
use tokio::sync::Semaphore;

/// Puts `message` into the worker's list and lets it wait.
async fn hears(house: &House, queue: &WorkerQueue, message: &[u8]) -> Wake {
    let key = house.keys().control(queue.id());
    redis::pipe().rpush(key, message).exec_async(&mut house.admin().await).await.unwrap();
    house.within(4, "the message", queue.wait(false)).await.unwrap()
}

/// "Control messages also a counter": forged, replayed, older, or for another: refused and counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_genuine_and_new_message_is_heard() {
    let house = House::start();
    let a = house.worker();
    let (client, seal) = (ClientId::random().unwrap(), house.seal());
    let control = Control::Drop(JobId::random().unwrap());
    let say = |seal: &Seal, to: &WorkerId, counter| {
        ControlMessage::seal(seal, &client, to, counter, &control).unwrap()
    };
    let genuine = say(&seal, a.id(), 5);
    assert_eq!(hears(&house, &a, &genuine).await, Wake::Control(control.clone()));
    assert_eq!(a.refused(), 0);
    let foreign = Seal::new(seal.cluster().clone(), ClusterKey::random().unwrap()).unwrap();
    let elsewhere = Seal::new("tess".parse().unwrap(), ClusterKey::random().unwrap()).unwrap();
    let mut renumbered = ControlMessage::read(&genuine).unwrap();
    renumbered.counter = 6;
    let mut renamed = ControlMessage::read(&genuine).unwrap();
    renamed.client = ClientId::random().unwrap();
    let refused = [
        genuine.clone(),
        encode(&renumbered).unwrap(),
        encode(&renamed).unwrap(),
        say(&seal, a.id(), 4),
        say(&foreign, a.id(), 6),
        say(&elsewhere, a.id(), 6),
        say(&seal, &WorkerId::random().unwrap(), 6),
        genuine[..genuine.len() - 1].to_vec(),
        b"garbage".to_vec(),
        Vec::new(),
    ];
    for (i, message) in refused.iter().enumerate() {
        assert_eq!(hears(&house, &a, message).await, Wake::Nothing, "{i}");
        assert_eq!(a.refused(), i as u64 + 1);
    }
    // What was refused has not moved the counter.
    let next = say(&seal, a.id(), 6);
    assert_eq!(hears(&house, &a, &next).await, Wake::Control(control));
}

/// Messages of one client arrive in the order of their numbers, however many are sent at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn messages_sent_at_once_are_all_heard() {
    let house = House::start();
    let client = house.client().await;
    let a = house.worker();
    a.beat(&[]).await.unwrap();
    let sent: Vec<_> = (0..3000)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.drain().await })
        })
        .collect();
    for send in sent {
        send.await.unwrap().unwrap();
    }
    for _ in 0..3000 {
        let wake = house.within(4, "a message", a.wait(false)).await.unwrap();
        assert_eq!(wake, Wake::Control(Control::Drain), "{} were refused", a.refused());
    }
}

/// Promise P7: closing a job with tasks under way tells the workers that are alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_a_running_job_reaches_the_workers() {
    let house = House::start();
    let client = house.client().await;
    let work = Loop::open(&client).await;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let mut busy = Hand::start(house.worker(), move |_| Act::Hold(Arc::clone(&held)));
    (1..=10).for_each(|task| work.push(task, 1));
    house.within(5, "a lease", busy.leases()).await;
    let mut idle = Hand::start(house.worker(), |_| Act::Release);
    let asleep = until(|| async { client.roll().await.unwrap().len() == 2 });
    house.within(5, "the roll", asleep).await;
    let id = work.job.id().clone();
    house.within(2, "the end", work.job.close()).await;
    house.assert_clean(&id).await;
    gate.add_permits(1);
    for hand in [&mut busy, &mut idle] {
        let hears = async {
            loop {
                if let Did::Hear(control) = hand.next().await {
                    return control;
                }
            }
        };
        assert_eq!(house.within(5, "the message", hears).await, Control::Drop(id.clone()));
    }
    let left = until(|| async {
        let keys = house.all_keys().await;
        !keys.iter().any(|key| key.contains("leased:"))
    });
    house.within(9, "no lease is left", left).await;
    house.assert_clean(&id).await;
}

/// A job that is dropped without `close` ends as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_dropped_ends() {
    let house = House::start();
    let client = house.client().await;
    let work = Loop::open(&client).await;
    work.push(1, 1);
    let a = house.worker();
    house.within(5, "a lease", take(&a, 1)).await;
    let id = work.job.id().clone();
    drop(work);
    let told = house.within(4, "the message", a.wait(false)).await.unwrap();
    assert_eq!(told, Wake::Control(Control::Drop(id.clone())));
    house.assert_clean(&id).await;
    assert_eq!(a.beat(&[(id, client.id().clone())]).await.unwrap(), [false]);
}

/// "The heartbeat also checks that its jobs exist", and their clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beat_says_whether_a_job_is_wanted() {
    let house = House::start();
    let client = house.client().await;
    let work = Loop::open(&client).await;
    work.push(1, 1);
    let a = house.worker();
    house.within(5, "a lease", take(&a, 1)).await;
    let id = work.job.id().clone();
    let (gone, stranger) = (JobId::random().unwrap(), ClientId::random().unwrap());
    let jobs = [(id.clone(), client.id().clone()), (gone, client.id().clone()), (id, stranger)];
    assert_eq!(a.beat(&jobs).await.unwrap(), [true, false, false]);
}

/// A drained worker signs off: nobody counts on it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_worker_leaves() {
    let house = House::start();
    let client = house.client().await;
    let mut hand = Hand::start(house.worker(), |_| Act::Answer);
    let there = until(|| async { client.roll().await.unwrap() == [(hand.queue.id().clone(), 1)] });
    house.within(5, "the roll", there).await;
    client.drain().await.unwrap();
    house.within(5, "the drain", hand.ended()).await;
    assert_eq!(client.roll().await.unwrap(), []);
}

/// The readers of events end with their jobs, even when much was on its way; their links serve the
/// jobs after them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_end_with_their_jobs() {
    let house = House::start();
    let client = house.client().await;
    let _hands: Vec<_> = (0..2).map(|_| Hand::start(house.worker(), |_| Act::Answer)).collect();
    for round in 0..20 {
        let mut work = Loop::open(&client).await;
        (1..=3000).for_each(|task| work.push(task, 1));
        house.within(9, "some tasks", work.collect(1 + round * 50)).await;
        house.within(9, "the end", work.job.close()).await;
    }
    // Two workers wait; nobody else does.
    let ended = until(|| async {
        let clients: String = house.ask(&["CLIENT", "LIST"]).await;
        !clients.contains("cmd=xread") || clients.matches("cmd=xread").count() == idle(&clients)
    });
    house.within(9, "the readers' end", ended).await;
}

/// How many connections have read events and wait for nothing now.
fn idle(clients: &str) -> usize {
    let reads = clients.lines().filter(|line| line.contains("cmd=xread"));
    reads.filter(|line| !line.contains("flags=b")).count()
}

/// What a worker held that is known to be dead is given back without waiting for its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_buried_worker_held_is_leased_again_at_once() {
    let house = House::start();
    let (client, dead, other) = (house.client().await, house.worker(), house.worker());
    other.beat(&[]).await.unwrap();
    let work = Loop::open(&client).await;
    work.push(1, 1);
    let held = house.within(5, "a lease", take(&dead, 1)).await.remove(0);
    client.bury(dead.id()).await.unwrap();
    let again = other.lease(1, &[]).await.unwrap();
    assert_eq!(again.iter().map(|leased| leased.name).collect::<Vec<_>>(), [held.name]);
    let roll: Vec<_> = client.roll().await.unwrap().into_iter().map(|(worker, _)| worker).collect();
    assert_eq!(roll, [other.id().clone()]);
}

/// "Settled as lost with the provider's cause."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_lost_with_its_hosts_says_of_what_the_last_one_died() {
    let house = House::start();
    let client = house.client().await;
    let mut work = Loop::open(&client).await;
    work.push(1, 1);
    for round in 1..=LOSSES {
        let host = house.worker();
        house.within(5, "a lease", take(&host, 1)).await;
        client.bury_because(host.id(), &format!("eviction {round}")).await.unwrap();
    }
    house.within(5, "its outcome", work.collect(1)).await;
    assert_eq!(work.last_report, Some(Report::Lost(LOSSES, format!("eviction {LOSSES}"))));
}

/// Scaling asks how much waits and who is idle, and drains only who it means.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_load_names_the_idle_and_they_alone_are_drained() {
    let house = House::start();
    let client = house.client().await;
    assert_eq!(client.load().await.unwrap(), Load::default());
    let work = Loop::open(&client).await;
    let (busy, idle) = (house.worker(), house.worker());
    (1..=3).for_each(|task| work.push(task, 1));
    house.within(5, "a lease", take(&busy, 1)).await;
    idle.beat(&[]).await.unwrap();
    let queued = until(|| async { client.load().await.unwrap().waiting == 2 });
    house.within(5, "what waits", queued).await;
    let mut held: Vec<_> =
        client.load().await.unwrap().workers.into_iter().map(|b| (b.held, b.worker)).collect();
    held.sort();
    assert_eq!(held, [(0, idle.id().clone()), (1, busy.id().clone())]);
    client.drain_these(&[idle.id().clone()]).await.unwrap();
    let hears = house.within(4, "the message", idle.wait(false)).await.unwrap();
    assert_eq!(hears, Wake::Control(Control::Drain));
    let key = house.keys().control(busy.id());
    let told: u32 = house.ask(&["EXISTS", &key]).await;
    assert_eq!(told, 0);
}
