//! A whole cluster at the provider `docker`: it starts, is kept up, and leaves nothing.

#![allow(clippy::expect_used)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustbatch_protocol::ClusterId;
use rustbatch_provision::Error;
use rustbatch_provision::lifecycle::{self, Policy, Progress, Redis, Wish};
use rustbatch_provision::provider::{InstanceId, LogQuery, Provider, Role, State};
use rustbatch_provision::providers::docker::Containers;
use support::docker::{R, REDIS, available};
use support::supervisor;

async fn containers() -> Option<Containers> {
    let docker = available().await?;
    let (image, server_image) = (R.to_owned(), REDIS.to_owned());
    Some(Containers { docker, executable: supervisor(), image, server_image, serves: true })
}

fn wish(least: u32) -> Wish {
    Wish {
        name: Some("rb-test".into()),
        least,
        most: least,
        slots: 1,
        cpu: None,
        memory: Some(512),
        image: None,
        environment: Default::default(),
        setup: None,
        r: "R".into(),
        redis: None,
    }
}

async fn left(containers: &Containers, cluster: &ClusterId) -> bool {
    let found = containers.find().await.expect("a list");
    found.iter().any(|record| record.cluster == *cluster)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_starts_is_kept_up_and_leaves_nothing() {
    let Some(containers) = containers().await else { return };
    let containers = Arc::new(containers);
    let policy = Policy { all: true, ..Policy::default() };
    let start =
        lifecycle::start(containers.clone(), Redis, wish(2), policy, Progress::default()).await;
    let up = start.expect("a cluster");
    let cluster = up.access().cluster;
    assert!(left(&containers, &cluster).await);
    let instances = containers.instances(&cluster).await.expect("a list");
    let workers: Vec<_> = instances.iter().filter(|i| i.role == Role::Worker).collect();
    assert_eq!((instances.len(), workers.len()), (3, 2));
    assert!(instances.iter().all(|instance| instance.state == State::Running), "{instances:?}");

    containers.docker.kill(&workers[0].id.0).await.expect("to kill");
    up.pass(Instant::now()).await.expect("a look");
    let deadline = Instant::now() + Duration::from_secs(60);
    while up.numbers().running < 2 {
        assert!(Instant::now() < deadline, "nobody came in its place");
        tokio::time::sleep(Duration::from_millis(50)).await;
        up.pass(Instant::now()).await.expect("a look");
    }
    let now = containers.instances(&cluster).await.expect("a list");
    assert!(now.iter().all(|instance| instance.id != workers[0].id), "{now:?}");

    let stranger: ClusterId = "rb-test-stranger".parse().expect("an id");
    containers.terminate(&stranger, &[workers[1].id.clone()]).await.expect("nothing to do");
    assert_eq!(containers.instances(&cluster).await.expect("a list").len(), 3);
    let report = up.stop().await.expect("an end");
    // Server, workers, record, network.
    assert_eq!((report.removed.len(), report.left.len()), (5, 0), "{report:?}");
    assert!(!left(&containers, &cluster).await);
    assert!(containers.destroy(&cluster).await.expect("an end").removed.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_why_and_leaves_nothing() {
    let Some(containers) = containers().await else { return };
    let containers = Arc::new(containers);
    let wish = Wish { name: Some("rb-test-bad".into()), r: "no-such-R".into(), ..wish(1) };
    let start =
        lifecycle::start(containers.clone(), Redis, wish, Policy::default(), Progress::default());
    let Err(error) = start.await else { panic!("it started") };
    assert!(matches!(error, Error::NotStarted(_)), "{error}");
    assert!(error.to_string().contains("no-such-R"), "{error}");
    let found = containers.find().await.expect("a list");
    assert!(!found.iter().any(|r| r.cluster.as_str().starts_with("rb-test-bad")), "{found:?}");
}

/// As a start leaves it that was killed: what else there can be is asked of the fake.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_an_hour_ago_goes_at_the_next_start() {
    let Some(containers) = containers().await else { return };
    let cluster: ClusterId =
        format!("rb-test-old-{}", ClusterId::random().expect("an id")).parse().expect("an id");
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let seconds = hour_ago.duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let labels = [("cluster", cluster.to_string()), ("created", seconds.to_string())];
    let labels = labels.map(|(name, says)| (format!("rustbatch.{name}"), says)).into();
    let name = format!("rustbatch-{cluster}");
    containers.docker.create_network(&name, &labels).await.expect("a network");
    let found = containers.find().await.expect("a list");
    let age = found.iter().find(|r| r.cluster == cluster).and_then(|r| r.age(SystemTime::now()));
    assert!(age.is_some_and(|age| (3600..3700).contains(&age.as_secs())), "{found:?}");
    // What is made for it later knows that, too.
    let site = containers.prepare(&cluster).await.expect("a site");
    assert_eq!(site.parts["created"], seconds.to_string());

    let containers = Arc::new(containers);
    // It is looked twice whether anybody goes on with it.
    let second = Duration::from_secs(1);
    let policy = Policy { silent: second, unlisted: second, ..Policy::default() };
    let start = lifecycle::start(containers.clone(), Redis, wish(1), policy, Progress::default());
    let up = start.await.expect("a cluster");
    let deadline = Instant::now() + Duration::from_secs(60);
    while left(&containers, &cluster).await {
        assert!(Instant::now() < deadline, "it is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(left(&containers, &up.access().cluster).await);
    up.stop().await.expect("an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_named() {
    let Some(containers) = containers().await else { return };
    let cluster: ClusterId = "rb-test-nothing".parse().expect("an id");
    let id = InstanceId("no-such".into());
    let error = containers.logs(&cluster, &id, &LogQuery { tail: 1 }).await.expect_err("nothing");
    assert!(error.to_string().contains("container no-such"), "{error}");
    assert!(containers.instances(&cluster).await.expect("a list").is_empty());
}
