//! The words on the wire: what client and worker say to each other through Redis.
//!
//! Pure data and arithmetic: no I/O, no async, no clock. Everything that crosses Redis is named,
//! encoded, sealed and measured here, so that `queue` only carries it and both ends agree.

pub mod blob;
pub mod bootstrap;
pub mod chunk;
pub mod context;
pub mod control;
pub mod error;
pub mod ids;
pub mod keys;
pub mod outcome;
pub mod schedule;
pub mod seal;
pub mod secret;
pub mod setup;
pub mod stream;

pub use blob::{BlobHash, BlobRef, Payload};
pub use chunk::{Chunk, ChunkName};
pub use context::Context;
pub use control::{Control, ControlMessage};
pub use error::Error;
pub use ids::{ClientId, ClusterId, JobId, WorkerId};
pub use keys::Keys;
pub use outcome::{Cause, Outcome, Output, Report, Stream};
pub use seal::{Binding, ClusterKey, Kind, Seal};
pub use secret::Secret;
pub use setup::{RPackages, Setup, Uninstalled, Wanted};

use serde::{Serialize, de::DeserializeOwned};

/// Encodes one of our own structures as MessagePack.
///
/// # Errors
/// [`Error::Encode`], which only a structure that cannot be represented can cause.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    rmp_serde::to_vec(value).map_err(|e| Error::Encode(e.to_string()))
}

/// Decodes what [`encode`] wrote.
///
/// # Errors
/// [`Error::Decode`] when the bytes are not that structure.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    rmp_serde::from_slice(bytes).map_err(|e| Error::Decode(e.to_string()))
}
