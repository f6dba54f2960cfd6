//! A cluster in containers, made by hand: a server, and workers that are hired one by one.

use std::time::{Duration, SystemTime};

use rustbatch_protocol::bootstrap::{Server, VERSION, WorkerBootstrap};
use rustbatch_protocol::{ClusterId, ClusterKey, Keys, Seal, Setup, WorkerId};
use rustbatch_provision::docker::{Entry, NewContainer, Owner};
use rustbatch_provision::{NetworkServer, Plan};
use rustbatch_queue::{Client, check_server};

use super::support::docker::{R, REDIS, Stage};
use super::support::supervisor;

const HOUR: Duration = Duration::from_secs(3600);

const PORT: u16 = 6379;

/// Puts the executable and a bootstrap into a new container, and starts it. What other programs look
/// names up by is there only with `names`.
async fn launch(stage: &Stage, plan: NewContainer, verb: &str, told: &[u8], names: bool) -> String {
    let executable = std::fs::read(supervisor()).expect("the executable");
    let command = ["/rustbatch/worker", verb, "--bootstrap", "/rustbatch/bootstrap"];
    let plan = NewContainer { command: command.map(str::to_owned).into(), ..plan };
    let id = stage.docker.create(&plan).await.expect("a container");
    let mut entries = vec![
        Entry { path: "rustbatch/", mode: 0o700, content: None },
        Entry { path: "rustbatch/worker", mode: 0o555, content: Some(&executable) },
        Entry { path: "rustbatch/bootstrap", mode: 0o400, content: Some(told) },
    ];
    // The executable that users get needs no name service that belongs to another C library.
    let nobody =
        Entry { path: "etc/nsswitch.conf", mode: 0o644, content: Some(b"hosts: nobody\n") };
    if !names && std::env::var_os("RUSTBATCH_WORKER").is_some() {
        entries.push(nobody);
    }
    stage.docker.put(&id, Owner::default(), &entries).await.expect("to copy");
    stage.docker.start(&id).await.expect("to start");
    id
}

pub struct Set {
    pub stage: Stage,
    pub key: ClusterKey,
    pub network: NetworkServer,
    /// The server, as this machine reaches it.
    pub server: Server,
    pub client: Client,
    /// The server's, then those of the workers.
    pub containers: Vec<String>,
    cluster: ClusterId,
}

impl Set {
    /// A server, and workers that have joined.
    pub async fn new(workers: usize) -> Option<Self> {
        let mut set = Self::bare().await?;
        for number in 0..workers {
            set.hire(set.stage.container(&format!("worker-{number}"), R)).await;
        }
        Some(set)
    }

    /// A server.
    pub async fn bare() -> Option<Self> {
        let stage = Stage::new().await?;
        let cluster: ClusterId = stage.name.parse().expect("an id");
        let key = ClusterKey::random().expect("a key");
        let network = NetworkServer::new(Plan {
            cluster: cluster.clone(),
            executable: "redis-server".into(),
            folder: "/dev/shm/redis".into(),
            bind: None,
            port: PORT,
            from: SystemTime::now(),
            idle: HOUR,
            life: HOUR,
            lifeline: true,
        });
        let network = network.expect("a server");
        let plan = NewContainer {
            alias: Some("server".into()),
            publish: Some(([127, 0, 0, 1].into(), PORT)),
            ..stage.container("server", REDIS)
        };
        let line = network.line().expect("a line");
        let containers = vec![launch(&stage, plan, "server", &line, false).await];
        let server = reached(&stage, &network, &cluster, &containers[0]).await;
        let seal = Seal::new(cluster.clone(), key.clone()).expect("a seal");
        let client = Client::connect(server.clone(), seal).await.expect("a client");
        Some(Self { stage, key, network, server, client, containers, cluster })
    }

    /// One worker more, of two slots, which has joined.
    pub async fn hire(&mut self, plan: NewContainer) {
        let worker = self.start(plan, None).await;
        let joined = async || self.roll().await.contains(&worker);
        self.stage.until("the worker", joined).await;
    }

    /// One worker more, which is to install this before it joins.
    pub async fn start(&mut self, plan: NewContainer, setup: Option<Setup>) -> WorkerId {
        let told = WorkerBootstrap {
            version: VERSION.to_owned(),
            cluster: self.cluster.clone(),
            key: self.key.to_hex(),
            worker: WorkerId::random().expect("an id"),
            server: self.network.worker("server", PORT),
            slots: 2,
            r: "R".into(),
            lifeline: true,
            idle_seconds: Some(600),
            life_seconds: Some(3600),
            setup: setup.map(Box::new),
        };
        let line = serde_json::to_vec(&told).expect("JSON");
        let names = told.setup.is_some();
        self.containers.push(launch(&self.stage, plan, "work", &line, names).await);
        told.worker
    }

    /// The workers that are alive.
    pub async fn roll(&self) -> Vec<WorkerId> {
        let roll = self.client.roll().await.expect("a roll");
        roll.into_iter().map(|(worker, _)| worker).collect()
    }

    /// How a container ended, once it has.
    pub async fn end(&self, container: &str) -> String {
        let ids = [container.to_owned()];
        let look = async || self.stage.docker.inspect(&ids).await.expect("a look").pop();
        let ended = async || look().await.is_some_and(|seen| seen.end().is_some());
        self.stage.until("its end", ended).await;
        look().await.and_then(|seen| seen.end()).expect("its end")
    }
}

/// The server as this machine reaches it, once it lets a client in.
async fn reached(
    stage: &Stage,
    network: &NetworkServer,
    cluster: &ClusterId,
    container: &str,
) -> Server {
    let ids = [container.to_owned()];
    let seen = stage.docker.inspect(&ids).await.expect("a look").pop().expect("a server");
    let said = stage.docker.logs(container, 9).await;
    let (host, port) = seen.published(PORT).unwrap_or_else(|| panic!("{seen:?} {said:?}"));
    let server = network.client(&host.to_string(), port);
    let ring = Keys::new(cluster).ring();
    let up = async || check_server(&server, &ring, HOUR).await.is_ok();
    stage.until("the server", up).await;
    server
}
