//! A cluster lives for as long as it was told to, whoever keeps it up.

use std::time::Duration;

use rustbatch_provision::lifecycle::{Policy, Standing};
use rustbatch_provision::provider::Role;
use serde_json::Value;

use super::fake::{Fake, World, policy, wish};
use super::others::attach;
use super::{stands, start};

const HOUR: Duration = Duration::from_secs(3600);

/// How long those that run were told to live.
fn lives(world: &World, role: Role) -> Vec<u64> {
    let those = world.made.iter().filter(|made| made.instance.role == role);
    let those = those.filter(|made| !made.instance.state.has_stopped());
    those.map(|made| made.life.expect("a limit")).collect()
}

#[tokio::test]
async fn a_cluster_is_not_kept_up_beyond_its_lifetime() {
    let fake = Fake::default();
    let (first, now) = stands(&fake, 2).await;
    let second = attach(&fake, &first).await.expect("the cluster");
    let before = fake.world().points.len();
    for up in [&first, &second] {
        let error = up.pass(now + 12 * HOUR).await.expect_err("it is over");
        let text = "The cluster is lost: its lifetime of 12 h is over (`lifetime`)";
        assert_eq!((error.kind(), error.to_string().as_str()), ("lost", text));
        assert!(matches!(up.access().standing, Standing::Lost(_)));
    }
    assert_eq!(fake.world().points.len(), before, "nothing is asked, nor launched");
    first.stop().await.expect("an end");
    assert!(fake.world().is_empty());
}

#[tokio::test]
async fn what_is_launched_later_lives_no_longer_than_the_first() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 1).await;
    let about = |lives: Vec<u64>, hours: u64| {
        let near = |life: &u64| (hours * 3600 - 60..=hours * 3600).contains(life);
        assert!(lives.len() == 1 && lives.iter().all(near), "{lives:?}");
    };
    for role in [Role::Server, Role::Worker] {
        about(lives(&fake.world(), role), 12);
    }
    fake.world().waiting = 1;
    let worker = fake.world().alive(Role::Worker).remove(0).id;
    fake.world().stop(&worker, "SpotInterruption");
    up.pass(now + 10 * HOUR).await.expect("another worker");
    about(lives(&fake.world(), Role::Worker), 2);
    let server = fake.world().alive(Role::Server).remove(0).id;
    fake.world().stop(&server, "InfrastructureHealth");
    up.pass(now + 11 * HOUR).await.expect("another server");
    for role in [Role::Server, Role::Worker] {
        about(lives(&fake.world(), role), 1);
    }
}

#[tokio::test]
async fn what_was_stopped_on_purpose_lives_anew() {
    let fake = Fake::default();
    let (first, now) = stands(&fake, 1).await;
    first.stop_server().await.expect("a stop");
    let cluster = first.access().cluster;
    let until = |world: &World| {
        let record: Value = serde_json::from_slice(&world.records[&cluster]).expect("JSON");
        (record["until"].as_u64().expect("an end"), record)
    };
    let (end, mut record) = until(&fake.world());
    record["until"] = 7.into();
    let record = serde_json::to_vec(&record).expect("JSON");
    fake.world().records.insert(cluster.clone(), record.into());
    first.pass(now + 13 * HOUR).await.expect("it rests");
    let second = attach(&fake, &first).await.expect("the cluster");
    assert!(until(&fake.world()).0 >= end);
    second.pass(now).await.expect("a pass");
}

#[tokio::test]
async fn a_lifetime_is_said_as_it_was_asked_for() {
    let fake = Fake::default();
    let short = Policy { life: Duration::from_secs(90), ..policy() };
    let up = start(&fake, wish(1), short).await.expect("a cluster");
    let error = up.pass(std::time::Instant::now() + HOUR).await.expect_err("it is over");
    assert!(error.to_string().contains("lifetime of 90 s is over"), "{error}");
}
