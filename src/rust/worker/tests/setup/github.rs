//! As much of GitHub as `remotes` asks for: a description, the newest commit, and the source.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::repository::{Package, archive};

/// It serves one repository until the test ends.
pub struct Server {
    pub url: String,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// `name` is the repository's: `user/repository`.
    pub fn new(name: &str, package: &Package<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("me-hub-0123456");
        package.write(&source);
        archive(folder.path(), "me-hub-0123456", &folder.path().join("source.tar.gz"));
        let packed =
            Command::new("base64").arg("--wrap=0").arg(source.join("DESCRIPTION")).output();
        let packed = String::from_utf8(packed.expect("base64").stdout).expect("text");
        let description = format!("{{\"content\": \"{packed}\"}}");
        let commit = format!("{{\"sha\": \"{}\"}}", "0123456789".repeat(4));
        let tarball = std::fs::read(folder.path().join("source.tar.gz")).expect("it");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(AtomicUsize::new(0));
        let (counter, base) = (Arc::clone(&asked), format!("/repos/{name}"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::Relaxed);
                let path = request(&stream);
                let rest = path.strip_prefix(&base).unwrap_or_default();
                let body = match rest.split(['?', '/']).nth(1) {
                    Some("tarball") => Some(tarball.clone()),
                    Some("contents") => Some(description.clone().into()),
                    Some("commits") => Some(commit.clone().into()),
                    _ => None,
                };
                answer(stream, body);
            }
        });
        Self { url, asked }
    }

    /// How often it was asked for something.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// The path that is asked for.
fn request(stream: &TcpStream) -> String {
    let head = BufReader::new(stream).lines().map_while(Result::ok);
    let lines: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    path.to_owned()
}

fn answer(mut stream: TcpStream, body: Option<Vec<u8>>) {
    let (status, body) = match body {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", b"{\"message\": \"Not Found\"}".to_vec()),
    };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}
