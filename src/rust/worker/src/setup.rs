//! What a worker installs: before it joins, into an image that is built, and for a loop that asks.
//!
//! All that is printed meanwhile goes to standard error while it is, so that the log of a container
//! shows it. What the user wrote as a command line is never shown: there may be a password in it.

mod installer;
mod packages;
mod run;
mod system;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustbatch_protocol::bootstrap::WorkerBootstrap;
use rustbatch_protocol::{Setup, Uninstalled};

use crate::exec;
pub use installer::Installer;
use packages::Script;
use run::{Log, run};

/// The status with which a process ends whose packages can't be installed.
pub const STATUS: u8 = 3;

/// What could not be installed, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("can't {what}: {reason}{}", lines(.log))]
pub struct Failed {
    /// What was done: "install the R package `x`".
    pub what: String,
    /// The package; empty where it is none's fault.
    pub package: String,
    /// Why, in words.
    pub reason: String,
    /// The last lines of what was said.
    pub log: Vec<String>,
}

impl Failed {
    fn new(what: impl Into<String>, reason: &dyn std::fmt::Display) -> Self {
        let (what, reason) = (what.into(), reason.to_string());
        Self { what, package: String::new(), reason, log: Vec::new() }
    }
}

impl From<Failed> for Uninstalled {
    fn from(failed: Failed) -> Self {
        let Failed { what, package, reason, log } = failed;
        let reason = if package.is_empty() { format!("can't {what}: {reason}") } else { reason };
        Self { package, reason, log }
    }
}

fn lines(log: &[String]) -> String {
    log.iter().map(|line| format!("\n  {line}")).collect()
}

/// Installs packages where no worker is: into an image that is built.
#[derive(Args)]
pub struct Here {
    /// A file that says what: a JSON object
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The R to install packages for
    #[arg(long, value_name = "PATH", default_value = "R")]
    r: PathBuf,
    /// The library to install them into; where not given, the first of that R's
    #[arg(long, value_name = "FOLDER")]
    library: Option<PathBuf>,
}

impl Here {
    /// Installs them. Not cancel-safe: a part may be installed.
    ///
    /// # Errors
    /// When the file can't be read; [`Failed`].
    pub async fn run(self) -> io::Result<()> {
        let refuse = |e: &dyn std::fmt::Display| {
            io::Error::other(format!("`{}` can't be read: {e}", self.file.display()))
        };
        let text = std::fs::read(&self.file).map_err(|e| refuse(&e))?;
        let setup: Setup = serde_json::from_slice(&text).map_err(|e| refuse(&e))?;
        prepare(&setup, &self.r, self.library.as_deref()).await.map_err(io::Error::other)
    }
}

/// Installs what a worker shall have before it joins, in `folder`, which it makes; within the worker's
/// life. Not cancel-safe: a part may be installed, and what runs is killed.
///
/// # Errors
/// [`Failed`].
pub async fn before_joining(bootstrap: &WorkerBootstrap, folder: &Path) -> Result<(), Failed> {
    let Some(setup) = &bootstrap.setup else { return Ok(()) };
    std::fs::create_dir_all(folder)
        .map_err(|e| Failed::new(format!("make the library {}", folder.display()), &e))?;
    let preparing = prepare(setup, &bootstrap.r, Some(folder));
    let Some(seconds) = bootstrap.life_seconds else { return preparing.await };
    let late = |_| {
        let reason = format!("it was not done within {seconds} s, the life of the worker");
        Err(Failed::new("install packages", &reason))
    };
    tokio::time::timeout(Duration::from_secs(seconds), preparing).await.unwrap_or_else(late)
}

/// Installs a setup: Debian packages, command lines, R packages, in this order. An R package that is
/// known to be nowhere fails first, before anything is downloaded.
async fn prepare(setup: &Setup, r: &Path, library: Option<&Path>) -> Result<(), Failed> {
    let script = Script { r, library, repositories: &setup.repositories };
    let first = !(setup.system.is_empty() && setup.commands.is_empty());
    if first && !setup.packages.cran.is_empty() {
        script.check(&setup.packages).await?;
    }
    system::install(&setup.system).await?;
    for (i, line) in setup.commands.iter().enumerate() {
        command(line, i + 1, setup.commands.len()).await?;
    }
    if setup.packages.is_empty() {
        return Ok(());
    }
    script.install(&setup.packages, &[]).await
}

async fn command(line: &str, i: usize, n: usize) -> Result<(), Failed> {
    say(&format!("running command line {i} of {n}"));
    let what = format!("run command line {i} of {n} (`commandLine`)");
    let log = Log::default();
    let mut shell =
        exec::command(Path::new("/bin/sh"), None).map_err(|e| Failed::new(&what, &e))?;
    shell.args(["-c", line]);
    let status = run(shell, &[], &log).await.map_err(|e| Failed::new(&what, &e))?;
    if status.success() {
        return Ok(());
    }
    Err(Failed { log: log.tail(), ..Failed::new(what, &ended(status)) })
}

/// How a process ended that should not have, in words.
fn ended(status: std::process::ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("it ended with status {code}"),
        None => format!("it was killed ({status})"),
    }
}

/// Tells who watches what is done.
fn say(line: &str) {
    exec::complain(&line);
}

/// Whether a value may stand in a line: what comes with a loop was not looked at before.
fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}
