//! A proxy between us and Redis that loses answers or carries them slowly.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustbatch_protocol::bootstrap::{Address, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

/// A proxy on a Unix socket of its own. Dropping it ends it.
pub struct Proxy {
    folder: tempfile::TempDir,
    orders: Arc<Orders>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Orders {
    /// The next so many answers are lost, and their connections with them.
    lose: AtomicU64,
    /// Bytes a second of one connection's answers; 0 for as fast as they come.
    rate: AtomicU64,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub fn start(to: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("proxy.sock")).unwrap();
        let orders = Arc::new(Orders::default());
        let kept = Arc::clone(&orders);
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = UnixStream::connect(&to).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) =
                    (near.into_split(), far.into_split());
                let down = tokio::spawn(answers(far_in, near_out, Arc::clone(&orders)));
                tokio::spawn(questions(near_in, far_out, down.abort_handle()));
            }
        });
        Self { folder, orders: kept, task }
    }

    /// `server`, reached through this proxy.
    pub fn before(&self, server: Server) -> Server {
        let address = Address::Unix(self.folder.path().join("proxy.sock"));
        Server { address, ..server }
    }

    pub fn lose(&self, answers: u64) {
        self.orders.lose.store(answers, Ordering::SeqCst);
    }

    /// Whether all answers that were to be lost are.
    pub fn lost(&self) -> bool {
        self.orders.lose.load(Ordering::SeqCst) == 0
    }

    pub fn slow_down(&self, bytes_a_second: u64) {
        self.orders.rate.store(bytes_a_second, Ordering::SeqCst);
    }
}

async fn questions(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    answers: tokio::task::AbortHandle,
) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
    answers.abort();
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, orders: Arc<Orders>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let less = |left: u64| left.checked_sub(1);
        if orders.lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            return;
        }
        let rate = orders.rate.load(Ordering::SeqCst);
        if rate > 0 {
            let seconds = n as f64 / rate as f64;
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
