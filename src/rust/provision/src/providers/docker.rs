//! The provider `docker`: each instance a container, on a network of the cluster's own.
//!
//! Nothing of ours has to be in an image: the executable is copied in, with a file that tells it what
//! to do and that it removes.

mod labels;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::SystemTime;

use rustbatch_protocol::ClusterId;
use zeroize::Zeroizing;

use self::labels::{
    CLUSTER, CREATED, Found, NETWORK, RECORD, ROLE, is_ours, is_time, label, labels, network,
};
use crate::Error;
use crate::docker::{Docker, Entry, Image, NewContainer, Owner, Seen, Trouble};
use crate::provider::{
    ClusterRecord, Endpoint, Instance, InstanceId, Launched, LogQuery, Logs, Plan, Provider, Reach,
    Report, Role, ServerTerms, Site, State, Token, Unit,
};

/// Where the record is in its container.
const RECORD_FILE: &str = "rustbatch-record";

/// The parts of a site: the images of workers and of the server.
const IMAGE: &str = "image";
const SERVER_IMAGE: &str = "server image";

/// The port of the server within the network.
const PORT: u16 = 6379;

/// How many last lines tell why a container stopped.
const LAST_WORDS: usize = 20;

/// Where in a container our files are, and they.
const FOLDER: &str = "rustbatch/";
const WORKER: &str = "rustbatch/worker";
const BOOTSTRAP: &str = "rustbatch/bootstrap";

/// Containers of a Docker daemon.
#[derive(Debug, Clone)]
pub struct Containers {
    /// The daemon.
    pub docker: Docker,
    /// The `rustbatch-worker` that is copied in.
    pub executable: PathBuf,
    /// The image of a worker for which none is named: any with R.
    pub image: String,
    /// The image of the server: any with `redis-server`.
    pub server_image: String,
    /// Whether servers will be wanted.
    pub serves: bool,
}

impl Provider for Containers {
    async fn check(&self) -> Result<Plan, Error> {
        self.docker.version().await?;
        Ok(Plan::default())
    }

    async fn prepare(&self, cluster: &ClusterId) -> Result<Site, Error> {
        // The images of the usual size of things; another one comes with its launch.
        let server = self.serves.then_some(&self.server_image);
        for name in BTreeSet::from_iter([&self.image].into_iter().chain(server)) {
            self.fitting(name).await?;
        }
        let network = network(cluster);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let labels = [(CLUSTER, cluster.to_string()), (CREATED, now.as_secs().to_string())];
        let labels = labels.map(|(name, says)| (name.to_owned(), says)).into();
        self.docker.create_network(&network, &labels).await.map_err(busy)?;
        // One that was there before says when that was.
        let there = self.docker.networks(&label(cluster), CREATED).await.map_err(busy)?;
        let created = there.into_iter().find(|(name, _)| *name == network);
        let created = created.map(|(_, created)| ("created".to_owned(), created));
        let server = ServerTerms {
            executable: "redis-server".into(),
            folder: "/dev/shm/redis".into(),
            listen: Some((None, PORT)),
            lifeline: false,
        };
        // Who goes on with the cluster may have been told of other images.
        let images = [(IMAGE, &self.image), (SERVER_IMAGE, &self.server_image)];
        let images = images.map(|(part, name)| (part.to_owned(), name.clone()));
        let parts = created.into_iter().chain(images).chain([("network".to_owned(), network)]);
        let parts = parts.collect();
        Ok(Site { cluster: cluster.clone(), server, parts })
    }

    async fn launch(
        &self,
        site: &Site,
        unit: &Unit,
        n: u32,
        token: &Token,
    ) -> Result<Launched, Error> {
        let (name, image) = self.image_of(site, unit).await?;
        let publish = match unit.role() {
            Role::Server => Some((self.docker.listens().await?.0, PORT)),
            Role::Worker => None,
        };
        let mut launched = Launched::default();
        for i in 0..n {
            let plan = NewContainer { image: name.clone(), publish, ..plan(site, unit, i, token)? };
            match self.launch_one(&plan, &image, unit, i, token).await {
                Ok(instance) => launched.instances.push(instance),
                Err(error) if launched.instances.is_empty() => return Err(error),
                Err(error) => {
                    launched.short = Some(error.to_string());
                    break;
                }
            }
        }
        Ok(launched)
    }

    async fn instances(&self, cluster: &ClusterId) -> Result<Vec<Instance>, Error> {
        let mut instances = Vec::new();
        for seen in self.members(cluster).await? {
            instances.push(self.instance(&seen).await?);
        }
        Ok(instances)
    }

    async fn terminate(&self, cluster: &ClusterId, ids: &[InstanceId]) -> Result<(), Error> {
        for seen in self.members(cluster).await? {
            if ids.iter().any(|id| id.0 == seen.name()) {
                self.docker.remove(&seen.id).await.map_err(busy)?;
            }
        }
        Ok(())
    }

    async fn endpoint(&self, cluster: &ClusterId, server: &InstanceId) -> Result<Endpoint, Error> {
        let seen = self.one(cluster, server).await?;
        let Some((_, port)) = seen.published(PORT) else {
            let what = format!("reach the server {server}");
            return Err(Error::Busy { what, reason: "its port is not published".into() });
        };
        let (_, host) = self.docker.listens().await?;
        let (client, workers) = (Reach::Host(host, port), Reach::Host(server.0.clone(), PORT));
        Ok(Endpoint { client, workers, tunnel: None, hint: None })
    }

    async fn logs(
        &self,
        cluster: &ClusterId,
        id: &InstanceId,
        query: &LogQuery,
    ) -> Result<Logs, Error> {
        let seen = self.one(cluster, id).await?;
        Ok(Logs { lines: self.docker.logs(&seen.id, query.tail).await.map_err(busy)? })
    }

    async fn remember(&self, site: &Site, record: &Zeroizing<Vec<u8>>) -> Result<(), Error> {
        let before = self.records(&site.cluster).await?;
        let name = format!("{}-{RECORD}", Token::random()?.as_str());
        let plan = NewContainer {
            name: name.clone(),
            // Any that is there.
            image: part(site, if self.serves { SERVER_IMAGE } else { IMAGE }),
            network: network(&site.cluster),
            labels: labels(site, RECORD),
            command: vec!["/none".into()],
            ..NewContainer::default()
        };
        self.docker.create(&plan).await.map_err(busy)?;
        let entry = Entry { path: RECORD_FILE, mode: 0o400, content: Some(record) };
        self.docker.put(&name, Owner::default(), &[entry]).await.map_err(busy)?;
        for old in before {
            self.docker.remove(&old.id).await.map_err(busy)?;
        }
        Ok(())
    }

    async fn recall(&self, cluster: &ClusterId) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let mut all = self.records(cluster).await?;
        // Of two, one is being replaced.
        all.sort_by(|a, b| a.created.cmp(&b.created));
        for seen in all.iter().rev() {
            match self.docker.get(&seen.id, &format!("/{RECORD_FILE}")).await {
                Ok(record) => return Ok(Some(Zeroizing::new(record))),
                Err(Trouble::Gone { .. }) => {}
                Err(error) => return Err(busy(error)),
            }
        }
        Ok(None)
    }

    async fn find(&self) -> Result<Vec<ClusterRecord>, Error> {
        let mut found = BTreeMap::<String, Found>::new();
        for (name, created) in self.docker.networks(CLUSTER, CREATED).await.map_err(busy)? {
            if let Some(cluster) = name.strip_prefix(NETWORK).filter(|_| is_time(&created)) {
                found.entry(cluster.to_owned()).or_default().note(&created, 0);
            }
        }
        let ids = self.docker.containers(CLUSTER).await.map_err(busy)?;
        for seen in self.docker.inspect(&ids).await.map_err(busy)? {
            if let Some(cluster) = seen.label(CLUSTER).filter(|_| is_ours(&seen)) {
                let counts = seen.end().is_none() && seen.label(ROLE) != Some(RECORD);
                let created = seen.label(CREATED).unwrap_or_default();
                found.entry(cluster.to_owned()).or_default().note(created, usize::from(counts));
            }
        }
        let records = found.into_iter().filter_map(|(cluster, Found { created, instances })| {
            // A label that is no id of ours is somebody else's.
            Some(ClusterRecord { cluster: cluster.parse().ok()?, created, instances })
        });
        Ok(records.collect())
    }

    async fn destroy(&self, cluster: &ClusterId) -> Result<Report, Error> {
        let mut report = Report::default();
        let mut note = |what: String, done: Result<(), Trouble>| match done {
            Ok(()) => report.removed.push(what),
            Err(error) => report.left.push((what, error.to_string())),
        };
        let mut all = self.all(cluster).await?;
        all.sort_by_key(|seen| seen.label(ROLE) != Some(RECORD));
        for Seen { id, .. } in all {
            note(format!("container {}", &id[..id.len().min(12)]), self.docker.remove(&id).await);
        }
        for (name, created) in self.docker.networks(&label(cluster), CREATED).await.map_err(busy)? {
            if name == network(cluster) && is_time(&created) {
                note(format!("network {name}"), self.docker.remove_network(&name).await);
            }
        }
        Ok(report)
    }
}

impl Containers {
    /// The image, pulled where need be, in which the executable can run.
    async fn fitting(&self, name: &str) -> Result<Image, Error> {
        let image = self.docker.image(name).await.map_err(busy)?;
        image.fits(name, &self.executable)?;
        Ok(image)
    }

    async fn image_of(&self, site: &Site, unit: &Unit) -> Result<(String, Image), Error> {
        let name = match unit.role() {
            Role::Server => part(site, SERVER_IMAGE),
            Role::Worker => unit.image.clone().unwrap_or_else(|| part(site, IMAGE)),
        };
        let image = self.fitting(&name).await?;
        Ok((name, image))
    }

    /// Makes and starts one container; one of this name is this launch's, tried before.
    async fn launch_one(
        &self,
        plan: &NewContainer,
        image: &Image,
        unit: &Unit,
        i: u32,
        token: &Token,
    ) -> Result<Instance, Error> {
        match self.docker.create(plan).await {
            Ok(_) | Err(Trouble::Taken { .. }) => {}
            Err(error) => return Err(busy(error)),
        }
        let look = async || {
            let seen = self.docker.inspect(std::slice::from_ref(&plan.name)).await.map_err(busy)?;
            seen.into_iter().next().ok_or_else(|| unknown(&plan.name))
        };
        let seen = look().await?;
        if seen.state.status != "created" {
            return self.instance(&seen).await;
        }
        let executable = std::fs::read(&self.executable).map_err(|error| Error::Refused {
            what: format!("read `{}`", self.executable.display()),
            reason: error.to_string(),
            way: String::new(),
        })?;
        let told = unit.bootstrap.line(&token.name(i)?)?;
        let entries = [
            Entry { path: FOLDER, mode: 0o700, content: None },
            Entry { path: WORKER, mode: 0o500, content: Some(&executable) },
            Entry { path: BOOTSTRAP, mode: 0o400, content: Some(&told) },
        ];
        let owner = self.docker.owner(&seen.id, image).await.map_err(busy)?;
        self.docker.put(&seen.id, owner, &entries).await.map_err(busy)?;
        self.docker.start(&seen.id).await.map_err(busy)?;
        self.instance(&look().await?).await
    }

    async fn all(&self, cluster: &ClusterId) -> Result<Vec<Seen>, Error> {
        let ids = self.docker.containers(&label(cluster)).await.map_err(busy)?;
        let mut all = self.docker.inspect(&ids).await.map_err(busy)?;
        all.retain(is_ours);
        Ok(all)
    }

    /// The containers that hold the record of a cluster: one, or while it is replaced two.
    async fn records(&self, cluster: &ClusterId) -> Result<Vec<Seen>, Error> {
        let all = self.all(cluster).await?.into_iter();
        Ok(all.filter(|seen| seen.label(ROLE) == Some(RECORD)).collect())
    }

    /// All others.
    async fn members(&self, cluster: &ClusterId) -> Result<Vec<Seen>, Error> {
        let all = self.all(cluster).await?.into_iter();
        Ok(all.filter(|seen| seen.label(ROLE) != Some(RECORD)).collect())
    }

    async fn one(&self, cluster: &ClusterId, id: &InstanceId) -> Result<Seen, Error> {
        let mut all = self.members(cluster).await?.into_iter();
        all.find(|seen| seen.name() == id.0).ok_or_else(|| unknown(&id.0))
    }

    async fn instance(&self, seen: &Seen) -> Result<Instance, Error> {
        let role = match seen.label(ROLE) {
            Some("server") => Role::Server,
            _ => Role::Worker,
        };
        let state = match seen.end() {
            None if seen.runs() => State::Running,
            None => State::Starting { doing: "its files are copied in".into() },
            Some(end) => {
                // What is gone meanwhile has no last words.
                let said = self.docker.logs(&seen.id, LAST_WORDS).await.unwrap_or_default();
                let lines: Vec<_> = said.iter().map(|line| format!("\n  {line}")).collect();
                State::Stopped {
                    why: format!("the container {}: {end}{}", seen.name(), lines.concat()),
                }
            }
        };
        let name = seen.name();
        let worker = match role {
            Role::Server => None,
            Role::Worker => Some(name.parse()?),
        };
        Ok(Instance { id: InstanceId(name.to_owned()), role, worker, state })
    }
}

/// The container that is number `i` of a launch, but for its image. Its name is its worker's.
fn plan(site: &Site, unit: &Unit, i: u32, token: &Token) -> Result<NewContainer, Error> {
    let (path, told) = (format!("/{WORKER}"), format!("/{BOOTSTRAP}"));
    Ok(NewContainer {
        name: token.name(i)?.to_string(),
        image: String::new(),
        network: network(&site.cluster),
        alias: None,
        labels: labels(site, &unit.role().to_string()),
        command: vec![path, unit.bootstrap.verb().into(), "--bootstrap".into(), told],
        environment: unit.environment.clone(),
        cpu: unit.cpu,
        memory: unit.memory,
        publish: None,
    })
}

fn part(site: &Site, part: &str) -> String {
    site.parts.get(part).cloned().unwrap_or_default()
}

fn unknown(name: &str) -> Error {
    let what = format!("find the container {name}");
    Error::Refused { what, reason: "there is none of this name".into(), way: String::new() }
}

/// What took too long may be quicker the next time.
fn busy(error: Trouble) -> Error {
    match error {
        Trouble::Late { did, seconds } => {
            Error::Busy { what: did, reason: format!("no answer within {seconds} s") }
        }
        error => error.into(),
    }
}
