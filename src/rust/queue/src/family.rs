//! What the tasks of a worker leave running, or on the disk, when its R processes have ended.
//!
//! R processes die with their worker, but not the commands that tasks have started in the background;
//! and not the folder with what R has in files. All of them carry the worker's mark: the worker ends
//! them when it ends, and in place of one that was killed, who started it.

use std::fs;

use rustbatch_protocol::{WorkerId, bootstrap::folder_of};
use rustix::process::{Pid, Signal, kill_process};

/// The variable by which the processes below a worker are known: a worker sets it for its R processes.
/// It holds the worker's id, which is no secret.
pub const VARIABLE: &str = "RUSTBATCH_WORKER";

/// Kills whatever was started below `worker`, as far as the system has a `/proc` and the process has
/// kept its environment, and removes its folder. What is gone already is no error.
pub fn end(worker: &WorkerId) {
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
