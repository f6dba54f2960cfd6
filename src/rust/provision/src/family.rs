//! What a worker that was killed leaves behind: its R processes die with it, but not the commands that
//! tasks have started in the background.

use std::fs;

use rustbatch_protocol::WorkerId;
use rustix::process::{Pid, Signal, kill_process};

/// The variable by which the processes below a worker are known. It holds the worker's id, which is no
/// secret.
pub(crate) const VARIABLE: &str = "RUSTBATCH_WORKER";

/// Kills whatever was started below `worker`. Finds nothing where the system has no `/proc`.
pub(crate) fn end(worker: &WorkerId) {
    let mark = format!("{VARIABLE}={worker}").into_bytes();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for (pid, environment) in processes.filter_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        Some((pid, fs::read(entry.path().join("environ")).ok()?))
    }) {
        if environment.split(|&byte| byte == 0).any(|variable| variable == mark) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
