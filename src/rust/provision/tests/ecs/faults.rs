//! 3. What is taken away during a loop is replaced, and nothing is lost.

use std::sync::Arc;
use std::time::Duration;

use rustbatch_provision::lifecycle::{Access, Policy, Standing};
use rustbatch_provision::provider::{Provider, Role, State};
use rustbatch_provision::providers::ecs::{Ecs, Spot};
use rustbatch_queue::Client;
use serde_json::json;
use tokio::sync::watch;

use super::cloud::{Cloud, PATIENCE};
use super::loops::Loop;
use super::support::supervisor;
use super::{client, policy, start, wish};

/// Tells the client of a new server, and while one is on its way, as R's clients are told.
async fn follow(mut accesses: watch::Receiver<Access>, client: Client) {
    while accesses.changed().await.is_ok() {
        let Access { server, standing, .. } = accesses.borrow_and_update().clone();
        match standing {
            Standing::Up => client.moved(&server).expect("to follow"),
            _ => client.expect(2 * PATIENCE),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_outlives_a_spot_interruption_a_killed_worker_and_a_killed_server() {
    let Some(mut cloud) = Cloud::new() else { return };
    let carrier = cloud.carrier(&supervisor());
    let ecs = Ecs { spot: Spot::Only, ..cloud.ecs(&carrier) };
    let provider = Arc::new(cloud.provider(ecs).await);
    let soon = Policy { silent: Duration::from_secs(10), ..policy() };
    let up = start(&provider, wish("faults", 3), soon).await;
    up.keep();
    let (cluster, first) = (up.access().cluster, up.access().server.address);

    let one = client(&up.access()).await;
    tokio::spawn(follow(up.accesses(), one.clone()));
    let mut work = Loop::open(&one, "Sys.sleep(0.1); i^2", 200, 5);
    work.collect(20);
    cloud.tell("spot", &json!({"n": 1}));
    work.collect(40);
    cloud.tell("kill", &json!({"n": 1, "group": "rustbatch-worker"}));
    work.collect(80);
    let seen = provider.instances(&cluster).await.expect("instances");
    let whys: Vec<_> = seen
        .iter()
        .filter_map(|one| match &one.state {
            State::Stopped { why } => Some(why.as_str()),
            _ => None,
        })
        .collect();
    let said = |words: &str| whys.iter().any(|why| why.contains(words));
    assert!(said("took its spare capacity back") && said("killed by signal 9"), "{whys:?}");

    cloud.tell("kill", &json!({"n": 1, "group": "rustbatch-server"}));
    work.collect_all("(1:200)^2");
    assert_ne!(up.access().server.address, first, "the server was not lost");
    work.job.close().await;

    cloud
        .until("three workers again", async || {
            let listed = provider.instances(&cluster).await.expect("instances");
            let running = |role| {
                let of = listed.iter().filter(move |one| one.role == role);
                of.filter(|one| one.state == State::Running).count()
            };
            running(Role::Worker) == 3 && running(Role::Server) == 1
        })
        .await;
    assert_eq!(up.stop().await.expect("an end").left, []);
    assert_eq!(cloud.left(&cluster), [""; 0]);
}
