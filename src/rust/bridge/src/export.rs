//! Exports: plain objects that travel beside the context, and are sent once.

use extendr_api::prelude::*;
use rustbatch_protocol::{BlobRef, WorkerId};

use crate::boundary::entry;
use crate::cluster::Cluster;
use crate::digest::Digest;
use crate::failure::{Failure, Raised};
use crate::{digest, runtime, serial, values};

/// What has fewer bytes than this travels in the context, and the context in its job: it is worth no
/// fetch of its own.
pub const LARGE: usize = 64 << 10;

/// Sees to it that a large plain object is in Redis. Returns its blob as text, or `NULL` when the
/// object is small, or not plain.
#[extendr]
fn export_object(cluster: Robj, value: Robj) -> Robj {
    entry(|| {
        let cluster = values::pointed::<Cluster>(&cluster)?;
        let Some(digest) = digest::of(&value)?.filter(|digest| digest.bytes >= LARGE) else {
            return Ok(values::null());
        };
        let known = cluster.known(&digest.hash);
        if let Some(blob) = known {
            let client = cluster.client()?;
            let renewed = async move { client.renew(blob).await.map_err(Raised::from) };
            if runtime::run_while(renewed, || cluster.check_alive())? {
                return values::text(&blob.to_string());
            }
        }
        let blob = put(cluster, &value, &digest)?;
        cluster.know(digest.hash, blob);
        values::text(&blob.to_string())
    })
}

/// Puts an export that Redis has lost there again, and tells the worker that asked for it.
#[extendr]
fn export_again(cluster: Robj, value: Robj, worker: Robj) -> Robj {
    entry(|| {
        let cluster = values::pointed::<Cluster>(&cluster)?;
        let worker: WorkerId = values::text_of(&worker)?.parse()?;
        // What was plain when it was exported is so still.
        let Some(digest) = digest::of(&value)? else {
            return Err(Failure::new("internal", "Internal error: an export is no longer plain"));
        };
        let blob = put(cluster, &value, &digest)?;
        let client = cluster.client()?;
        let told = async move { client.supplied(&worker, blob.hash).await.map_err(Raised::from) };
        runtime::run_while(told, || cluster.check_alive())?;
        Ok(values::null())
    })
}

fn put(cluster: &Cluster, value: &Robj, digest: &Digest) -> std::result::Result<BlobRef, Failure> {
    let mut bytes = Vec::new();
    // Where there is no room for that much at once, it is tried piece by piece.
    let _ = bytes.try_reserve(digest.bytes + digest.bytes / 64);
    let bytes = serial::serialize_into(bytes, value, None)?;
    let client = cluster.client()?;
    let blob = BlobRef::of_object(client.seal(), &digest.hash, bytes.len() as u64);
    let put = async move { client.export(blob, &bytes.into()).await.map_err(Raised::from) };
    runtime::run_while(put, || cluster.check_alive())?;
    Ok(blob)
}

extendr_module! {
    mod export;
    fn export_object;
    fn export_again;
}
