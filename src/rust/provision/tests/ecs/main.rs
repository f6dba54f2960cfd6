//! Clusters on Fargate, in an account of this machine: moto's, whose tasks are real containers.

#![allow(clippy::expect_used, clippy::print_stderr, clippy::print_stdout)]
#![cfg(feature = "ecs")]

mod bad;
mod bucket;
mod canary;
mod cloud;
mod cluster;
mod faults;
mod hundred;
#[path = "../support/joined.rs"]
mod joined;
mod live;
#[path = "../support/loops.rs"]
mod loops;
mod money;
mod orphan;
mod places;
mod policies;
mod quota;
mod ssh;
mod strangers;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use loops::Loop;
use rustbatch_protocol::Seal;
use rustbatch_provision::lifecycle::{self, Access, Policy, Progress, Redis, Up, Wish};
use rustbatch_provision::providers::ecs::Fargate;
use rustbatch_queue::Client;

fn wish(name: &str, workers: u32) -> Wish {
    Wish {
        name: Some(name.into()),
        least: workers,
        most: workers,
        slots: 1,
        cpu: None,
        memory: None,
        image: None,
        environment: BTreeMap::new(),
        r: "R".into(),
        setup: None,
        redis: None,
    }
}

/// Looks often.
fn policy() -> Policy {
    Policy {
        all: true,
        look: Duration::from_millis(100),
        rest: Duration::from_millis(200),
        pause: Duration::from_millis(50),
        ..Policy::default()
    }
}

async fn start(provider: &Arc<Fargate>, wish: Wish, policy: Policy) -> Up<Fargate, Redis> {
    let start = lifecycle::start(Arc::clone(provider), Redis, wish, policy, Progress::default());
    start.await.expect("a cluster")
}

async fn client(access: &Access) -> Client {
    let seal = Seal::new(access.cluster.clone(), access.key.clone()).expect("a seal");
    Client::connect(access.server.clone(), seal).await.expect("a client")
}

/// The squares of 1 to `tasks`, which are a multiple of five, each once.
async fn squares(client: &Client, tasks: u64) {
    let mut work = Loop::open(client, "i^2", tasks, 5);
    work.collect_all(&format!("(1:{tasks})^2"));
    work.job.close().await;
}
