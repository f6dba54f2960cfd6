//! A Redis, a worker, and a client whose jobs it runs.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustbatch_protocol::bootstrap::{Address, Server, VERSION, WorkerBootstrap};
use rustbatch_protocol::{
    BlobRef, ChunkName, ClusterId, ClusterKey, Context, Outcome, Payload, RPackages, Seal, Setup,
    Wanted, WorkerId, encode,
};
use rustbatch_queue::{Client, Event, Job, JobSpec};

use crate::repository::Repository;

pub const LONG: Duration = Duration::from_secs(60);

/// A process that is killed with it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub struct House {
    pub client: Client,
    folder: tempfile::TempDir,
    told: WorkerBootstrap,
    worker: Process,
    _redis: Process,
}

impl House {
    /// With a worker of two slots that installs from a repository.
    pub async fn installing(repository: &Repository) -> Option<Self> {
        let setup = Setup { repositories: vec![repository.url()], ..Setup::default() };
        Self::new(|told| told.setup = Some(Box::new(setup))).await
    }

    /// With a worker of two slots that is told what `change` makes of the usual.
    pub async fn new(change: impl FnOnce(&mut WorkerBootstrap)) -> Option<Self> {
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
        let mut told = WorkerBootstrap {
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
            setup: None,
        };
        change(&mut told);
        let worker = work(&told, folder.path());
        let seal = Seal::new(cluster, key).expect("a seal");
        let client = Client::connect(server, seal).await.expect("a client");
        Some(Self { client, folder, told, worker, _redis: redis })
    }

    /// A new worker in place of the old one, told what `change` makes of what that was told.
    pub fn replace_worker(&mut self, change: impl FnOnce(&mut WorkerBootstrap)) {
        self.told.worker = WorkerId::random().expect("an id");
        change(&mut self.told);
        self.worker = work(&self.told, self.folder.path());
    }

    pub fn worker(&self) -> &WorkerId {
        &self.told.worker
    }

    /// How the worker ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.worker.0.try_wait().expect("to look")
    }

    /// What the workers have said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The first line of Redis' answer to a command.
    pub fn ask(&self, command: &[&str]) -> String {
        let mut line = UnixStream::connect(self.path("redis.sock")).expect("Redis");
        let mut text = format!("*{}\r\n", command.len());
        for word in command {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        line.write_all(text.as_bytes()).expect("to ask");
        let mut answer = String::new();
        BufReader::new(line).read_line(&mut answer).expect("an answer");
        answer.trim().to_owned()
    }

    /// A job of one task, `expr`, that asks for these packages of CRAN.
    pub fn job(&self, expr: &str, packages: &[&str]) -> (Job, Receiver<Event>) {
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
        self.open(encode(&context).expect("bytes"))
    }

    /// A job of one task with this context.
    pub fn open(&self, bytes: Vec<u8>) -> (Job, Receiver<Event>) {
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
        let file = self.path("out");
        let path = file.display();
        let write = format!("writeBin(serialize({{ {code} }}, NULL, xdr = FALSE), '{path}')");
        let ran = Command::new("Rscript").args(["--vanilla", "-e", &write]).status();
        assert!(ran.expect("R").success());
        std::fs::read(&file).expect("its result")
    }
}

/// Starts a worker that says what it says into the file `log`.
fn work(told: &WorkerBootstrap, folder: &Path) -> Process {
    let line = folder.join("told");
    std::fs::write(&line, serde_json::to_vec(told).expect("JSON")).expect("to write");
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log"));
    let worker = Command::new(env!("CARGO_BIN_EXE_rustbatch-worker"))
        .arg("work")
        .stdin(std::fs::File::open(&line).expect("it"))
        .stderr(log.expect("a log"))
        .spawn();
    Process(worker.expect("a worker"))
}

/// The outcome of a job's task, and what the task has said before.
pub fn heard(events: &Receiver<Event>) -> (Vec<Vec<u8>>, Outcome) {
    let mut said = Vec::new();
    loop {
        match events.recv_timeout(LONG).expect("an event") {
            Event::Outcome { outcome, .. } => return (said, outcome),
            Event::Signal { bytes } => said.push(bytes),
            Event::Failed(error) => panic!("{error}"),
            _ => {}
        }
    }
}

pub fn outcome(events: &Receiver<Event>) -> Outcome {
    heard(events).1
}
