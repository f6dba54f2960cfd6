//! 6. What is somebody else's stays as it is, however much it looks like ours.

use rustbatch_protocol::ClusterId;
use rustbatch_provision::aws::Service;
use rustbatch_provision::lifecycle;
use rustbatch_provision::provider::Provider;
use rustbatch_provision::providers::ecs::Ecs;
use serde_json::{Value, json};

use super::cloud::Cloud;
use super::policy;

/// Things of another user with names and tags like those of `ours`.
async fn look_alikes(cloud: &Cloud, ours: &ClusterId) {
    let aws = cloud.aws().await;
    let id = ours.as_str();
    let vpcs = aws.query(Service::Ec2, "DescribeVpcs", &[]).await.expect("the account's own");
    let vpc = vpcs.items("vpcSet").into_iter().find(|vpc| vpc.text("isDefault") == "true");
    let vpc = vpc.expect("one").text("vpcId");
    let group = [
        ("GroupName", "rustbatch-theirs"),
        ("GroupDescription", "theirs"),
        ("VpcId", vpc),
        ("TagSpecification.1.ResourceType", "security-group"),
        ("TagSpecification.1.Tag.1.Key", "rustbatch:cluster"),
        ("TagSpecification.1.Tag.1.Value", id),
        ("TagSpecification.1.Tag.2.Key", "rustbatch:owner"),
        ("TagSpecification.1.Tag.2.Value", "them"),
    ];
    aws.query(Service::Ec2, "CreateSecurityGroup", &group).await.expect("a group");
    let role = format!("rb-start-{id}x");
    let form = [
        ("RoleName", role.as_str()),
        ("AssumeRolePolicyDocument", "{}"),
        ("Tags.member.1.Key", "rustbatch:owner"),
        ("Tags.member.1.Value", "them"),
    ];
    aws.query(Service::Iam, "CreateRole", &form).await.expect("a role");
    for name in [format!("/rustbatch/{id}-theirs/worker"), format!("/rustbatch/{id}x")] {
        let tags = json!([{"Key": "rustbatch:owner", "Value": "them"}]);
        let parameter = json!({"Name": name, "Value": "v", "Type": "SecureString", "Tags": tags});
        aws.json(Service::Ssm, "PutParameter", &parameter).await.expect("a parameter");
        let group = json!({"logGroupName": format!("{name}-logs"), "tags": {"team": "them"}});
        aws.json(Service::Logs, "CreateLogGroup", &group).await.expect("a log group");
    }
}

fn without(things: &Value, key: &str, value: &str) -> Value {
    let things = things.as_object().expect("things").iter();
    things.filter(|(_, tags)| tags[key] != value).map(|(k, v)| (k.clone(), v.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleanup_touches_nothing_of_another_user() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("ghosts", &json!({}));
    let mine = cloud.provider(cloud.ecs("none")).await;
    let theirs = Ecs { owner: Some("them".into()), ..cloud.ecs("none") };
    let theirs = cloud.provider(theirs).await;
    let ours: ClusterId = "fit-1".parse().expect("an id");
    mine.prepare(&ours).await.expect("a site");
    for id in ["fit-1-1", "fit-10", "fit-1-server"] {
        theirs.prepare(&id.parse().expect("an id")).await.expect("a site");
    }
    look_alikes(&cloud, &ours).await;
    let before = cloud.state()["things"].clone();
    let theirs_before = without(&before, "rustbatch:cluster", "fit-1");
    assert!(theirs_before.as_object().expect("things").len() > 20);

    let found = mine.find().await.expect("records");
    let found: Vec<_> = found.into_iter().map(|record| record.cluster).collect();
    assert_eq!(found, [ours]);
    let report = lifecycle::cleanup(&mine, &policy(), &found).await;
    assert_eq!(report.left, []);
    let now = cloud.state()["things"].clone();
    assert_eq!(without(&now, "rustbatch:cluster", "fit-1"), theirs_before);
    // What is left with our cluster's tag is the group that is theirs.
    let left = cloud.things("rustbatch:cluster", "fit-1");
    assert!(left.len() == 1 && left[0].contains(":security-group/"), "{left:?}");

    let error = mine.destroy(&"fit-10".parse().expect("an id")).await.expect_err("theirs");
    assert!(error.to_string().contains("belongs to somebody else"), "{error}");
    assert_eq!(without(&cloud.state()["things"], "rustbatch:cluster", "fit-1"), theirs_before);
}
