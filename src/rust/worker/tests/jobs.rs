//! A worker that may install packages, with a real Redis, a real R and clients' jobs.

#![allow(clippy::expect_used, clippy::print_stderr, missing_docs)]

#[path = "setup/repository.rs"]
mod repository;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use repository::{Package, Repository};
use rustbatch_protocol::bootstrap::{Address, Server, VERSION, WorkerBootstrap};
use rustbatch_protocol::{
    BlobRef, ChunkName, ClusterId, ClusterKey, Context, Outcome, Payload, RPackages, Report, Seal,
    Setup, Wanted, WorkerId, encode,
};
use rustbatch_queue::{Client, Event, Job, JobSpec};

const LONG: Duration = Duration::from_secs(60);

/// A process that is killed with it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A Redis, a worker of two slots that installs from a repository, and a client.
struct House {
    client: Client,
    folder: tempfile::TempDir,
    _worker: Process,
    _redis: Process,
}

impl House {
    async fn new(repository: &Repository) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("redis.sock");
        let redis = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn();
        let Ok(redis) = redis.map(Process) else {
            eprintln!("SKIPPED: there is no redis-server");
            return None;
        };
        until("a Redis", || socket.exists());
        let address = Address::Unix(socket);
        let server = Server { address, username: None, password: None, database: 0 };
        let cluster: ClusterId = "c-1".parse().expect("an id");
        let key = ClusterKey::random().expect("a key");
        let setup = Setup { repositories: vec![repository.url()], ..Setup::default() };
        let told = WorkerBootstrap {
            version: VERSION.to_owned(),
            cluster: cluster.clone(),
            key: key.to_hex(),
            worker: WorkerId::random().expect("an id"),
            server: server.clone(),
            slots: 2,
            r: "R".into(),
            lifeline: false,
            idle_seconds: None,
            life_seconds: Some(600),
            setup: Some(Box::new(setup)),
        };
        let line = folder.path().join("told");
        std::fs::write(&line, serde_json::to_vec(&told).expect("JSON")).expect("to write");
        let worker = Command::new(env!("CARGO_BIN_EXE_rustbatch-worker"))
            .arg("work")
            .stdin(std::fs::File::open(&line).expect("it"))
            .spawn();
        let worker = Process(worker.expect("a worker"));
        let seal = Seal::new(cluster, key).expect("a seal");
        let client = Client::connect(server, seal).await.expect("a client");
        Some(Self { client, folder, _worker: worker, _redis: redis })
    }

    /// A job of one task, `expr`, that asks for these packages of CRAN.
    fn job(&self, expr: &str, packages: &[&str]) -> (Job, Receiver<Event>) {
        let head = format!(
            "list(expr = quote({expr}), arguments = 'i', global = TRUE, namespace = NULL,
             packages = NULL, attached = NULL, loaded = NULL, careful = FALSE, seed = NULL,
             lib_paths = character(), options = list(), language = NA_character_,
             beside = list(objects = list(), globals = list()))"
        );
        let head = self.r(&head);
        let mut main = (head.len() as f64).to_ne_bytes().to_vec();
        main.extend(head);
        main.extend(self.r("list(objects = list(), globals = list(), dots = NULL)"));
        let cran = packages.iter().map(|&name| name.to_owned()).collect();
        let packages = RPackages { cran, ..RPackages::default() };
        let context = Context {
            client: self.client.id().clone(),
            main: Payload::Inline(main),
            objects: Vec::new(),
            wanted: Some(Box::new(Wanted { packages, libraries: Vec::new() })),
        };
        let bytes = encode(&context).expect("bytes");
        let context = BlobRef::of(self.client.seal(), &bytes);
        let spec = JobSpec {
            context,
            blobs: HashMap::from([(context.hash, bytes.into())]),
            beside: Vec::new(),
            fresh: vec![context],
            seed: None,
            tasks: None,
        };
        let (tell, events) = std::sync::mpsc::channel();
        let job = Job::open(&self.client, spec, tell).expect("a job");
        job.push(ChunkName { first: 1, n: 1 }, self.r("list(i = list(1))")).expect("to push");
        (job, events)
    }

    /// What an R expression makes, serialized.
    fn r(&self, code: &str) -> Vec<u8> {
        let file = self.folder.path().join("out");
        let path = file.display();
        let write = format!("writeBin(serialize({{ {code} }}, NULL, xdr = FALSE), '{path}')");
        let ran = Command::new("Rscript").args(["--vanilla", "-e", &write]).status();
        assert!(ran.expect("R").success());
        std::fs::read(&file).expect("its result")
    }
}

fn outcome(events: &Receiver<Event>) -> Outcome {
    loop {
        match events.recv_timeout(LONG).expect("an event") {
            Event::Outcome { outcome, .. } => return outcome,
            Event::Failed(error) => panic!("{error}"),
            _ => {}
        }
    }
}

/// A package whose installation says that it has begun, and waits for a word.
fn slow(folder: &Path) -> String {
    format!(
        "local({{ file.create('{0}/begun'); while (!file.exists('{0}/go')) Sys.sleep(0.02) }})\n\
         here <- TRUE\n",
        folder.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn other_jobs_go_on_while_one_is_installed_for() {
    let place = tempfile::tempdir().expect("a folder");
    let code = slow(place.path());
    let repository = Repository::new(&[Package { r: &code, ..Package::new("rbSlow") }]);
    let Some(house) = House::new(&repository).await else { return };
    let (first, slow) = house.job("rbSlow::here", &["rbSlow"]);
    until("the installation", || place.path().join("begun").exists());
    for packages in [&["stats", "tools"][..], &[]] {
        let (job, events) = house.job("stats::median(i)", packages);
        let came = outcome(&events);
        assert!(matches!(came.report, Report::Values(_)), "{:?}", came.report);
        job.close().await;
    }
    assert!(slow.try_recv().is_err(), "it waits");
    std::fs::write(place.path().join("go"), "").expect("to write");
    assert!(matches!(outcome(&slow).report, Report::Values(_)));
    first.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_given_up_does_not_cut_its_installation_in_two() {
    let place = tempfile::tempdir().expect("a folder");
    let code = slow(place.path());
    let repository = Repository::new(&[Package { r: &code, ..Package::new("rbSlow") }]);
    let Some(house) = House::new(&repository).await else { return };
    let (first, _events) = house.job("rbSlow::here", &["rbSlow"]);
    until("the installation", || place.path().join("begun").exists());
    first.close().await;
    std::fs::remove_file(place.path().join("begun")).expect("to remove");
    let (second, events) = house.job("rbSlow::here", &["rbSlow"]);
    // Both slots are free again for what does not need it.
    let (third, others) = house.job("i", &[]);
    assert!(matches!(outcome(&others).report, Report::Values(_)));
    std::fs::write(place.path().join("go"), "").expect("to write");
    assert!(matches!(outcome(&events).report, Report::Values(_)));
    assert!(!place.path().join("begun").exists(), "it was not begun again");
    second.close().await;
    third.close().await;
}
