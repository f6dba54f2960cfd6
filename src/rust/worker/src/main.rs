//! `rustbatch-worker`: leases chunks, supervises R processes, settles outcomes.
//!
//! One runs on each instance. It knows nothing of R's packages: R only evaluates, and any image with
//! R will do. What it must know it is told over standard input or by a file of its own, so that no
//! secret stands on a command line or in an environment.

mod bootstrap;
mod evaluator;
mod exec;
mod folder;
mod kept;
mod lifeline;
mod memory;
mod output;
mod pipe;
mod redis;
mod returns;
mod server;
mod setup;
mod slot;
mod store;
mod supervisor;
mod unpack;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::signal::SigSet;
use rustbatch_queue::family;
use tracing_subscriber::filter::LevelFilter;

use crate::bootstrap::Source;
use crate::supervisor::Failed;

/// The worker of rustBatch. The R package starts it; there is no need to do so by hand.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Work for a cluster; reads its bootstrap, one line of JSON, from standard input or a file
    Work(Source),
    /// Supervise a Redis of its own; reads its bootstrap, one line of JSON, from standard input or a
    /// file
    Server(Source),
    /// Install packages, as a worker does before it joins: for an image that is built
    Setup(setup::Here),
    /// Become a program that dies with its parent
    Exec(exec::Exec),
    /// Put this executable into a folder that another container sees, too, and beside it the bootstrap
    /// that stands in the environment
    Unpack(unpack::Unpack),
}

/// All verbs run on one thread, the process' first: it lives as long as the process, which is what
/// a child that dies with its parent's thread needs.
fn main() -> ExitCode {
    // The client spawns us from a thread that blocks all signals, and a mask is inherited: R would
    // not hear its SIGINT, and nobody a SIGTERM.
    if let Err(error) = SigSet::empty().thread_set_mask() {
        exec::complain(&error);
    }
    listen_to_warnings();
    if cfg!(target_feature = "crt-static") {
        rustbatch_queue::look_up_alone();
    }
    let result = match Arguments::parse().verb {
        Verb::Exec(exec) => exec.run(),
        Verb::Unpack(unpack) => unpack.run(),
        Verb::Work(source) => source.worker().and_then(|bootstrap| {
            let worker = bootstrap.worker.clone();
            let ended = runtime()?.block_on(supervisor::work(bootstrap));
            // The R processes are gone with the runtime; what their tasks left running is not.
            family::end(&worker);
            ended.map_err(|failed| match failed {
                Failed::Setup(failed) => io::Error::other(failed),
                failed => io::Error::other(failed),
            })
        }),
        Verb::Setup(setup) => runtime().and_then(|runtime| runtime.block_on(setup.run())),
        Verb::Server(source) => source.server().and_then(|bootstrap| {
            runtime()?.block_on(server::run(bootstrap)).map_err(io::Error::other)
        }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            exec::complain(&error);
            status(&error)
        }
    }
}

/// What the crates warn of is told on standard error, where the worker's log is.
fn listen_to_warnings() {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
}

/// What could not be installed is told apart by its status.
fn status(error: &io::Error) -> ExitCode {
    match error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<setup::Failed>) {
        true => setup::STATUS.into(),
        false => ExitCode::FAILURE,
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
