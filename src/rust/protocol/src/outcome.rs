//! How a chunk ended.

use serde::{Deserialize, Serialize};

use crate::{ChunkName, JobId, Payload, Uninstalled, WorkerId};

/// How a chunk ended, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The worker that ran it.
    pub worker: WorkerId,
    /// Which attempt this was, from 1.
    pub attempt: u32,
    /// The time that R needed, in microseconds.
    pub elapsed_us: u64,
    /// What came out.
    pub report: Report,
    /// What the tasks printed, in order.
    pub output: Vec<Output>,
}

impl Outcome {
    /// The label of the blob that holds this outcome's values: each attempt has a blob of its own,
    /// which the client removes when it has it.
    #[must_use]
    pub fn label(&self, job: &JobId, name: ChunkName) -> String {
        format!("{}/{}/{}", name.entry(job), self.worker, self.attempt)
    }
}

/// What came out of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// R answered: a list serialized by R, with a value for each task.
    Values(Payload),
    /// The R process died each time the task ran alone.
    Crashed(Cause),
    /// The worker could not even begin: the context does not load there (a missing package).
    Refused(Payload),
    /// A package that the loop asks for could not be installed.
    Uninstalled(Uninstalled),
    /// The task's host was lost each time the task ran alone: so often, and for the last time of what,
    /// as its provider says; empty where that is not known.
    Lost(u32, String),
    /// The task's value is too large for Redis, however much room is made.
    TooLarge {
        /// How large it is, in bytes.
        size: u64,
        /// How much memory Redis may use, in bytes.
        limit: u64,
    },
    /// The worker could not run the chunk, however often it tried, or not say what came of it; why.
    GivenUp(String),
}

/// Why an R process died.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Its exit status, if it exited.
    pub exit: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Whether the kernel killed it for want of memory.
    pub out_of_memory: bool,
    /// The limit that was reached then, in bytes; `None` when it was the whole machine's memory.
    pub limit: Option<u64>,
    /// The most that all who share that limit have used, in bytes.
    pub peak: Option<u64>,
    /// What else the worker knows: it broke the protocol, or ignored an interrupt.
    pub reason: Option<String>,
    /// The last lines of its standard error.
    pub stderr: String,
}

impl Cause {
    /// The name of the signal that ended the process, if one did and its number tells.
    #[must_use]
    pub fn signal_name(&self) -> Option<&'static str> {
        self.signal.and_then(signal_name)
    }

    /// The cause in a few words: "killed by signal 11 (SIGSEGV)".
    #[must_use]
    pub fn words(&self) -> String {
        let seen = match (self.signal, self.exit) {
            (Some(signal), _) => match signal_name(signal) {
                Some(name) => format!("killed by signal {signal} ({name})"),
                None => format!("killed by signal {signal}"),
            },
            (None, Some(exit)) => format!("exited with status {exit}"),
            (None, None) => "ended".to_owned(),
        };
        let memory = if self.out_of_memory { ", out of memory" } else { "" };
        match &self.reason {
            Some(reason) => format!("{reason} ({seen}{memory})"),
            None => format!("{seen}{memory}"),
        }
    }
}

/// The name of a signal whose number is the same on Linux and macOS.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return None,
    })
}

/// A stretch of what tasks printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The task that printed it, counted within the chunk from 0.
    pub task: u32,
    /// The number of the mark that ended the stretch; the largest number when none did. A condition
    /// signalled at a mark comes after all that the mark ended.
    pub mark: u32,
    /// Where it was printed to.
    pub stream: Stream,
    /// The bytes, as they came.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// How many more bytes were cut off behind them.
    pub cut: u64,
}

/// A stream that tasks print to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_speaks_plainly() {
        let killed = Cause { signal: Some(9), out_of_memory: true, ..Cause::default() };
        assert_eq!(killed.words(), "killed by signal 9 (SIGKILL), out of memory");
        let quit = Cause { exit: Some(3), ..Cause::default() };
        assert_eq!(quit.words(), "exited with status 3");
        let broke = Cause { reason: Some("it broke the protocol".into()), ..killed };
        assert_eq!(
            broke.words(),
            "it broke the protocol (killed by signal 9 (SIGKILL), out of memory)"
        );
    }
}
