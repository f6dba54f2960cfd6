//! Clusters that several processes hold, one after the other or at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustbatch_protocol::bootstrap::Address;
use rustbatch_provision::Error;
use rustbatch_provision::lifecycle::{self, Progress, Standing};
use rustbatch_provision::provider::{Provider, Role};
use zeroize::Zeroizing;

use super::fake::Fake;
use super::{Cluster, numbers, stands, workers};

/// Another process' hold of the cluster of `up`.
pub async fn attach(fake: &Fake, up: &Cluster) -> Result<Cluster, Error> {
    let (provider, cluster) = (Arc::new(fake.clone()), up.access().cluster);
    lifecycle::attach(provider, fake.clone(), cluster, Progress::default()).await
}

/// One worker's instance ends.
fn interrupt(fake: &Fake) {
    let first = workers(fake).remove(0).id;
    fake.world().stop(&first, "SpotInterruption");
}

#[tokio::test]
async fn another_process_goes_on_with_a_cluster_that_was_left() {
    let fake = Fake::default();
    let (first, now) = stands(&fake, 2).await;
    let access = first.access();
    let second = attach(&fake, &first).await.expect("the cluster");
    assert_eq!(second.access().key.to_hex().expose(), access.key.to_hex().expose());
    assert_eq!(second.access().server.address, access.server.address);
    first.leave().await.expect("a farewell");
    assert_eq!(workers(&fake).len(), 2);
    interrupt(&fake);
    second.pass(now).await.expect("a pass");
    second.pass(now).await.expect("a pass");
    assert_eq!(second.numbers(), numbers(2, 0, 2));
    second.stop().await.expect("an end");
    assert!(fake.world().is_empty());
}

#[tokio::test]
async fn a_hold_that_is_dropped_leaves_the_cluster_to_the_others() {
    let fake = Fake::default();
    let (first, now) = stands(&fake, 2).await;
    drop(attach(&fake, &first).await.expect("the cluster"));
    // What is begun in the background by then would be seen by this.
    let second = attach(&fake, &first).await.expect("the cluster");
    second.leave().await.expect("a farewell");
    first.pass(now).await.expect("a pass");
    assert_eq!(workers(&fake).len(), 2);
    first.stop().await.expect("an end");
    assert!(fake.world().is_empty());
}

#[tokio::test]
async fn one_of_several_keeps_the_cluster_and_all_may_resize_it() {
    let fake = Fake::default();
    let (first, now) = stands(&fake, 2).await;
    first.pass(now).await.expect("a pass");
    let second = attach(&fake, &first).await.expect("the cluster");
    interrupt(&fake);
    for _ in 0..2 {
        second.pass(now).await.expect("a pass");
    }
    assert_eq!(second.numbers(), numbers(2, 0, 1), "it is not its to do");
    second.resize(3, 3).await.expect("a size");
    for _ in 0..2 {
        first.pass(now).await.expect("a pass");
        second.pass(now).await.expect("a pass");
    }
    for up in [&first, &second] {
        assert_eq!(up.numbers(), numbers(3, 0, 3));
    }
    // The lease of a keeper that has gone runs out.
    fake.world().keepers.clear();
    interrupt(&fake);
    for _ in 0..2 {
        second.pass(now).await.expect("a pass");
    }
    assert_eq!(workers(&fake).len(), 3);
    // The size is kept for whoever comes later.
    let third = attach(&fake, &first).await.expect("the cluster");
    assert_eq!(third.numbers().expected, 3);
}

#[tokio::test]
async fn a_lost_server_is_replaced_by_one_of_them_and_the_others_follow() {
    let fake = Fake::default();
    let (first, now) = stands(&fake, 2).await;
    first.pass(now).await.expect("a pass");
    let second = attach(&fake, &first).await.expect("the cluster");
    second.pass(now).await.expect("a pass");
    let server = fake.world().alive(Role::Server).remove(0).id;
    fake.world().stop(&server, "InfrastructureHealth");
    second.pass(now).await.expect("it waits");
    assert!(fake.world().alive(Role::Server).is_empty());
    first.pass(now).await.expect("another server");
    second.pass(now).await.expect("it follows");
    let server = fake.world().alive(Role::Server).remove(0).id;
    for up in [&first, &second] {
        let address = up.access().server.address;
        assert!(
            matches!(address, Address::Pinned(host, ..) if host == format!("{server}.outside"))
        );
    }
    // When nobody else does it, it is any client's to do.
    fake.world().stop(&server, "InfrastructureHealth");
    second.pass(now).await.expect("it waits");
    second.pass(now + Duration::from_secs(60)).await.expect("another server");
    assert_eq!(fake.world().alive(Role::Server).len(), 1);
}

#[tokio::test]
async fn a_record_that_cannot_be_used_says_why() {
    let fake = Fake::default();
    let (up, _) = stands(&fake, 1).await;
    let cluster = up.access().cluster;
    let site = fake.prepare(&cluster).await.expect("a site");
    let refused = async |record: &str| {
        let record = Zeroizing::new(record.as_bytes().to_vec());
        fake.remember(&site, &record).await.expect("to keep");
        attach(&fake, &up).await.err().expect("no cluster")
    };
    let other = refused(r#"{"version": "0.0.1", "key": 7}"#).await;
    assert_eq!(other.kind(), "version");
    assert!(other.to_string().contains("version 0.0.1"), "{other}");
    let damaged = refused(r#"{"version": "0.1.0", "key": "s3cret"}"#).await;
    assert_eq!(damaged.kind(), "no_cluster");
    assert!(!format!("{damaged} {damaged:?}").contains("s3cret"));
    fake.world().records.clear();
    let none = attach(&fake, &up).await.err().expect("no cluster");
    assert_eq!(none.kind(), "no_cluster");
}

#[tokio::test]
async fn a_stopped_server_starts_again_with_its_workers() {
    let fake = Fake::default();
    let (up, _) = stands(&fake, 2).await;
    let before = up.access().server.address;
    assert!(up.serves().await.expect("an answer"));
    up.stop_server().await.expect("a stop");
    assert!(!up.serves().await.expect("an answer"));
    assert!(fake.world().made.is_empty(), "workers cost something, too");
    up.pass(Instant::now()).await.expect("nothing to do");
    assert!(fake.world().made.is_empty(), "what was stopped on purpose stays so");
    for _ in 0..2 {
        up.start_server().await.expect("a start");
    }
    assert_ne!(up.access().server.address, before);
    assert_eq!(up.numbers(), numbers(2, 0, 2));
    assert_eq!(fake.world().alive(Role::Server).len(), 1);
    assert_eq!(workers(&fake).len(), 2);
    up.stop().await.expect("an end");
    assert!(fake.world().is_empty());
}

#[tokio::test]
async fn who_finds_a_cluster_whose_server_was_stopped_starts_it_again() {
    let fake = Fake::default();
    let (first, now) = stands(&fake, 2).await;
    first.stop_server().await.expect("a stop");
    let second = attach(&fake, &first).await.expect("the cluster");
    assert!(second.serves().await.expect("an answer"));
    assert_eq!(workers(&fake).len(), 2);
    second.pass(now).await.expect("a pass");
    assert_eq!(second.numbers(), numbers(2, 0, 2));
    second.stop_server().await.expect("a stop");
    fake.world().capacity = 0;
    attach(&fake, &first).await.err().expect("no room");
    assert!(fake.world().made.is_empty(), "what was begun is taken down");
}

#[tokio::test]
async fn what_one_has_stopped_no_other_holder_starts_again() {
    let fake = Fake::default();
    let (first, now) = stands(&fake, 2).await;
    let second = attach(&fake, &first).await.expect("the cluster");
    // Whoever keeps it up.
    second.pass(now).await.expect("a pass");
    let point = fake.world().points.len();
    first.stop_server().await.expect("a stop");
    let did = fake.world().points[point..].to_vec();
    let at = |name: &str| did.iter().position(|point| point == name);
    assert!(at("after remembering") < at("terminate"), "{did:?}");
    for second_of in [0, 1, 61, 62] {
        second.pass(now + Duration::from_secs(second_of)).await.expect("nothing to do");
    }
    assert!(fake.world().made.is_empty());
    assert_eq!(second.access().standing, Standing::Paused);
    first.start_server().await.expect("a start");
    second.start_server().await.expect("it is there");
    assert_eq!(fake.world().alive(Role::Server).len(), 1);
    for up in [&first, &second] {
        up.pass(now).await.expect("a pass");
        assert_eq!((up.access().standing, up.numbers()), (Standing::Up, numbers(2, 0, 2)));
    }
    assert_eq!(first.access().server.address, second.access().server.address);
}

#[tokio::test]
async fn who_starts_a_server_again_takes_the_one_that_another_has_started() {
    let fake = Fake::default();
    let (first, now) = stands(&fake, 2).await;
    first.stop_server().await.expect("a stop");
    let second = attach(&fake, &first).await.expect("the cluster");
    assert_eq!(second.numbers(), numbers(2, 0, 2));
    first.start_server().await.expect("it is there");
    assert_eq!(fake.world().alive(Role::Server).len(), 1);
    assert_eq!(workers(&fake).len(), 2);
    for up in [&first, &second] {
        up.pass(now).await.expect("a pass");
        assert_eq!(up.numbers(), numbers(2, 0, 2));
    }
    assert_eq!(first.access().server.address, second.access().server.address);
}

#[tokio::test]
async fn a_stop_that_cannot_be_written_down_stops_nothing() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 1).await;
    let point = fake.world().points.len();
    fake.world().fault = Some(point);
    up.stop_server().await.expect_err("it fails");
    assert_eq!(fake.world().points[point], "before remembering");
    assert!(up.serves().await.expect("an answer"));
    up.pass(now).await.expect("a pass");
    assert_eq!((up.access().standing, up.numbers()), (Standing::Up, numbers(1, 0, 1)));
}

#[tokio::test]
async fn what_another_client_has_taken_down_is_not_made_again() {
    let fake = Fake::default();
    let (first, now) = stands(&fake, 2).await;
    first.pass(now).await.expect("a pass");
    let second = attach(&fake, &first).await.expect("the cluster");
    second.stop().await.expect("an end");
    assert!(fake.world().is_empty());
    let late = now + Duration::from_secs(120);
    let error = first.pass(late).await.expect_err("there is no cluster").to_string();
    assert!(error.contains("stopped by another R session"), "{error}");
    assert!(matches!(first.access().standing, Standing::Lost(_)));
    assert!(fake.world().is_empty());
}

#[tokio::test]
async fn an_end_that_fails_can_be_tried_again() {
    let fake = Fake::default();
    let (up, _) = stands(&fake, 1).await;
    let point = fake.world().points.len();
    fake.world().fault = Some(point);
    up.stop().await.expect_err("it fails");
    assert!(!up.is_gone() && !fake.world().is_empty());
    fake.world().stuck = true;
    assert_eq!(up.stop().await.expect("a part of it").left.len(), 1);
    fake.world().stuck = false;
    assert_eq!(up.stop().await.expect("an end").left, []);
    assert!(up.is_gone() && fake.world().is_empty());
}

#[tokio::test]
async fn what_only_the_user_can_mend_is_told() {
    let fake = Fake::default();
    let (up, now) = stands(&fake, 1).await;
    assert_eq!(up.trouble(), None);
    let point = fake.world().points.len();
    fake.world().fault = Some(point);
    up.pass(now).await.expect_err("it fails");
    assert!(up.trouble().is_some_and(|trouble| trouble.contains("Can't ")));
    up.pass(now).await.expect("a pass");
    assert_eq!(up.trouble(), None);
}
