//! All of it together: a server and two workers in containers, none of which has anything of ours but
//! the executable that is copied in, told what to do by a file; and a job that outlives a worker.

#![allow(clippy::expect_used)]

mod support;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::{Duration, SystemTime};

use rustbatch_protocol::bootstrap::{Server, VERSION, WorkerBootstrap};
use rustbatch_protocol::{
    BlobRef, ChunkName, ClusterId, ClusterKey, Context, Keys, Payload, RPackages, Report, Seal,
    Setup, WorkerId, encode,
};
use rustbatch_provision::docker::{Entry, NewContainer, Owner, Trouble};
use rustbatch_provision::{NetworkServer, Plan};
use rustbatch_queue::{Client, Event, Job, JobSpec, check_server};
use support::docker::{R, REDIS, Stage, source_repository};
use support::{assert_unseen, supervisor};

const HOUR: Duration = Duration::from_secs(3600);

const PORT: u16 = 6379;

/// The tasks of the job, in chunks of so many.
const TASKS: u64 = 200;
const CHUNK: u32 = 5;

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

/// A cluster in containers.
struct Set {
    stage: Stage,
    cluster: ClusterId,
    key: ClusterKey,
    network: NetworkServer,
    client: Client,
    containers: Vec<String>,
}

impl Set {
    async fn new(workers: usize) -> Option<Self> {
        Self::with(workers, None).await
    }

    /// With workers that install this before they join.
    async fn with(workers: usize, setup: Option<Setup>) -> Option<Self> {
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
        let address = reached(&stage, &network, &cluster, &containers[0]).await;
        let seal = Seal::new(cluster.clone(), key.clone()).expect("a seal");
        let client = Client::connect(address, seal).await.expect("a client");
        // Packages are fetched from afar.
        let limit = Duration::from_secs(if setup.is_some() { 180 } else { 40 });
        let mut set = Self { stage, cluster, key, network, client, containers };
        for number in 0..workers {
            let worker = set.start_worker(number, setup.clone()).await;
            set.containers.push(worker);
        }
        set.stage.within(limit, "the workers", async || set.roll().await == workers).await;
        Some(set)
    }

    async fn start_worker(&self, number: usize, setup: Option<Setup>) -> String {
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
        let plan = self.stage.container(&format!("worker-{number}"), R);
        launch(&self.stage, plan, "work", &line, told.setup.is_some()).await
    }

    async fn roll(&self) -> usize {
        self.client.roll().await.expect("a roll").len()
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

/// What an R expression makes, serialized.
fn r(folder: &Path, code: &str) -> Vec<u8> {
    let file = folder.join("out");
    let write =
        format!("writeBin(serialize({{ {code} }}, NULL, xdr = FALSE), '{}')", file.display());
    let ran = Command::new("Rscript").args(["--vanilla", "-e", &write]).output().expect("R");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    std::fs::read(&file).expect("its result")
}

/// The arguments of all chunks, a file for each.
const ARGUMENTS: &str = "
  for (first in seq(1, 200, by = 5)) {
    bytes <- serialize(list(i = as.list(first + 0:4)), NULL, xdr = FALSE)
    writeBin(bytes, file.path(FOLDER, first))
  }";

/// A loop over the squares of 1 to [`TASKS`], whose tasks take a while.
fn open(folder: &Path, client: &Client) -> (Job, Receiver<Event>) {
    open_loop(folder, client, "{ Sys.sleep(0.05); i^2 }")
}

fn open_loop(folder: &Path, client: &Client, tasks: &str) -> (Job, Receiver<Event>) {
    let head = "list(expr = quote(TASKS), arguments = 'i', global = TRUE,
           namespace = NULL, packages = NULL, attached = NULL, loaded = NULL, careful = FALSE,
           seed = NULL, lib_paths = character(), options = list(), language = NA_character_,
           beside = list(objects = list(), globals = list()))";
    let head = r(folder, &head.replace("TASKS", tasks));
    let mut main = (head.len() as f64).to_ne_bytes().to_vec();
    main.extend(head);
    main.extend(r(folder, "list(objects = list(), globals = list(), dots = NULL)"));
    let context = Context {
        client: client.id().clone(),
        main: Payload::Inline(main),
        objects: Vec::new(),
        wanted: None,
    };
    let bytes = encode(&context).expect("bytes");
    let context = BlobRef::of(client.seal(), &bytes);
    let spec = JobSpec {
        context,
        blobs: HashMap::from([(context.hash, bytes.into())]),
        beside: Vec::new(),
        fresh: vec![context],
        seed: None,
    };
    let (tell, events) = std::sync::mpsc::channel();
    let job = Job::open(client, spec, tell).expect("a job");
    r(folder, &ARGUMENTS.replace("FOLDER", &format!("'{}'", folder.display())));
    for first in (1..=TASKS).step_by(CHUNK as usize) {
        let arguments = std::fs::read(folder.join(first.to_string())).expect("arguments");
        job.push(ChunkName { first, n: CHUNK }, arguments).expect("to push");
    }
    (job, events)
}

/// Takes outcomes in until `n` tasks have come, each once, and notes what R serialized.
fn collect(events: &Receiver<Event>, n: u64, came: &mut BTreeSet<u64>, folder: &Path) {
    while (came.len() as u64) < n {
        let event = events.recv_timeout(Duration::from_secs(90)).expect("an event");
        let Event::Outcome { name, lacking, outcome, bytes } = event else {
            panic!("not an outcome: {event:?}");
        };
        assert!(matches!(outcome.report, Report::Values(_)), "{:?}", outcome.report);
        for task in lacking {
            assert!(came.insert(task), "{task} came twice");
            let index = task - name.first + 1;
            std::fs::write(folder.join(format!("{task}-{index}.value")), &bytes).expect("to write");
        }
    }
}

/// The values that have come, in the order of their tasks.
const READ: &str = "
  files <- list.files(FOLDER, '[.]value$', full.names = TRUE)
  parts <- strsplit(sub('[.]value$', '', basename(files)), '-')
  task <- vapply(parts, function(p) as.numeric(p[1]), 0)
  value <- mapply(function(file, p) {
    unserialize(readBin(file, 'raw', 1e6))$values[[as.integer(p[2])]]
  }, files, parts)
  stopifnot(identical(unname(value[order(task)]), (1:200)^2))
  TRUE";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_outlives_a_killed_container() {
    let Some(set) = Set::new(2).await else { return };
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    let (job, events) = open(folder, &set.client);
    let mut came = BTreeSet::new();
    collect(&events, 40, &mut came, folder);
    set.stage.docker.kill(&set.containers[1]).await.expect("to kill");
    collect(&events, TASKS, &mut came, folder);
    assert_eq!(came, (1..=TASKS).collect());
    job.close().await;
    r(folder, &READ.replace("FOLDER", &format!("'{}'", folder.display())));
    let killed = set.stage.docker.inspect(&set.containers[1..2]).await.expect("a look");
    assert_eq!(killed[0].end().as_deref(), Some("it was killed by signal 9"));
    set.stage.until("one worker", async || set.roll().await == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_seen_of_a_container() {
    let Some(set) = Set::new(1).await else { return };
    let line = String::from_utf8(set.network.line().expect("a line").to_vec()).expect("text");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let certificate = text(&line["listen"]["key"]);
    let mut secrets = vec![
        set.key.to_hex().expose().to_owned(),
        text(&line["watch"]),
        certificate.lines().nth(1).expect("a line").to_owned(),
    ];
    for server in [set.network.client("h", 1), set.network.worker("h", 1)] {
        secrets.push(server.password.expect("one").expose().to_owned());
    }
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    assert!(secrets.iter().all(|secret| secret.len() > 40));
    assert_unseen(&secrets);
    let mut seen = String::new();
    for container in &set.containers {
        let shown = Command::new("docker").args(["inspect", container]).output().expect("docker");
        seen.push_str(&String::from_utf8_lossy(&shown.stdout));
        seen.push_str(&set.stage.docker.logs(container, 1000).await.expect("its words").join("\n"));
        let file = set.stage.docker.get(container, "/rustbatch/bootstrap").await;
        assert!(matches!(file, Err(Trouble::Gone { .. })), "the file is still there");
    }
    assert!(seen.contains("--bootstrap") && seen.contains("ready"), "{seen}");
    for secret in secrets {
        assert!(!seen.contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_installs_is_there_in_the_loop() {
    let setup = Setup {
        system: vec!["hello".into()],
        commands: vec![source_repository("rbSquare", "square <- function(i) i^2")],
        packages: RPackages { cran: vec!["rbSquare".into()], ..RPackages::default() },
        repositories: vec!["file:///srv/repository".into()],
    };
    let Some(set) = Set::with(2, Some(setup)).await else { return };
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    let tasks =
        "{ stopifnot(system('hello', intern = TRUE) == 'Hello, world!'); rbSquare::square(i) }";
    let (job, events) = open_loop(folder, &set.client, tasks);
    let mut came = BTreeSet::new();
    collect(&events, TASKS, &mut came, folder);
    job.close().await;
    r(folder, &READ.replace("FOLDER", &format!("'{}'", folder.display())));
    let said = set.stage.docker.logs(&set.containers[1], 500).await.expect("its words").join("\n");
    for part in ["installing the Debian package `hello`", "installing the R package rbSquare 1.0"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_package_is_nowhere_ends_within_a_minute_and_names_it() {
    let Some(set) = Set::new(0).await else { return };
    let setup = Setup {
        system: vec!["hello".into()],
        commands: vec![source_repository("rbSquare", "square <- function(i) i^2")],
        packages: RPackages {
            cran: vec!["rbSquare".into(), "rbNowhere".into()],
            ..RPackages::default()
        },
        repositories: vec!["file:///srv/repository".into()],
    };
    let started = std::time::Instant::now();
    let id = set.start_worker(9, Some(setup)).await;
    let ids = [id.clone()];
    let look =
        async || set.stage.docker.inspect(&ids).await.expect("a look").pop().expect("it").end();
    set.stage.within(Duration::from_secs(60), "its end", async || look().await.is_some()).await;
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    assert_eq!(look().await.as_deref(), Some("it ended with status 3"));
    let said = set.stage.docker.logs(&id, 20).await.expect("its words");
    let named =
        "rustbatch-worker: can't install the R package `rbNowhere`: there is no such package at";
    assert!(said.iter().any(|line| line.starts_with(named)), "{said:?}");
}
