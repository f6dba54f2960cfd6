//! A provider in memory, and the queue of its clusters: it fails where it is told to, starts as
//! slowly and as partially as it is told to, and forgets nothing.

// Every test file uses its own share of it.
#![allow(dead_code, unused_imports, missing_docs, clippy::expect_used)]

#[path = "desk.rs"]
mod desk;
#[path = "world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustbatch_protocol::ClusterId;
use rustbatch_provision::Error;
use rustbatch_provision::lifecycle::{Policy, Wish};
use rustbatch_provision::provider::{
    Bootstrap, ClusterRecord, Endpoint, Instance, InstanceId, Launched, LogQuery, Logs, Plan,
    Provider, Reach, Report, Role, ServerTerms, Site, State, Token, Unit,
};
use zeroize::Zeroizing;

pub use world::{Made, STRANGER, World};

pub const SOON: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<World>>);

impl Fake {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is so.
    pub async fn until(&self, what: &str, mut so: impl FnMut(&World) -> bool) {
        let deadline = Instant::now() + SOON;
        while !so(&self.world()) {
            assert!(Instant::now() < deadline, "in vain: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn point(&self, name: impl Into<String>) -> Result<(), Error> {
        let name = name.into();
        let gate = {
            let mut world = self.world();
            let number = world.points.len();
            world.points.push(name.clone());
            if world.fault == Some(number) {
                let way = String::new();
                return Err(Error::Refused { what: name, reason: "the fake fails".into(), way });
            }
            if world.busy > 0 {
                world.busy -= 1;
                return Err(Error::Busy { what: name, reason: "Rate exceeded".into() });
            }
            world.gate.clone().filter(|(at, ..)| *at == number)
        };
        if let Some((_, reached, open)) = gate {
            reached.add_permits(1);
            open.acquire().await.expect("a gate").forget();
        }
        Ok(())
    }
}

impl Provider for Fake {
    async fn check(&self) -> Result<Plan, Error> {
        self.point("check").await?;
        let most_workers = self.world().most.map(|most| (most, "the quota".to_owned()));
        Ok(Plan { most_workers, ..Plan::default() })
    }

    async fn prepare(&self, cluster: &ClusterId) -> Result<Site, Error> {
        self.point("before prepare").await?;
        self.world().parts.entry(cluster.clone()).or_default().insert("network".into());
        self.point("within prepare").await?;
        self.world().parts.entry(cluster.clone()).or_default().insert("secret".into());
        self.point("after prepare").await?;
        let (executable, folder) = ("redis-server".into(), "/run/rb".into());
        let server =
            ServerTerms { executable, folder, listen: Some((None, 6379)), lifeline: false };
        Ok(Site { cluster: cluster.clone(), server, parts: BTreeMap::new() })
    }

    async fn launch(
        &self,
        site: &Site,
        unit: &Unit,
        n: u32,
        token: &Token,
    ) -> Result<Launched, Error> {
        let role = unit.role();
        self.point(format!("before launching a {role}")).await?;
        if role == Role::Server {
            let mut world = self.world();
            world.keepers.remove(&site.cluster);
            world.sizes.remove(&site.cluster);
        }
        for i in 0..n {
            let name = token.name(i)?;
            let id = InstanceId(format!("i-{name}"));
            let mut world = self.world();
            let there = world.made.iter().any(|made| made.instance.id == id);
            let alive = world.alive(Role::Server).len() + world.alive(Role::Worker).len();
            if !there && alive < world.capacity {
                let state = State::Starting { doing: "pulling the image".into() };
                let worker = (role == Role::Worker).then_some(name);
                let instance = Instance { id, role, worker, state };
                let (server, life) = match &unit.bootstrap {
                    Bootstrap::Worker(told) => {
                        (Some(told.server.address.clone()), told.life_seconds)
                    }
                    Bootstrap::Server(told) => (None, told.life_seconds),
                };
                let (cluster, token) = (site.cluster.clone(), token.clone());
                world.made.push(Made {
                    cluster,
                    instance,
                    token,
                    server,
                    life,
                    looks: 0,
                    ends: None,
                });
            }
        }
        self.point(format!("after launching a {role}")).await?;
        let world = self.world();
        let ours = world.made.iter().filter(|made| made.token == *token);
        let instances: Vec<_> = ours.map(|made| made.instance.clone()).collect();
        let short = (instances.len() < n as usize).then(|| "Capacity is unavailable".to_owned());
        Ok(Launched { instances, short })
    }

    async fn instances(&self, cluster: &ClusterId) -> Result<Vec<Instance>, Error> {
        self.point("instances").await?;
        Ok(self.world().look(cluster))
    }

    fn may_pass(&self, why: &str) -> bool {
        why.contains("not known yet")
    }

    fn overspent(&self, _: &ClusterId) -> Option<String> {
        self.world().overspent.then(|| "it has cost 2 dollars, and may cost 1".to_owned())
    }

    async fn terminate(&self, cluster: &ClusterId, ids: &[InstanceId]) -> Result<(), Error> {
        self.point("terminate").await?;
        let named = |made: &Made| made.cluster == *cluster && ids.contains(&made.instance.id);
        let mut world = self.world();
        let lingers = world.lingers;
        for made in world.made.iter_mut().filter(|made| named(made)) {
            made.ends.get_or_insert(if made.instance.state.has_stopped() { 0 } else { lingers });
        }
        world.end();
        Ok(())
    }

    async fn endpoint(&self, cluster: &ClusterId, server: &InstanceId) -> Result<Endpoint, Error> {
        self.point("endpoint").await?;
        let world = self.world();
        let there = |made: &&Made| made.cluster == *cluster && made.instance.id == *server;
        let Some(made) = world.made.iter().find(there) else {
            let (what, way) = ("reach the server".into(), String::new());
            return Err(Error::Refused { what, reason: "there is none".into(), way });
        };
        let hint = world.hint.clone();
        let host = |inside: &str| Reach::Host(format!("{}.{inside}", made.instance.id), 6379);
        Ok(Endpoint { client: host("outside"), workers: host("inside"), tunnel: None, hint })
    }

    async fn logs(
        &self,
        cluster: &ClusterId,
        id: &InstanceId,
        query: &LogQuery,
    ) -> Result<Logs, Error> {
        let there = |made: &Made| made.cluster == *cluster && made.instance.id == *id;
        let mut world = self.world();
        world.reads += 1;
        if !world.made.iter().any(there) {
            let (what, way) = (format!("read the output of {id}"), String::new());
            return Err(Error::Refused { what, reason: "there is no such instance".into(), way });
        }
        let from = world.lines.len().saturating_sub(query.tail);
        Ok(Logs { lines: world.lines[from..].to_vec() })
    }

    async fn remember(&self, site: &Site, record: &Zeroizing<Vec<u8>>) -> Result<(), Error> {
        self.point("before remembering").await?;
        self.world().records.insert(site.cluster.clone(), record.clone());
        self.point("after remembering").await
    }

    async fn recall(&self, cluster: &ClusterId) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        self.point("recall").await?;
        Ok(self.world().records.get(cluster).cloned())
    }

    async fn find(&self) -> Result<Vec<ClusterRecord>, Error> {
        // No point: a start asks in the background, whenever that is.
        let world = self.world();
        let made = world.made.iter().map(|made| &made.cluster);
        let ids: BTreeSet<_> = world.parts.keys().chain(made).collect();
        let counts = |made: &Made, cluster: &ClusterId| {
            made.cluster == *cluster && !made.instance.state.has_stopped()
        };
        let record = |cluster: &ClusterId| ClusterRecord {
            cluster: cluster.clone(),
            created: world.created.get(cluster).copied().unwrap_or(Some(SystemTime::UNIX_EPOCH)),
            instances: world.made.iter().filter(|made| counts(made, cluster)).count(),
        };
        Ok(ids.into_iter().map(record).collect())
    }

    async fn destroy(&self, cluster: &ClusterId) -> Result<Report, Error> {
        self.point("destroy").await?;
        let mut world = self.world();
        let (gone, left) = std::mem::take(&mut world.made)
            .into_iter()
            .partition(|made: &Made| made.cluster == *cluster);
        world.made = left;
        world.records.remove(cluster);
        let mut report = Report::default();
        report.removed.extend(gone.iter().map(|made| format!("instance {}", made.instance.id)));
        if world.stuck {
            report.left.push(("network".into(), "it is in use".into()));
        } else if let Some(parts) = world.parts.remove(cluster) {
            report.removed.extend(parts);
        }
        Ok(report)
    }
}

pub fn wish(workers: u32) -> Wish {
    Wish {
        name: Some("fake".into()),
        least: workers,
        most: workers,
        slots: 1,
        cpu: None,
        memory: None,
        image: None,
        environment: BTreeMap::new(),
        setup: None,
        r: "R".into(),
        redis: None,
    }
}

/// Looks often, and waits for long where nothing else is said.
pub fn policy() -> Policy {
    Policy {
        look: Duration::from_millis(1),
        rest: Duration::from_millis(1),
        pause: Duration::from_millis(1),
        server: SOON,
        join: SOON,
        ..Policy::default()
    }
}
