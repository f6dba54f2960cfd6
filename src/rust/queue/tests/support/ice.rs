//! A runtime whose only thread can be stopped for a while, as SIGSTOP stops a process.

use std::future::Future;
use std::sync::mpsc;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The runtime. Dropping it ends all that runs there.
pub struct Ice {
    pub handle: Handle,
    _end: oneshot::Sender<()>,
}

/// While it is there, the runtime stands still.
pub struct Frozen {
    _thaw: mpsc::Sender<()>,
}

impl Ice {
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        });
        Self { handle, _end: end }
    }

    /// Runs a future there.
    pub async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        self.handle.spawn(future).await.unwrap()
    }

    /// Stops everything there at once.
    pub async fn freeze(&self) -> Frozen {
        let (thaw, wait) = mpsc::channel::<()>();
        let (stands, still) = oneshot::channel();
        self.handle.spawn(async move {
            let _ = stands.send(());
            let _ = wait.recv();
        });
        still.await.unwrap();
        Frozen { _thaw: thaw }
    }
}
