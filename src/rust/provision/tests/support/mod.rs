//! What the tests of real processes share: where the supervisor is, what runs, and what can be seen.

// Every test file uses its own share of it.
#![allow(dead_code, clippy::expect_used, clippy::print_stderr, missing_docs)]

pub mod docker;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub const SOON: Duration = Duration::from_secs(20);

pub fn supervisor() -> PathBuf {
    if let Some(path) = std::env::var_os("RUSTBATCH_WORKER") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test's path");
    let folder = test.parent().and_then(Path::parent).expect("a folder");
    let path = folder.join("rustbatch-worker");
    assert!(path.exists(), "first: cargo build --release -p rustbatch-worker");
    path
}

pub fn runs(pid: u32) -> bool {
    let list =
        Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().expect("ps");
    let state = String::from_utf8_lossy(&list.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

pub fn kill(signal: &str, pid: u32) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill");
    assert!(sent.success());
}

/// Looks again until it is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// No process shows one of the secrets on its command line or in its environment.
pub fn assert_unseen(secrets: &[&str]) {
    let list = Command::new("ps").args(["-A", "ewwo", "args="]).output().expect("ps").stdout;
    let mut seen = String::from_utf8_lossy(&list).into_owned();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(process.path().join(file)).unwrap_or_default();
            seen.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    assert!(seen.contains("redis-server"), "{seen}");
    for secret in secrets {
        assert!(!seen.contains(secret));
    }
}
