//! 7. Secrets are in no task definition, override, environment, log, or command line.

use std::sync::Arc;

use rustbatch_provision::aws::{Aws, Service};
use rustbatch_provision::providers::ecs::Ecs;
use serde_json::json;

use super::cloud::{Cloud, docker, environment};
use super::support::{assert_unseen, supervisor};
use super::{client, policy, squares, start, wish};

/// Everything that anybody who may look at tasks, containers and logs can see.
async fn seen(cloud: &Cloud, aws: &Aws, cluster: &str) -> String {
    let name = format!("rustbatch-{cluster}");
    let mut seen = cloud.state().to_string();
    for role in ["server", "worker"] {
        let definition =
            aws.ecs().describe_task_definition().task_definition(format!("{name}-{role}"));
        seen.push_str(&format!("{:?}", definition.send().await.expect("a definition")));
    }
    let tasks = aws.ecs().list_tasks().cluster(&name).send().await.expect("tasks");
    let described = aws.ecs().describe_tasks().cluster(&name);
    let described = described.set_tasks(Some(tasks.task_arns().to_vec())).send().await;
    seen.push_str(&format!("{:?}", described.expect("tasks")));
    let group = json!({"logGroupName": format!("/rustbatch/{cluster}")});
    let events = aws.json(Service::Logs, "FilterLogEvents", &group).await.expect("events");
    assert!(events.to_string().contains("ready"), "{events}");
    seen.push_str(&events.to_string());
    for container in cloud.containers() {
        seen.push_str(&docker(&["inspect", &container]));
        seen.push_str(&docker(&["logs", &container]));
        let all = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'; ls /rustbatch";
        let shown = docker(&["exec", &container, "sh", "-c", all]);
        assert!(shown.ends_with("\nworker"), "the bootstrap is still there: {shown}");
        seen.push_str(&shown);
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_seen_of_a_cluster() {
    let Some(mut cloud) = Cloud::new() else { return };
    let carrier = cloud.carrier(&supervisor());
    let provider = Arc::new(cloud.provider(Ecs::clone(&cloud.ecs(&carrier))).await);
    let mut wish = wish("canary", 1);
    wish.environment = environment(&[("CANARY_IS_HERE", "sings")]);
    let up = start(&provider, wish, policy()).await;
    let access = up.access();
    let cluster = access.cluster.as_str();
    squares(&client(&access).await, 10).await;

    let aws = cloud.aws().await;
    let mut secrets = vec![access.key.to_hex().expose().to_owned()];
    secrets.push(access.server.password.as_ref().expect("one").expose().to_owned());
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    for role in ["server", "worker"] {
        let name = format!("/rustbatch/{cluster}/{role}");
        let wanted = json!({"Name": name, "WithDecryption": true});
        let told = aws.json(Service::Ssm, "GetParameter", &wanted).await.expect("a parameter");
        assert_eq!(told["Parameter"]["Type"], "SecureString");
        let told: serde_json::Value =
            serde_json::from_str(&text(&told["Parameter"]["Value"])).expect("a bootstrap");
        if role == "server" {
            let certificate = text(&told["listen"]["key"]);
            secrets.extend([text(&told["watch"]), certificate.lines().nth(1).expect("one").into()]);
        } else {
            secrets.push(text(&told["server"]["password"]));
        }
    }
    assert!(secrets.len() == 5 && secrets.iter().all(|secret| secret.len() > 40));
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let seen = seen(&cloud, &aws, cluster).await;
    assert!(seen.contains("CANARY_IS_HERE") && seen.contains("--bootstrap"));
    for secret in &secrets {
        assert!(!seen.contains(secret));
    }
    assert_unseen(&secrets);
    assert_eq!(up.stop().await.expect("an end").left, []);
}
