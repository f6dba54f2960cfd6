//! What the account has no room for is said before anything is started.

use std::sync::Arc;

use rustbatch_provision::lifecycle::{self, Progress};
use rustbatch_provision::provider::{Plan, Provider};
use rustbatch_provision::providers::ecs::{Ecs, Spot};
use serde_json::json;

use super::cloud::Cloud;
use super::joined::Queue;
use super::{policy, wish};

/// Processors of on-demand and of spare capacity, as Service Quotas names them.
const USUAL: &str = "L-3032A538";
const SPARE: &str = "L-36FBB829";

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_for_how_many_workers_the_account_has_room() {
    let Some(cloud) = Cloud::new() else { return };
    let ten = |spot| Ecs { workers: 10, cpu: 1024, memory: 2048, spot, ..cloud.ecs("none") };
    let plan = async |spot| cloud.provider(ten(spot)).await.check().await;
    let most = async |spot| plan(spot).await.expect("a plan").most_workers.map(|most| most.0);
    assert_eq!(most(Spot::Never).await, None, "nobody says");

    cloud.tell("quota", &json!({USUAL: 6.0, SPARE: 3.5}));
    // The server has a quarter of one.
    assert_eq!(most(Spot::Never).await, Some(5));
    assert_eq!(most(Spot::Only).await, Some(3));
    assert_eq!(most(Spot::Prefer).await, Some(8));
    let Plan { notes, .. } = plan(Spot::Prefer).await.expect("a plan");
    let said = |words: &str| notes.iter().any(|note| note.contains(words));
    assert!(said("6 vCPU") && said("3.5 of Spot") && said("servicequotas"), "{notes:?}");

    cloud.tell("quota", &json!({USUAL: 11.0, SPARE: 11.0}));
    assert_eq!(most(Spot::Never).await, None, "there is room");
    cloud.tell("quota", &json!({USUAL: 1.0, SPARE: 0.0}));
    let said = plan(Spot::Never).await.expect_err("no room").to_string();
    assert!(said.contains("1 vCPU") && said.contains("servicequotas"), "{said}");

    // Who may not ask learns it from ECS.
    cloud.tell("fault", &json!({"call": "GetServiceQuota", "kind": "denied", "times": 1}));
    assert_eq!(most(Spot::Never).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_there_is_room_for_is_refused_before_anything_is_made() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("quota", &json!({USUAL: 1.0}));
    let ecs = Ecs { workers: 4, ..cloud.ecs("none") };
    let provider = Arc::new(cloud.provider(ecs).await);
    let door = Queue { of: Arc::clone(&provider), joins: true };
    let wish = wish("large", 4);
    let start = lifecycle::start(provider, door, wish, policy(), Progress::default());
    let said = start.await.err().expect("too many").to_string();
    assert!(
        said.contains("quota in us-east-1 allows 3") && said.contains("Ask for 3 or fewer"),
        "{said}"
    );
    assert_eq!(cloud.calls("CreateVpc") + cloud.calls("CreateCluster"), 0);
}
