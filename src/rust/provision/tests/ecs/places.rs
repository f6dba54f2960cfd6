//! What is named is used as it is and stays; what can't work there is found by a check.

use std::sync::Arc;

use rustbatch_provision::aws::{Aws, Service};
use rustbatch_provision::lifecycle::{self, Progress};
use rustbatch_provision::provider::Provider;
use rustbatch_provision::providers::ecs::{Ecs, Way};

use super::cloud::Cloud;
use super::joined::Queue;
use super::support::supervisor;
use super::{policy, start, wish};

async fn made(aws: &Aws, call: &str, form: &[(&str, &str)], id: &str) -> String {
    let xml = aws.query(Service::Ec2, call, form).await.expect(call);
    xml.deep(id).expect("an id").to_owned()
}

/// A VPC with one subnet, and no way out.
async fn island(aws: &Aws) -> (String, String) {
    let vpc = made(aws, "CreateVpc", &[("CidrBlock", "10.9.0.0/16")], "vpcId").await;
    let fields = [("VpcId", vpc.as_str()), ("CidrBlock", "10.9.0.0/24")];
    let subnet = made(aws, "CreateSubnet", &fields, "subnetId").await;
    (vpc, subnet)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_without_a_way_to_the_registry_is_found_by_the_check() {
    let Some(cloud) = Cloud::new() else { return };
    let aws = cloud.aws().await;
    let (vpc, subnet) = island(&aws).await;
    let public = Ecs { subnets: vec![subnet.clone()], ..cloud.ecs("carrier") };
    let private = Ecs { public_ip: false, reach: Way::Private, ..public.clone() };
    let check = async |ecs: &Ecs| match cloud.provider(ecs.clone()).await.check().await {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    let said = check(&public).await;
    assert!(said.contains("no route to an Internet gateway"), "{said}");
    let said = check(&private).await;
    assert!(said.contains("can't pull their images") && said.contains("ecr.api"), "{said}");

    for end in ["ecr.api", "ecr.dkr", "s3", "logs", "ssm"] {
        let service = format!("com.amazonaws.us-east-1.{end}");
        let fields = [("VpcId", vpc.as_str()), ("ServiceName", &service)];
        made(&aws, "CreateVpcEndpoint", &fields, "vpcEndpointId").await;
    }
    let said = check(&private).await;
    assert!(said.contains("reach Amazon ECR alone, not `carrier`"), "{said}");
    let ecr = |name: &str| format!("1.dkr.ecr.us-east-1.amazonaws.com/{name}");
    let (image, server) = (Some(ecr("r")), ecr("redis"));
    let all = Ecs { image, server_image: server, worker_image: Some(ecr("w")), ..private.clone() };
    assert_eq!(check(&all).await, "");

    let gateway = made(&aws, "CreateInternetGateway", &[], "internetGatewayId").await;
    let both = [("InternetGatewayId", gateway.as_str()), ("VpcId", vpc.as_str())];
    aws.query(Service::Ec2, "AttachInternetGateway", &both).await.expect("to attach");
    let filter = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
    let table = made(&aws, "DescribeRouteTables", &filter, "routeTableId").await;
    let route = [
        ("RouteTableId", table.as_str()),
        ("DestinationCidrBlock", "0.0.0.0/0"),
        ("GatewayId", gateway.as_str()),
    ];
    aws.query(Service::Ec2, "CreateRoute", &route).await.expect("a route");
    assert_eq!(check(&public).await, "");
    let other = Ecs { vpc: Some("vpc-0".into()), ..public };
    let said = check(&other).await;
    assert!(said.contains("Name subnets of one VPC"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_is_used_and_stays() {
    let Some(mut cloud) = Cloud::new() else { return };
    let aws = cloud.aws().await;
    let (vpc, subnet) = island(&aws).await;
    let group = [("GroupName", "own"), ("GroupDescription", "own"), ("VpcId", vpc.as_str())];
    let group = made(&aws, "CreateSecurityGroup", &group, "groupId").await;
    let create = aws.ecs().create_cluster().cluster_name("shared").capacity_providers("FARGATE");
    create.send().await.expect("a cluster");
    let carrier = cloud.carrier(&supervisor());
    let ecs = Ecs {
        subnets: vec![subnet.clone()],
        security_groups: vec![group.clone()],
        ecs_cluster: Some("shared".into()),
        public_ip: false,
        reach: Way::Private,
        ..cloud.ecs(&carrier)
    };
    let provider = Arc::new(cloud.provider(ecs).await);
    let error = provider.check().await.expect_err("no way out").to_string();
    assert!(error.contains("can't pull"), "{error}");
    let cluster = "named".parse().expect("an id");
    let site = provider.prepare(&cluster).await.expect("a site");
    assert_eq!((&site.parts["vpc"], &site.parts["subnets"]), (&vpc, &subnet));
    assert_eq!(provider.destroy(&cluster).await.expect("an end").left, []);
    let shared = aws.ecs().describe_clusters().clusters("shared").send().await.expect("a look");
    assert_eq!(shared.clusters()[0].status(), Some("ACTIVE"));
    for (call, field, id) in [
        ("DescribeSubnets", "SubnetId.1", &subnet),
        ("DescribeSecurityGroups", "GroupId.1", &group),
    ] {
        aws.query(Service::Ec2, call, &[(field, id.as_str())]).await.expect("it is still there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_in_a_shared_ecs_cluster_are_told_apart() {
    let Some(mut cloud) = Cloud::new() else { return };
    let aws = cloud.aws().await;
    let create = aws.ecs().create_cluster().cluster_name("shared");
    let providers = ["FARGATE", "FARGATE_SPOT"].map(str::to_owned).to_vec();
    create.set_capacity_providers(Some(providers)).send().await.expect("a cluster");
    let carrier = cloud.carrier(&supervisor());
    let ecs = Ecs { ecs_cluster: Some("shared".into()), ..cloud.ecs(&carrier) };
    let provider = Arc::new(cloud.provider(ecs).await);
    let (one, two) = tokio::join!(
        start(&provider, wish("one", 1), policy()),
        start(&provider, wish("two", 1), policy())
    );
    let of = async |id| provider.instances(&id).await.expect("instances").len();
    assert_eq!((of(one.access().cluster).await, of(two.access().cluster).await), (2, 2));
    let stays = two.access().cluster;
    assert_eq!(one.stop().await.expect("an end").left, []);
    assert_eq!(of(stays).await, 2);
    assert_eq!(two.stop().await.expect("an end").left, []);
    assert_eq!(cloud.containers(), [""; 0]);
    let records = provider.find().await.expect("records");
    assert_eq!(records, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_ways_in_are_those_of_the_members_and_of_this_machine() {
    let Some(cloud) = Cloud::new() else { return };
    let key = Some("ssh-ed25519 AAAA me@here".to_owned());
    let ecs = Ecs { ssh_public_key: key, ..cloud.ecs("none") };
    for (ecs, ports) in [(cloud.ecs("none"), vec!["6379"]), (ecs, vec!["22", "6379"])] {
        let provider = cloud.provider(ecs).await;
        let cluster = "ways".parse().expect("an id");
        let site = provider.prepare(&cluster).await.expect("a site");
        provider.prepare(&cluster).await.expect("the same site");
        let form = [("GroupId.1", site.parts["securityGroups"].as_str())];
        let xml = cloud.aws().await.query(Service::Ec2, "DescribeSecurityGroups", &form).await;
        let xml = xml.expect("a group");
        let group = xml.items("securityGroupInfo")[0];
        let rules = group.items("ipPermissions");
        let mut open: Vec<_> = rules.iter().map(|rule| rule.text("fromPort")).collect();
        open.sort_unstable();
        assert_eq!(open, ports);
        for rule in rules {
            let from = rule.items("ipRanges");
            assert_eq!(from.len(), 1);
            assert_eq!(from[0].text("cidrIp"), "127.0.0.1/32");
            let members = rule.items("groups");
            assert_eq!(members.len(), usize::from(rule.text("fromPort") == "6379"));
            assert!(members.iter().all(|one| one.text("groupId") == site.parts["securityGroups"]));
        }
        assert_eq!(provider.destroy(&cluster).await.expect("an end").left, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_is_opened_by_aws_or_by_ssh_where_that_is_wanted() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("ghosts", &serde_json::json!({}));
    let key = "ssh-ed25519 AAAA me@here";
    let ssh = Some(format!("{key}\n"));
    let ecs = Ecs { execute_command: true, ssh_public_key: ssh, ..cloud.ecs("none") };
    let provider = Arc::new(cloud.provider(ecs).await);
    let door = Queue { of: Arc::clone(&provider), joins: true };
    let progress = Progress::default();
    let start = lifecycle::start(Arc::clone(&provider), door, wish("shell", 1), policy(), progress);
    let up = start.await.expect("a cluster");
    let cluster = up.access().cluster;
    let roles = cloud.things("rustbatch:role", "role");
    assert_eq!(roles.len(), 2, "one to start tasks, one for their code: {roles:?}");
    let all = up.instances().await.expect("instances");
    let worker = all.iter().find(|one| one.worker.is_some()).expect("a worker");
    let lines = provider.shell(&cluster, &worker.id).await.expect("lines");
    let exec = format!("--cluster rustbatch-{cluster} --task {} --container worker", worker.id);
    assert!(
        lines[0].join(" ").starts_with("aws ecs execute-command")
            && lines[0].join(" ").contains(&exec),
        "{lines:?}"
    );
    assert!(lines[1][0] == "ssh" && lines[1][1].starts_with("root@"), "{lines:?}");

    let aws = cloud.aws().await;
    let family = format!("rustbatch-{cluster}-worker");
    let described = aws.ecs().describe_task_definition().task_definition(family).send().await;
    let described = described.expect("a definition");
    let definition = described.task_definition().expect("one");
    let main = definition.container_definitions().iter().find(|one| one.name() == Some("worker"));
    let main = main.expect("a container");
    assert!(main.entry_point().iter().any(|word| word.contains("/usr/sbin/sshd")));
    assert!(main.environment().iter().any(|one| one.value() == Some(key)));
    assert!(definition.task_role_arn().is_some());
    assert_eq!(up.stop().await.expect("an end").left, []);
    assert_eq!(cloud.left(&cluster), [""; 0]);

    let plain = cloud.provider(cloud.ecs("none")).await;
    let error = plain.shell(&cluster, &worker.id).await.expect_err("no way in").to_string();
    assert!(error.contains("executeCommand = TRUE"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_a_cluster_from_elsewhere_is_let_in() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("ghosts", &serde_json::json!({}));
    let provider = Arc::new(cloud.provider(cloud.ecs("none")).await);
    let door = Queue { of: Arc::clone(&provider), joins: true };
    let progress = Progress::default();
    let start = lifecycle::start(provider, door, wish("found", 1), policy(), progress);
    let up = start.await.expect("a cluster");
    let cluster = up.access().cluster;
    let all = up.instances().await.expect("instances");
    let server = all.iter().find(|one| one.worker.is_none()).expect("a server");

    let elsewhere = Some("198.51.100.7/32".to_owned());
    let other = Ecs { client_address: elsewhere, image: None, ..cloud.ecs("another") };
    let found = cloud.provider(other).await.of(&cluster).await.expect("the cluster's own");
    found.endpoint(&cluster, &server.id).await.expect("a way");
    let group = cloud.things("rustbatch:cluster", cluster.as_str());
    let group = group.iter().find(|arn| arn.contains(":security-group/")).expect("a group");
    let form = [("GroupId.1", group.rsplit('/').next().expect("an id"))];
    let xml = cloud.aws().await.query(Service::Ec2, "DescribeSecurityGroups", &form).await;
    let xml = xml.expect("a group");
    let rules = xml.items("securityGroupInfo")[0].items("ipPermissions");
    let from = rules.iter().flat_map(|rule| rule.items("ipRanges"));
    let mut from: Vec<_> = from.map(|range| range.text("cidrIp").to_owned()).collect();
    from.sort();
    assert_eq!(from, ["127.0.0.1/32", "198.51.100.7/32"]);

    assert_eq!(up.stop().await.expect("an end").left, []);
}
