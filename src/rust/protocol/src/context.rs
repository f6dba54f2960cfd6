//! The context: what all tasks of a job share.

use serde::{Deserialize, Serialize};

use crate::{BlobRef, ClientId};

/// What a worker needs once for each job. It is itself a blob, named by every chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The client that waits for the job; without its lease the job is dropped.
    pub client: ClientId,
    /// A list serialized by R: the expression, packages, options, and the objects that hold an
    /// environment and so must stay together.
    pub main: BlobRef,
    /// Plain data, each object a blob of its own, by the name that the tasks know it by.
    pub objects: Vec<(String, BlobRef)>,
}
