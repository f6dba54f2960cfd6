//! Blobs in Redis: parts of 4 MiB, each sealed, in one hash that expires when nobody renews it.

use bytes::Bytes;
use redis::Pipeline;
use rustbatch_protocol::{BlobRef, Keys, Payload, Seal, blob::INLINE};

use crate::{Error, Link, TTL, ms};

/// Stores the bytes of `blob` unless Redis has them already. While Redis takes one part, the next is sealed. May be repeated; cancel-safe, because a blob whose
/// last part is missing counts as absent.
///
/// # Errors
/// Those of [`Link::call`] and of sealing.
pub async fn put(
    link: &Link,
    keys: &Keys,
    seal: &Seal,
    blob: &BlobRef,
    bytes: &Bytes,
) -> Result<(), Error> {
    if renew(link, keys, blob).await? {
        return Ok(());
    }
    let mut sealed = Some(seal_part(seal, blob, bytes, 0).await?);
    for part in 1..=blob.parts() {
        let mut pipe = Pipeline::new();
        add_frame(&mut pipe, keys, blob, part - 1, sealed.take().unwrap_or_default());
        let next = async {
            if part < blob.parts() {
                seal_part(seal, blob, bytes, part).await.map(Some)
            } else {
                Ok(None)
            }
        };
        (_, sealed) = tokio::try_join!(link.call::<()>(&pipe), next)?;
    }
    Ok(())
}

async fn seal_part(
    seal: &Seal,
    blob: &BlobRef,
    bytes: &Bytes,
    part: u64,
) -> Result<Vec<u8>, Error> {
    let (seal, blob, bytes) = (seal.clone(), *blob, bytes.clone());
    Ok(aside(move || blob.seal_part(&seal, &bytes, part)).await?)
}

/// Does what takes a processor some milliseconds on another thread.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and with it the task that waits here.
            Err(_) => std::future::pending().await,
        },
    }
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
    add_frame(pipe, keys, blob, part, blob.seal_part(seal, bytes, part)?);
    Ok(())
}

fn add_frame(pipe: &mut Pipeline, keys: &Keys, blob: &BlobRef, part: u64, frame: Vec<u8>) {
    let key = keys.blob(&blob.hash);
    pipe.hset(&key, part, frame).ignore();
    pipe.cmd("PEXPIRE").arg(&key).arg(ms(TTL)).ignore();
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

/// Fetches a blob; `None` when Redis does not have all of it. Cancel-safe.
///
/// # Errors
/// As for [`read`].
pub async fn get(
    link: &Link,
    keys: &Keys,
    seal: &Seal,
    blob: &BlobRef,
) -> Result<Option<Vec<u8>>, Error> {
    let mut bytes = Vec::with_capacity(usize::try_from(blob.length).unwrap_or(0));
    let whole = read(link, keys, seal, blob, |part| bytes.extend_from_slice(part)).await?;
    Ok(whole.then_some(bytes))
}

/// Fetches a blob and gives `take` its parts in order; says whether Redis had them all. While one part
/// is opened, the next is on its way. Cancel-safe.
///
/// Each part was sealed for this very blob, place and length, so the whole needs no check of its own.
///
/// # Errors
/// Those of [`Link::call`]; [`Error::Protocol`] when a part is not genuine.
pub async fn read(
    link: &Link,
    keys: &Keys,
    seal: &Seal,
    blob: &BlobRef,
    mut take: impl FnMut(&[u8]),
) -> Result<bool, Error> {
    let key = keys.blob(&blob.hash);
    let fetch = async |part: u64| {
        if part == blob.parts() {
            return Ok(None);
        }
        let mut pipe = Pipeline::new();
        pipe.hget(&key, part);
        let (frame,): (Option<Vec<u8>>,) = link.call(&pipe).await?;
        Ok::<_, Error>(frame)
    };
    let mut frame = fetch(0).await?;
    for part in 0..blob.parts() {
        let Some(sealed) = frame else { return Ok(false) };
        let (seal, blob) = (seal.clone(), *blob);
        let open = async { Ok(aside(move || blob.open_part(&seal, sealed, part)).await?) };
        let (next, opened) = tokio::try_join!(fetch(part + 1), open)?;
        take(&opened);
        frame = next;
    }
    Ok(true)
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
    let blob = BlobRef::owned(seal, label, bytes.len() as u64);
    put(link, keys, seal, &blob, &bytes.into()).await?;
    Ok(Payload::Blob(blob))
}
