//! What a worker that was killed leaves behind: its R processes die with it, but not the commands that
//! tasks have started in the background, and not the folder with what R has in files.

use std::fs;

use rustbatch_protocol::{WorkerId, bootstrap::folder_of};
use rustix::process::{Pid, Signal, kill_process};

/// The variable by which the processes below a worker are known. It holds the worker's id, which is no
/// secret.
pub(crate) const VARIABLE: &str = "RUSTBATCH_WORKER";

/// Kills whatever was started below `worker`, as far as the system has a `/proc`, and removes its
/// folder.
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
    let _ = fs::remove_dir_all(folder_of(worker));
}
