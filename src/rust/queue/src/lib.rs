//! The protocol over Redis: who publishes, who leases, who settles.
//!
//! This room knows Redis and nothing of R or clouds. Every rule stands once, in a Lua script
//! (`scripts/`) where it must be atomic, and is called from `client` or `worker`.

pub mod blob;
pub mod check;
pub mod client;
pub mod connection;
pub mod error;
pub mod event;
pub mod family;
pub mod job;
mod keep;
pub mod lease;
mod ledger;
mod limit;
mod names;
mod patience;
mod presence;
mod pump;
mod reader;
pub mod script;
mod sweep;
pub mod timing;
mod transport;
mod trouble;
mod way;
mod whys;
pub mod worker;

pub use check::check_server;
pub use client::{Busy, Client, Load, Roll};
pub use connection::Link;
pub use error::Error;
pub use event::{Event, JobSpec, Notice, Sender};
pub use job::Job;
pub use keep::Keeping;
pub use lease::{Leased, Settlement, Verdict, Wake};
pub use names::look_up_alone;
pub use presence::anybody_alive;
pub use timing::Timing;
pub use worker::WorkerQueue;

use std::time::Duration;

/// How long a key outlives the last touch: longer than any pause that a heartbeat survives.
pub const TTL: Duration = Duration::from_secs(600);

/// How long a worker's or a client's lease lasts without renewal.
pub const LEASE: Duration = Duration::from_secs(15);

/// How often a lease is renewed.
pub const BEAT: Duration = Duration::from_secs(5);

/// How often a task that runs alone may kill its R process.
pub const CRASHES: u32 = 3;

/// How often a task that runs alone may lose its host: some task of 10,000 is hit by chance three
/// times in one run of four with 300 losses, six times in one of 100,000.
pub const LOSSES: u32 = 6;

/// A duration in the milliseconds that Redis counts.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
