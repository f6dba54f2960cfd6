//! The supervisor of a private server, spoken to directly: how both end.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustbatch_protocol::Secret;
use rustbatch_protocol::bootstrap::{Address, Server, ServerBootstrap};

use super::support::{kill, runs, supervisor, until};
use super::{connect, pid};

/// A supervisor that is spoken to directly.
struct Supervised {
    child: Child,
    bootstrap: ServerBootstrap,
    server: Server,
}

impl Supervised {
    fn start(more: &str) -> Self {
        let private = std::fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().permissions(private).tempdir().expect("a folder");
        Self::start_in(folder.keep(), more)
    }

    fn start_in(folder: PathBuf, more: &str) -> Self {
        let socket = folder.join("redis.sock");
        let configuration =
            format!("save \"\"\nuser default off\nuser client on >pass -@all +info\n{more}\n",);
        let bootstrap = ServerBootstrap {
            cluster: "test".parse().expect("an id"),
            executable: "redis-server".into(),
            folder,
            listen: None,
            configuration: Secret::new(configuration),
            watch: Secret::new("none"),
            lifeline: true,
            idle_seconds: None,
            life_seconds: None,
        };
        let mut child = Command::new(supervisor())
            .arg("server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a supervisor");
        let line = serde_json::to_string(&bootstrap).expect("JSON");
        writeln!(child.stdin.as_mut().expect("a pipe"), "{line}").expect("to write");
        let server = Server {
            address: Address::Unix(socket),
            username: Some("client".into()),
            password: Some(Secret::new("pass")),
            database: 0,
        };
        Self { child, bootstrap, server }
    }

    fn ready() -> (Self, u32) {
        let mut this = Self::start("");
        let mut line = String::new();
        let out = this.child.stdout.as_mut().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        let pid = pid(&this.server);
        (this, pid)
    }

    fn ended(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        until("its end", || {
            status = self.child.try_wait().expect("to wait");
            status.is_some()
        });
        status.expect("a status")
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.bootstrap.folder);
    }
}

#[test]
fn the_server_ends_with_the_standard_input_of_its_supervisor() {
    let (mut supervised, redis) = Supervised::ready();
    drop(supervised.child.stdin.take());
    assert!(supervised.ended().success());
    assert!(!runs(redis));
    assert!(!supervised.bootstrap.folder.exists());
}

#[test]
fn the_server_ends_when_its_supervisor_is_killed() {
    let (supervised, redis) = Supervised::ready();
    kill("-KILL", supervised.child.id());
    until("the end of Redis", || !runs(redis));
}

#[test]
fn a_supervisor_ends_on_sigterm_and_not_on_sigint() {
    let (mut supervised, redis) = Supervised::ready();
    kill("-INT", supervised.child.id());
    assert_eq!(pid(&supervised.server), redis);
    assert!(supervised.child.try_wait().expect("to wait").is_none());
    kill("-TERM", supervised.child.id());
    assert!(supervised.ended().success());
    assert!(!runs(redis));
    assert!(!supervised.bootstrap.folder.exists());
}

#[test]
fn a_supervisor_says_why_there_is_no_server() {
    let mut supervised = Supervised::start("nonsense yes");
    assert!(!supervised.ended().success());
    let mut said = String::new();
    supervised.child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("words");
    assert!(
        said.contains("nonsense yes") && said.contains("did not start: exit status: 1"),
        "{said}"
    );
    assert!(!supervised.bootstrap.folder.exists());
}

#[test]
fn a_server_that_dies_is_started_again_five_times_a_minute() {
    let (mut supervised, mut redis) = Supervised::ready();
    for _ in 0..5 {
        kill("-KILL", redis);
        let before = redis;
        until("another Redis", || {
            redis = connect(&supervised.server).ok().map_or(before, |_| pid(&supervised.server));
            redis != before
        });
    }
    kill("-KILL", redis);
    assert!(!supervised.ended().success());
    let mut said = String::new();
    supervised.child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("words");
    assert_eq!(said.matches("Redis ended: signal: 9 (SIGKILL); it is started again").count(), 5);
    assert!(
        said.contains("Redis ended: signal: 9 (SIGKILL), as 5 times within the minute"),
        "{said}"
    );
    assert!(!supervised.bootstrap.folder.exists());
    let mut out = String::new();
    supervised.child.stdout.take().expect("a pipe").read_to_string(&mut out).expect("words");
    assert_eq!(out, "", "it was ready once");
}

#[test]
fn a_folder_that_others_may_enter_is_refused_and_left_alone() {
    let place = tempfile::tempdir().expect("a folder");
    std::fs::write(place.path().join("mine"), "").expect("to write");
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let mut supervised = Supervised::start_in(place.path().to_owned(), "");
    assert!(!supervised.ended().success());
    let mut said = String::new();
    supervised.child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("words");
    assert!(said.contains("others may enter `"), "{said}");
    assert!(place.path().join("mine").exists());
}
