//! What the tests of the queue share: a private Redis, workers that need no R, a loop that checks
//! every value it is given, and a proxy that spoils connections.

// Every test file uses its own share of it.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, missing_docs)]

pub mod hand;
pub mod house;
pub mod ice;
pub mod proxy;
pub mod tasks;

use std::future::Future;
use std::time::Duration;

pub use hand::{Act, Did, Hand, held, settle, take};
pub use house::{House, quick};
pub use ice::Ice;
pub use proxy::Proxy;
pub use tasks::{Loop, argument, outcome, values};

/// The chunk of `n` tasks from `first`.
pub fn name(first: u64, n: u32) -> rustbatch_protocol::ChunkName {
    rustbatch_protocol::ChunkName { first, n }
}

/// Waits until `check` holds, looking again and again; the caller sets the deadline.
pub async fn until<F: Future<Output = bool>>(mut check: impl FnMut() -> F) {
    while !check().await {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
