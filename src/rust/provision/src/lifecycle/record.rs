//! What is kept of a cluster, so that another process can go on with it: all that a provider can't
//! find out by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use rustbatch_protocol::bootstrap::{Address, Server, VERSION};
use rustbatch_protocol::{ClusterId, ClusterKey, Secret};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::fleet::{Fleet, Ways, again};
use super::{Access, Door, Policy, Progress, Standing, Up, Wish};
use crate::Error;
use crate::provider::{Instance, InstanceId, Provider, Reach, Site};

/// One JSON object. It holds secrets.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    /// The version of who wrote it. One of another version may not understand the rest.
    version: String,
    key: Secret,
    wish: Wish,
    policy: Policy,
    site: Site,
    /// The server that was launched; nothing where there is none, or it is somebody else's.
    server: Option<InstanceId>,
    /// Whether server and workers have been stopped on purpose.
    paused: bool,
    /// When the life of the cluster is over, in seconds since 1970.
    #[serde(default)]
    until: Option<u64>,
    /// How clients and workers reach the server.
    client: Server,
    workers: Server,
}

impl Record {
    /// Whether the cluster is in somebody's hands although none of its instances runs: they were stopped
    /// on purpose, or it has a Redis of its own, which waits for work without workers.
    pub fn may_rest(&self) -> bool {
        self.paused || self.wish.redis.is_some()
    }
}

impl<P: Provider, D: Door> Fleet<P, D> {
    /// Keeps what another process needs to go on with the cluster.
    ///
    /// # Errors
    /// Those of [`Provider::remember`]; [`Error::Internal`].
    pub async fn remember(&mut self) -> Result<(), Error> {
        let (Some(site), Some(ways)) = (&self.site, &self.ways) else { return Ok(()) };
        let record = Record {
            version: VERSION.to_owned(),
            key: self.key.to_hex(),
            wish: self.wish.clone(),
            policy: self.policy.clone(),
            site: site.clone(),
            server: self.server.as_ref().map(|(id, _)| id.clone()),
            paused: self.paused,
            until: self.until,
            client: ways.client.clone(),
            workers: ways.workers.clone(),
        };
        let record = serde_json::to_vec(&record).map_err(|e| Error::Internal(e.to_string()))?;
        let record = Zeroizing::new(record);
        again(&self.policy, || self.provider.remember(site, &record)).await?;
        self.remembered = true;
        Ok(())
    }

    /// Whether a record that is not there any more means that the cluster has been taken down, by another
    /// client or a clean-up: one that was stopped on purpose does not go by itself, nor does any so soon.
    fn misses_record(&self, now: Instant) -> bool {
        let ends = self.site.as_ref().is_none_or(|site| site.server.lifeline);
        let (then, wall) = self.heard;
        let slept = now.saturating_duration_since(then).max(wall.elapsed().unwrap_or_default());
        let asleep = slept >= self.policy.idle;
        self.remembered && !ends && (self.paused || !asleep)
    }

    /// Where the server is lost, does what other clients have done, as the record tells it: follows them
    /// to another server, pauses, or gives the cluster up. Says whether it did.
    ///
    /// # Errors
    /// Those of [`Provider::recall`], and of the connection; [`Error::Lost`].
    pub async fn catch_up(
        &mut self,
        listed: &HashMap<InstanceId, Instance>,
        now: Instant,
    ) -> Result<bool, Error> {
        match recall(&*self.provider, &self.policy, &self.cluster).await? {
            None if self.misses_record(now) => {
                self.end("it was stopped by another R session, or a clean-up".into())?;
            }
            Some(record) if record.paused => {
                if !self.paused {
                    self.say("its server was stopped by another R session".into());
                }
                self.be_paused();
            }
            Some(record) if self.is_another(record.server.as_ref(), listed) => {
                let access = self.follow(record).await?;
                (self.paused, self.mine) = (false, false);
                self.adopt(listed, now);
                if let Some(tell) = &self.access {
                    tell.send_replace(access);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether it is a server that runs, and not the one that this client knows, or has ended.
    fn is_another(
        &self,
        server: Option<&InstanceId>,
        listed: &HashMap<InstanceId, Instance>,
    ) -> bool {
        let ours = self.server.as_ref().map(|(id, _)| id);
        let runs = |id| listed.get(id).is_some_and(|i: &Instance| !i.state.has_stopped());
        server.is_some_and(|id| runs(id) && Some(id) != ours && !self.ended.contains(id))
    }

    /// Takes the place of who wrote `record`, and connects to the server that it names.
    async fn follow(&mut self, record: Record) -> Result<Access, Error> {
        let Record { wish, site, server: launched, until, mut client, workers, .. } = record;
        let (mut tunnel, mut hint) = (None, None);
        if let Some(id) = &launched {
            // From another machine it may be found elsewhere.
            let end = again(&self.policy, || self.provider.endpoint(&self.cluster, id)).await?;
            client.address = moved(client.address, end.client);
            (tunnel, hint) = (end.tunnel, end.hint);
        }
        let ours = wish.redis.is_none();
        let open = self.door.open(&self.cluster, &self.key, &client, ours);
        let register = open.await.map_err(|error| error.hinted(hint))?;
        let (cluster, key, server) = (self.cluster.clone(), self.key.clone(), client.clone());
        let access = Access { cluster, key, server, standing: Standing::Up };
        let register = register.into();
        self.ways = Some(Ways { register, client, workers, _tunnel: tunnel });
        self.server = launched.map(|id| (id, Instant::now()));
        (self.expected, self.wish, self.site) = (wish.least, wish, Some(site));
        self.until = until;
        Ok(access)
    }

    /// Takes the place of who wrote `record`, and starts server and workers, which were stopped.
    async fn attach_to_stopped(&mut self, record: Record) -> Result<Access, Error> {
        self.say("its server had been stopped: starting it again".into());
        (self.wish, self.site, self.paused) = (record.wish, Some(record.site), true);
        self.start_stopped().await
    }
}

/// What is kept of a cluster; nothing where nothing is. Cancel-safe.
///
/// # Errors
/// Those of [`Provider::recall`]; [`Error::Version`], [`Error::Damaged`].
pub(super) async fn recall<P: Provider>(
    provider: &P,
    policy: &Policy,
    cluster: &ClusterId,
) -> Result<Option<Record>, Error> {
    /// Read first, because the rest may be another one's.
    #[derive(Deserialize)]
    struct Head {
        version: String,
    }
    let Some(bytes) = again(policy, || provider.recall(cluster)).await? else { return Ok(None) };
    // Its errors would quote what they can't read.
    let damaged = || Error::Damaged { cluster: cluster.to_string() };
    let Head { version } = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
    if version != VERSION {
        return Err(Error::Version {
            cluster: cluster.to_string(),
            theirs: version,
            ours: VERSION,
        });
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|_| damaged())
}

/// Goes on with a cluster that another process has started, and maybe still holds; where its server has
/// been stopped, starts it again, and says so. To be called within a tokio runtime.
///
/// Cancel-safe: what was begun is taken down, in the background.
///
/// # Errors
/// [`Error::NoCluster`] where no record is kept, [`Error::Version`] where it was written by another
/// version, [`Error::Damaged`]; those of the provider and the queue, and of [`super::start`].
pub async fn attach<P: Provider, D: Door>(
    provider: Arc<P>,
    door: D,
    cluster: ClusterId,
    progress: Progress,
) -> Result<Up<P, D>, Error> {
    let record = recall(&*provider, &Policy::default(), &cluster).await?;
    let record = record.ok_or_else(|| Error::NoCluster {
        name: cluster.to_string(),
        reason: "nothing is kept of it: it is being started, or stopped".into(),
    })?;
    let key: ClusterKey = ClusterKey::from_hex(&record.key)?;
    let (wish, policy) = (record.wish.clone(), record.policy.clone());
    let (wanted, unwanted) = watch::channel(());
    let mut fleet = Fleet::new(provider, door, wish, policy, progress, cluster, unwanted)?;
    (fleet.key, fleet.remembered) = (key, true);
    let task = tokio::spawn(async move {
        let access = if record.paused {
            fleet.attach_to_stopped(record).await?
        } else {
            fleet.follow(record).await?
        };
        let (tell, access) = watch::channel(access);
        fleet.access = Some(tell);
        Ok(Up::new(fleet, access, true))
    });
    let up = task.await.map_err(|e| Error::Internal(e.to_string()))?;
    drop(wanted);
    up
}

/// The same server, reached another way.
fn moved(address: Address, reach: Reach) -> Address {
    match (address, reach) {
        (Address::Tcp(..), Reach::Host(host, port)) => Address::Tcp(host, port),
        (Address::Tls(..), Reach::Host(host, port)) => Address::Tls(host, port),
        (Address::Pinned(.., authority), Reach::Host(host, port)) => {
            Address::Pinned(host, port, authority)
        }
        (Address::Unix(_), Reach::Socket(path)) => Address::Unix(path),
        (address, _) => address,
    }
}
