//! Starts and ends: whatever goes wrong, nothing is left, and it is said what went wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustbatch_provision::Error;
use rustbatch_provision::lifecycle::{self, Policy, Progress};
use rustbatch_provision::provider::Role;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::fake::{self, Fake, policy, wish};
use super::{numbers, stands, start};

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
    let patient = Policy { join: Duration::from_secs(3600), ..policy() };
    tokio::select! {
        _ = start(&fake, wish(2), patient) => panic!("nobody joins"),
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
    heard(&mut lines, &mut said);
    let expected = [
        "the server: not known yet",
        "the server: pulling the image",
        "0 of 2 workers have joined, 2 not known yet",
        "0 of 2 workers have joined, 2 pulling the image",
    ];
    assert_eq!(said, expected, "each once");
    assert_eq!(up.numbers(), numbers(2, 0, 2));
}

/// What `said` has more than before.
fn heard(lines: &mut UnboundedReceiver<String>, said: &mut Vec<String>) {
    while let Ok(line) = lines.try_recv() {
        said.push(line);
    }
}

#[tokio::test]
async fn what_instances_write_while_they_are_waited_for_is_passed_on_once() {
    let fake = Fake::default();
    fake.world().mute = true;
    fake.world().lines = vec!["Setting up r-base".into()];
    let (tell, mut lines) = unbounded_channel();
    let begun = Instant::now();
    let long = Policy { join: Duration::from_millis(3500), ..policy() };
    let start =
        lifecycle::start(Arc::new(fake.clone()), fake.clone(), wish(9), long, Progress(Some(tell)));
    let next = async {
        fake.until("the first line", |world| world.reads >= 3).await;
        fake.world().lines = vec!["Installing survival".into(), String::new()];
        fake.until("an empty line", |world| world.reads >= 6).await;
        fake.world().lines.pop();
    };
    let (error, ()) = tokio::join!(start, next);
    let error = error.err().expect("nobody joins").to_string();
    // Three of nine, each second.
    let reads = fake.world().reads;
    assert!(reads as u128 <= 3 * begun.elapsed().as_millis() / 1000, "{reads}");
    let mut said = Vec::new();
    heard(&mut lines, &mut said);
    for line in [": Setting up r-base", ": Installing survival"] {
        assert_eq!(said.iter().filter(|l| l.ends_with(line)).count(), 1, "{said:?}");
    }
    let text = ": started, and not joined yet: Installing survival";
    assert_eq!(error.matches(text).count(), 3, "{error}");
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
    assert_eq!(text.matches(": started, and not joined yet").count(), 2, "{text}");
    assert!(fake.world().is_empty());

    fake.world().slow = u32::MAX;
    let short = Policy { server: Duration::from_millis(30), ..policy() };
    let error = start(&fake, wish(2), short).await.err().expect("no server");
    let text = "Gave up waiting for the server after 0 s:\npulling the image";
    assert_eq!((error.kind(), error.to_string().as_str()), ("timed_out", text));
    assert!(fake.world().is_empty());
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_says_who_is_let_in() {
    let fake = Fake::default();
    fake.world().shut = true;
    fake.world().hint = Some("Let in is 192.0.2.1.".into());
    let short = Policy { server: Duration::from_millis(100), ..policy() };
    let error = start(&fake, wish(1), short).await.err().expect("no way to it");
    let text = "Gave up waiting for the server after 0 s\n* Let in is 192.0.2.1.";
    assert_eq!((error.kind(), error.to_string().as_str()), ("timed_out", text));
    assert!(error.fields().iter().any(|(name, _)| *name == "seconds"));
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
async fn a_server_that_stops_for_what_may_pass_is_launched_twice_more() {
    let fake = Fake::default();
    fake.world().stillborn = 2;
    let (up, _) = stands(&fake, 1).await;
    let launches = |fake: &Fake| {
        fake.world().points.iter().filter(|p| *p == "after launching a server").count()
    };
    assert_eq!((launches(&fake), fake.world().made.len()), (3, 2), "the others are forgotten");
    // So is the one that takes the place of a lost one.
    let server = fake.world().alive(Role::Server).remove(0).id;
    fake.world().stop(&server, "InfrastructureHealth");
    fake.world().stillborn = 1;
    up.pass(Instant::now()).await.expect("another server");
    assert_eq!(launches(&fake), 5);

    let fake = Fake::default();
    fake.world().stillborn = 3;
    let error = start(&fake, wish(1), policy()).await.err().expect("no server");
    assert_eq!(error.to_string(), "The cluster did not start: the role is not known yet");
    assert_eq!(launches(&fake), 3);
    assert!(fake.world().is_empty());
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
    assert_eq!(up.numbers(), numbers(4, 0, 2));
    fake.world().capacity = 9;
    up.pass(Instant::now()).await.expect("a pass");
    assert_eq!(up.numbers(), numbers(4, 2, 2));
    up.pass(Instant::now()).await.expect("a pass");
    assert_eq!(up.numbers(), numbers(4, 0, 4));
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
    let (up, _) = stands(&fake, 2).await;
    up.keep();
    drop(up);
    fake.until("the end", fake::World::is_empty).await;
}
