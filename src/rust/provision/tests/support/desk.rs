//! The queue of the fake's clusters.

use std::time::Duration;

use rustbatch_protocol::bootstrap::Server;
use rustbatch_protocol::{ClusterId, ClusterKey, WorkerId};
use rustbatch_provision::Error;
use rustbatch_provision::lifecycle::{Door, Register};
use rustbatch_provision::provider::State;
use rustbatch_queue::{Busy, Keeping, Load};

use super::Fake;

/// The queue of a cluster of the fake, for one of its clients.
pub struct Desk(Fake, usize, ClusterId);

impl Door for Fake {
    type Register = Desk;

    async fn open(
        &self,
        cluster: &ClusterId,
        _: &ClusterKey,
        _: &Server,
        _: bool,
    ) -> Result<Desk, Error> {
        self.point("open").await?;
        if self.world().shut {
            std::future::pending::<()>().await;
        }
        let mut world = self.world();
        world.clients += 1;
        Ok(Desk(self.clone(), world.clients, cluster.clone()))
    }
}

impl Register for Desk {
    async fn load(&self) -> Result<Load, Error> {
        self.0.point("load").await?;
        if self.0.world().deaf {
            std::future::pending::<()>().await;
        }
        let world = self.0.world();
        let running = world.made.iter().filter(|made| made.instance.state == State::Running);
        // One that is told to end leaves at once.
        let staying = running.filter(|made| made.ends.is_none());
        let names = staying.filter_map(|made| made.instance.worker.clone());
        let names = names.filter(|_| !world.mute);
        let busy = |worker: WorkerId| {
            let held = world.held.get(&worker).copied().unwrap_or(0);
            Busy { worker, slots: 1, held }
        };
        Ok(Load { waiting: world.waiting, workers: names.map(busy).collect() })
    }

    async fn keep(&self, _: Duration) -> Result<Keeping, Error> {
        let mut world = self.0.world();
        let size = world.sizes.get(&self.2).copied();
        let keeper = *world.keepers.entry(self.2.clone()).or_insert(self.1);
        Ok(Keeping { mine: keeper == self.1, size })
    }

    async fn resize(&self, least: u32, most: u32) -> Result<(), Error> {
        self.0.world().sizes.insert(self.2.clone(), (least, most));
        Ok(())
    }

    async fn drain(&self, workers: &[WorkerId]) -> Result<(), Error> {
        self.0.world().drained.extend_from_slice(workers);
        Ok(())
    }

    async fn bury(&self, worker: &WorkerId, why: &str) -> Result<(), Error> {
        self.0.world().buried.push(worker.clone());
        self.0.world().whys.push(why.to_owned());
        Ok(())
    }
}
