//! The real AWS, for whoever has an account and says so: RUSTBATCH_AWS_LIVE is a bucket, as
//! `s3://<name>`, or the image that holds `rustbatch-worker`. It costs about two cents.

use std::sync::Arc;

use rustbatch_provision::aws::Login;
use rustbatch_provision::lifecycle::Policy;
use rustbatch_provision::providers::ecs::{Ecs, Fargate};

use super::support::supervisor;
use super::{client, squares, start, wish};

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_on_two_tasks_of_the_real_fargate_leaves_nothing() {
    let Ok(from) = std::env::var("RUSTBATCH_AWS_LIVE") else { return };
    let bucket = from.strip_prefix("s3://").map(str::to_owned);
    let ecs = Ecs {
        worker_image: Some(from).filter(|_| bucket.is_none()),
        bucket,
        executable: Some(supervisor()),
        image: Some("public.ecr.aws/docker/library/r-base:latest".into()),
        cpu: 256,
        memory: 1024,
        server_memory: 512,
        workers: 2,
        max_cost: Some(0.25),
        ..Ecs::default()
    };
    let provider = Fargate::new(ecs, &Login::Chain, None).await.expect("a provider");
    let provider = Arc::new(provider);
    let all = Policy { all: true, ..Policy::default() };
    let up = start(&provider, wish("live", 2), all).await;
    let cluster = up.access().cluster;
    squares(&client(&up.access()).await, 50).await;
    let cost = provider.cost(&cluster).await.expect("a cost");
    eprintln!("it cost {:.3} dollars", cost.so_far);
    assert_eq!(up.stop().await.expect("an end").left, []);
    let records = rustbatch_provision::lifecycle::find(&*provider, &Policy::default()).await;
    assert!(!records.expect("records").iter().any(|record| record.cluster == cluster));
}
