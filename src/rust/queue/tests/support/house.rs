//! A private redis-server on a Unix socket, with the users of queue.md, gone with the test.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use rustbatch_protocol::bootstrap::{Address, Server};
use rustbatch_protocol::{ClusterKey, JobId, Keys, Seal, Secret, WorkerId};
use rustbatch_queue::{Client, Timing, WorkerQueue};

/// What both users may do, as queue.md has it.
const BOTH: &str = "+ping +info +evalsha +eval +script|load +llen +lrange +lrem +lpos +lpush +rpush \
    +hget +hmget +hgetall +hset +hsetnx +hexists +hdel +hincrby +set +get +exists +expire +pexpire \
    +pttl +del +unlink +srem +smembers +xadd";

/// Times about a tenth of the real ones.
pub fn quick() -> Timing {
    Timing {
        beat: Duration::from_millis(400),
        lease: Duration::from_millis(1500),
        pause: Duration::from_millis(400),
        response: Duration::from_millis(900),
        patience: Duration::from_secs(8),
        forbearance: Duration::from_secs(30),
        stall: Duration::from_secs(8),
    }
}

pub struct House {
    folder: tempfile::TempDir,
    child: Child,
    extra: String,
    said: Arc<Mutex<VecDeque<String>>>,
    key: ClusterKey,
}

impl Drop for House {
    fn drop(&mut self) {
        self.kill();
    }
}

impl House {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With more lines of configuration.
    pub fn start_with(extra: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), extra)
    }

    /// A server that keeps what it knows in files below its folder, written every second.
    pub fn start_saved() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, "appendonly yes\nappendfsync everysec")
    }

    fn start_in(folder: tempfile::TempDir, extra: &str) -> Self {
        let said = Arc::default();
        let child = spawn(&folder.path().join("redis.sock"), extra, &said);
        let key = ClusterKey::random().unwrap();
        let extra = extra.to_owned();
        Self { folder, child, extra, said, key }
    }

    /// Another server of the same cluster, elsewhere.
    pub fn elsewhere(&self) -> Self {
        let mut other = Self::start();
        other.key = self.key.clone();
        other
    }

    /// The file that grows with every change, in a server that is saved.
    pub fn aof(&self) -> PathBuf {
        let files = std::fs::read_dir(self.folder.path().join("appendonlydir")).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        files.find(|path| path.to_string_lossy().ends_with(".incr.aof")).unwrap()
    }

    /// Starts the server again, with what it saved.
    pub fn revive(&mut self) {
        self.child = spawn(&self.socket(), &self.extra, &self.said);
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills the server (SIGKILL) and starts it again on the same socket, empty.
    pub fn restart_empty(&mut self) {
        self.kill();
        self.child = spawn(&self.socket(), &self.extra, &self.said);
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// The server as `user` reaches it: `client`, `worker` or `admin`.
    pub fn login(&self, user: &str) -> Server {
        Server {
            address: Address::Unix(self.socket()),
            username: Some(user.to_owned()),
            password: Some(Secret::new("pw")),
            database: 0,
        }
    }

    pub fn seal(&self) -> Seal {
        Seal::new("test".parse().unwrap(), self.key.clone()).unwrap()
    }

    pub fn keys(&self) -> Keys {
        Keys::new(self.seal().cluster())
    }

    pub async fn client(&self) -> Client {
        self.client_at(self.login("client")).await
    }

    pub async fn client_at(&self, server: Server) -> Client {
        Client::connect(server, self.seal()).await.unwrap()
    }

    /// A client whose times are short.
    pub async fn quick_client(&self) -> Client {
        self.client_with(self.login("client"), quick()).await
    }

    pub async fn client_with(&self, server: Server, timing: Timing) -> Client {
        Client::connect_with(server, self.seal(), timing).await.unwrap()
    }

    /// A worker whose times are short.
    pub fn quick_worker(&self) -> Arc<WorkerQueue> {
        self.worker_with(&self.login("worker"), quick())
    }

    pub fn worker_with(&self, server: &Server, timing: Timing) -> Arc<WorkerQueue> {
        let id = WorkerId::random().unwrap();
        Arc::new(WorkerQueue::with_timing(server, self.seal(), id, 1, timing).unwrap())
    }

    /// A new worker's end of the queue.
    pub fn worker(&self) -> Arc<WorkerQueue> {
        self.worker_at(&self.login("worker"))
    }

    pub fn worker_at(&self, server: &Server) -> Arc<WorkerQueue> {
        let id = WorkerId::random().unwrap();
        Arc::new(WorkerQueue::new(server, self.seal(), id, 1).unwrap())
    }

    /// A connection that may do everything.
    pub async fn admin(&self) -> MultiplexedConnection {
        let url = format!("redis+unix://{}?user=admin&pass=pw", self.socket().display());
        let client = redis::Client::open(url).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// The answer to one command of an administrator.
    pub async fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut ask = redis::cmd(command[0]);
        ask.arg(&command[1..]);
        ask.query_async(&mut self.admin().await).await.unwrap()
    }

    /// The names of all keys.
    pub async fn all_keys(&self) -> Vec<String> {
        self.ask(&["KEYS", "*"]).await
    }

    /// A number from `INFO`.
    pub async fn info(&self, field: &str) -> u64 {
        let info: String = self.ask(&["INFO"]).await;
        let line = info.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap().trim().parse().unwrap()
    }

    /// How often `job` counted `what` (`duplicates`, `rejected`).
    pub async fn count(&self, job: &JobId, what: &str) -> u64 {
        let count: Option<u64> = self.ask(&["HGET", &self.keys().job(job), what]).await;
        count.unwrap_or(0)
    }

    /// Every key goes by itself when nobody touches it.
    pub async fn assert_all_expire(&self, when: &str) {
        for key in self.all_keys().await {
            let ttl: i64 = self.ask(&["PTTL", &key]).await;
            // -2: it has gone since.
            assert!(ttl > 0 || ttl == -2, "{when}: {key} has no time to live");
        }
    }

    /// Nothing of the job is left but its last event, for a moment, and whatever is left of others
    /// will go by itself.
    pub async fn assert_clean(&self, job: &JobId) {
        let events = self.keys().events(job);
        for key in self.all_keys().await {
            assert!(key == events || !key.contains(job.as_str()), "{key} is left of the job");
        }
        let ttl: i64 = self.ask(&["PTTL", &events]).await;
        assert!(ttl == -2 || (1..=5000).contains(&ttl), "the last event stays for {ttl} ms");
        let left: usize = self.ask(&["XLEN", &events]).await;
        assert!(left <= 1, "{left} events are left of the job");
        self.assert_all_expire("at the end").await;
    }

    /// The future's output, or a panic with all that Redis knows: no test waits for ever.
    pub async fn within<T>(&self, seconds: u64, what: &str, future: impl Future<Output = T>) -> T {
        match tokio::time::timeout(Duration::from_secs(seconds), future).await {
            Ok(value) => value,
            Err(_) => panic!("{what}: not within {seconds} s\n{}", self.dump().await),
        }
    }

    async fn dump(&self) -> String {
        let mut text = String::new();
        for line in self.said.lock().unwrap().iter() {
            let _ = writeln!(text, "{line}");
        }
        let dump = async {
            let mut text = String::new();
            for key in self.all_keys().await {
                let kind: String = self.ask(&["TYPE", &key]).await;
                let content: redis::Value = match kind.as_str() {
                    "hash" => self.ask(&["HKEYS", &key]).await,
                    "list" => self.ask(&["LRANGE", &key, "0", "20"]).await,
                    "stream" => self.ask(&["XLEN", &key]).await,
                    "set" => self.ask(&["SMEMBERS", &key]).await,
                    _ => self.ask(&["GET", &key]).await,
                };
                let content: String = format!("{content:?}").chars().take(2000).collect();
                let _ = writeln!(text, "{key}: {content}");
            }
            text
        };
        let known = tokio::time::timeout(Duration::from_secs(5), dump).await;
        text + &known.unwrap_or_else(|_| "Redis does not answer".to_owned())
    }
}

fn spawn(socket: &std::path::Path, extra: &str, said: &Arc<Mutex<VecDeque<String>>>) -> Child {
    let default = if extra.contains("user default") { "" } else { "user default off" };
    let configuration = format!(
        "port 0\ndir {}\nunixsocket {}\nunixsocketperm 700\nsave \"\"\nappendonly no\n\
         {default}\n\
         user admin on >pw ~* &* +@all\n\
         user client on >pw ~rb:{{test}}:* -@all {BOTH} +xread +xtrim +xrange\n\
         user worker on >pw ~rb:{{test}}:* -@all {BOTH} +lmove +lindex +blpop +sadd\n{extra}\n",
        socket.parent().unwrap().display(),
        socket.display(),
    );
    let mut child = Command::new("redis-server")
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(configuration.as_bytes()).unwrap();
    drop(stdin);
    let output = BufReader::new(child.stdout.take().unwrap());
    let (ready, waiting) = mpsc::channel();
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if line.contains("eady to accept connections") {
                let _ = ready.send(());
            }
            let mut said = said.lock().unwrap();
            said.push_back(line);
            while said.len() > 30 {
                said.pop_front();
            }
        }
    });
    waiting.recv_timeout(Duration::from_secs(15)).expect("redis-server starts");
    child
}
