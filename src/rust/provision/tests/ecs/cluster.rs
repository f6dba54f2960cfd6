//! 1. A cluster, a loop on it, and its end.

use std::sync::Arc;

use rustbatch_provision::lifecycle::{self, Numbers, Progress};
use rustbatch_provision::provider::{LogQuery, Provider, Role, State};
use rustbatch_provision::providers::ecs::{Ecs, Keep};

use super::cloud::Cloud;
use super::joined::Queue;
use super::policies::{assert_allowed, calls};
use super::support::supervisor;
use super::{client, policy, squares, start, wish};

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_on_four_tasks_is_right_and_its_cluster_leaves_nothing() {
    let Some(mut cloud) = Cloud::new() else { return };
    let carrier = cloud.carrier(&supervisor());
    let provider = Arc::new(cloud.provider(cloud.ecs(&carrier)).await);
    let up = start(&provider, wish("squares", 4), policy()).await;
    let cluster = up.access().cluster;
    let numbers = up.numbers();
    assert_eq!(numbers, Numbers { expected: 4, initializing: 0, running: 4 });
    assert_eq!(cloud.containers().len(), 5, "those that brought the executable are gone");

    let client = client(&up.access()).await;
    squares(&client, 200).await;

    let listed = provider.instances(&cluster).await.expect("instances");
    assert!(listed.iter().all(|one| one.state == State::Running), "{listed:?}");
    let server = listed.iter().find(|one| one.role == Role::Server).expect("a server");
    let said = up.logs(&server.id, &LogQuery { tail: 10 }).await.expect("its words");
    assert!(said.lines.iter().any(|line| line.contains("ready")), "{said:?}");
    assert_eq!(server.worker, None);
    let hint = provider.endpoint(&cluster, &server.id).await.expect("an endpoint").hint;
    let hint = hint.expect("what to look at");
    assert!(
        hint.contains("sg-") && hint.contains("/32") && hint.contains("clientAddress"),
        "{hint}"
    );
    let cost = provider.cost(&cluster).await.expect("a cost");
    // A server of 256 and 512, four workers of 256 and 1024, and five addresses.
    assert!((cost.per_hour - 0.095_602_5).abs() < 1e-9, "{cost:?}");
    assert!(cost.so_far > 0.0, "{cost:?}");

    let report = up.stop().await.expect("an end");
    assert_eq!(report.left, []);
    assert!(calls(&cloud).len() > 30);
    assert_allowed(&calls(&cloud), &["daily.json", "bootstrap.json"]);
    assert_eq!(cloud.left(&cluster), [""; 0]);
    assert_eq!(cloud.containers(), [""; 0]);
    assert_eq!(cloud.things("rustbatch:owner", OWNER), [""; 0]);
}

/// Who moto takes us for.
const OWNER: &str = "arn:aws:sts::123456789012:user/moto";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_to_stay_stays_and_is_used_again() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("ghosts", &serde_json::json!({}));
    let ecs = Ecs { keep: vec![Keep::Network, Keep::Role, Keep::Logs], ..cloud.ecs("none") };
    let mut parts = Vec::new();
    for id in ["one", "two"] {
        let cluster = id.parse().expect("an id");
        let provider = cloud.provider(ecs.clone()).await;
        let site = provider.prepare(&cluster).await.expect("a site");
        parts.push(["vpc", "subnets", "executionRole"].map(|part| site.parts[part].clone()));
        let group = &site.parts["securityGroups"];
        assert!(cloud.left(&cluster).iter().any(|arn| arn.ends_with(group)));
        assert_eq!(provider.destroy(&cluster).await.expect("an end").left, []);
        assert_eq!(cloud.left(&cluster), [""; 0]);
        assert_eq!(provider.find().await.expect("records"), []);
    }
    assert_eq!(parts[0], parts[1], "what had stayed is used again");
    // A VPC, three subnets, and a gateway.
    assert_eq!(cloud.things("rustbatch:kept", "network").len(), 5);
    assert_eq!(cloud.things("rustbatch:kept", "role").len(), 1);
    assert_eq!(cloud.things("rustbatch:kept", "logs").len(), 2, "one of each cluster");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_again_is_the_same_and_who_may_not_see_roles_makes_them_all_the_same() {
    let Some(cloud) = Cloud::new() else { return };
    let cluster = "twice".parse().expect("an id");
    // IAM does not tell who may see some roles alone that there is no other.
    let denied = serde_json::json!({"call": "GetRole", "kind": "denied", "times": 1});
    cloud.tell("fault", &denied);
    let provider = cloud.provider(cloud.ecs("none")).await;
    let first = provider.prepare(&cluster).await.expect("a site").parts;
    // The tags of a second call tell another time.
    let later = Ecs { life_hours: 13, ..cloud.ecs("none") };
    let again = cloud.provider(later).await;
    assert_eq!(again.prepare(&cluster).await.expect("a site").parts, first);
    assert_eq!(again.destroy(&cluster).await.expect("an end").left, []);
    assert_eq!(cloud.left(&cluster), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_assumes_a_role_anew_finds_and_stops_their_cluster() {
    let Some(cloud) = Cloud::new() else { return };
    let login = |session: &str| {
        let arn = format!("arn:aws:sts::123456789012:assumed-role/fit/{session}");
        cloud.tell("who", &serde_json::json!({"arn": arn}));
    };
    login("assume-role-from-profile-1700000000000");
    let cluster = "roles".parse().expect("an id");
    let provider = cloud.provider(cloud.ecs("none")).await;
    provider.prepare(&cluster).await.expect("a site");
    login("assume-role-from-profile-1700000900000");
    let found = cloud.provider(cloud.ecs("none")).await.find().await.expect("records");
    assert_eq!(found.len(), 1);
    // By a name that somebody has chosen they are somebody else.
    login("jane");
    assert_eq!(cloud.provider(cloud.ecs("none")).await.find().await.expect("records"), []);
    // But who has made it stays who they are, whatever the session is called by now.
    assert_eq!(provider.destroy(&cluster).await.expect("an end").left, []);
    assert_eq!(cloud.left(&cluster), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_end_whatever_else_may_not_be_removed() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("ghosts", &serde_json::json!({}));
    let provider = Arc::new(cloud.provider(cloud.ecs("none")).await);
    let door = Queue { of: Arc::clone(&provider), joins: true };
    let start =
        lifecycle::start(provider.clone(), door, wish("denied", 2), policy(), Progress::default());
    let up = start.await.expect("a cluster");
    let cluster = up.access().cluster;
    assert_eq!(cloud.tasks(&cluster).len(), 3);
    let denied = serde_json::json!({"call": "DeleteParameters", "kind": "denied", "times": 1});
    cloud.tell("fault", &denied);
    let left = up.stop().await.expect("a report").left;
    assert!(left.len() == 1 && left[0].1.contains("ssm:DeleteParameters"), "{left:?}");
    assert_eq!(cloud.tasks(&cluster), [""; 0]);
    assert_eq!(up.stop().await.expect("an end").left, []);
    assert_eq!(cloud.left(&cluster), [""; 0]);
}
