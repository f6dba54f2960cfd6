//! Blobs in Redis: parts of 1 MiB, each sealed, in one hash that expires when nobody renews it.

use bytes::Bytes;
use redis::Pipeline;
use rustbatch_protocol::{BlobRef, Keys, Seal};

use crate::{Error, Link, TTL, limit, ms, script};

/// How many parts travel together: one where Redis is near, up to 16 where an answer is long in
/// coming, so that a line is filled.
fn together(link: &Link) -> u64 {
    u64::try_from(link.round_trip().as_millis() / 2).unwrap_or(u64::MAX).clamp(1, 16)
}

/// Stores the bytes of `blob` unless Redis has them already. While Redis takes some parts, the next
/// are sealed. May be repeated; cancel-safe, because a blob of which a part is missing counts as absent.
///
/// # Errors
/// Those of [`Link::call`] and of sealing; [`Error::TooLarge`] before anything is sent when Redis can't
/// hold it, however much room is made. At [`Error::Full`] what has been stored is removed, so that of
/// many who wait for room none holds it from the others.
pub async fn put(
    link: &Link,
    keys: &Keys,
    seal: &Seal,
    blob: &BlobRef,
    bytes: &Bytes,
) -> Result<(), Error> {
    let mut pipe = Pipeline::new();
    look(&mut pipe, keys, blob);
    // In the same round trip: the limit may have been changed since the last time.
    limit::add_ask(&mut pipe);
    let mut answers: Vec<redis::Value> = link.call(&pipe).await?;
    let info = answers.pop();
    if answers.iter().all(|part| *part == redis::Value::Int(1)) {
        return Ok(());
    }
    if let Some(limit) = info.and_then(limit::read) {
        check_size(link, seal, blob, bytes, limit).await?;
    }
    let stored = store(link, keys, seal, blob, bytes).await;
    if let Err(Error::Full { .. }) = stored {
        remove(link, keys, &[*blob]).await?;
    }
    stored
}

/// Stores all parts of a blob.
async fn store(
    link: &Link,
    keys: &Keys,
    seal: &Seal,
    blob: &BlobRef,
    bytes: &Bytes,
) -> Result<(), Error> {
    let together = together(link);
    let sealed = async |from: u64| {
        let (keys, seal, blob, bytes) = (keys.clone(), seal.clone(), *blob, bytes.clone());
        aside(move || {
            let mut pipe = Pipeline::new();
            for part in from..blob.parts().min(from + together) {
                add_part(&mut pipe, &keys, &seal, &blob, &bytes, part)?;
            }
            Ok::<_, Error>(pipe)
        })
        .await
    };
    let mut from = 0;
    let mut pipe = sealed(from).await?;
    while !pipe.is_empty() {
        from += together;
        ((), pipe) = tokio::try_join!(link.call(&pipe), sealed(from))?;
    }
    Ok(())
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
    let key = keys.blob(&blob.hash);
    if part == 0 {
        script::invoke(pipe, &script::BLOB, &keys.ring()).arg(blob.hash.to_string());
        pipe.arg(blob.parts()).arg(ms(TTL)).ignore();
    }
    pipe.hset(&key, part, blob.seal_part(seal, bytes, part)?).ignore();
    pipe.cmd("PEXPIRE").arg(&key).arg(ms(TTL)).ignore();
    Ok(())
}

/// Renews the blob's expiry; says whether all of it is there. Cancel-safe.
///
/// # Errors
/// Those of [`Link::call`].
pub async fn renew(link: &Link, keys: &Keys, blob: &BlobRef) -> Result<bool, Error> {
    let mut pipe = Pipeline::new();
    look(&mut pipe, keys, blob);
    let parts: Vec<bool> = link.call(&pipe).await?;
    Ok(parts.into_iter().all(|there| there))
}

/// Adds the renewal of a blob's expiry to a pipeline, and a question for each part: a Redis that was
/// emptied or rolled back while it was given them lacks the first ones or some between.
fn look(pipe: &mut Pipeline, keys: &Keys, blob: &BlobRef) {
    let key = keys.blob(&blob.hash);
    pipe.cmd("PEXPIRE").arg(&key).arg(ms(TTL)).ignore();
    for part in 0..blob.parts() {
        pipe.hexists(&key, part);
    }
}

/// Whether a Redis with this limit can hold the blob. What is shorter than the limit is not looked at;
/// what is longer may become shorter when it is sealed.
async fn check_size(
    link: &Link,
    seal: &Seal,
    blob: &BlobRef,
    bytes: &Bytes,
    limit: u64,
) -> Result<(), Error> {
    let most = limit::most(limit);
    if blob.length <= most {
        return Ok(());
    }
    let (seal, blob, bytes) = (seal.clone(), *blob, bytes.clone());
    let fits = aside(move || {
        let mut total = 0;
        for part in 0..blob.parts() {
            total += blob.seal_part(&seal, &bytes, part)?.len() as u64;
            if total > most {
                return Ok(false);
            }
        }
        Ok::<_, Error>(true)
    });
    if fits.await? {
        return Ok(());
    }
    Err(Error::TooLarge { address: link.address(), size: blob.length, limit })
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

/// Fetches a blob and gives `take` its parts in order; says whether Redis had them all. While some
/// are opened, the next are on their way. Cancel-safe.
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
    let (key, together) = (keys.blob(&blob.hash), together(link));
    let fetch = async |from: u64| {
        let mut pipe = Pipeline::new();
        for part in from..blob.parts().min(from + together) {
            pipe.hget(&key, part);
        }
        if pipe.is_empty() {
            Ok(Vec::new())
        } else {
            link.call::<Vec<Option<Vec<u8>>>>(&pipe).await
        }
    };
    let mut from = 0;
    let mut frames = fetch(from).await?;
    while !frames.is_empty() {
        let (seal, blob) = (seal.clone(), *blob);
        let open = aside(move || {
            let opened = frames.into_iter().zip(from..).map(|(frame, part)| {
                frame.map(|frame| blob.open_part(&seal, frame, part)).transpose()
            });
            opened.collect::<Result<Option<Vec<_>>, _>>()
        });
        from += together;
        let open = async { Ok(open.await?) };
        let (next, opened) = tokio::try_join!(fetch(from), open)?;
        let Some(opened) = opened else { return Ok(false) };
        opened.iter().for_each(|part| take(part));
        frames = next;
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
