//! What the lifecycle asks of the queue: who has joined, who is idle. The tests answer in its place.

use std::future::Future;
use std::time::Duration;

use rustbatch_protocol::bootstrap::Server;
use rustbatch_protocol::{ClusterId, ClusterKey, Keys, Seal, WorkerId};
use rustbatch_queue::{Client, Keeping, Load, check_server};

use crate::Error;

/// How long a server may take to answer its first question.
const ANSWER: Duration = Duration::from_secs(5);

/// The queue of a cluster.
pub trait Register: Send + Sync + 'static {
    /// Who is alive, and how much waits. Cancel-safe.
    ///
    /// # Errors
    /// Where the queue can't be asked.
    fn load(&self) -> impl Future<Output = Result<Load, Error>> + Send;

    /// Takes the keeping of the cluster for the time `lease`, or renews it, unless another client has
    /// it; says of what size the cluster shall be. Cancel-safe.
    ///
    /// # Errors
    /// Where the queue can't be asked.
    fn keep(&self, lease: Duration) -> impl Future<Output = Result<Keeping, Error>> + Send;

    /// Tells whoever keeps the cluster how many workers there shall be, at least and at most.
    /// Cancel-safe.
    ///
    /// # Errors
    /// Where the queue can't be asked.
    fn resize(&self, least: u32, most: u32) -> impl Future<Output = Result<(), Error>> + Send;

    /// Tells workers to lease no more, finish, and exit. Cancel-safe.
    ///
    /// # Errors
    /// Where the queue can't be asked.
    fn drain(&self, workers: &[WorkerId]) -> impl Future<Output = Result<(), Error>> + Send;

    /// Gives back what a dead worker held, which died of `why`, where that is known. Cancel-safe.
    ///
    /// # Errors
    /// Where the queue can't be asked: its lease runs out all the same.
    fn bury(&self, worker: &WorkerId, why: &str) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The way to the queue of a cluster.
pub trait Door: Send + Sync + 'static {
    /// What is behind it.
    type Register: Register;

    /// Connects as the client of `cluster`. A server that is not `ours` is looked at first. Cancel-safe.
    ///
    /// # Errors
    /// Where it can't be reached, or does not fit.
    fn open(
        &self,
        cluster: &ClusterId,
        key: &ClusterKey,
        server: &Server,
        ours: bool,
    ) -> impl Future<Output = Result<Self::Register, Error>> + Send;
}

/// The way to Redis.
#[derive(Debug, Clone, Copy)]
pub struct Redis;

impl Door for Redis {
    type Register = Client;

    async fn open(
        &self,
        cluster: &ClusterId,
        key: &ClusterKey,
        server: &Server,
        ours: bool,
    ) -> Result<Client, Error> {
        if !ours {
            check_server(server, &Keys::new(cluster).ring(), ANSWER).await?;
        }
        Ok(Client::connect(server.clone(), Seal::new(cluster.clone(), key.clone())?).await?)
    }
}

impl Register for Client {
    async fn load(&self) -> Result<Load, Error> {
        Ok(Self::load(self).await?)
    }

    async fn keep(&self, lease: Duration) -> Result<Keeping, Error> {
        Ok(Self::keep(self, lease).await?)
    }

    async fn resize(&self, least: u32, most: u32) -> Result<(), Error> {
        Ok(Self::resize(self, least, most).await?)
    }

    async fn drain(&self, workers: &[WorkerId]) -> Result<(), Error> {
        Ok(self.drain_these(workers).await?)
    }

    async fn bury(&self, worker: &WorkerId, why: &str) -> Result<(), Error> {
        Ok(self.bury_because(worker, why).await?)
    }
}
