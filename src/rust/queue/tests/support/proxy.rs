//! A proxy between us and Redis that spoils connections: it loses, delays, slows, cuts, swallows,
//! splits and turns bits over.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustbatch_protocol::bootstrap::{Address, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

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
    /// Bytes a second of one connection, each way; 0 for as fast as they come.
    rate: AtomicU64,
    /// The same for what is sent to Redis alone.
    up: AtomicU64,
    /// Microseconds that every piece is late, and as much again at random.
    delay: AtomicU64,
    /// After so many bytes a connection is cut; 0 for never.
    cut: AtomicU64,
    /// What arrives is swallowed, and nobody is told.
    swallow: AtomicBool,
    /// Every byte is written by itself.
    split: AtomicBool,
    /// The next so many answers have a bit turned over.
    flip: AtomicU64,
    /// Grows when all connections are to be cut.
    epoch: watch::Sender<u64>,
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
                let (to, orders) = (to.clone(), Arc::clone(&orders));
                tokio::spawn(async move {
                    // A server that is away refuses.
                    if let Ok(far) = UnixStream::connect(&to).await {
                        connection(near, far, &orders).await;
                    }
                });
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

    pub fn slow_up(&self, bytes_a_second: u64) {
        self.orders.up.store(bytes_a_second, Ordering::SeqCst);
    }

    pub fn delay(&self, time: Duration) {
        self.orders.delay.store(time.as_micros() as u64, Ordering::SeqCst);
    }

    pub fn cut_after(&self, bytes: u64) {
        self.orders.cut.store(bytes, Ordering::SeqCst);
    }

    /// Cuts every connection that there is.
    pub fn cut_all(&self) {
        self.orders.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// Half-open: whatever arrives is gone, on old and new connections. One over which something was
    /// swallowed stays dead.
    pub fn swallow(&self, on: bool) {
        self.orders.swallow.store(on, Ordering::SeqCst);
    }

    pub fn split(&self, on: bool) {
        self.orders.split.store(on, Ordering::SeqCst);
    }

    pub fn flip(&self, answers: u64) {
        self.orders.flip.store(answers, Ordering::SeqCst);
    }

    /// Whether all answers that were to be spoilt are.
    pub fn flipped(&self) -> bool {
        self.orders.flip.load(Ordering::SeqCst) == 0
    }
}

/// Carries both ways until one side has enough, or the connection is to be cut.
async fn connection(near: UnixStream, far: UnixStream, orders: &Orders) {
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let (dead, carried) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut epoch = orders.epoch.subscribe();
    tokio::select! {
        () = carry(near_in, far_out, orders, &dead, &carried, false) => {}
        () = carry(far_in, near_out, orders, &dead, &carried, true) => {}
        _ = epoch.changed() => {}
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    orders: &Orders,
    dead: &AtomicBool,
    carried: &AtomicU64,
    answers: bool,
) {
    let take = |order: &AtomicU64| {
        let less = |left: u64| left.checked_sub(1);
        answers && order.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    };
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if take(&orders.lose) {
            return;
        }
        if orders.swallow.load(Ordering::SeqCst) {
            dead.store(true, Ordering::SeqCst);
        }
        if dead.load(Ordering::SeqCst) {
            continue;
        }
        if take(&orders.flip) {
            buffer[n / 2] ^= 1;
        }
        tokio::time::sleep(orders.lateness(n, answers)).await;
        let cut = orders.cut.load(Ordering::SeqCst);
        if cut > 0 && carried.fetch_add(n as u64, Ordering::SeqCst) + n as u64 > cut {
            return;
        }
        let size = if orders.split.load(Ordering::SeqCst) { 1 } else { n };
        for piece in buffer[..n].chunks(size) {
            if to.write_all(piece).await.is_err() {
                return;
            }
        }
    }
}

impl Orders {
    /// How late a piece of `n` bytes is to be.
    fn lateness(&self, n: usize, answers: bool) -> Duration {
        let up = if answers { 0 } else { self.up.load(Ordering::SeqCst) };
        let rates = [self.rate.load(Ordering::SeqCst), up];
        let slow = rates.iter().filter(|rate| **rate > 0).map(|rate| n as f64 / *rate as f64);
        let delay = self.delay.load(Ordering::SeqCst);
        let jitter = if delay > 0 { n as u64 * 7919 % delay } else { 0 };
        Duration::from_micros(delay + jitter) + Duration::from_secs_f64(slow.sum())
    }
}
