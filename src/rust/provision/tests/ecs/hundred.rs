//! 2. Many tasks by few calls, whatever AWS says to the first of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use rustbatch_provision::lifecycle::{self, Policy, Progress};
use rustbatch_provision::provider::Provider;
use rustbatch_provision::providers::ecs::{Ecs, Fargate, Spot};
use serde_json::{Value, json};

use super::cloud::Cloud;
use super::joined::Queue;
use super::{policy, wish};

type Up = lifecycle::Up<Fargate, Queue<Fargate>>;

/// A cluster whose tasks have no containers, and join all the same.
async fn start(cloud: &Cloud, ecs: Ecs, workers: u32) -> (Arc<Fargate>, Up) {
    cloud.tell("ghosts", &json!({}));
    let provider = Arc::new(cloud.provider(ecs).await);
    let door = Queue { of: Arc::clone(&provider), joins: true };
    let one = Policy { all: false, ..policy() };
    let wish = wish("many", workers);
    let start = lifecycle::start(Arc::clone(&provider), door, wish, one, Progress::default());
    (provider, start.await.expect("a cluster"))
}

/// Looks until so many workers run.
async fn run(cloud: &Cloud, up: &Up, n: u32) {
    cloud
        .until("the workers", async || {
            let _ = up.pass(Instant::now()).await;
            up.numbers().running == n
        })
        .await;
}

fn providers(cloud: &Cloud) -> BTreeSet<String> {
    let tasks = cloud.state()["tasks"].as_array().cloned().expect("tasks");
    let workers = tasks.iter().filter(|task| task["group"] == "rustbatch-worker");
    workers.map(|task| task["provider"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_workers_take_twelve_calls_and_survive_throttles_and_a_lack_of_room() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.throttle("RunTask", 3);
    let lacking = json!({"kind": "failure", "times": 1, "count": 3, "provider": "FARGATE"});
    // The first call is the server's.
    let told = async {
        cloud.until("the server", async || cloud.calls("RunTask") >= 1).await;
        cloud.tell("fault", &lacking);
    };
    let ((provider, up), ()) = tokio::join!(start(&cloud, cloud.ecs("none"), 100), told);
    run(&cloud, &up, 100).await;
    let cluster = up.access().cluster;
    let state = cloud.state();
    assert_eq!(state["throttled"]["RunTask"], 3);
    assert_eq!(
        state["calls"]["RunTask"], 12,
        "the server, ten tens, and the three that came short"
    );
    assert_eq!(cloud.tasks(&cluster).len(), 101);
    // A list of running ones, one of stopped ones, and two hundreds: not one for each task.
    let (looks, before) = (cloud.calls("ListTasks"), cloud.calls("DescribeTasks"));
    assert_eq!(provider.instances(&cluster).await.expect("instances").len(), 101);
    assert_eq!(cloud.calls("DescribeTasks") - before, 2);
    assert_eq!(cloud.calls("ListTasks") - looks, 3, "101 are two pages");
    assert_eq!(up.stop().await.expect("an end").left, []);
    assert_eq!(cloud.left(&cluster), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_answer_is_lost_starts_nothing_twice() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("fault", &json!({"call": "RunTask", "kind": "lost", "times": 2}));
    let (provider, up) = start(&cloud, cloud.ecs("none"), 20).await;
    run(&cloud, &up, 20).await;
    let cluster = up.access().cluster;
    assert_eq!(cloud.calls("RunTask"), 5, "three, and two again");
    assert_eq!(cloud.tasks(&cluster).len(), 21);
    assert_eq!(provider.instances(&cluster).await.expect("instances").len(), 21);
    up.stop().await.expect("an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_spare_capacity_the_rest_runs_as_usual_if_that_is_allowed() {
    let Some(cloud) = Cloud::new() else { return };
    let lack =
        |times| json!({"kind": "failure", "times": times, "count": 4, "provider": "FARGATE_SPOT"});
    cloud.tell("fault", &lack(1));
    let ecs = Ecs { spot: Spot::Prefer, ..cloud.ecs("none") };
    let (_, up) = start(&cloud, ecs, 10).await;
    run(&cloud, &up, 10).await;
    let both = ["FARGATE", "FARGATE_SPOT"].map(str::to_owned);
    assert_eq!(providers(&cloud), both.into());
    assert_eq!(cloud.calls("RunTask"), 3, "the server, the spare ones, and the rest");
    up.stop().await.expect("an end");

    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("fault", &lack(1));
    let ecs = Ecs { spot: Spot::Only, ..cloud.ecs("none") };
    let (_, up) = start(&cloud, ecs, 10).await;
    run(&cloud, &up, 10).await;
    assert_eq!(providers(&cloud), ["FARGATE_SPOT".to_owned()].into());
    let server = &cloud.state()["tasks"][0];
    assert_eq!(
        (&server["group"], &server["provider"]),
        (&json!("rustbatch-server"), &json!("FARGATE"))
    );
    assert_ne!(server["cluster"], Value::Null);
    up.stop().await.expect("an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_a_new_role_and_for_room() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("fault", &json!({"call": "RunTask", "kind": "young", "times": 2}));
    cloud.tell("fault", &json!({"kind": "failure", "times": 2, "count": 10}));
    let (_, up) = start(&cloud, cloud.ecs("none"), 1).await;
    run(&cloud, &up, 1).await;
    assert_eq!(cloud.tasks(&up.access().cluster).len(), 2);
    up.stop().await.expect("an end");
}
