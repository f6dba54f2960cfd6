//! A server of ours on a network, against a real redis-server: who reaches it, who is refused, what
//! can be seen of it, and how it ends.

#![allow(clippy::expect_used)]

mod support;

#[path = "../../queue/tests/support/mod.rs"]
mod loops;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use loops::{Act, Hand, Loop};
use redis::Pipeline;
use rustbatch_protocol::bootstrap::{Address, Server};
use rustbatch_protocol::{ClusterId, ClusterKey, Keys, Seal, WorkerId};
use rustbatch_provision::{NetworkServer, Plan};
use rustbatch_queue::{Client, Error, Link, WorkerQueue, check_server};
use support::{SOON, assert_unseen, kill, runs, supervisor, until};

const DAY: Duration = Duration::from_secs(24 * 3600);

const HERE: &str = "127.0.0.1";

fn cluster() -> ClusterId {
    "test".parse().expect("an id")
}

fn keys() -> Keys {
    Keys::new(&cluster())
}

/// A server on a free port of this machine, in a folder in `place`.
fn plan(place: &Path) -> Plan {
    let free = TcpListener::bind((HERE, 0)).expect("a port").local_addr().expect("one");
    Plan {
        cluster: cluster(),
        executable: "redis-server".into(),
        folder: place.join("redis"),
        bind: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port: free.port(),
        from: SystemTime::now(),
        idle: DAY,
        life: DAY,
        lifeline: false,
    }
}

/// A supervisor without a life line, and its server.
struct Network {
    child: Child,
    place: tempfile::TempDir,
    server: NetworkServer,
    port: u16,
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Network {
    fn start() -> Self {
        Self::start_as(|_| {})
    }

    fn start_as(change: impl FnOnce(&mut Plan)) -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let mut plan = plan(place.path());
        let port = plan.port;
        change(&mut plan);
        let server = NetworkServer::new(plan).expect("a server");
        let mut child = Command::new(supervisor())
            .arg("server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a supervisor");
        // Its standard input ends with the line.
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(&server.line().expect("a line")).expect("to write");
        stdin.write_all(b"\n").expect("to write");
        drop(stdin);
        let mut ready = String::new();
        let out = child.stdout.as_mut().expect("a pipe");
        BufReader::new(out).read_line(&mut ready).expect("a line");
        let mut this = Self { child, place, server, port };
        assert_eq!(ready, "ready\n", "{}", this.said());
        this
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join("redis")
    }

    fn client(&self) -> Server {
        self.server.client(HERE, self.port)
    }

    fn worker(&self) -> Server {
        self.server.worker(HERE, self.port)
    }

    /// Waits for its end, and says when that was and how.
    fn ended(&mut self) -> (Instant, ExitStatus) {
        let mut status = None;
        until("its end", || {
            status = self.child.try_wait().expect("to wait");
            status.is_some()
        });
        (Instant::now(), status.expect("a status"))
    }

    /// What it said on standard error, to the end.
    fn said(&mut self) -> String {
        let _ = self.child.kill();
        let mut said = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("words");
        said
    }
}

async fn check(server: &Server) -> Result<(), Error> {
    let ring = keys().ring();
    let check = check_server(server, &ring, Duration::from_secs(60));
    tokio::time::timeout(Duration::from_secs(10), check).await.expect("an answer soon")
}

/// Runs one command; Redis may be away for a while.
async fn ask<T: redis::FromRedisValue>(link: &Link, words: &[&str]) -> Result<T, Error> {
    let mut pipe = Pipeline::new();
    pipe.cmd(words[0]).arg(&words[1..]);
    let (answer,) = link.call::<(T,)>(&pipe).await?;
    Ok(answer)
}

fn link(server: &Server) -> Link {
    Link::new(server, Duration::from_secs(60)).expect("a link")
}

/// The process of the Redis at the other end.
async fn pid(link: &Link) -> u32 {
    let info: String = ask(link, &["INFO", "server"]).await.expect("an answer");
    let line = info.lines().find_map(|line| line.strip_prefix("process_id:")).expect("a line");
    line.trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn client_and_worker_reach_it_wherever_they_find_it() {
    let network = Network::start();
    let port = network.port;
    for host in [HERE, "localhost"] {
        check(&network.server.client(host, port)).await.expect("a client is let in");
        check(&network.server.worker(host, port)).await.expect("a worker is let in");
    }
    let (client, worker) = (link(&network.client()), link(&network.worker()));
    let key = format!("{}x", keys().ring());
    ask::<()>(&client, &["SET", &key, "1"]).await.expect("to set");
    assert_eq!(ask::<String>(&worker, &["GET", &key]).await.expect("to get"), "1");
    let foreign = ask::<()>(&client, &["GET", "other"]).await.expect_err("another's key");
    assert_eq!(foreign.kind(), "credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_reaches_it() {
    let network = Network::start();
    let plain = Server { address: Address::Tcp(HERE.into(), network.port), ..network.client() };
    assert_eq!(check(&plain).await.expect_err("in the clear").kind(), "foreign");
    let nobody = Server { username: None, password: None, ..network.client() };
    assert_eq!(check(&nobody).await.expect_err("no password").kind(), "credentials");
    let other = Server { password: network.worker().password, ..network.client() };
    assert_eq!(check(&other).await.expect_err("a wrong password").kind(), "credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_the_one_is_refused_at_once() {
    let network = Network::start();
    let Address::Pinned(host, port, mine) = network.client().address else {
        panic!("not pinned");
    };
    let pinned = |change: &dyn Fn(&mut rustbatch_protocol::bootstrap::Authority)| {
        let mut authority = mine.clone();
        change(&mut authority);
        Server { address: Address::Pinned(host.clone(), port, authority), ..network.client() }
    };
    let twin = Network::start();
    let Address::Pinned(_, _, theirs) = twin.client().address else {
        panic!("not pinned");
    };
    assert_eq!(mine.name, theirs.name);
    let before = SystemTime::now() - 3 * DAY;
    let expired = Network::start_as(|plan| plan.from = before);
    let early = Network::start_as(|plan| plan.from = SystemTime::now() + DAY);
    let public = Server { address: Address::Tls(HERE.into(), port), ..network.client() };
    let authority = "comes from an authority that is not trusted";
    for (server, reason) in [
        (pinned(&|a| a.certificate = theirs.certificate.clone()), authority),
        (pinned(&|a| a.certificate = String::new()), authority),
        (pinned(&|a| a.name = "other.rustbatch.internal".into()), "is for another name"),
        (public, authority),
        (expired.client(), "has expired"),
        (early.client(), "is not valid yet"),
    ] {
        let place = server.address.to_string();
        let started = Instant::now();
        let mut errors = vec![check(&server).await.expect_err(reason)];
        errors.push(ask::<()>(&link(&server), &["PING"]).await.expect_err(reason));
        assert!(started.elapsed() < Duration::from_secs(5), "it was tried again");
        for error in errors {
            assert_eq!(error.kind(), "untrusted", "{error}");
            let text = error.to_string();
            assert!(text.contains(&place) && text.contains(reason), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_may_differ_by_less_than_an_hour_and_work_end_late() {
    let minute = Duration::from_secs(60);
    for from in [SystemTime::now() + 59 * minute, SystemTime::now() - 2 * DAY + minute] {
        let network = Network::start_as(|plan| plan.from = from);
        check(&network.client()).await.expect("a client is let in");
    }
}

/// What does not speak TLS at all is not waited for, either.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_the_clear_is_no_tls_server() {
    let network = Network::start();
    let listener = TcpListener::bind((HERE, 0)).expect("a port");
    let port = listener.local_addr().expect("one").port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"-ERR unknown command\r\n");
        }
    });
    let error = check(&network.server.client(HERE, port)).await.expect_err("no TLS");
    assert_eq!(error.kind(), "foreign", "{error}");
}

/// A `redis-server` that notes who may read what it is given, and its environment.
fn curious(folder: &Path) -> PathBuf {
    let path = folder.join("redis-server");
    let text = format!(
        "#!/bin/sh\ncd '{0}/redis' && stat -c '%a %n' . tls.* >'{0}/modes'\nexec redis-server \"$@\"\n",
        folder.display()
    );
    std::fs::write(&path, text).expect("to write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn its_secrets_are_seen_by_nobody() {
    let network = Network::start_as(|plan| {
        plan.executable = curious(plan.folder.parent().expect("a folder"));
    });
    let modes = std::fs::read_to_string(network.place.path().join("modes")).expect("the modes");
    assert_eq!(modes, "700 .\n600 tls.crt\n600 tls.key\n");
    assert_eq!(files(&network.folder()), ["redis.sock"], "the key stays on the disk");

    let line = network.server.line().expect("a line");
    let line: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let key = text(&line["listen"]["key"]);
    let mut secrets = vec![text(&line["watch"]), key.lines().nth(1).expect("a line").to_owned()];
    for server in [network.client(), network.worker()] {
        secrets.push(server.password.expect("one").expose().to_owned());
    }
    assert!(secrets.iter().all(|secret| secret.len() > 40), "{}", secrets.len());
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    assert_unseen(&secrets);
    for name in std::fs::read_dir(network.place.path()).expect("a folder").flatten() {
        let text = std::fs::read(name.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{:?}", name.path());
    }
}

fn files(folder: &Path) -> Vec<String> {
    let list = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut list: Vec<_> = list.map(|f| f.file_name().to_string_lossy().into_owned()).collect();
    list.sort();
    list
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_comes_back_where_it_was() {
    let mut network = Network::start();
    let link = link(&network.client());
    let redis = pid(&link).await;
    let key = keys().ring();
    ask::<()>(&link, &["SET", &key, "1"]).await.expect("to set");
    kill("-KILL", redis);
    // The link knows nothing of it.
    let left = ask::<Option<String>>(&link, &["GET", &key]).await.expect("an answer");
    assert_eq!((left, link.generation()), (None, 2));
    assert_ne!(pid(&link).await, redis);
    check(&network.worker()).await.expect("a worker is let in");
    until("the removal", || files(&network.folder()) == ["redis.sock"]);
    assert_eq!(network.child.try_wait().expect("to wait"), None);
    kill("-TERM", network.child.id());
    assert!(network.ended().1.success());
    assert!(!network.folder().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_nobody_uses_ends() {
    let started = Instant::now();
    let mut network = Network::start_as(|plan| plan.idle = Duration::from_secs(1));
    let redis = pid(&link(&network.client())).await;
    let (ended, status) = network.ended();
    assert!(status.success() && ended - started >= Duration::from_secs(1));
    assert!(!runs(redis) && !network.folder().exists());
    let said = network.said();
    assert!(said.contains("neither a client nor a worker has been alive for 1 s"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_somebody_uses_stays() {
    let id: WorkerId = "w".parse().expect("an id");
    let worker = (keys().alive(&id), Some(keys().workers()));
    let client = (keys().client(&"c".parse().expect("an id")), None);
    for (lease, set) in [worker, client] {
        let mut network = Network::start_as(|plan| plan.idle = Duration::from_secs(1));
        let link = link(&network.worker());
        if let Some(set) = set {
            ask::<()>(&link, &["SADD", &set, id.as_str()]).await.expect("to add");
        }
        let started = Instant::now();
        ask::<()>(&link, &["SET", &lease, "1", "PX", "2500"]).await.expect("to set");
        let (ended, status) = network.ended();
        // Seen for the last time up to a quarter of a second before its lease was over.
        assert!(status.success() && ended - started >= Duration::from_millis(3100), "{lease}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_life_is_over_ends() {
    let started = Instant::now();
    let mut network = Network::start_as(|plan| plan.life = Duration::from_secs(2));
    let seal = Seal::new(cluster(), ClusterKey::random().expect("a key")).expect("a seal");
    let _client = Client::connect(network.client(), seal).await.expect("a client");
    let (ended, status) = network.ended();
    assert!(status.success() && ended - started >= Duration::from_secs(2));
    assert!(network.said().contains("the server's life of 2 s is over"));
    assert!(!network.folder().exists());
}

/// With a life line it ends with its standard input, which the other tests have closed long ago.
#[tokio::test(flavor = "multi_thread")]
async fn a_life_line_ends_it_here_as_well() {
    let place = tempfile::tempdir().expect("a folder");
    let plan = Plan { lifeline: true, life: 2 * SOON, ..plan(place.path()) };
    let folder = plan.folder.clone();
    let line = NetworkServer::new(plan).expect("a server").line().expect("a line");
    let mut child =
        Command::new(supervisor()).arg("server").stdin(Stdio::piped()).spawn().expect("one");
    child.stdin.take().expect("a pipe").write_all(&line).expect("to write");
    until("its end", || child.try_wait().expect("to wait").is_some());
    assert!(!folder.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tasks_over_tls() {
    let network = Network::start();
    let key = ClusterKey::random().expect("a key");
    let seal = || Seal::new(cluster(), key.clone()).expect("a seal");
    let client = Client::connect(network.client(), seal()).await.expect("a client");
    let mut work = Loop::open(&client).await;
    let hand = || {
        let id = WorkerId::random().expect("an id");
        let queue = WorkerQueue::new(&network.worker(), seal(), id, 1).expect("a queue");
        Hand::start(Arc::new(queue), |_| Act::Answer)
    };
    let _hands = [hand(), hand()];
    (0..500).for_each(|i| work.push(i * 2 + 1, 2));
    let redis = pid(&link(&network.client())).await;
    tokio::time::timeout(SOON, work.collect(300)).await.expect("300 tasks");
    kill("-KILL", redis);
    tokio::time::timeout(2 * SOON, work.collect(1000)).await.expect("1,000 tasks");
    work.assert_came(1000, &[]);
}
