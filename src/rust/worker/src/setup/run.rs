//! A command that is run for what it does: its output goes on to standard error, and its last lines
//! are kept.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

/// How many lines are kept, and how many bytes of each.
const LINES: usize = 15;
const WIDTH: usize = 300;

/// How long after a command's end its last words are waited for: what it left running may have the
/// pipe, too.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The last lines of what was printed.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Tail>>);

#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    begun: Vec<u8>,
}

impl Log {
    /// They, the oldest first.
    pub fn tail(&self) -> Vec<String> {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tail.end_line();
        tail.lines.iter().cloned().collect()
    }

    fn feed(&self, bytes: &[u8]) {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for &byte in bytes {
            match byte {
                // A bar that is drawn anew is one line.
                b'\n' | b'\r' => tail.end_line(),
                byte if tail.begun.len() < WIDTH => tail.begun.push(byte),
                _ => {}
            }
        }
    }
}

impl Tail {
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.begun);
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if !line.is_empty() {
            self.lines.push_back(line);
        }
        if self.lines.len() > LINES {
            self.lines.pop_front();
        }
    }
}

/// Kills what is left of a group of processes when it is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.0.map(|group| kill_process_group(group, Signal::KILL));
    }
}

/// Runs a command to its end, in a group of its own; it reads `input`. What it leaves running stays.
/// When nobody waits for it any more, the group is killed. Call it on the process' first thread.
///
/// # Errors
/// When it can't be run.
pub async fn run(mut command: Command, input: &[u8], log: &Log) -> io::Result<ExitStatus> {
    let (from, to) = io::pipe()?;
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    command.stdin(stdin).stdout(to.try_clone()?).stderr(to);
    let mut command = tokio::process::Command::from(command);
    let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
    // The command holds our copies of the pipe's other end.
    drop(command);
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let from = pipe::Receiver::from_owned_fd(OwnedFd::from(from))?;
    let mut reading = tokio::spawn(pass_on(from, log.clone()));
    if let Some(mut stdin) = child.stdin.take() {
        // One that ended without reading says why itself.
        let _ = stdin.write_all(input).await;
    }
    let status = child.wait().await?;
    group.0 = None;
    // A daemon that it started writes on: it is read on, too.
    let _ = tokio::time::timeout(LAST_WORDS, &mut reading).await;
    Ok(status)
}

async fn pass_on(mut from: pipe::Receiver, log: Log) {
    let mut buffer = vec![0; 1 << 14];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let _ = io::stderr().write_all(&buffer[..n]);
        log.feed(&buffer[..n]);
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn the_last_lines_of_both_streams_are_kept_in_order() {
        let log = Log::default();
        let script = "seq 1 20; echo two >&2; printf 'a\\rb\\n\\n  end'; cat; exit 7";
        let status = run(shell(script), b"read", &log).await.expect("it runs");
        assert_eq!(status.code(), Some(7));
        let tail = log.tail();
        assert_eq!(tail.len(), LINES);
        assert_eq!(tail[LINES - 5..], ["20", "two", "a", "b", "  endread"]);
        let long = Log::default();
        run(shell("head -c 5000 /dev/zero | tr '\\0' x"), &[], &long).await.expect("it runs");
        assert_eq!(long.tail()[0].len(), WIDTH);
    }

    #[tokio::test]
    async fn what_a_command_leaves_running_is_not_waited_for_and_stays() {
        let log = Log::default();
        let started = std::time::Instant::now();
        run(shell("sleep 600 & echo $!"), &[], &log).await.expect("it runs");
        assert!(started.elapsed() < Duration::from_secs(60));
        let pid: i32 = log.tail()[0].parse().expect("its id");
        let pid = Pid::from_raw(pid).expect("an id");
        rustix::process::test_kill_process(pid).expect("it still runs");
        rustix::process::kill_process(pid, Signal::KILL).expect("to kill");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_killed_with_all_it_started() {
        let log = Log::default();
        let pid = tokio::select! {
            _ = run(shell("sleep 600 & echo $!; wait"), &[], &log) => panic!("it ended"),
            pid = async {
                loop {
                    if let Some(pid) = log.tail().first().and_then(|line| line.parse::<i32>().ok()) {
                        break pid;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            } => pid,
        };
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !(state().is_empty() || state().contains(") Z ")) {
            assert!(std::time::Instant::now() < deadline, "it still runs");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
