//! A local cluster's processes, against real ones: what is started, who can see it, and how it ends.
//!
//! The executable `rustbatch-worker` is looked for where cargo puts it, or where the environment
//! variable `RUSTBATCH_WORKER` says. Its part as the worker is played by a shell script.

#![allow(clippy::expect_used)]

#[path = "../support/joined.rs"]
mod joined;
mod supervised;
#[path = "../support/mod.rs"]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use joined::Queue;
use redis::{Client, Connection, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use rustbatch_protocol::Secret;
use rustbatch_protocol::bootstrap::{Address, Server, ServerBootstrap};
use rustbatch_provision::lifecycle::{self, Access, Progress, Standing, Up};
use rustbatch_provision::provider::{Provider, State};
use rustbatch_provision::{Error, Local, Programs, Spec, providers};
use support::{SOON, assert_unseen, kill, runs, supervisor, until};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// A `rustbatch-worker` that does `script` in place of work.
fn programs(folder: &Path, script: &str) -> Programs {
    let worker = folder.join("worker");
    let text = format!(
        "#!/bin/sh\nif [ $1 = server ]; then exec '{}' server; fi\n{script}\n",
        supervisor().display()
    );
    std::fs::write(&worker, text).expect("to write");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&worker, mode).expect("to change the mode");
    Programs { worker, r: "/usr/bin/R".into(), r_version: "4.4.1".into() }
}

/// A local cluster.
struct Running {
    local: Arc<Local>,
    up: Up<Local, Queue<Local>>,
    access: Access,
}

impl Running {
    async fn start(text: &str, programs: &Programs) -> Result<Self, Error> {
        let spec = spec(text);
        let local = Arc::new(Local::new(&programs.worker, spec.redis.is_none()));
        let (wish, policy) = providers::wish(&spec, programs);
        let door = Queue { of: Arc::clone(&local), joins: true };
        let provider = Arc::clone(&local);
        let up = lifecycle::start(provider, door, wish, policy, Progress::default()).await?;
        let access = up.access();
        Ok(Self { local, up, access })
    }

    /// How a process of it ended.
    fn died(&self) -> Option<String> {
        let listed = self.local.instances(&self.access.cluster);
        let listed = tokio::task::block_in_place(|| Handle::current().block_on(listed));
        listed.expect("a list").into_iter().find_map(|instance| match instance.state {
            State::Stopped { why } => Some(why),
            _ => None,
        })
    }
}

fn spec(text: &str) -> Spec {
    Spec::from_json(text, "makeCluster()").expect("a spec")
}

fn socket(server: &Server) -> &Path {
    match &server.address {
        Address::Unix(path) => path,
        other => panic!("not a socket: {other}"),
    }
}

fn connect(server: &Server) -> redis::RedisResult<Connection> {
    let url = format!("redis+unix://{}", socket(server).display());
    let info: ConnectionInfo = url.into_connection_info()?;
    let login = RedisConnectionInfo::default()
        .set_username(server.username.as_deref().expect("a user"))
        .set_password(server.password.as_ref().expect("a password").expose());
    Client::open(info.set_redis_settings(login))?.get_connection()
}

/// The process of a server, as soon as it can be reached.
fn pid(server: &Server) -> u32 {
    until("the server", || connect(server).is_ok());
    let mut connection = connect(server).expect("a connection");
    let info: redis::InfoDict =
        redis::cmd("INFO").arg("server").query(&mut connection).expect("info");
    info.get("process_id").expect("its process")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_comes_and_goes() {
    let place = tempfile::tempdir().expect("a folder");
    let programs = programs(place.path(), "read x; echo \"$x\" > $0.told; cat > /dev/null");
    let text = r#"{"workers": 3, "slots": 2, "name": "mine"}"#;
    let running = Running::start(text, &programs).await.expect("a cluster");
    let access = running.access.clone();
    assert!(access.cluster.as_str().starts_with("mine-"));
    let mode = |path: &Path| path.metadata().expect("a file").permissions().mode() & 0o777;
    let socket = socket(&access.server).to_owned();
    let folder = socket.parent().expect("a folder").to_owned();
    let redis = pid(&access.server);
    assert_eq!((mode(&folder), mode(&socket)), (0o700, 0o600));

    assert_eq!(running.died(), None);
    let told = programs.worker.with_extension("told");
    until("the bootstrap", || std::fs::read_to_string(&told).is_ok_and(|t| t.ends_with('\n')));
    let told = std::fs::read_to_string(&told).expect("a line");
    let told: rustbatch_protocol::bootstrap::WorkerBootstrap =
        serde_json::from_str(&told).expect("a bootstrap");
    assert_eq!((told.slots, told.lifeline, &told.cluster), (6, true, &access.cluster));
    assert_eq!((told.idle_seconds, told.life_seconds), (None, None));
    assert_eq!(told.key.expose(), access.key.to_hex().expose());
    assert_eq!(told.server.username.as_deref(), Some("worker"));
    connect(&told.server).expect("the worker to be let in");

    let secrets =
        [told.key, told.server.password.expect("one"), access.server.password.expect("one")];
    assert_unseen(&secrets.each_ref().map(Secret::expose));

    let started = Instant::now();
    let report = running.up.stop().await.expect("an end");
    assert_eq!((report.removed.len(), report.left.len()), (3, 0), "{report:?}");
    assert!(started.elapsed() < SOON);
    assert!(!runs(redis) && !folder.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_at_once_is_quoted_and_the_rest_taken_down_by_a_drop() {
    let place = tempfile::tempdir().expect("a folder");
    let script =
        "read x; while [ ! -f $0.end ]; do sleep 0.01; done; echo 'R is not there' >&2; exit 7";
    let programs = programs(place.path(), script);
    let running = Running::start(r#"{"workers": 1}"#, &programs).await.expect("a cluster");
    let server = running.access.server.clone();
    let redis = pid(&server);
    std::fs::write(programs.worker.with_extension("end"), "").expect("to write");
    until("its end", || running.died().is_some());
    let words = running.died().expect("words");
    assert_eq!(words, "the worker ended: exit status: 7\n  R is not there");
    drop(running);
    until("the end of Redis", || !runs(redis));
    until("the end of the folder", || !socket(&server).parent().expect("a folder").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_never_works_is_quoted() {
    let place = tempfile::tempdir().expect("a folder");
    let programs = programs(place.path(), "read x; echo 'R is not there' >&2; exit 7");
    let local = Arc::new(Local::new(&programs.worker, true));
    let (wish, policy) = providers::wish(&spec("{}"), &programs);
    let provider = Arc::clone(&local);
    let door = Queue { of: Arc::clone(&local), joins: false };
    let error = lifecycle::start(provider, door, wish, policy, Progress::default()).await;
    let error = error.err().expect("no worker");
    let text = "The cluster did not start: the worker ended: exit status: 7\n  R is not there";
    assert_eq!((error.kind(), error.to_string().as_str()), ("provision", text));
    assert_eq!(local.find().await.expect("records"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_that_fails_takes_the_server_down() {
    let place = tempfile::tempdir().expect("a folder");
    let mut programs = programs(place.path(), "");
    // It starts a server, and nothing more.
    let once = place.path().join("once");
    let told = place.path().join("told");
    let text = format!(
        "#!/bin/sh\nrm $0; read -r x; printf '%s\\n' \"$x\" > '{told}'\n\
         (printf '%s\\n' \"$x\"; exec cat) | '{worker}' server\n",
        told = told.display(),
        worker = programs.worker.display()
    );
    std::fs::write(&once, text).expect("to write");
    std::fs::set_permissions(&once, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    programs.worker = once;
    let error = Running::start("{}", &programs).await.err().expect("no worker");
    assert_eq!(error.kind(), "provision");
    assert!(error.to_string().starts_with("Can't start the worker: can't run `"), "{error}");
    let told = std::fs::read_to_string(&told).expect("a line");
    let told: ServerBootstrap = serde_json::from_str(&told).expect("a bootstrap");
    assert!(told.lifeline && !told.folder.exists(), "{}", told.folder.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_end_of_the_supervisor_is_the_end_of_the_server() {
    let place = tempfile::tempdir().expect("a folder");
    let programs = programs(place.path(), "read x; cat > /dev/null");
    let running = Running::start("{}", &programs).await.expect("a cluster");
    let server = running.access.server.clone();
    let redis = pid(&server);
    kill("-KILL", redis);
    until("another Redis", || connect(&server).is_ok());
    assert_ne!(pid(&server), redis);
    assert_eq!(running.died(), None);
    kill("-KILL", parent(pid(&server)));
    until("the notice", || running.died().is_some());
    let words = running.died().expect("words");
    assert!(words.starts_with("the private Redis ended: signal: 9 (SIGKILL)\n"), "{words}");
    assert!(words.contains("Redis ended: signal: 9 (SIGKILL); it is started again"), "{words}");
    running.up.stop().await.expect("an end");
}

fn parent(pid: u32) -> u32 {
    let list = Command::new("ps").args(["-o", "ppid=", "-p", &pid.to_string()]).output();
    String::from_utf8_lossy(&list.expect("ps").stdout).trim().parse().expect("a number")
}

/// The second supervisor is the new cluster's: other users at another address, and workers that know it.
#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_is_killed_is_replaced() {
    let place = tempfile::tempdir().expect("a folder");
    let programs = programs(place.path(), "read x; echo \"$x\" >> $0.told; cat > /dev/null");
    let running = Running::start("{}", &programs).await.expect("a cluster");
    let mut accesses = running.up.accesses();
    running.up.keep();
    let old = running.access.server.clone();
    kill("-KILL", parent(pid(&old)));
    let other = accesses.wait_for(|now| now.server.address != old.address);
    let other = timeout(SOON, other).await.expect("in time").expect("another").server.clone();
    assert_ne!(
        other.password.as_ref().map(Secret::expose),
        old.password.as_ref().map(Secret::expose)
    );
    until("its end", || !socket(&old).parent().expect("a folder").exists());
    let redis = pid(&other);
    let told = programs.worker.with_extension("told");
    let lines = || std::fs::read_to_string(&told).unwrap_or_default();
    until("another worker", || lines().matches('\n').count() == 2);
    let last: rustbatch_protocol::bootstrap::WorkerBootstrap =
        serde_json::from_str(lines().lines().last().expect("a line")).expect("a bootstrap");
    assert_eq!(last.server.address, other.address);
    until("no death", || running.died().is_none());
    assert_eq!(running.up.access().standing, Standing::Up);
    running.up.stop().await.expect("an end");
    assert!(!runs(redis) && !socket(&other).parent().expect("a folder").exists());
}

/// What dies is replaced at once, not at the next look, until that is too often.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_is_replaced_at_once_and_five_times_a_minute() {
    let place = tempfile::tempdir().expect("a folder");
    let script = "read x; echo $$ >> $0.told; exec cat > /dev/null";
    let programs = programs(place.path(), script);
    let running = Running::start("{}", &programs).await.expect("a cluster");
    let mut accesses = running.up.accesses();
    running.up.keep();
    let told = programs.worker.with_extension("told");
    let pids = || {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|pid| pid.parse::<u32>().expect("a number")).collect::<Vec<_>>()
    };
    for round in 1..=6 {
        until("a start", || pids().len() == round);
        assert_eq!(running.up.access().standing, Standing::Up);
        let killed = Instant::now();
        kill("-KILL", pids()[round - 1]);
        if round == 1 {
            until("another", || pids().len() == 2);
            assert!(killed.elapsed().as_secs() < 2, "{:?}", killed.elapsed());
        }
    }
    let lost = accesses.wait_for(|now| now.standing != Standing::Up);
    let lost = timeout(SOON, lost).await.expect("in time").expect("a word").standing.clone();
    let words =
        "the worker ended: signal: 9 (SIGKILL)\n* It had been started again 5 times within 60 s.";
    assert_eq!(lost, Standing::Lost(words.into()));
    assert_eq!(pids().len(), 6);
    running.up.stop().await.expect("an end");
    assert!(pids().into_iter().all(|pid| !runs(pid)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_of_ones_own_is_taken_as_it_is() {
    let place = tempfile::tempdir().expect("a folder");
    let mine = r#"{"redis": "redis://u:p@127.0.0.1:1/3", "workers": 2}"#;
    let programs = programs(place.path(), "read x; cat > /dev/null");
    let running = Running::start(mine, &programs).await.expect("a cluster");
    let server = &running.access.server;
    assert_eq!(server.address, Address::Tcp("127.0.0.1".into(), 1));
    assert_eq!((server.username.as_deref(), server.database), (Some("u"), 3));
    let report = running.up.stop().await.expect("an end");
    assert_eq!(report.removed.len(), 1, "only the worker: {report:?}");
    let programs =
        Programs { worker: "/no/such".into(), r: "/no/such".into(), r_version: "4".into() };
    let error = Running::start(mine, &programs).await.err().expect("no worker");
    assert_eq!(error.kind(), "provision");
}
