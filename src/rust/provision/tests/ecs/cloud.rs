//! AWS on this machine: the harness of `tests/ecs/harness`, one for each test, and what can be seen and
//! done there past the provider.

// Every test file uses its own share of it.
#![allow(dead_code, clippy::expect_used, clippy::print_stderr, missing_docs)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustbatch_protocol::{ClusterId, Secret};
use rustbatch_provision::aws::{Aws, Login};
use rustbatch_provision::providers::ecs::{Ecs, Fargate};
use serde_json::{Value, json};

use super::support::docker::{R, REDIS, SSH};

/// Where the carrier has the executable.
const INSIDE: &str = "/usr/local/bin/rustbatch-worker";

/// How long containers may take to do what they shall.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub struct Cloud {
    process: Child,
    pub port: u16,
    images: Vec<String>,
}

impl Cloud {
    /// A new account. `None`, said loudly, where there is no Docker, image or moto.
    pub fn new() -> Option<Self> {
        let python = python();
        let lacks = match python.exists() {
            false => Some(format!("there is no {}", python.display())),
            true => [R, REDIS, SSH]
                .into_iter()
                .find(|image| !has(image))
                .map(|i| format!("no image {i}")),
        };
        if let Some(lacks) = lacks {
            eprintln!("SKIPPED: run tools/setup --e2e first: {lacks}");
            return None;
        }
        let harness = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ecs/harness");
        let mut process = Command::new(python)
            .args(["-B".as_ref(), harness.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the harness");
        let mut line = String::new();
        let output = process.stdout.as_mut().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let port = line.strip_prefix("ready ").and_then(|port| port.trim().parse().ok());
        let port = port.unwrap_or_else(|| panic!("the harness said {line:?}"));
        Some(Self { process, port, images: Vec::new() })
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// An image that holds `executable` where `rustbatch-worker` is expected.
    pub fn carrier(&mut self, executable: &Path) -> String {
        let name = format!("rustbatch-test-carrier:{}-{}", self.port, self.images.len());
        let made = format!("rustbatch-test-carrier-{}-{}", self.port, self.images.len());
        docker(&["create", "--name", &made, REDIS, "/none"]);
        docker(&["cp", &executable.display().to_string(), &format!("{made}:{INSIDE}")]);
        docker(&["commit", &made, &name]);
        docker(&["rm", &made]);
        self.images.push(name.clone());
        name
    }

    /// A cluster's configuration here: small tasks of the plain images.
    pub fn ecs(&self, carrier: &str) -> Ecs {
        Ecs {
            region: Some("us-east-1".into()),
            image: Some(R.into()),
            server_image: REDIS.into(),
            worker_image: Some(carrier.into()),
            worker_path: INSIDE.into(),
            cpu: 256,
            memory: 1024,
            server_memory: 512,
            ..Ecs::default()
        }
    }

    /// The provider, as of a process that has just begun.
    pub async fn provider(&self, ecs: Ecs) -> Fargate {
        Fargate::new(ecs, &login(), Some(&self.endpoint())).await.expect("a provider")
    }

    /// The same account, past the provider.
    pub async fn aws(&self) -> Aws {
        let (login, endpoint) = (login(), self.endpoint());
        Aws::connect(&login, Some("us-east-1"), Some(&endpoint)).await.expect("AWS")
    }

    fn request(&self, head: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the harness");
        let body = body.to_string();
        let length = body.len();
        write!(
            stream,
            "{head} HTTP/1.0\r\nHost: harness\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .expect("to ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains(" 200 "), "{answer}");
        serde_json::from_str(body).expect("JSON")
    }

    /// What the harness says of itself.
    pub fn state(&self) -> Value {
        self.request("GET /_harness/state", &Value::Null)
    }

    pub fn tell(&self, verb: &str, what: &Value) {
        self.request(&format!("POST /_harness/{verb}"), what);
    }

    /// `times` calls named `call` shall be refused for the moment.
    pub fn throttle(&self, call: &str, times: u32) {
        self.tell("fault", &json!({"call": call, "kind": "throttle", "times": times}));
    }

    /// How often a call was done.
    pub fn calls(&self, call: &str) -> u64 {
        self.state()["calls"][call].as_u64().unwrap_or(0)
    }

    /// All that is tagged so, but tasks: ARNs.
    pub fn things(&self, key: &str, value: &str) -> Vec<String> {
        let things = self.state()["things"].clone();
        let things = things.as_object().expect("things").iter();
        things.filter(|(_, tags)| tags[key] == value).map(|(arn, _)| arn.clone()).collect()
    }

    /// The tasks of a cluster that have not ended: ids.
    pub fn tasks(&self, cluster: &ClusterId) -> Vec<String> {
        let name = format!("rustbatch-{cluster}");
        let tasks = self.state()["tasks"].as_array().cloned().expect("tasks");
        let alive = tasks.iter().filter(|t| t["cluster"] == name && t["status"] != "STOPPED");
        alive.map(|task| task["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// All that there is of a cluster: things and tasks.
    pub fn left(&self, cluster: &ClusterId) -> Vec<String> {
        let mut left = self.things("rustbatch:cluster", cluster.as_str());
        left.extend(self.tasks(cluster));
        left
    }

    /// The containers that there are of this account.
    pub fn containers(&self) -> Vec<String> {
        let network = self.state()["network"].as_str().expect("a name").to_owned();
        let filter = format!("label=rustbatch.harness={network}");
        let list = docker(&["ps", "--all", "--quiet", "--filter", &filter]);
        list.split_whitespace().map(str::to_owned).collect()
    }

    /// The container in which a task's program runs.
    pub fn container(&self, task: &str) -> String {
        let tasks = self.state()["tasks"].as_array().cloned().expect("tasks");
        let found = tasks.iter().find(|one| one["id"] == task).expect("the task");
        found["container"].as_str().expect("a name").to_owned()
    }

    /// Looks again until it is so.
    pub async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so().await {
            assert!(Instant::now() < deadline, "in vain: {what}: {:#}", self.state()["tasks"]);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
        for image in &self.images {
            let _ = Command::new("docker").args(["rmi", "--force", image]).output();
        }
    }
}

fn login() -> Login {
    Login::Keys { id: "test".into(), secret: Secret::new("test"), token: None }
}

/// The Python of `tools/setup --e2e` that has moto.
fn python() -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_default().join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    cache.join("rustBatch/moto/bin/python")
}

fn has(image: &str) -> bool {
    let look = Command::new("docker").args(["image", "inspect", image]).output();
    look.is_ok_and(|look| look.status.success())
}

pub fn docker(arguments: &[&str]) -> String {
    let done = Command::new("docker").args(arguments).output().expect("docker");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

pub fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}
