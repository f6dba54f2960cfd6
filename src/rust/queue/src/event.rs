//! What goes into a job and what comes out of it: its specification, commands, and events.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use rustbatch_protocol::{BlobHash, BlobRef, ChunkName, Outcome, WorkerId};

use crate::Error;

/// Where a job's events go. The receiver is R's thread, which waits on a plain channel.
pub type Sender = std::sync::mpsc::Sender<Event>;

/// What a job tells the client.
#[derive(Debug)]
pub enum Event {
    /// Tasks have come back.
    Outcome {
        /// The chunk that they came in.
        name: ChunkName,
        /// Those of its tasks that were lacking, in order: the others have come before.
        lacking: Vec<u64>,
        /// How the chunk ended.
        outcome: Outcome,
        /// What R serialized, when the outcome carries it.
        bytes: Vec<u8>,
    },
    /// A running task says something that does not wait for its outcome.
    Signal {
        /// What R serialized.
        bytes: Vec<u8>,
    },
    /// A worker finds a blob missing whose bytes the job does not have: it is to be exported again,
    /// and the worker told by [`crate::Client::supplied`].
    Need {
        /// The blob.
        hash: BlobHash,
        /// The worker.
        worker: WorkerId,
    },
    /// Something that the user should know, and that mends itself.
    Notice(Notice),
    /// The job can't go on.
    Failed(Error),
}

/// What is told to the user once, while the job goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Redis answers, but refuses for the moment: it loads its data, or can't save.
    Waiting {
        /// The server's address.
        address: String,
        /// What it said.
        reason: String,
    },
    /// Redis has lost what was queued.
    Republished {
        /// How many tasks have been published again.
        tasks: u64,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { address, reason } => {
                write!(f, "Waiting for Redis at `{address}`: {reason}")
            }
            Self::Republished { tasks } => {
                write!(f, "Redis has lost the queue: {tasks} tasks were published again")
            }
        }
    }
}

/// What a job is made of.
#[derive(Debug, Clone)]
pub struct JobSpec {
    /// The context's blob.
    pub context: BlobRef,
    /// The bytes of the context's blobs, for a worker that finds one missing.
    pub blobs: HashMap<BlobHash, Bytes>,
    /// Blobs that are in Redis already, and whose bytes are asked for when one is missing.
    pub beside: Vec<BlobHash>,
    /// Those of the blobs that have not been put into Redis: they go with the first chunk.
    pub fresh: Vec<BlobRef>,
    /// The state of the random stream of the first task, where the job has streams.
    pub seed: Option<[u32; 6]>,
    /// How many tasks there will be, where that is known.
    pub tasks: Option<u64>,
}

/// What the pump is told.
pub(crate) enum Command {
    /// A chunk and its arguments.
    Push(ChunkName, Vec<u8>),
    /// To end the job, and to say when that is done.
    Close(tokio::sync::oneshot::Sender<()>),
}
