//! What a worker and the queue say to each other: leases, settlements, verdicts, wake-ups.

use rustbatch_protocol::{Chunk, ChunkName, Control, JobId, Outcome};

/// A chunk that this worker holds.
#[derive(Debug, Clone)]
pub struct Leased {
    /// The job.
    pub job: JobId,
    /// The tasks to run.
    pub name: ChunkName,
    /// The tasks that the arguments are of: more than `name` has after a split.
    pub whole: ChunkName,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// What to run.
    pub chunk: Chunk,
}

impl Leased {
    /// What stands for it in the lists of Redis.
    #[must_use]
    pub fn entry(&self) -> String {
        self.name.entry(&self.job)
    }
}

/// An outcome to hand in.
#[derive(Debug)]
pub struct Settlement<'a> {
    /// The chunk.
    pub leased: &'a Leased,
    /// How it ended.
    pub outcome: &'a Outcome,
}

/// What became of a crash report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It concerned an attempt that is over.
    Ignored,
    /// The chunk's tasks will run one by one.
    Split,
    /// The task will be tried again.
    Again,
    /// The task has been settled as a crash.
    Settled,
}

/// Why a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Wake {
    /// There may be work.
    Bell,
    /// A client says something.
    Control(Control),
    /// Time is up, or the worker nudged itself, or what came was not genuine.
    Nothing,
}
