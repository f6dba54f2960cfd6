//! 3. What is taken away during a loop is replaced, and nothing is lost.

use std::sync::Arc;
use std::time::Duration;

use rustbatch_provision::lifecycle::Policy;
use rustbatch_provision::provider::{Provider, Role, State};
use rustbatch_provision::providers::ecs::{Ecs, Spot};
use serde_json::json;
use tokio::task::block_in_place;

use super::cloud::Cloud;
use super::squares::Squares;
use super::support::supervisor;
use super::{client, policy, start, wish};

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
    let mut squares = Squares::new(200, 0.1);

    let one = client(&up.access()).await;
    let way = squares.open(&one);
    assert!(block_in_place(|| squares.collect(&way, 20, || false)));
    cloud.tell("spot", &json!({"n": 1}));
    assert!(block_in_place(|| squares.collect(&way, 40, || false)));
    cloud.tell("kill", &json!({"n": 1, "group": "rustbatch-worker"}));
    assert!(block_in_place(|| squares.collect(&way, 80, || false)));
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

    // Who uses a cluster is told of its new server; the client publishes there what has not come.
    cloud.tell("kill", &json!({"n": 1, "group": "rustbatch-server"}));
    let moved = || {
        let now = up.access().server;
        let moved = now.address != first;
        if moved {
            one.moved(&now).expect("to follow");
        }
        moved
    };
    assert!(!block_in_place(|| squares.collect(&way, 200, moved)), "the server was not lost");
    assert!(block_in_place(|| squares.collect(&way, 200, || false)));
    way.close().await;
    squares.check();

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
