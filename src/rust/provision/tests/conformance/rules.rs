//! The rules, each for any provider.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustbatch_protocol::{ClusterId, WorkerId};
use rustbatch_provision::provider::{
    Instance, InstanceId, LogQuery, Provider, Role, Site, State, Token,
};

use rustbatch_provision::lifecycle::{self, Policy, Progress};

use zeroize::Zeroizing;

use super::fake::{policy, wish};
use super::faulty::Faulty;
use super::joined::Queue;
use super::support::SOON;
use super::{Ground, unit};

/// A site of a new cluster; nothing where there is no ground.
async fn site<G: Ground>() -> Option<(G, ClusterId, Site)> {
    let ground = G::new()?;
    let cluster = ClusterId::random().expect("an id");
    let site = ground.provider().prepare(&cluster).await.expect("a site");
    Some((ground, cluster, site))
}

/// `n` instances of a role, launched with a new token.
async fn launch<G: Ground>(ground: &G, site: &Site, role: Role, n: u32) -> Vec<Instance> {
    let token = Token::random().expect("a token");
    launch_with(ground, site, role, n, &token).await
}

async fn launch_with<G: Ground>(
    ground: &G,
    site: &Site,
    role: Role,
    n: u32,
    token: &Token,
) -> Vec<Instance> {
    let launched = ground.provider().launch(site, &unit(site, role), n, token).await;
    let launched = launched.expect("instances");
    assert_eq!((launched.instances.len(), launched.short), (n as usize, None));
    launched.instances
}

fn ids(instances: &[Instance]) -> BTreeSet<InstanceId> {
    instances.iter().map(|instance| instance.id.clone()).collect()
}

async fn instances<G: Ground>(ground: &G, cluster: &ClusterId) -> Vec<Instance> {
    ground.provider().instances(cluster).await.expect("a list")
}

/// Looks at the instances until it is so.
async fn until<G: Ground>(
    ground: &G,
    cluster: &ClusterId,
    what: &str,
    so: impl Fn(&[Instance]) -> bool,
) -> Vec<Instance> {
    let deadline = Instant::now() + SOON;
    loop {
        let list = instances(ground, cluster).await;
        if so(&list) {
            return list;
        }
        assert!(Instant::now() < deadline, "in vain: {what}: {list:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn all_run(list: &[Instance], n: usize) -> bool {
    list.len() == n && list.iter().all(|instance| instance.state == State::Running)
}

async fn end<G: Ground>(ground: &G, cluster: &ClusterId) {
    let report = ground.provider().destroy(cluster).await.expect("a report");
    assert_eq!(report.left, []);
    assert_eq!(ground.left(cluster), [""; 0]);
    assert_eq!(instances(ground, cluster).await, []);
}

pub async fn a_check_makes_nothing<G: Ground>() {
    let Some(ground) = G::new() else { return };
    ground.provider().check().await.expect("nothing wrong");
    assert_eq!(ground.provider().find().await.expect("records"), []);
}

pub async fn what_is_prepared_twice_is_there_once<G: Ground>() {
    let Some((ground, cluster, site)) = site::<G>().await else { return };
    let before = ground.left(&cluster);
    let again = ground.provider().prepare(&cluster).await.expect("a site");
    assert_eq!(format!("{again:?}"), format!("{site:?}"));
    assert_eq!(ground.left(&cluster), before);
    end(&ground, &cluster).await;
}

pub async fn a_launch_that_is_repeated_starts_nothing_anew<G: Ground>() {
    let Some((ground, cluster, site)) = site::<G>().await else { return };
    let token = Token::random().expect("a token");
    let first = launch_with(&ground, &site, Role::Worker, 2, &token).await;
    let again = launch_with(&ground, &site, Role::Worker, 2, &token).await;
    assert_eq!(ids(&first), ids(&again));
    assert_eq!(ids(&instances(&ground, &cluster).await), ids(&first));
    let others = launch(&ground, &site, Role::Worker, 1).await;
    assert!(ids(&others).is_disjoint(&ids(&first)), "another token means others");
    until(&ground, &cluster, "three", |list| all_run(list, 3)).await;
    end(&ground, &cluster).await;
}

pub async fn every_worker_has_a_name_of_its_own<G: Ground>() {
    let Some((ground, cluster, site)) = site::<G>().await else { return };
    launch(&ground, &site, Role::Server, 1).await;
    launch(&ground, &site, Role::Worker, 2).await;
    launch(&ground, &site, Role::Worker, 1).await;
    let list = until(&ground, &cluster, "all", |list| all_run(list, 4)).await;
    let (servers, workers): (Vec<_>, Vec<_>) =
        list.into_iter().partition(|instance| instance.role == Role::Server);
    assert_eq!((servers.len(), servers[0].worker.clone()), (1, None));
    let names: BTreeSet<WorkerId> =
        workers.into_iter().map(|instance| instance.worker.expect("a name")).collect();
    assert_eq!(names.len(), 3);
    end(&ground, &cluster).await;
}

pub async fn what_is_terminated_twice_is_gone<G: Ground>() {
    let Some((ground, cluster, site)) = site::<G>().await else { return };
    let launched = launch(&ground, &site, Role::Worker, 1).await;
    until(&ground, &cluster, "it", |list| all_run(list, 1)).await;
    let ids = [launched[0].id.clone(), InstanceId("unknown".into())];
    for _ in 0..2 {
        ground.provider().terminate(&cluster, &ids).await.expect("an end");
        until(&ground, &cluster, "its end", gone).await;
    }
    end(&ground, &cluster).await;
}

/// Nothing is listed that has not stopped.
fn gone(list: &[Instance]) -> bool {
    list.iter().all(|instance| matches!(instance.state, State::Stopped { .. }))
}

pub async fn only_what_is_named_is_terminated<G: Ground>() {
    let Some((ground, cluster, site)) = site::<G>().await else { return };
    let other = ClusterId::random().expect("an id");
    let elsewhere = ground.provider().prepare(&other).await.expect("a site");
    let launched = launch(&ground, &site, Role::Worker, 2).await;
    let theirs = launch(&ground, &elsewhere, Role::Worker, 1).await;
    let named = [launched[0].id.clone(), theirs[0].id.clone()];
    ground.provider().terminate(&cluster, &named).await.expect("an end");
    let stays = |list: &[Instance]| {
        list.iter().any(|i| i.id == launched[1].id && i.state == State::Running)
    };
    until(&ground, &cluster, "the other", stays).await;
    until(&ground, &other, "another cluster's", |list| all_run(list, 1)).await;
    end(&ground, &cluster).await;
    end(&ground, &other).await;
    assert!(ground.strangers_are_well());
}

pub async fn an_instance_that_has_stopped_says_why<G: Ground>() {
    let Some((ground, cluster, site)) = site::<G>().await else { return };
    let launched = launch(&ground, &site, Role::Worker, 2).await;
    until(&ground, &cluster, "both", |list| all_run(list, 2)).await;
    ground.break_down(&cluster, &launched[0].id, "R is not there");
    let why = |list: &[Instance]| {
        let broken = list.iter().find(|instance| instance.id == launched[0].id)?;
        match &broken.state {
            State::Stopped { why } => Some(why.clone()),
            _ => None,
        }
    };
    let list = until(&ground, &cluster, "its end", |list| why(list).is_some()).await;
    let words = why(&list).expect("words");
    assert!(words.contains("R is not there"), "{words}");
    assert!(list.iter().any(|i| i.id == launched[1].id && i.state == State::Running));
    end(&ground, &cluster).await;
}

pub async fn what_an_instance_wrote_can_be_read<G: Ground>() {
    let Some((ground, cluster, site)) = site::<G>().await else { return };
    let id = launch(&ground, &site, Role::Worker, 1).await.remove(0).id;
    until(&ground, &cluster, "it", |list| all_run(list, 1)).await;
    ground.speak(&cluster, &id, "hello");
    let deadline = Instant::now() + SOON;
    let lines = loop {
        let logs = ground.provider().logs(&cluster, &id, &LogQuery { tail: 1 }).await;
        let lines = logs.expect("lines").lines;
        if !lines.is_empty() {
            break lines;
        }
        assert!(Instant::now() < deadline, "in vain: a line");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(lines.len(), 1);
    let unknown = InstanceId("unknown".into());
    let error = ground.provider().logs(&cluster, &unknown, &LogQuery { tail: 1 }).await;
    assert!(error.expect_err("no such instance").to_string().contains("unknown"));
    end(&ground, &cluster).await;
}

pub async fn a_server_is_reached_and_an_unknown_one_is_not<G: Ground>() {
    let Some((ground, cluster, site)) = site::<G>().await else { return };
    let server = launch(&ground, &site, Role::Server, 1).await.remove(0);
    assert_eq!((server.role, server.worker), (Role::Server, None));
    until(&ground, &cluster, "it", |list| all_run(list, 1)).await;
    ground.provider().endpoint(&cluster, &server.id).await.expect("an address");
    let unknown = InstanceId("unknown".into());
    assert!(ground.provider().endpoint(&cluster, &unknown).await.is_err());
    end(&ground, &cluster).await;
}

pub async fn what_is_remembered_is_recalled<G: Ground>() {
    let Some((ground, cluster, site)) = site::<G>().await else { return };
    let recalled = async || ground.provider().recall(&cluster).await.expect("an answer");
    assert_eq!(recalled().await, None);
    for record in [b"one".to_vec(), b"two".to_vec()].map(Zeroizing::new) {
        ground.provider().remember(&site, &record).await.expect("to keep");
        assert_eq!(recalled().await, G::REMEMBERS.then_some(record));
    }
    // It is no instance.
    assert_eq!(instances(&ground, &cluster).await, []);
    assert!(ground.provider().find().await.expect("records").iter().all(|r| r.instances == 0));
    let other = ClusterId::random().expect("an id");
    assert_eq!(ground.provider().recall(&other).await.expect("an answer"), None);
    end(&ground, &cluster).await;
    assert_eq!(recalled().await, None);
}

pub async fn only_what_carries_our_tag_is_found<G: Ground>() {
    let Some((ground, cluster, site)) = site::<G>().await else { return };
    launch(&ground, &site, Role::Worker, 2).await;
    until(&ground, &cluster, "both", |list| all_run(list, 2)).await;
    let found = ground.provider().find().await.expect("records");
    let age = found.first().and_then(|record| record.age(SystemTime::now()));
    assert!(age.is_some(), "it is not known when it was made: {found:?}");
    let found: Vec<_> = found.iter().map(|r| (&r.cluster, r.instances)).collect();
    assert_eq!(found, [(&cluster, 2)]);
    end(&ground, &cluster).await;
    assert_eq!(ground.provider().find().await.expect("records"), []);
    assert!(ground.strangers_are_well());
}

pub async fn an_end_leaves_nothing_of_ours_and_all_else<G: Ground>() {
    let Some((ground, cluster, site)) = site::<G>().await else { return };
    let other = ClusterId::random().expect("an id");
    let elsewhere = ground.provider().prepare(&other).await.expect("a site");
    for site in [&site, &elsewhere] {
        launch(&ground, site, Role::Server, 1).await;
        launch(&ground, site, Role::Worker, 1).await;
    }
    for cluster in [&cluster, &other] {
        // A server, a worker, and at least one thing around them.
        let all = |list: &[Instance]| all_run(list, 2) && ground.left(cluster).len() >= 3;
        until(&ground, cluster, "both", all).await;
    }
    let untouched = ground.left(&other);
    end(&ground, &cluster).await;
    end(&ground, &cluster).await;
    assert_eq!(ground.left(&other), untouched);
    assert!(all_run(&instances(&ground, &other).await, 2));
    assert!(ground.strangers_are_well());
    end(&ground, &other).await;
}

pub async fn what_was_only_prepared_ends_too<G: Ground>() {
    let Some((ground, cluster, _)) = site::<G>().await else { return };
    end(&ground, &cluster).await;
    let never = ClusterId::random().expect("an id");
    end(&ground, &never).await;
    assert!(ground.strangers_are_well());
}

pub async fn wherever_a_start_fails_nothing_is_left<G: Ground>() {
    let Some(ground) = G::new() else { return };
    ground.hasten();
    let mut failures = 0;
    loop {
        let provider = Arc::new(Faulty::new(ground.provider(), failures));
        let door = Queue { of: ground.provider(), joins: true };
        let all = Policy { all: true, look: Duration::from_millis(20), ..policy() };
        let trial = Arc::clone(&provider);
        let start = lifecycle::start(trial, door, wish(2), all, Progress::default()).await;
        match start {
            Ok(up) => {
                let cluster = up.access().cluster;
                assert_eq!(up.stop().await.expect("an end").left, []);
                assert_eq!(ground.left(&cluster), [""; 0]);
                // How often it looks differs from start to start.
                if !provider.has_failed() && failures > 8 {
                    break;
                }
            }
            Err(error) => assert!(error.to_string().contains("on trial"), "{error}"),
        }
        assert_eq!(ground.provider().find().await.expect("records"), [], "after {failures}");
        failures += 1;
    }
    assert!(ground.strangers_are_well());
}
