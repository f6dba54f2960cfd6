//! Exports: plain objects that travel beside the context, and are sent once.

use extendr_api::prelude::*;
use rustbatch_protocol::{BlobRef, WorkerId};

use crate::boundary::entry;
use crate::cluster::Cluster;
use crate::failure::{Failure, Raised};
use crate::{digest, runtime, serial, values};

/// What has fewer bytes than this travels in the context.
const LARGE: usize = 64 << 10;

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
        let blob = put(cluster, &value, digest.bytes)?;
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
        let blob = put(cluster, &value, 0)?;
        let client = cluster.client()?;
        let told = async move { client.supplied(&worker, blob.hash).await.map_err(Raised::from) };
        runtime::run_while(told, || cluster.check_alive())?;
        Ok(values::null())
    })
}

/// `size` is how many bytes of content the value has, about; 0 when that is not known.
fn put(cluster: &Cluster, value: &Robj, size: usize) -> std::result::Result<BlobRef, Failure> {
    let mut bytes = Vec::new();
    // Where there is no room for that much at once, it is tried piece by piece.
    let _ = bytes.try_reserve(size + size / 64);
    let bytes = serial::serialize_into(bytes, value, None)?.into();
    let client = cluster.client()?;
    let put = async move { client.export(&bytes).await.map_err(Raised::from) };
    runtime::run_while(put, || cluster.check_alive())
}

extendr_module! {
    mod export;
    fn export_object;
    fn export_again;
}
