//! What every provider has to keep, asked of each in turn: the fake one, `local`, `docker`, and
//! `ecs`.
//!
//! A provider more is a [`Ground`] more, and a line in [`conforms!`].

#![allow(clippy::expect_used)]

#[cfg(feature = "ecs")]
#[path = "../ecs/cloud.rs"]
mod cloud;
mod dockers;
#[path = "../support/fake.rs"]
mod fake;
mod fakes;
#[cfg(feature = "ecs")]
mod fargates;
mod faulty;
#[path = "../support/joined.rs"]
mod joined;
mod locals;
mod rules;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use rustbatch_protocol::bootstrap::{Address, Server, ServerBootstrap, VERSION, WorkerBootstrap};
use rustbatch_protocol::{ClusterId, ClusterKey, Secret, WorkerId};
use rustbatch_provision::provider::{Bootstrap, InstanceId, Provider, Role, Site, Unit};

/// A provider on trial, and what can be seen past it.
pub trait Ground: Sized {
    /// Whether a cluster outlives the process that started it, and so has a record.
    const REMEMBERS: bool;

    /// The provider.
    type Provider: Provider;

    /// A ground of its own, with something of somebody else on it. `None` where it can't be had here.
    fn new() -> Option<Self>;

    /// From now on instances need not run anything, where that takes long.
    fn hasten(&self) {}

    /// The provider; each time one that knows nothing of the others, where it keeps nothing.
    fn provider(&self) -> Arc<Self::Provider>;

    /// Makes an instance's program write a line, where it does not by itself.
    fn speak(&self, _: &ClusterId, _: &InstanceId, _: &str) {}

    /// Makes an instance's program end, as if by itself, and say `why`.
    fn break_down(&self, cluster: &ClusterId, id: &InstanceId, why: &str);

    /// All that there is of a cluster, seen past the provider.
    fn left(&self, cluster: &ClusterId) -> Vec<String>;

    /// Whether what is somebody else's is as it was.
    fn strangers_are_well(&self) -> bool;
}

/// An instance for `role` at a site.
fn unit(site: &Site, role: Role) -> Unit {
    let bootstrap = match role {
        Role::Server => Bootstrap::Server(Box::new(ServerBootstrap {
            cluster: site.cluster.clone(),
            executable: site.server.executable.clone(),
            folder: site.server.folder.clone(),
            listen: None,
            configuration: Secret::new("save \"\"\n"),
            watch: Secret::new("none"),
            lifeline: site.server.lifeline,
            idle_seconds: None,
            life_seconds: None,
        })),
        Role::Worker => Bootstrap::Worker(Box::new(WorkerBootstrap {
            version: VERSION.to_owned(),
            cluster: site.cluster.clone(),
            key: ClusterKey::random().expect("a key").to_hex(),
            worker: WorkerId::random().expect("an id"),
            server: Server {
                address: Address::Tcp("127.0.0.1".into(), 1),
                username: None,
                password: None,
                database: 0,
            },
            slots: 1,
            r: "R".into(),
            lifeline: site.server.lifeline,
            idle_seconds: None,
            life_seconds: None,
            setup: None,
        })),
    };
    Unit {
        cpu: None,
        memory: None,
        slots: 1,
        image: None,
        environment: std::collections::BTreeMap::new(),
        bootstrap,
    }
}

/// One test for each rule.
macro_rules! conforms {
    ($($ground:ident = $type:ty),*) => {$(
        mod $ground {
            use super::rules;
            conforms!(@ $type:
                a_check_makes_nothing,
                what_is_prepared_twice_is_there_once,
                a_launch_that_is_repeated_starts_nothing_anew,
                every_worker_has_a_name_of_its_own,
                what_is_terminated_twice_is_gone,
                only_what_is_named_is_terminated,
                an_instance_that_has_stopped_says_why,
                what_an_instance_wrote_can_be_read,
                a_server_is_reached_and_an_unknown_one_is_not,
                what_is_remembered_is_recalled,
                only_what_carries_our_tag_is_found,
                an_end_leaves_nothing_of_ours_and_all_else,
                what_was_only_prepared_ends_too,
                wherever_a_start_fails_nothing_is_left
            );
        }
    )*};
    (@ $type:ty: $($rule:ident),*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $rule() {
            rules::$rule::<$type>().await;
        }
    )*};
}

conforms!(
    the_fake = super::fakes::Fakes,
    local = super::locals::Locals,
    docker = super::dockers::Dockers
);

#[cfg(feature = "ecs")]
conforms!(ecs = super::fargates::Fargates);
