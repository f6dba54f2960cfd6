//! 4. What can't start says why in ECS's words, and what helps; and nothing of it runs on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustbatch_provision::Error;
use rustbatch_provision::aws::Service;
use rustbatch_provision::lifecycle::{self, Policy, Progress, Redis};
use rustbatch_provision::providers::ecs::Ecs;
use serde_json::json;

use super::cloud::{Cloud, PATIENCE};
use super::joined::Queue;
use super::support::docker::REDIS;
use super::support::supervisor;
use super::{policy, wish};

/// A start that has to fail in time: its error. Nothing of it is left.
async fn fails(cloud: &Cloud, ecs: Ecs) -> String {
    let provider = Arc::new(cloud.provider(ecs).await);
    let limits = Policy { server: PATIENCE, join: PATIENCE, ..policy() };
    let began = Instant::now();
    let start = lifecycle::start(provider, Redis, wish("bad", 2), limits, Progress::default());
    let Err(error) = start.await else { panic!("it started") };
    assert!(began.elapsed() < PATIENCE);
    assert!(!matches!(error, Error::Left { .. }), "{error}");
    let tasks = cloud.state()["tasks"].as_array().cloned().expect("tasks");
    assert!(tasks.iter().all(|task| task["status"] == "STOPPED"), "{tasks:?}");
    assert_eq!(cloud.containers(), [""; 0]);
    let ours = cloud.state()["things"].as_object().cloned().expect("things");
    let ours: Vec<_> = ours.iter().filter(|(_, t)| !t["rustbatch:cluster"].is_null()).collect();
    assert!(ours.is_empty(), "{ours:?}");
    error.to_string()
}

fn has(error: &str, all: &[&str]) {
    for words in all {
        assert!(error.contains(words), "no `{words}` in: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_there_is_named() {
    let Some(mut cloud) = Cloud::new() else { return };
    let carrier = cloud.carrier(&supervisor());
    let error =
        fails(&cloud, Ecs { image: Some("no-such-image:1".into()), ..cloud.ecs(&carrier) }).await;
    has(&error, &["CannotPullContainerError", "no-such-image:1", "\n* See that the image's name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_r_is_known_by_its_last_words() {
    let Some(mut cloud) = Cloud::new() else { return };
    let carrier = cloud.carrier(&supervisor());
    let error = fails(&cloud, Ecs { image: Some(REDIS.into()), ..cloud.ecs(&carrier) }).await;
    has(&error, &["Essential container in task exited", "exit code 1", "`R`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carrier_without_the_executable_is_known_by_its_start() {
    let Some(mut cloud) = Cloud::new() else { return };
    let carrier = cloud.carrier(&supervisor());
    let ecs = Ecs { worker_path: "/no/such/worker".into(), ..cloud.ecs(&carrier) };
    has(&fails(&cloud, ecs).await, &["CannotStartContainerError", "/no/such/worker", "\n* "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_read_is_named() {
    let Some(mut cloud) = Cloud::new() else { return };
    let carrier = cloud.carrier(&supervisor());
    let aws = cloud.aws().await;
    let trust = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}"#;
    let form = [("RoleName", "poor"), ("AssumeRolePolicyDocument", trust)];
    let made = aws.query(Service::Iam, "CreateRole", &form).await.expect("a role");
    let role = made.text("CreateRoleResult/Role/Arn").to_owned();
    let error = fails(&cloud, Ecs { execution_role: Some(role), ..cloud.ecs(&carrier) }).await;
    has(
        &error,
        &["ResourceInitializationError", "AccessDeniedException", "/server", "ssm:GetParameters)"],
    );
    let roles = cloud.state()["things"].to_string();
    assert!(roles.contains("role/poor"), "what is not ours stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_never_joins_is_not_waited_for_longer_than_was_said() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("ghosts", &json!({}));
    let provider = Arc::new(cloud.provider(cloud.ecs("none")).await);
    let door = Queue { of: Arc::clone(&provider), joins: false };
    let short = Policy { join: Duration::from_secs(2), ..policy() };
    let start = lifecycle::start(provider, door, wish("mute", 2), short, Progress::default());
    let Err(error) = start.await else { panic!("it started") };
    has(&error.to_string(), &["No worker joined within 2 s", "started, and not joined yet"]);
    let tasks = cloud.state()["tasks"].as_array().cloned().expect("tasks");
    assert!(tasks.iter().all(|task| task["status"] == "STOPPED"), "{tasks:?}");
}
