//! What costs too much is not started, and ends in time.

use std::sync::Arc;
use std::time::Instant;

use rustbatch_provision::aws::Service;
use rustbatch_provision::lifecycle::{self, Policy, Progress, Wish};
use rustbatch_provision::provider::Provider;
use rustbatch_provision::providers::ecs::Ecs;
use serde_json::json;

use super::cloud::Cloud;
use super::joined::Queue;
use super::{policy, wish};

/// A server of 256 and 512 costs 0.0173 with its address, a worker of 256 and 1024 0.0196.
const WORKER: f64 = 0.019_565;
const SERVER: f64 = 0.017_342_5;

#[tokio::test(flavor = "multi_thread")]
async fn a_start_says_what_it_costs_and_asks_no_more_than_is_allowed() {
    let Some(cloud) = Cloud::new() else { return };
    let plan = async |ecs: Ecs| cloud.provider(ecs).await.check().await;
    let four = Ecs { workers: 4, cpu: 200, ..cloud.ecs("none") };
    let said = plan(four.clone()).await.expect("a plan");
    let price = said.dollars_per_hour.expect("a price");
    assert!((price - SERVER - 4.0 * WORKER).abs() < 1e-9, "{price}");
    assert!(said.notes.iter().any(|note| note.contains("cpu = 256")), "{:?}", said.notes);
    assert!(said.notes.iter().any(|note| note.contains("0.10 dollars")), "{:?}", said.notes);
    assert_eq!(said.most_workers, None);
    let limited = |most| Ecs { max_cost_per_hour: Some(most), ..four.clone() };
    let said = plan(limited(SERVER + 2.0 * WORKER)).await.expect("a plan");
    assert_eq!(said.most_workers.expect("a limit").0, 2);
    let error = plan(limited(0.03)).await.expect_err("too little");
    assert_eq!(error.kind(), "budget");
    assert!(error.to_string().contains("`maxCostPerHour` is 0.03"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_live_as_long_as_there_is_money() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("ghosts", &json!({}));
    // Two workers and a server for half an hour.
    let most = (SERVER + 2.0 * WORKER) / 2.0;
    let ecs = Ecs { workers: 2, max_cost: Some(most), ..cloud.ecs("none") };
    let provider = Arc::new(cloud.provider(ecs).await);
    let door = Queue { of: Arc::clone(&provider), joins: true };
    let one = Policy { all: false, ..policy() };
    let start =
        lifecycle::start(Arc::clone(&provider), door, wish("money", 2), one, Progress::default());
    let up = start.await.expect("a cluster");
    let cluster = up.access().cluster;
    let aws = cloud.aws().await;
    for role in ["server", "worker"] {
        let name = format!("/rustbatch/{cluster}/{role}");
        let wanted = json!({"Name": name, "WithDecryption": true});
        let told = aws.json(Service::Ssm, "GetParameter", &wanted).await.expect("a parameter");
        let told = told["Parameter"]["Value"].as_str().expect("a text");
        let told: serde_json::Value = serde_json::from_str(told).expect("a bootstrap");
        let life = told["life_seconds"].as_u64().expect("a limit");
        // Half an hour, less what the first minute of what runs already costs.
        assert!((1740..=1801).contains(&life), "{role}: {life}");
    }
    up.stop().await.expect("an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_started_than_an_hour_may_cost() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("ghosts", &json!({}));
    let most = Some(SERVER + 2.0 * WORKER);
    let ecs = Ecs { max_cost_per_hour: most, ..cloud.ecs("none") };
    let provider = Arc::new(cloud.provider(ecs).await);
    let door = Queue { of: Arc::clone(&provider), joins: true };
    let many = Wish { most: 6, ..wish("money", 2) };
    let start = lifecycle::start(Arc::clone(&provider), door, many, policy(), Progress::default());
    let up = start.await.expect("a cluster");
    up.resize(6, 6).await.expect("a size");
    for _ in 0..3 {
        let error = up.pass(Instant::now()).await;
        let said = error.map_or_else(|error| error.to_string(), |()| String::new());
        assert!(said.is_empty() || said.contains("more than"), "{said}");
    }
    assert_eq!(cloud.tasks(&up.access().cluster).len(), 3);
    up.stop().await.expect("an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_workers_than_were_planned_do_not_cost_more_in_all() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("ghosts", &json!({}));
    // A task costs a minute at least: one worker more than planned is too much at once.
    let most = (SERVER + 1.5 * WORKER) / 60.0;
    let ecs = Ecs { workers: 1, max_cost: Some(most), ..cloud.ecs("none") };
    let provider = Arc::new(cloud.provider(ecs).await);
    let door = Queue { of: Arc::clone(&provider), joins: true };
    let start = lifecycle::start(
        Arc::clone(&provider),
        door,
        wish("money", 1),
        policy(),
        Progress::default(),
    );
    let up = start.await.expect("a cluster");
    up.pass(Instant::now()).await.expect("there is money");
    up.resize(2, 2).await.expect("a size");
    let cluster = up.access().cluster;
    cloud
        .until("the end", async || {
            let _ = up.pass(Instant::now()).await;
            cloud.tasks(&cluster).is_empty()
        })
        .await;
    let error = up.pass(Instant::now()).await.expect_err("it has ended").to_string();
    assert!(error.contains("`maxCost`"), "{error}");
    assert_eq!(up.stop().await.expect("an end").left, []);
}
