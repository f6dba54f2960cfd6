//! Becoming another program that dies with its parent.
//!
//! A process can ask for that only after it has been forked, and code between fork and exec cannot
//! be safe Rust. So the executable is started once more as itself, sets what is to be set, and
//! becomes the program.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use clap::Args;

/// What to become.
#[derive(Args)]
pub struct Exec {
    /// The process to die with
    #[arg(long)]
    parent_pid: u32,
    /// How much sooner than others the kernel should kill it for want of memory, 0 to 1000
    #[arg(long)]
    oom_score: Option<u32>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Exec {
    /// Becomes the program. Returns only when that fails, or when the parent is gone already.
    ///
    /// # Errors
    /// What `execvp` says.
    pub fn run(self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{Signal, getppid, set_parent_process_death_signal};
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // A parent that died before this was asked for sends no signal any more.
            let parent = getppid().map(|pid| pid.as_raw_pid().unsigned_abs());
            if parent != Some(self.parent_pid) {
                return Ok(());
            }
            if let Some(score) = self.oom_score {
                // Not permitted everywhere, and only a precaution.
                let _ = std::fs::write("/proc/self/oom_score_adj", score.to_string());
            }
        }
        let (program, arguments) =
            self.command.split_first().ok_or_else(|| io::Error::other("no program to become"))?;
        let error = Command::new(program).args(arguments).exec();
        Err(io::Error::new(
            error.kind(),
            format!("can't run `{}`: {error}", Path::new(program).display()),
        ))
    }
}

/// A command that becomes `program` and dies with this process. Spawn it from the process' first
/// thread: on Linux the child dies with the thread that spawned it.
///
/// # Errors
/// When this executable cannot be found any more.
pub fn command(program: &Path, oom_score: Option<u32>) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["exec", "--parent-pid", &std::process::id().to_string()]);
    if let Some(score) = oom_score {
        command.args(["--oom-score", &score.to_string()]);
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// The environment of an R for which `library` comes before all others: what it starts finds packages
/// there, too, and our script puts it before the client's.
pub fn libraries(library: &Path) -> [(&'static str, OsString); 2] {
    let mut all = OsString::from(library);
    if let Some(others) = std::env::var_os("R_LIBS").filter(|others| !others.is_empty()) {
        all.push(":");
        all.push(others);
    }
    [("R_LIBS", all), ("RUSTBATCH_LIBRARY", library.into())]
}

/// Says on standard error why the process ends.
pub fn complain(error: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "rustbatch-worker: {error}");
}
