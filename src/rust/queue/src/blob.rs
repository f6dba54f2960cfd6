//! Blobs in Redis: parts of 4 MiB, each sealed, in one hash that expires when nobody renews it.

use redis::Pipeline;
use rustbatch_protocol::{BlobRef, Keys, Payload, Seal, blob::INLINE};

use crate::{Error, Link, TTL, ms};

/// Stores `bytes` unless Redis has them already; `label` as in [`rustbatch_protocol::BlobHash::of`].
/// May be repeated; cancel-safe, because a blob whose last part is missing counts as absent.
///
/// # Errors
/// Those of [`Link::call`] and of sealing.
pub async fn put(
    link: &Link,
    keys: &Keys,
    seal: &Seal,
    label: &str,
    bytes: &[u8],
) -> Result<BlobRef, Error> {
    let blob = BlobRef::of(seal, label, bytes);
    if renew(link, keys, &blob).await? {
        return Ok(blob);
    }
    for part in 0..blob.parts() {
        let mut pipe = Pipeline::new();
        add_part(&mut pipe, keys, seal, &blob, bytes, part)?;
        link.call::<()>(&pipe).await?;
    }
    Ok(blob)
}

/// Adds the storing of part `part` of a blob to a pipeline.
///
/// # Errors
/// Those of sealing.
pub fn add_part(
    pipe: &mut Pipeline,
    keys: &Keys,
    seal: &Seal,
    blob: &BlobRef,
    bytes: &[u8],
    part: u64,
) -> Result<(), Error> {
    let key = keys.blob(&blob.hash);
    pipe.hset(&key, part, blob.seal_part(seal, bytes, part)?).ignore();
    pipe.cmd("PEXPIRE").arg(&key).arg(ms(TTL)).ignore();
    Ok(())
}

/// Renews the blob's expiry; says whether all of it is there. Cancel-safe.
///
/// # Errors
/// Those of [`Link::call`].
pub async fn renew(link: &Link, keys: &Keys, blob: &BlobRef) -> Result<bool, Error> {
    let key = keys.blob(&blob.hash);
    let mut pipe = Pipeline::new();
    pipe.cmd("PEXPIRE").arg(&key).arg(ms(TTL)).ignore();
    // Parts are written in order, so the last one proves them all.
    pipe.hexists(&key, blob.parts() - 1);
    let (whole,): (bool,) = link.call(&pipe).await?;
    Ok(whole)
}

/// Fetches a blob and checks it; `None` when Redis does not have all of it. Cancel-safe.
///
/// # Errors
/// Those of [`Link::call`]; [`Error::Protocol`] when a part is not genuine.
pub async fn get(
    link: &Link,
    keys: &Keys,
    seal: &Seal,
    label: &str,
    blob: &BlobRef,
) -> Result<Option<Vec<u8>>, Error> {
    let key = keys.blob(&blob.hash);
    let mut bytes = Vec::with_capacity(usize::try_from(blob.length).unwrap_or(0));
    for part in 0..blob.parts() {
        let mut pipe = Pipeline::new();
        pipe.hget(&key, part);
        let (frame,): (Option<Vec<u8>>,) = link.call(&pipe).await?;
        let Some(frame) = frame else { return Ok(None) };
        bytes.extend_from_slice(&blob.open_part(seal, frame, part)?);
    }
    blob.check(seal, label, &bytes)?;
    Ok(Some(bytes))
}

/// Removes blobs that only their owner uses. May be repeated; cancel-safe.
///
/// # Errors
/// Those of [`Link::call`].
pub async fn remove(link: &Link, keys: &Keys, blobs: &[BlobRef]) -> Result<(), Error> {
    if blobs.is_empty() {
        return Ok(());
    }
    let mut pipe = Pipeline::new();
    pipe.unlink(blobs.iter().map(|blob| keys.blob(&blob.hash)).collect::<Vec<_>>()).ignore();
    link.call(&pipe).await
}

/// The bytes as a payload: within the message when short, stored as a blob when long.
///
/// # Errors
/// Those of [`put`].
pub async fn payload(
    link: &Link,
    keys: &Keys,
    seal: &Seal,
    label: &str,
    bytes: Vec<u8>,
) -> Result<Payload, Error> {
    if bytes.len() <= INLINE {
        return Ok(Payload::Inline(bytes));
    }
    put(link, keys, seal, label, &bytes).await.map(Payload::Blob)
}
