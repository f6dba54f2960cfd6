//! A cluster's life at a provider that fails, is slow, partial, forgetful and mortal.

#![allow(clippy::expect_used)]

#[path = "support/fake.rs"]
mod fake;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fake::{Fake, SOON, policy, wish};
use rustbatch_protocol::WorkerId;
use rustbatch_protocol::bootstrap::Address;
use rustbatch_provision::Error;
use rustbatch_provision::lifecycle::{self, Numbers, Policy, Progress, Up, Wish};
use rustbatch_provision::provider::{Instance, Role};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

type Cluster = Up<Fake, Fake>;

async fn start(fake: &Fake, wish: Wish, policy: Policy) -> Result<Cluster, Error> {
    let start =
        lifecycle::start(Arc::new(fake.clone()), fake.clone(), wish, policy, Progress::default());
    timeout(SOON * 2, start).await.expect("a start that ends")
}

/// A cluster with all of its workers, and the time.
async fn stands(fake: &Fake, workers: u32) -> (Cluster, Instant) {
    let cluster = start(fake, wish(workers), Policy { all: true, ..policy() }).await;
    (cluster.expect("a cluster"), Instant::now())
}

fn workers(fake: &Fake) -> Vec<Instance> {
    fake.world().alive(Role::Worker)
}

fn names(fake: &Fake) -> Vec<WorkerId> {
    workers(fake).into_iter().filter_map(|instance| instance.worker).collect()
}

fn numbers(expected: u32, initializing: u32, running: u32) -> Numbers {
    Numbers { expected, initializing, running }
}

#[tokio::test]
async fn whatever_call_of_a_start_fails_nothing_is_left() {
    let mut failed = Vec::new();
    for point in 0.. {
        let fake = Fake::default();
        fake.world().slow = 1;
        fake.world().fault = Some(point);
        let all = Policy { all: true, ..policy() };
        match start(&fake, wish(2), all).await {
            Ok(up) => {
                assert!(fake.world().points.len() <= point, "a fault was overlooked");
                fake.world().fault = None;
                up.stop().await.expect("an end");
                assert!(fake.world().is_empty());
                break;
            }
            Err(error) => {
                failed.push(fake.world().points[point].clone());
                assert!(error.to_string().contains("the fake fails"), "{error}");
                assert!(fake.world().is_empty(), "left after {}", failed[point]);
            }
        }
    }
    for point in ["check", "within prepare", "after launching a server", "open", "load"] {
        assert!(failed.iter().any(|name| name == point), "{point} never failed: {failed:?}");
    }
    assert!(failed.iter().any(|name| name == "after launching a worker"), "{failed:?}");
}

#[tokio::test]
async fn wherever_a_start_is_interrupted_nothing_is_left() {
    for point in 0.. {
        let fake = Fake::default();
        fake.world().slow = 1;
        let (reached, open) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        fake.world().gate = Some((point, reached.clone(), open.clone()));
        let interrupted = tokio::select! {
            started = start(&fake, wish(2), policy()) => {
                fake.world().gate = None;
                started.expect("a cluster").stop().await.expect("an end");
                false
            }
            _ = reached.acquire() => true,
        };
        if !interrupted {
            assert!(point > 8, "it was not interrupted");
            break;
        }
        // The call that was under way ends only now, and has made what it makes.
        open.add_permits(1);
        let name = fake.world().points[point].clone();
        let destroyed = |w: &fake::World| w.points.iter().any(|p| p == "destroy") && w.is_empty();
        if name != "check" {
            fake.until(&name, destroyed).await;
        }
    }
}

#[tokio::test]
async fn a_wait_that_is_interrupted_ends() {
    let fake = Fake::default();
    fake.world().mute = true;
    let waits = |w: &fake::World| w.points.iter().filter(|p| *p == "load").count() > 3;
    tokio::select! {
        _ = start(&fake, wish(2), policy()) => panic!("nobody joins"),
        () = fake.until("the wait", waits) => {}
    }
    fake.until("the end", fake::World::is_empty).await;
}

#[tokio::test]
async fn a_slow_start_says_what_it_waits_for() {
    let fake = Fake::default();
    (fake.world().slow, fake.world().hidden) = (3, 1);
    let (tell, mut lines) = unbounded_channel();
    let provider = Arc::new(fake.clone());
    let all = Policy { all: true, ..policy() };
    let up = lifecycle::start(provider, fake.clone(), wish(2), all, Progress(Some(tell)));
    let up = up.await.expect("a cluster");
    let mut said = Vec::new();
    while let Ok(line) = lines.try_recv() {
        said.push(line);
    }
    let expected = [
        "the server: it is not known yet",
        "the server: pulling the image",
        "0 of 2 workers have joined; 2 it is not known yet",
        "0 of 2 workers have joined; 2 pulling the image",
    ];
    assert_eq!(said, expected, "each once");
    assert_eq!(up.numbers().await.expect("numbers"), numbers(2, 0, 2));
}

#[tokio::test]
async fn a_time_out_says_which_did_not_come_and_what_they_do() {
    let fake = Fake::default();
    fake.world().mute = true;
    let short = Policy { join: Duration::from_millis(30), ..policy() };
    let error = start(&fake, wish(2), short).await.err().expect("nobody joins");
    assert_eq!(error.kind(), "timed_out");
    let text = error.to_string();
    assert!(text.starts_with("No worker joined within 0 s\n* i-"), "{text}");
    assert_eq!(text.matches(": it runs, and has not joined").count(), 2, "{text}");
    assert!(fake.world().is_empty());

    fake.world().slow = u32::MAX;
    let short = Policy { server: Duration::from_millis(30), ..policy() };
    let error = start(&fake, wish(2), short).await.err().expect("no server");
    let text = "Gave up waiting for the server after 0 s:\npulling the image";
    assert_eq!((error.kind(), error.to_string().as_str()), ("timed_out", text));
    assert!(fake.world().is_empty());
}

#[tokio::test]
async fn instances_that_stop_end_the_start_at_once_and_say_why() {
    for (role, why) in [(Role::Server, "no server today"), (Role::Worker, "no worker today")] {
        let fake = Fake::default();
        fake.world().fatal = Some(role);
        let error = start(&fake, wish(3), policy()).await.err().expect("no start");
        assert_eq!(error.to_string(), format!("The cluster did not start: {why}"));
        assert_eq!(error.kind(), "provision");
        assert!(fake.world().is_empty());
    }
}

#[tokio::test]
async fn a_quota_that_is_known_before_costs_nothing() {
    let fake = Fake::default();
    fake.world().most = Some(2);
    let error = start(&fake, wish(3), policy()).await.err().expect("too many");
    let text = "Can't start 3 workers: the provider allows 2 now\n* Ask for 2 or fewer.";
    assert_eq!(error.to_string(), text);
    assert_eq!(fake.world().points, ["check"]);
}

#[tokio::test]
async fn a_part_of_the_workers_is_enough_to_begin_and_the_rest_follows() {
    let fake = Fake::default();
    fake.world().capacity = 3;
    let all = Policy { all: true, ..policy() };
    let error = start(&fake, wish(4), all).await.err().expect("too few");
    assert_eq!(error.to_string(), "The cluster did not start: Capacity is unavailable");
    assert!(fake.world().is_empty());

    let up = start(&fake, wish(4), policy()).await.expect("a cluster");
    assert_eq!(up.numbers().await.expect("numbers"), numbers(4, 0, 2));
    fake.world().capacity = 9;
    up.pass(Instant::now()).await.expect("a pass");
    assert_eq!(up.numbers().await.expect("numbers"), numbers(4, 2, 2));
    up.pass(Instant::now()).await.expect("a pass");
    assert_eq!(up.numbers().await.expect("numbers"), numbers(4, 0, 4));
}

#[tokio::test]
async fn a_busy_provider_is_asked_again_and_not_for_ever() {
    let fake = Fake::default();
    fake.world().busy = 5;
    start(&fake, wish(1), policy()).await.expect("a cluster").stop().await.expect("an end");
    fake.world().busy = 6;
    let error = start(&fake, wish(1), policy()).await.err().expect("an error");
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    assert!(fake.world().is_empty());
}

#[tokio::test]
async fn what_can_not_be_taken_down_is_said() {
    let fake = Fake::default();
    (fake.world().stuck, fake.world().fatal) = (true, Some(Role::Server));
    let error = start(&fake, wish(1), policy()).await.err().expect("no start");
    assert_eq!(error.kind(), "provision");
    let text = "The cluster did not start: no server today\n\
        * Not all that was begun could be taken down: network (it is in use)";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_cluster_that_is_dropped_goes() {
    let fake = Fake::default();
    let (mut up, _) = stands(&fake, 2).await;
    up.keep();
    drop(up);
    fake.until("the end", fake::World::is_empty).await;
}

#[tokio::test]
async fn a_dead_worker_is_buried_and_replaced() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 3).await;
    let before = workers(&fake);
    fake.world().stop(&before[1].id, "SpotInterruption");
    up.pass(now).await.expect("a pass");
    up.pass(now).await.expect("a pass");
    assert_eq!(up.numbers().await.expect("numbers"), numbers(3, 0, 3));
    let after = workers(&fake);
    assert!(after.contains(&before[0]) && after.contains(&before[2]));
    assert!(!after.iter().any(|instance| instance.id == before[1].id));
    assert_eq!(fake.world().buried, [before[1].worker.clone().expect("a name")]);
    // What has stopped is forgotten by the provider, too.
    assert_eq!(fake.world().made.len(), 4);
}

#[tokio::test]
async fn a_cluster_is_kept_up_in_the_background() {
    let fake = Fake::default();
    let (mut up, _) = stands(&fake, 1).await;
    up.keep();
    let dead = workers(&fake)[0].id.clone();
    fake.world().stop(&dead, "SpotInterruption");
    let replaced =
        |w: &fake::World| w.alive(Role::Worker).iter().any(|instance| instance.id != dead);
    fake.until("another", replaced).await;
    timeout(SOON, up.stop()).await.expect("in time").expect("an end");
    assert!(fake.world().is_empty());
}

#[tokio::test]
async fn workers_that_die_all_the_time_are_replaced_five_times_a_minute() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 2).await;
    fake.world().fatal = Some(Role::Worker);
    let ids: Vec<_> = workers(&fake).into_iter().map(|instance| instance.id).collect();
    ids.iter().for_each(|id| fake.world().stop(id, "it was evicted"));
    let launches = |fake: &Fake| {
        fake.world().points.iter().filter(|p| *p == "after launching a worker").count()
    };
    let before = launches(&fake);
    // The pauses double: 1, 2, 4 and 8 ms.
    let mut ended = None;
    for ms in 0..100 {
        if let Err(error) = up.pass(now + Duration::from_millis(ms)).await {
            ended = Some((ms, error));
            break;
        }
    }
    let (ms, error) = ended.expect("an end");
    assert_eq!(launches(&fake) - before, 5);
    assert!(ms >= 15, "too fast: {ms}");
    let text =
        "The cluster is lost: no worker today\n* It had been started again 5 times within 60 s.";
    assert_eq!((error.kind(), error.to_string().as_str()), ("lost", text));
    assert!(up.lost().await.expect("a word").is_some());
    up.stop().await.expect("an end");
    assert!(fake.world().is_empty());
}

#[tokio::test]
async fn while_some_workers_live_the_others_wait_for_the_next_minute() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 2).await;
    fake.world().fatal = Some(Role::Worker);
    let dead = workers(&fake)[0].id.clone();
    fake.world().stop(&dead, "it was evicted");
    for ms in 0..100 {
        up.pass(now + Duration::from_millis(ms)).await.expect("one is left");
    }
    assert_eq!(up.numbers().await.expect("numbers"), numbers(2, 0, 1));
    fake.world().fatal = None;
    for _ in 0..2 {
        up.pass(now + Duration::from_secs(61)).await.expect("a pass");
    }
    assert_eq!(workers(&fake).len(), 2);
}

#[tokio::test]
async fn a_worker_without_a_lease_is_replaced_after_a_while() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 1).await;
    let before = workers(&fake);
    fake.world().mute = true;
    up.pass(now + Duration::from_secs(50)).await.expect("a pass");
    assert_eq!(workers(&fake), before);
    up.pass(now + Duration::from_secs(61)).await.expect("a pass");
    assert_ne!(workers(&fake)[0].id, before[0].id);
    assert_eq!(workers(&fake).len(), 1);
}

#[tokio::test]
async fn an_instance_that_is_not_listed_yet_is_not_replaced() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 1).await;
    fake.world().hidden = 1000;
    up.resize(2).await.expect("a size");
    for second in [0, 1, 30] {
        up.pass(now + Duration::from_secs(second)).await.expect("a pass");
    }
    assert_eq!(fake.world().made.len(), 3);
    assert_eq!(up.numbers().await.expect("numbers"), numbers(2, 0, 2));
    let mut world = fake.world();
    world.made.retain(|made| made.instance.role == Role::Server);
    world.hidden = 0;
    drop(world);
    up.pass(now + Duration::from_secs(120)).await.expect("a pass");
    assert_eq!(workers(&fake).len(), 2, "what is gone for good is replaced");
}

#[tokio::test]
async fn an_instance_whose_launch_was_not_answered_is_adopted() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 1).await;
    up.resize(3).await.expect("a size");
    // The instances, the load, and the launch, which fails when it has launched.
    let point = fake.world().points.len() + 3;
    fake.world().fault = Some(point);
    up.pass(now).await.expect_err("an answer that is lost");
    assert_eq!(fake.world().points[point], "after launching a worker");
    for second in 1..9 {
        up.pass(now + Duration::from_secs(second)).await.expect("a pass");
    }
    assert_eq!(workers(&fake).len(), 3);
    assert_eq!(up.numbers().await.expect("numbers"), numbers(3, 0, 3));
}

#[tokio::test]
async fn the_number_follows_the_queue() {
    let fake = Fake::default();
    let wish = Wish { least: 1, most: 4, slots: 2, ..wish(1) };
    let up = start(&fake, wish, policy()).await.expect("a cluster");
    let now = Instant::now();
    up.pass(now).await.expect("a pass");
    assert_eq!(workers(&fake).len(), 1);
    let first = names(&fake)[0].clone();
    fake.world().held.insert(first.clone(), 2);
    fake.world().waiting = 3;
    up.pass(now).await.expect("a pass");
    assert_eq!(workers(&fake).len(), 3, "one is busy, and three chunks are for two");
    fake.world().waiting = 1000;
    up.pass(now).await.expect("a pass");
    assert_eq!(workers(&fake).len(), 4, "there are no more than the most");
    fake.world().waiting = 0;
    for second in [0, 30, 59] {
        up.pass(now + Duration::from_secs(second)).await.expect("a pass");
    }
    assert_eq!(fake.world().drained, [], "work may come");
    for _ in 0..3 {
        up.pass(now + Duration::from_secs(60)).await.expect("a pass");
    }
    assert_eq!(names(&fake), [first], "the busy one stays");
}

#[tokio::test]
async fn when_there_are_fewer_the_idle_leave_first_and_the_busy_finish() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 3).await;
    let all = names(&fake);
    for busy in &all[..2] {
        fake.world().held.insert(busy.clone(), 1);
    }
    up.resize(2).await.expect("a size");
    up.pass(now).await.expect("a pass");
    assert_eq!(fake.world().drained, [all[2].clone()]);
    up.resize(1).await.expect("a size");
    up.pass(now).await.expect("a pass");
    let drained = fake.world().drained.clone();
    assert_eq!(drained.len(), 2);
    for second in 0..1000 {
        up.pass(now + Duration::from_secs(second)).await.expect("a pass");
    }
    assert_eq!(names(&fake), all[..2], "what a draining worker holds is finished");
    fake.world().held.clear();
    up.pass(now + Duration::from_secs(1000)).await.expect("a pass");
    assert_eq!(names(&fake).len(), 1);
    assert_eq!(fake.world().made.len(), 2, "what has drained is terminated");
    assert_eq!(up.numbers().await.expect("numbers"), numbers(1, 0, 1));
    up.resize(2).await.expect("a size");
    up.pass(now + Duration::from_secs(1000)).await.expect("a pass");
    assert_eq!(workers(&fake).len(), 2);
}

#[tokio::test]
async fn those_that_have_not_joined_leave_before_all_others() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 2).await;
    let before = workers(&fake);
    fake.world().slow = u32::MAX;
    up.resize(4).await.expect("a size");
    up.pass(now).await.expect("a pass");
    assert_eq!(up.numbers().await.expect("numbers"), numbers(4, 2, 2));
    up.resize(2).await.expect("a size");
    up.pass(now).await.expect("a pass");
    assert_eq!((workers(&fake), fake.world().drained.len()), (before, 0));
}

#[tokio::test]
async fn a_lost_server_is_replaced_with_all_workers() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 2).await;
    let address = up.access().server.address;
    let first = fake.world().alive(Role::Server).remove(0).id;
    let before = workers(&fake);
    fake.world().stop(&first, "InfrastructureHealth");
    up.pass(now).await.expect("a pass");
    let server = fake.world().alive(Role::Server).remove(0).id;
    assert_ne!(server, first);
    let other = up.access().server.address;
    assert!(
        matches!(&other, Address::Pinned(host, 6379, _) if *host == format!("{server}.outside"))
    );
    assert_ne!(other, address);
    assert_eq!(fake.world().made.len(), 3, "nothing of the old one is left");
    for made in fake.world().made.iter().filter(|made| made.instance.role == Role::Worker) {
        let told = made.server.clone().expect("an address");
        assert!(matches!(told, Address::Pinned(host, ..) if host == format!("{server}.inside")));
        assert!(!before.iter().any(|worker| worker.id == made.instance.id));
    }
    up.pass(now).await.expect("a pass");
    assert_eq!(up.numbers().await.expect("numbers"), numbers(2, 0, 2));
}

#[tokio::test]
async fn a_server_that_does_not_come_again_is_tried_within_the_budget() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 1).await;
    let server = fake.world().alive(Role::Server)[0].id.clone();
    fake.world().stop(&server, "InfrastructureHealth");
    fake.world().fatal = Some(Role::Server);
    let mut kinds = Vec::new();
    for ms in 0..100 {
        if let Err(error) = up.pass(now + Duration::from_millis(ms)).await {
            kinds.push(error.kind());
        }
    }
    let lost = kinds.iter().position(|kind| *kind == "lost").expect("despair");
    assert_eq!((&kinds[..lost], kinds.len() > 6), (&["provision"; 5][..], true), "{kinds:?}");
    up.stop().await.expect("an end");
    assert!(fake.world().is_empty());
}

#[tokio::test]
async fn cleanup_removes_by_tag_what_is_not_to_be_kept() {
    let fake = Fake::default();
    let (kept, _) = stands(&fake, 1).await;
    let (lost, _) = stands(&fake, 2).await;
    let found = lifecycle::find(&fake, &policy()).await.expect("records");
    assert_eq!(found.len(), 2);
    let keep = [kept.access().cluster];
    let report = lifecycle::cleanup(&fake, &policy(), &keep).await.expect("a report");
    assert_eq!((report.removed.len(), report.left.len()), (5, 0), "{report:?}");
    let found = lifecycle::find(&fake, &policy()).await.expect("records");
    assert_eq!(found.into_iter().map(|record| record.cluster).collect::<Vec<_>>(), keep);
    // Its end finds nothing any more, and does not mind.
    lost.stop().await.expect("an end");
    kept.stop().await.expect("an end");
    assert!(fake.world().is_empty());
}
