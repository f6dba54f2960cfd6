//! The fake provider on trial: so the rules themselves are known to be kept by one.

use std::sync::Arc;

use rustbatch_protocol::ClusterId;
use rustbatch_provision::provider::InstanceId;

use super::Ground;
use super::fake::{Fake, STRANGER};

pub struct Fakes(Fake);

impl Ground for Fakes {
    const REMEMBERS: bool = true;
    type Provider = Fake;

    fn new() -> Option<Self> {
        Some(Self(Fake::default()))
    }

    fn provider(&self) -> Arc<Fake> {
        Arc::new(self.0.clone())
    }

    fn break_down(&self, _: &ClusterId, id: &InstanceId, why: &str) {
        self.0.world().stop(id, why);
    }

    fn left(&self, cluster: &ClusterId) -> Vec<String> {
        let world = self.0.world();
        let parts = world.parts.get(cluster).into_iter().flatten().cloned();
        let made = world.made.iter().filter(|made| made.cluster == *cluster);
        let records = world.records.get(cluster).map(|_| "record".to_owned());
        parts.chain(made.map(|made| made.instance.id.to_string())).chain(records).collect()
    }

    fn strangers_are_well(&self) -> bool {
        self.0.world().strangers == [STRANGER]
    }
}
