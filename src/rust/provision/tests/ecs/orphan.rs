//! 5. A client that is killed leaves a cluster that another one goes on with, or that ends by itself.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustbatch_protocol::ClusterId;
use rustbatch_provision::aws::Login;
use rustbatch_provision::lifecycle::{self, Policy, Progress, Redis};
use rustbatch_provision::provider::Provider;
use rustbatch_provision::providers::ecs::{Ecs, Fargate};

use super::cloud::Cloud;
use super::support::supervisor;
use super::{client, policy, squares, start, wish};

/// Set for a process that is to be killed: its carrier and idle time, in seconds.
const VICTIM: &str = "RUSTBATCH_TEST_VICTIM";

/// Not a test but for its own process: starts a cluster, says its id, and waits for the end. Of AWS it
/// knows what every program does, from its environment.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Ok(told) = std::env::var(VICTIM) else { return };
    let (idle, ecs) = told.split_once(' ').expect("two words");
    let ecs: Ecs = serde_json::from_str(ecs).expect("a configuration");
    let provider = Fargate::new(ecs, &Login::Chain, None).await.expect("a provider");
    let idle = Duration::from_secs(idle.parse().expect("a number"));
    let up = start(&Arc::new(provider), wish("orphan", 2), Policy { idle, ..policy() }).await;
    println!("\nid {}", up.access().cluster);
    std::future::pending::<()>().await;
}

/// Starts a cluster in a process that is killed then: the cluster's id.
fn orphaned(cloud: &Cloud, ecs: &Ecs, idle: u64) -> ClusterId {
    let told = format!("{idle} {}", serde_json::to_string(ecs).expect("JSON"));
    let mut process = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "orphan::victim", "--nocapture"])
        .env(VICTIM, told)
        .env("AWS_ENDPOINT_URL", cloud.endpoint())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
    let id =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("id ").map(str::to_owned));
    process.kill().expect("to kill");
    process.wait().expect("its end");
    id.expect("an id").parse().expect("an id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_process_finds_a_cluster_by_name_runs_a_loop_and_stops_it() {
    let Some(mut cloud) = Cloud::new() else { return };
    let carrier = cloud.carrier(&supervisor());
    let ecs = cloud.ecs(&carrier);
    let cluster = tokio::task::block_in_place(|| orphaned(&cloud, &ecs, 600));
    let provider = Arc::new(cloud.provider(ecs).await);
    let records = lifecycle::find(&*provider, &policy()).await.expect("records");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].instances, 3);
    assert!(records[0].created.is_some());
    let found = lifecycle::named(&records, "orphan").expect("one of this name");
    assert_eq!(found, cluster);
    let attach = lifecycle::attach(Arc::clone(&provider), Redis, found, Progress::default());
    let up = attach.await.expect("the cluster");
    squares(&client(&up.access()).await, 50).await;
    assert_eq!(up.stop().await.expect("an end").left, []);
    assert_eq!(cloud.left(&cluster), [""; 0]);
    assert_eq!(cloud.containers(), [""; 0]);
    assert_eq!(provider.recall(&cluster).await.expect("an answer"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_finds_ends_by_itself() {
    let Some(mut cloud) = Cloud::new() else { return };
    let carrier = cloud.carrier(&supervisor());
    let ecs = cloud.ecs(&carrier);
    let cluster = tokio::task::block_in_place(|| orphaned(&cloud, &ecs, 3));
    cloud.until("the end of all tasks", async || cloud.tasks(&cluster).is_empty()).await;
    let tasks = cloud.state()["tasks"].as_array().cloned().expect("tasks");
    assert_eq!(tasks.len(), 3, "nobody started them again");
    assert!(tasks.iter().all(|task| task["code"] == "EssentialContainerExited"), "{tasks:?}");
}
