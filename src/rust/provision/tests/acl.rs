//! The three users of a private Redis, against a real server: what each may do, and nothing else.

#![allow(clippy::expect_used)]

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Client, Connection, RedisConnectionInfo};
use rustbatch_protocol::Secret;
use rustbatch_provision::acl::User;

struct Redis {
    child: Child,
    folder: tempfile::TempDir,
    passwords: [Secret; 3],
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let passwords = [(); 3].map(|()| Secret::random().expect("random bytes"));
        let cluster = "test".parse().expect("an id");
        let mut child = Command::new("redis-server")
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server");
        let mut stdin = child.stdin.take().expect("a pipe");
        writeln!(
            stdin,
            "port 0\nunixsocket {}\nsave \"\"\ndatabases 1\nuser default off\n{}\n{}\n{}",
            socket(folder.path()),
            User::Client.line(&cluster, &passwords[0]),
            User::Worker.line(&cluster, &passwords[1]),
            User::Watch.line(&cluster, &passwords[2]),
        )
        .expect("to write");
        Self { child, folder, passwords }
    }

    fn open(&self, user: &str, password: &str) -> redis::RedisResult<Connection> {
        let login = RedisConnectionInfo::default().set_username(user).set_password(password);
        let info: redis::ConnectionInfo = redis::IntoConnectionInfo::into_connection_info(
            format!("redis+unix://{}", socket(self.folder.path())),
        )?;
        let client = Client::open(info.set_redis_settings(login))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match client.get_connection() {
                Err(error) if error.is_io_error() && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                answer => return answer,
            }
        }
    }

    fn login(&self, user: User) -> Connection {
        self.open(user.name(), self.passwords[user as usize].expose()).expect("a connection")
    }
}

fn socket(folder: &Path) -> String {
    folder.join("redis.sock").display().to_string()
}

fn is_refusal(error: &str) -> bool {
    let error = error.to_lowercase();
    ["perm", "acl", "not allowed", "can't access", "can't run"]
        .iter()
        .any(|part| error.contains(part))
}

/// Runs a command of words parted by blanks; `None` when it is allowed, whatever it answers.
fn refusal(connection: &mut Connection, command: &str) -> Option<String> {
    let words: Vec<&str> = command.split(' ').collect();
    let mut query = redis::cmd(words[0]);
    query.arg(&words[1..]);
    let error = query.query::<redis::Value>(connection).err()?.to_string();
    is_refusal(&error).then_some(error)
}

const BOTH: [&str; 33] = [
    "PING",
    "INFO server",
    "EVAL return 1 rb:{test}:ring",
    "SCRIPT LOAD return",
    "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 rb:{test}:ring",
    "DEL rb:{test}:l rb:{test}:h rb:{test}:s",
    "UNLINK rb:{test}:k rb:{test}:x",
    "RPUSH rb:{test}:l a",
    "LPUSH rb:{test}:l a",
    "LLEN rb:{test}:l",
    "LRANGE rb:{test}:l 0 -1",
    "LREM rb:{test}:l 1 a",
    "LPOS rb:{test}:l a",
    "HSET rb:{test}:h f v",
    "HSETNX rb:{test}:h f v",
    "HGET rb:{test}:h f",
    "HMGET rb:{test}:h f",
    "HGETALL rb:{test}:h",
    "HEXISTS rb:{test}:h f",
    "HDEL rb:{test}:h f",
    "HINCRBY rb:{test}:h n 1",
    "SET rb:{test}:k v",
    "GET rb:{test}:k",
    "EXISTS rb:{test}:k",
    "EXPIRE rb:{test}:k 10",
    "PEXPIRE rb:{test}:k 10000",
    "PTTL rb:{test}:k",
    "SREM rb:{test}:s a",
    "SMEMBERS rb:{test}:s",
    "XADD rb:{test}:x * f v",
    "AUTH nobody nothing",
    "HELLO 2",
    "HELLO 3",
];

const CLIENT: [&str; 3] =
    ["XREAD STREAMS rb:{test}:x 0", "XTRIM rb:{test}:x MINID 0", "XRANGE rb:{test}:x - +"];

const WORKER: [&str; 4] = [
    "SADD rb:{test}:s a",
    "LINDEX rb:{test}:l 0",
    "LMOVE rb:{test}:l rb:{test}:m LEFT RIGHT",
    "BLPOP rb:{test}:m 1",
];

const NOBODY: [&str; 21] = [
    "GET other",
    "GET rb:{tess}:k",
    "SET rb:{test:k v",
    "DEL rb:{test}:k other",
    "EVAL return 1 other",
    "KEYS *",
    "SCAN 0",
    "FLUSHALL",
    "FLUSHDB",
    "CONFIG GET *",
    "ACL WHOAMI",
    "CLIENT LIST",
    "SCRIPT FLUSH",
    "DEBUG SLEEP 0",
    "SHUTDOWN NOSAVE",
    "PUBLISH a b",
    "SUBSCRIBE a",
    "MONITOR",
    "SELECT 0",
    "COMMAND",
    "EVAL_RO return 1 rb:{test}:ring",
];

fn check(connection: &mut Connection, allowed: &[&str], refused: &[&str]) {
    for command in allowed {
        let answer = refusal(connection, command);
        assert_eq!(answer, None, "{command} was refused");
    }
    for command in refused {
        assert!(refusal(connection, command).is_some(), "{command} was allowed");
    }
}

#[test]
fn each_user_may_do_what_the_queue_does_and_nothing_else() {
    let redis = Redis::start();
    let mut client = redis.login(User::Client);
    check(&mut client, &[&BOTH[..], &CLIENT].concat(), &[&NOBODY[..], &WORKER].concat());
    let mut worker = redis.login(User::Worker);
    check(&mut worker, &[&BOTH[..], &WORKER].concat(), &[&NOBODY[..], &CLIENT].concat());
}

#[test]
fn who_watches_only_looks() {
    let redis = Redis::start();
    let mut watch = redis.login(User::Watch);
    let looks = ["SMEMBERS rb:{test}:s", "EXISTS rb:{test}:k", "SCAN 0 MATCH rb:{test}:client:*"];
    let session = |c: &&&str| c.starts_with("AUTH") || c.starts_with("HELLO");
    let refused =
        BOTH.iter().filter(|c| !session(c) && !looks.contains(*c) && !c.starts_with("EXISTS"));
    let refused: Vec<&str> = refused
        .chain(&CLIENT)
        .chain(&WORKER)
        .chain(&NOBODY)
        .copied()
        .filter(|c| *c != "SCAN 0")
        .collect();
    check(&mut watch, &looks, &[&refused[..], &["EXISTS other", "SMEMBERS other"]].concat());
}

#[test]
fn a_script_is_confined_like_its_user() {
    let redis = Redis::start();
    let mut client = redis.login(User::Client);
    let mut run = |script: &str| {
        redis::cmd("EVAL")
            .arg(script)
            .arg(1)
            .arg("rb:{test}:ring")
            .query::<redis::Value>(&mut client)
    };
    run("return redis.call('SET', KEYS[1] .. ':x', 'v')").expect("a key of the cluster");
    for script in [
        "return redis.call('GET', 'other')",
        "return redis.call('LINDEX', KEYS[1], 0)",
        "return redis.call('KEYS', '*')",
        "return redis.call('CONFIG', 'GET', '*')",
    ] {
        let error = run(script).expect_err(script).to_string();
        assert!(is_refusal(&error), "{error}");
    }
}

#[test]
fn nobody_else_is_let_in() {
    let redis = Redis::start();
    let password = redis.passwords[0].expose();
    for (user, password) in
        [("client", "x"), ("default", ""), ("default", password), ("worker", password)]
    {
        let error = redis.open(user, password).err().expect(user).to_string();
        assert!(error.to_lowercase().contains("auth"), "{error}");
    }
}
