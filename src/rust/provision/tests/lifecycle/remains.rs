//! What is left of clusters that have ended by themselves goes at the next start, and nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustbatch_protocol::ClusterId;
use rustbatch_protocol::bootstrap::{Address, Server};
use rustbatch_provision::lifecycle::{self, Policy, Progress, Wish};
use rustbatch_provision::provider::{Role, State};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

use super::fake::{Fake, SOON, World, policy, wish};
use super::{Cluster, stands, start, workers};

const MINUTE: Duration = Duration::from_secs(60);

/// A cluster all instances of which have stopped by themselves. When it was made is not known yet: the
/// next start would remove it.
async fn ended(fake: &Fake) -> Cluster {
    let (up, _) = stands(fake, 1).await;
    let cluster = up.access().cluster;
    let mut world = fake.world();
    let ids: Vec<_> = world.made.iter().filter(|made| made.cluster == cluster).collect();
    let ids: Vec<_> = ids.into_iter().map(|made| made.instance.id.clone()).collect();
    ids.iter().for_each(|id| world.stop(id, "nobody needed it"));
    world.created.insert(cluster, None);
    drop(world);
    up
}

/// From now on it is known that a cluster was made some time ago.
fn date(fake: &Fake, up: &Cluster, minutes: u32) {
    let created = SystemTime::now() - minutes * MINUTE;
    fake.world().created.insert(up.access().cluster, Some(created));
}

/// Looks twice without much of a pause.
fn hasty() -> Policy {
    let moment = Duration::from_millis(1);
    Policy { silent: moment, unlisted: moment, ..policy() }
}

/// Starts a cluster, and waits for the line that says what it has removed.
async fn removed(fake: &Fake, policy: Policy) -> String {
    let (tell, mut lines) = unbounded_channel();
    let provider = Arc::new(fake.clone());
    let started = lifecycle::start(provider, fake.clone(), wish(1), policy, Progress(Some(tell)));
    let _up = started.await.expect("a cluster");
    let line = async {
        loop {
            let line = lines.recv().await.expect("a line");
            if line.starts_with("removed") {
                return line;
            }
        }
    };
    timeout(SOON, line).await.expect("the line in time")
}

fn left(fake: &Fake, up: &Cluster) -> bool {
    let cluster: ClusterId = up.access().cluster;
    fake.world().parts.contains_key(&cluster)
}

#[tokio::test]
async fn what_has_ended_by_itself_goes_at_the_next_start_and_nothing_else() {
    let fake = Fake::default();
    let (runs, _) = stands(&fake, 1).await;
    let (young, unknown) = (ended(&fake).await, ended(&fake).await);
    // One runs on: it may be the last.
    let partly = ended(&fake).await;
    let alive = workers(&fake).remove(0);
    let (cluster, id) = (partly.access().cluster, alive.id);
    for made in fake.world().made.iter_mut().filter(|made| made.instance.id == id) {
        made.cluster = cluster.clone();
    }
    // One whose server and workers were stopped on purpose has none any more, but a record.
    let (paused, _) = stands(&fake, 1).await;
    paused.stop_server().await.expect("a stop");
    let dead = [ended(&fake).await, ended(&fake).await];
    // Of one whose start was killed there is what stands around the instances.
    let killed: ClusterId = "killed-1".parse().expect("an id");
    fake.world().parts.entry(killed.clone()).or_default().insert("network".into());

    for (up, minutes) in [(&young, 9), (&partly, 60), (&dead[0], 11), (&dead[1], 60)] {
        date(&fake, up, minutes);
    }
    let line = removed(&fake, hasty()).await;
    for gone in &dead {
        assert!(!left(&fake, gone) && line.contains(gone.access().cluster.as_str()), "{line}");
    }
    assert!(!fake.world().parts.contains_key(&killed) && line.contains("killed-1"), "{line}");
    for stays in [&runs, &young, &unknown, &partly, &paused] {
        assert!(left(&fake, stays), "{line}");
        assert!(!line.contains(stays.access().cluster.as_str()), "{line}");
    }
    paused.start_server().await.expect("a start");
}

/// Where stopped instances stay listed, nothing that runs is not yet an end.
#[tokio::test]
async fn what_somebody_holds_stays_although_all_its_instances_have_stopped() {
    let fake = Fake::default();
    fake.world().remembers = true;
    let (paused, _) = stands(&fake, 1).await;
    paused.stop_server().await.expect("a stop");
    let address = Address::Tcp("redis.example".into(), 6379);
    let redis = Some(Server { address, username: None, password: None, database: 0 });
    fake.world().created.insert(paused.access().cluster, None);
    let own = start(&fake, Wish { redis, ..wish(1) }, policy()).await.expect("a cluster");
    fake.world().created.insert(own.access().cluster, None);
    for made in fake.world().made.iter_mut().filter(|m| m.cluster == own.access().cluster) {
        made.instance.state = State::Stopped { why: "it has drained".into() };
    }
    let foreign = ended(&fake).await;
    let record = br#"{"version": "0.0.1"}"#.to_vec();
    fake.world().records.insert(foreign.access().cluster, record.into());
    let (lost, dead) = (ended(&fake).await, ended(&fake).await);
    for up in [&paused, &own, &foreign, &lost, &dead] {
        date(&fake, up, 60);
    }
    let looks = |w: &World| w.points.iter().filter(|point| *point == "recall").count();
    let before = looks(&fake.world());
    let pause = Policy { silent: Duration::from_secs(1), ..hasty() };
    let replaced = async {
        fake.until("the first look", |world| looks(world) >= before + 5).await;
        lost.pass(Instant::now()).await.expect("another server");
    };
    let (line, ()) = tokio::join!(removed(&fake, pause), replaced);
    assert!(!left(&fake, &dead) && line.contains(dead.access().cluster.as_str()), "{line}");
    for stays in [&paused, &own, &foreign, &lost] {
        assert!(left(&fake, stays), "{line}");
    }
    paused.start_server().await.expect("a start");
}

#[tokio::test]
async fn a_start_that_may_take_longer_is_waited_for() {
    let fake = Fake::default();
    let (slow, dead) = (ended(&fake).await, ended(&fake).await);
    date(&fake, &slow, 11);
    date(&fake, &dead, 13);
    let long = Policy { server: 6 * MINUTE, join: 6 * MINUTE, ..hasty() };
    let line = removed(&fake, long).await;
    assert!(!left(&fake, &dead) && left(&fake, &slow), "{line}");
}

/// A client that slept through its cluster's end, and the start of another one, goes on.
#[tokio::test]
async fn who_slept_for_too_long_makes_what_was_removed_again() {
    let fake = Fake::default();
    let up = ended(&fake).await;
    date(&fake, &up, 60);
    removed(&fake, hasty()).await;
    assert!(!left(&fake, &up));
    // It has slept for so long that the cluster can have ended by itself.
    let now = Instant::now() + 20 * MINUTE;
    for _ in 0..2 {
        up.pass(now).await.expect("a pass");
    }
    assert!(left(&fake, &up));
    let world = fake.world();
    let ours = world.made.iter().filter(|made| made.cluster == up.access().cluster);
    assert_eq!(ours.filter(|made| made.instance.role == Role::Server).count(), 1);
}
