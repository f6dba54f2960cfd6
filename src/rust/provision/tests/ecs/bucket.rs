//! The executable comes from a bucket: no image of ours is needed then.

use std::sync::Arc;

use rustbatch_provision::lifecycle::{self, Policy, Progress, Redis};
use rustbatch_provision::provider::Provider;
use rustbatch_provision::providers::ecs::Ecs;
use serde_json::json;

use super::cloud::Cloud;
use super::support::supervisor;
use super::{client, policy, squares, start, wish};

/// A cluster's configuration whose executable is in this bucket.
fn ecs(cloud: &Cloud, bucket: &str) -> Ecs {
    let (bucket, executable) = (Some(bucket.to_owned()), Some(supervisor()));
    Ecs { worker_image: None, bucket, executable, ..cloud.ecs("none") }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executable_is_put_into_a_bucket_once_and_every_task_fetches_it() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("bucket", &json!({"name": "some-bucket"}));
    for name in ["first", "second"] {
        let provider = Arc::new(cloud.provider(ecs(&cloud, "some-bucket")).await);
        let up = start(&provider, wish(name, 2), policy()).await;
        let cluster = up.access().cluster;
        let client = client(&up.access()).await;
        squares(&client, 20).await;
        let family = format!("rustbatch-{cluster}-worker");
        let ecs = cloud.aws().await.ecs().clone();
        let seen = ecs.describe_task_definition().task_definition(family).send().await;
        let seen = format!("{:?}", seen.expect("a task definition"));
        assert!(seen.contains("sha256sum") && !seen.contains("X-Amz-Signature"), "{seen}");
        assert_eq!(up.stop().await.expect("an end").left, []);
        assert_eq!(cloud.left(&cluster), [""; 0]);
    }
    assert_eq!(cloud.calls("PutObject"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_has_put_there_is_not_run() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.tell("bucket", &json!({"name": "some-bucket"}));
    let cluster = "c".parse().expect("an id");
    let provider = cloud.provider(ecs(&cloud, "some-bucket")).await;
    provider.prepare(&cluster).await.expect("a site");
    assert_eq!(provider.destroy(&cluster).await.expect("an end").left, []);
    cloud.tell("spoil", &json!({"name": "some-bucket"}));
    let policy = Policy { join: std::time::Duration::from_secs(60), ..policy() };
    let begun =
        lifecycle::start(Arc::new(provider), Redis, wish("x", 1), policy, Progress::default());
    let error = begun.await.map(drop).expect_err("no cluster").to_string();
    assert!(error.contains("the executable could not be fetched from the bucket"), "{error}");
    assert!(!error.contains("X-Amz-Signature"), "{error}");
    assert_eq!(cloud.containers(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_or_an_executable_that_will_not_do_is_known_before_anything_is_made() {
    let Some(cloud) = Cloud::new() else { return };
    let start = async |ecs: Ecs| {
        let provider = Arc::new(cloud.provider(ecs).await);
        let begun = lifecycle::start(provider, Redis, wish("x", 1), policy(), Progress::default());
        begun.await.map(drop).expect_err("no cluster").to_string()
    };
    let error = start(ecs(&cloud, "no-such-bucket")).await;
    assert!(error.contains("aws s3 mb s3://no-such-bucket --region us-east-1"), "{error}");
    let executable = Some("/bin/sh/none".into());
    let error = start(Ecs { executable, ..ecs(&cloud, "some-bucket") }).await;
    assert!(error.contains("can't be run in the tasks"), "{error}");
    let executable = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into());
    let error = start(Ecs { executable, ..ecs(&cloud, "some-bucket") }).await;
    assert!(error.contains("it is for no system that is known"), "{error}");
    assert_eq!(cloud.calls("CreateVpc"), 0);
}
