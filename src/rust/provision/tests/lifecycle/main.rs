//! A cluster's life at a provider that fails, is slow, partial, forgetful and mortal.

#![allow(clippy::expect_used)]

#[path = "../support/fake.rs"]
mod fake;
mod idle;
mod life;
mod others;
mod pass;
mod remains;
mod start;

use std::sync::Arc;
use std::time::Instant;

use fake::{Fake, SOON, policy, wish};
use rustbatch_protocol::WorkerId;
use rustbatch_provision::Error;
use rustbatch_provision::lifecycle::{self, Numbers, Policy, Progress, Up, Wish};
use rustbatch_provision::provider::{Instance, Role};
use tokio::time::timeout;

type Cluster = Up<Fake, Fake>;

async fn start(fake: &Fake, wish: Wish, policy: Policy) -> Result<Cluster, Error> {
    let start =
        lifecycle::start(Arc::new(fake.clone()), fake.clone(), wish, policy, Progress::default());
    timeout(SOON * 2, start).await.expect("a start that ends")
}

/// A cluster with all of its workers, and the time.
async fn stands(fake: &Fake, workers: u32) -> (Cluster, Instant) {
    let cluster = start(fake, wish(workers), Policy { all: true, ..policy() }).await;
    (cluster.expect("a cluster"), Instant::now())
}

fn workers(fake: &Fake) -> Vec<Instance> {
    fake.world().alive(Role::Worker)
}

fn names(fake: &Fake) -> Vec<WorkerId> {
    workers(fake).into_iter().filter_map(|instance| instance.worker).collect()
}

fn numbers(expected: u32, initializing: u32, running: u32) -> Numbers {
    Numbers { expected, initializing, running }
}

/// How often workers have been launched.
fn launches(fake: &Fake) -> usize {
    fake.world().points.iter().filter(|point| *point == "after launching a worker").count()
}
