//! What the policies of `inst/iam` allow is what is done.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustbatch_provision::aws::Service;
use rustbatch_provision::provider::Provider;
use rustbatch_provision::providers::ecs::{Ecs, Keep};

use super::cloud::Cloud;
use super::support::supervisor;
use super::{client, policy, squares, start, wish};

/// All calls that were done, each as often as it was.
pub fn calls(cloud: &Cloud) -> BTreeSet<(String, u64)> {
    let calls = cloud.state()["calls"].as_object().cloned().expect("calls");
    calls.into_iter().map(|(call, times)| (call, times.as_u64().expect("a number"))).collect()
}

/// Whoever has these policies may do this.
pub fn assert_allowed(calls: &BTreeSet<(String, u64)>, policies: &[&str]) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../inst/iam");
    let read = |name: &&str| std::fs::read_to_string(format!("{folder}/{name}")).expect("a policy");
    let all: String = policies.iter().map(read).collect();
    // Everybody may ask who they are.
    for (call, _) in calls.iter().filter(|(call, _)| call != "GetCallerIdentity") {
        assert!(all.contains(&format!(":{call}\"")), "{call} is in none of {policies:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_for_every_day_is_enough_where_all_is_named() {
    let Some(mut cloud) = Cloud::new() else { return };
    let carrier = cloud.carrier(&supervisor());
    cloud.tell("bucket", &serde_json::json!({"name": "some-bucket"}));
    let keep = Ecs { keep: vec![Keep::Network, Keep::Role], ..cloud.ecs(&carrier) };
    let admin = cloud.provider(keep).await;
    let site = admin.prepare(&"admins".parse().expect("an id")).await.expect("a site");
    let aws = cloud.aws().await;
    let providers = ["FARGATE", "FARGATE_SPOT"].map(str::to_owned).to_vec();
    let shared = aws.ecs().create_cluster().cluster_name("shared");
    shared.set_capacity_providers(Some(providers)).send().await.expect("an ECS cluster");
    let vpc = site.parts["vpc"].as_str();
    let form = [("GroupName", "own"), ("GroupDescription", "own"), ("VpcId", vpc)];
    let group = aws.query(Service::Ec2, "CreateSecurityGroup", &form).await.expect("a group");

    let before = calls(&cloud);
    let ecs = Ecs {
        ecs_cluster: Some("shared".into()),
        subnets: site.parts["subnets"].split(',').map(str::to_owned).collect(),
        security_groups: vec![group.text("groupId").to_owned()],
        execution_role: Some(site.parts["executionRole"].clone()),
        bucket: Some("some-bucket".into()),
        worker_image: None,
        executable: Some(supervisor()),
        ..cloud.ecs("none")
    };
    let provider = Arc::new(cloud.provider(ecs).await);
    let up = start(&provider, wish("daily", 1), policy()).await;
    squares(&client(&up.access()).await, 10).await;
    assert_eq!(up.stop().await.expect("an end").left, []);
    let done: BTreeSet<_> = calls(&cloud).difference(&before).cloned().collect();
    assert!(done.len() > 15, "{done:?}");
    assert_allowed(&done, &["daily.json"]);
}
