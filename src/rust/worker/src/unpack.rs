//! What the first container of a task on ECS does for the second: it brings the executable, and what
//! that is told, into a folder that both see.
//!
//! ECS hands a secret to a container in its environment alone, so it is in that of this process, which
//! ends at once, and never in that of R. The worker is named after its task, by which the provider
//! knows it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use zeroize::Zeroizing;

/// The environment variable with the bootstrap.
const BOOTSTRAP: &str = "RUSTBATCH_BOOTSTRAP";

/// That by which ECS says where a task learns of itself: an address, in the clear, on its own machine
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate.html>).
const METADATA: &str = "ECS_CONTAINER_METADATA_URI_V4";

/// How long that may take to answer, and how much it may say.
const ANSWER: Duration = Duration::from_secs(10);
const MOST: u64 = 1 << 20;

/// Where to.
#[derive(Args)]
pub struct Unpack {
    /// The folder
    folder: PathBuf,
}

impl Unpack {
    /// Writes `worker` and `bootstrap`. Blocks until it has.
    ///
    /// # Errors
    /// When there is no bootstrap, the task's name can't be learned, or a file can't be written.
    pub fn run(&self) -> io::Result<()> {
        let told = std::env::var(BOOTSTRAP).map(Zeroizing::new);
        let told = told.map_err(|_| io::Error::other(format!("{BOOTSTRAP} is not set")))?;
        let task = task()?;
        let told = named(&told, &task)?;
        let worker = self.folder.join("worker");
        std::fs::copy(std::env::current_exe()?, &worker).map_err(|e| at(&worker, &e))?;
        std::fs::set_permissions(&worker, std::fs::Permissions::from_mode(0o555))?;
        let path = self.folder.join("bootstrap");
        let open = |path: &Path| -> io::Result<File> {
            OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)
        };
        let mut file = open(&path).map_err(|e| at(&path, &e))?;
        file.write_all(&told).map_err(|e| at(&path, &e))
    }
}

/// The id of this task, as ECS tells it.
fn task() -> io::Result<String> {
    let uri = std::env::var(METADATA)
        .map_err(|_| io::Error::other(format!("{METADATA} is not set: this is no task of ECS")))?;
    let answer = get(&format!("{uri}/task"))?;
    let unreadable = || io::Error::other(format!("{uri} does not say which task this is"));
    let value: Value = serde_json::from_slice(&answer).map_err(|_| unreadable())?;
    let arn = value["TaskARN"].as_str().ok_or_else(unreadable)?;
    Ok(arn.rsplit('/').next().unwrap_or(arn).to_owned())
}

/// The body of a page, by HTTP 1.0, whose answers end with the connection.
fn get(uri: &str) -> io::Result<Vec<u8>> {
    let odd = || io::Error::other(format!("can't read {uri}"));
    let rest = uri.strip_prefix("http://").ok_or_else(odd)?;
    let (host, path) = rest.split_once('/').ok_or_else(odd)?;
    let place = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let address = place.to_socket_addrs()?.next().ok_or_else(odd)?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    let good = [&b"HTTP/1.0 200"[..], b"HTTP/1.1 200"].iter().any(|line| answer.starts_with(line));
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(odd)?;
    if good { Ok(answer.split_off(body + 4)) } else { Err(odd()) }
}

/// The bootstrap of a worker with this name in it; that of a server as it is.
fn named(told: &str, task: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    // The text is secret, so it is never quoted.
    let no = || io::Error::other(format!("{BOOTSTRAP} holds no bootstrap"));
    let mut value: Value = serde_json::from_str(told).map_err(|_| no())?;
    let fields = value.as_object_mut().ok_or_else(no)?;
    if let Some(worker) = fields.get_mut("worker") {
        *worker = Value::String(task.to_owned());
    }
    serde_json::to_vec(&value).map(Zeroizing::new).map_err(|_| no())
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What is read from somebody who answers so.
    fn answered(answer: &'static str) -> io::Result<Vec<u8>> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut asked = [0; 256];
            let n = stream.read(&mut asked).expect("a question");
            assert!(asked[..n].starts_with(b"GET /v4/abc/task HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).expect("to answer");
        });
        let body = get(&format!("http://{address}/v4/abc/task"));
        server.join().expect("an end");
        body
    }

    #[test]
    fn a_page_is_read_to_its_end_and_an_error_is_no_page() {
        let page = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"TaskARN\": 1}\r\n";
        assert_eq!(answered(page).expect("a page"), b"{\"TaskARN\": 1}\r\n");
        assert!(answered("HTTP/1.1 404 Not Found\r\n\r\n{}").is_err());
        assert!(answered("").is_err());
        assert!(get("https://h/x").is_err() && get("http://h").is_err());
    }

    #[test]
    fn a_worker_is_named_after_its_task_and_a_server_is_not() {
        let text =
            |told: &str| named(told, "t-1").map(|told| String::from_utf8_lossy(&told).into_owned());
        assert_eq!(
            text(r#"{"worker":"w","key":"k"}"#).expect("JSON"),
            r#"{"key":"k","worker":"t-1"}"#
        );
        assert_eq!(text(r#"{"watch":"k"}"#).expect("JSON"), r#"{"watch":"k"}"#);
        for bad in ["", "s3cret", "[1]"] {
            let error = text(bad).expect_err("no bootstrap").to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
