//! A queue without Redis: the workers whose instances run have joined, or nobody has.

#![allow(missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use rustbatch_protocol::bootstrap::Server;
use rustbatch_protocol::{ClusterId, ClusterKey, WorkerId};
use rustbatch_provision::Error;
use rustbatch_provision::lifecycle::{Door, Register};
use rustbatch_provision::provider::{Provider, State};
use rustbatch_queue::{Busy, Keeping, Load};

/// The way there.
pub struct Queue<P> {
    pub of: Arc<P>,
    pub joins: bool,
}

pub struct Joined<P> {
    of: Arc<P>,
    joins: bool,
    cluster: ClusterId,
}

impl<P: Provider> Door for Queue<P> {
    type Register = Joined<P>;

    async fn open(
        &self,
        cluster: &ClusterId,
        _: &ClusterKey,
        _: &Server,
        _: bool,
    ) -> Result<Joined<P>, Error> {
        Ok(Joined { of: Arc::clone(&self.of), joins: self.joins, cluster: cluster.clone() })
    }
}

impl<P: Provider> Register for Joined<P> {
    async fn load(&self) -> Result<Load, Error> {
        let running = self.of.instances(&self.cluster).await?.into_iter();
        let running = running.filter(|i| self.joins && i.state == State::Running);
        let names = running.filter_map(|instance| instance.worker);
        let workers = names.map(|worker| Busy { worker, slots: 1, held: 0 }).collect();
        Ok(Load { waiting: 0, workers })
    }

    async fn keep(&self, _: Duration) -> Result<Keeping, Error> {
        Ok(Keeping { mine: true, size: None })
    }

    async fn resize(&self, _: u32, _: u32) -> Result<(), Error> {
        Ok(())
    }

    async fn drain(&self, _: &[WorkerId]) -> Result<(), Error> {
        Ok(())
    }

    async fn bury(&self, _: &WorkerId, _: &str) -> Result<(), Error> {
        Ok(())
    }
}
