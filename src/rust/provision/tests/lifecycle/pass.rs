//! Clusters that stand: what died is replaced, and their number follows what is wanted.

use std::time::{Duration, Instant};

use rustbatch_protocol::bootstrap::Address;
use rustbatch_provision::lifecycle::{self, Standing, Wish};
use rustbatch_provision::provider::{Instance, Role};
use tokio::time::timeout;

use super::fake::{self, Fake, SOON, policy, wish};
use super::{launches, names, numbers, stands, start, workers};

#[tokio::test]
async fn a_dead_worker_is_buried_and_replaced() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 3).await;
    let before = workers(&fake);
    fake.world().stop(&before[1].id, "SpotInterruption");
    up.pass(now).await.expect("a pass");
    up.pass(now).await.expect("a pass");
    assert_eq!(up.numbers(), numbers(3, 0, 3));
    let after = workers(&fake);
    assert!(after.contains(&before[0]) && after.contains(&before[2]));
    assert!(!after.iter().any(|instance| instance.id == before[1].id));
    assert_eq!(fake.world().buried, [before[1].worker.clone().expect("a name")]);
    assert_eq!(fake.world().whys, ["SpotInterruption"]);
    // What has stopped is forgotten by the provider, too.
    assert_eq!(fake.world().made.len(), 4);
}

#[tokio::test]
async fn a_cluster_is_kept_up_in_the_background() {
    let fake = Fake::default();
    let (up, _) = stands(&fake, 1).await;
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
    assert!(matches!(up.access().standing, Standing::Lost(_)));
    up.stop().await.expect("an end");
    assert!(fake.world().is_empty());
}

#[tokio::test]
async fn what_comes_short_is_not_asked_for_all_the_time() {
    let fake = Fake::default();
    fake.world().capacity = 3;
    let up = start(&fake, wish(4), policy()).await.expect("a cluster");
    let (before, now) = (launches(&fake), Instant::now());
    for ms in 0..100 {
        up.pass(now + Duration::from_millis(ms)).await.expect("some are there");
    }
    assert_eq!(launches(&fake) - before, 5);
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
    assert_eq!(up.numbers(), numbers(2, 0, 1));
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
async fn the_way_to_a_server_that_does_not_answer_is_opened_anew() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 1).await;
    let opened = || fake.world().points.iter().filter(|point| *point == "endpoint").count();
    let before = opened();
    up.pass(now).await.expect("a pass");
    assert_eq!(opened(), before);
    fake.world().deaf = true;
    up.pass(now).await.expect_err("no answer");
    assert_eq!(opened(), before + 1);
}

#[tokio::test]
async fn an_instance_that_is_not_listed_yet_is_not_replaced() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 1).await;
    fake.world().hidden = 1000;
    up.resize(2, 2).await.expect("a size");
    for second in [0, 1, 30] {
        up.pass(now + Duration::from_secs(second)).await.expect("a pass");
    }
    assert_eq!(fake.world().made.len(), 3);
    assert_eq!(up.numbers(), numbers(2, 0, 2));
    fake.world().made.retain(|made| made.instance.role == Role::Server);
    fake.world().hidden = 0;
    up.pass(now + Duration::from_secs(120)).await.expect("a pass");
    assert_eq!(workers(&fake).len(), 2, "what is gone for good is replaced");
}

#[tokio::test]
async fn an_instance_whose_launch_was_not_answered_is_adopted() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 1).await;
    up.resize(3, 3).await.expect("a size");
    // The instances, the load, and the launch, which fails when it has launched.
    let point = fake.world().points.len() + 3;
    fake.world().fault = Some(point);
    up.pass(now).await.expect_err("an answer that is lost");
    assert_eq!(fake.world().points[point], "after launching a worker");
    for second in 1..9 {
        up.pass(now + Duration::from_secs(second)).await.expect("a pass");
    }
    assert_eq!(workers(&fake).len(), 3);
    assert_eq!(up.numbers(), numbers(3, 0, 3));
}

/// What is told to end may run on for minutes.
#[tokio::test]
async fn what_was_ended_and_runs_on_is_not_adopted() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 2).await;
    (fake.world().lingers, fake.world().remembers) = (9, true);
    // Those that take their place have not joined for as long, and would leave before all others.
    fake.world().slow = 15;
    let old: Vec<_> = workers(&fake).into_iter().map(|worker| worker.id).collect();
    fake.world().mute = true;
    up.pass(now + Duration::from_secs(61)).await.expect("others");
    fake.world().mute = false;
    let others = |w: &fake::World| {
        let made = w.made.iter().map(|made| made.instance.clone());
        let workers = made.filter(|i| i.role == Role::Worker && !old.contains(&i.id));
        workers.collect::<Vec<_>>()
    };
    let before = others(&fake.world());
    assert_eq!((before.len(), workers(&fake).len()), (2, 4));
    for second in 62..82 {
        up.pass(now + Duration::from_secs(second)).await.expect("a pass");
        let running = if second < 77 { 0 } else { 2 };
        assert_eq!(up.numbers(), numbers(2, 2 - running, running), "{second}");
    }
    let ids = |all: Vec<Instance>| all.into_iter().map(|i| i.id).collect::<Vec<_>>();
    assert_eq!(ids(others(&fake.world())), ids(before), "they stay");
    let buried = fake.world().buried.len();
    assert_eq!((buried, launches(&fake)), (2, 2), "nobody is lost but the two");
}

/// The server that was lost runs on, and its record names it until there is another one.
#[tokio::test]
async fn a_server_that_was_ended_and_runs_on_is_not_followed() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 1).await;
    fake.world().lingers = 99;
    let old = fake.world().alive(Role::Server).remove(0).id;
    fake.world().deaf = true;
    up.pass(now).await.expect_err("no answer");
    fake.world().capacity = 0;
    up.pass(now + Duration::from_secs(30)).await.expect_err("no room for another server");
    (fake.world().capacity, fake.world().deaf) = (usize::MAX, false);
    up.pass(now + Duration::from_secs(31)).await.expect("another server");
    let address = up.access().server.address;
    assert!(
        !matches!(&address, Address::Pinned(host, ..) if host.starts_with(&old.to_string())),
        "{address:?}"
    );
    assert_eq!(up.access().standing, Standing::Up);
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
    up.resize(2, 2).await.expect("a size");
    up.pass(now).await.expect("a pass");
    assert_eq!(fake.world().drained, [all[2].clone()]);
    up.resize(1, 1).await.expect("a size");
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
    assert_eq!(up.numbers(), numbers(1, 0, 1));
    up.resize(2, 2).await.expect("a size");
    up.pass(now + Duration::from_secs(1000)).await.expect("a pass");
    assert_eq!(workers(&fake).len(), 2);
}

#[tokio::test]
async fn those_that_have_not_joined_leave_before_all_others() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 2).await;
    let before = workers(&fake);
    fake.world().slow = u32::MAX;
    up.resize(4, 4).await.expect("a size");
    up.pass(now).await.expect("a pass");
    assert_eq!(up.numbers(), numbers(4, 2, 2));
    up.resize(2, 2).await.expect("a size");
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
    assert_eq!(up.access().standing, Standing::Up);
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
    assert_eq!(up.numbers(), numbers(2, 0, 2));
}

/// A server that is gone does not answer, and only another look shows that it is gone.
#[tokio::test]
async fn a_queue_that_does_not_answer_keeps_no_look_for_long() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 1).await;
    fake.world().deaf = true;
    let late = timeout(SOON, up.pass(now)).await.expect("an end").expect_err("no answer");
    assert_eq!(
        late.to_string(),
        "Can't ask the queue now: no answer within 5 s\n* Try again later."
    );
    let server = fake.world().alive(Role::Server).remove(0).id;
    fake.world().stop(&server, "InfrastructureHealth");
    up.pass(now).await.expect("a pass");
    assert_ne!(fake.world().alive(Role::Server)[0].id, server);
}

#[tokio::test]
async fn a_server_that_does_not_answer_for_half_a_minute_is_replaced() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 1).await;
    let server = fake.world().alive(Role::Server).remove(0).id;
    fake.world().deaf = true;
    up.pass(now).await.expect_err("no answer");
    up.pass(now + Duration::from_secs(29)).await.expect_err("no answer");
    assert_eq!(fake.world().alive(Role::Server)[0].id, server);
    up.pass(now + Duration::from_secs(30)).await.expect("another server");
    let servers = fake.world().alive(Role::Server);
    assert_eq!(servers.len(), 1);
    assert_ne!(servers[0].id, server);
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
            let replacing = up.access().standing == Standing::Replacing;
            assert_eq!(replacing, error.kind() != "lost");
            kinds.push(error.kind());
        }
    }
    assert!(matches!(up.access().standing, Standing::Lost(_)));
    let lost = kinds.iter().position(|kind| *kind == "lost").expect("despair");
    assert_eq!((&kinds[..lost], kinds.len() > 6), (&["provision"; 5][..], true), "{kinds:?}");
    up.stop().await.expect("an end");
    assert!(fake.world().is_empty());
}

#[tokio::test]
async fn cleanup_removes_by_tag_what_is_named_and_nothing_that_has_begun_since() {
    let fake = Fake::default();
    let (lost, _) = stands(&fake, 2).await;
    let found = async || {
        let records = lifecycle::find(&fake, &policy()).await.expect("records");
        records.into_iter().map(|record| record.cluster).collect::<Vec<_>>()
    };
    let old = found().await;
    let (kept, _) = stands(&fake, 1).await;
    let report = lifecycle::cleanup(&fake, &policy(), &old).await;
    assert_eq!((report.removed.len(), report.left.len()), (5, 0), "{report:?}");
    assert_eq!(found().await, [kept.access().cluster]);
    // Its end finds nothing any more, and does not mind.
    lost.stop().await.expect("an end");
    kept.stop().await.expect("an end");
    assert!(fake.world().is_empty());
}

#[tokio::test]
async fn a_cluster_that_has_cost_what_it_may_ends() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 2).await;
    fake.world().overspent = true;
    let error = up.pass(now).await.expect_err("the end").to_string();
    assert!(error.contains("it has cost 2 dollars"), "{error}");
    let servers = fake.world().alive(Role::Server);
    assert_eq!((servers.len(), workers(&fake).len()), (0, 0));
    assert!(matches!(up.access().standing, Standing::Lost(_)));
    // Nothing is replaced.
    up.pass(now + Duration::from_secs(60)).await.expect_err("it has ended");
    assert_eq!(workers(&fake).len(), 0);
    up.stop().await.expect("an end");
}
