//! The context: what all tasks of a job share.

use serde::{Deserialize, Serialize};

use crate::{BlobRef, ClientId, Payload, Wanted};

/// What a worker needs once for each job. It is itself a blob, named by every chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The client that waits for the job; without its lease the job is dropped.
    pub client: ClientId,
    /// Two lists serialized by R, one after the other: the expression, packages and options; and
    /// the objects that hold an environment, which must stay together, and those that are small. The
    /// length of the first stands before both, as R reads a number (8 bytes).
    pub main: Payload,
    /// Plain data, each object a blob of its own; `main` names them.
    pub objects: Vec<BlobRef>,
    /// The R packages that the loop asks for, which a worker that may installs where they are missing;
    /// absent where it asks for none.
    pub wanted: Option<Box<Wanted>>,
}
