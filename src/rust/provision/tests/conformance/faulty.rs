//! A provider whose calls fail, one after the other, before or after what they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustbatch_protocol::ClusterId;
use rustbatch_provision::Error;
use rustbatch_provision::provider::{
    ClusterRecord, Endpoint, Instance, InstanceId, Launched, LogQuery, Logs, Plan, Provider,
    Report, Site, Token, Unit,
};
use zeroize::Zeroizing;

/// Point number `fails` of the calls that make something or wait for it is the one that fails.
pub struct Faulty<P> {
    of: Arc<P>,
    fails: usize,
    passed: AtomicUsize,
}

impl<P> Faulty<P> {
    pub fn new(of: Arc<P>, fails: usize) -> Self {
        Self { of, fails, passed: AtomicUsize::new(0) }
    }

    /// Whether the point has come.
    pub fn has_failed(&self) -> bool {
        self.passed.load(Ordering::SeqCst) > self.fails
    }

    fn point(&self) -> Result<(), Error> {
        if self.passed.fetch_add(1, Ordering::SeqCst) == self.fails {
            let (reason, way) = (String::new(), String::new());
            return Err(Error::Refused { what: "go on, on trial".into(), reason, way });
        }
        Ok(())
    }
}

impl<P: Provider> Provider for Faulty<P> {
    async fn check(&self) -> Result<Plan, Error> {
        self.point()?;
        self.of.check().await
    }

    async fn prepare(&self, cluster: &ClusterId) -> Result<Site, Error> {
        self.point()?;
        let site = self.of.prepare(cluster).await;
        self.point().and(site)
    }

    async fn launch(
        &self,
        site: &Site,
        unit: &Unit,
        n: u32,
        token: &Token,
    ) -> Result<Launched, Error> {
        self.point()?;
        let launched = self.of.launch(site, unit, n, token).await;
        self.point().and(launched)
    }

    async fn instances(&self, cluster: &ClusterId) -> Result<Vec<Instance>, Error> {
        self.point()?;
        self.of.instances(cluster).await
    }

    async fn terminate(&self, cluster: &ClusterId, ids: &[InstanceId]) -> Result<(), Error> {
        self.of.terminate(cluster, ids).await
    }

    async fn endpoint(&self, cluster: &ClusterId, server: &InstanceId) -> Result<Endpoint, Error> {
        self.point()?;
        let endpoint = self.of.endpoint(cluster, server).await;
        self.point().and(endpoint)
    }

    async fn logs(
        &self,
        cluster: &ClusterId,
        id: &InstanceId,
        query: &LogQuery,
    ) -> Result<Logs, Error> {
        self.of.logs(cluster, id, query).await
    }

    async fn remember(&self, site: &Site, record: &Zeroizing<Vec<u8>>) -> Result<(), Error> {
        self.point()?;
        self.of.remember(site, record).await?;
        self.point()
    }

    async fn recall(&self, cluster: &ClusterId) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        self.of.recall(cluster).await
    }

    async fn find(&self) -> Result<Vec<ClusterRecord>, Error> {
        self.of.find().await
    }

    async fn destroy(&self, cluster: &ClusterId) -> Result<Report, Error> {
        self.of.destroy(cluster).await
    }
}
