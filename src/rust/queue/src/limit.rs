//! How much memory a Redis may use, and what it can therefore never hold.

use redis::{FromRedisValue, Pipeline, Value};

use crate::{Error, Link};

/// What a Redis needs for itself and for its connections, in bytes.
const ITSELF: u64 = 2 << 20;

/// The server's limit, in bytes, where it has one. Cancel-safe.
///
/// # Errors
/// Those of [`Link::call`].
pub async fn ask(link: &Link) -> Result<Option<u64>, Error> {
    let mut pipe = Pipeline::new();
    add_ask(&mut pipe);
    let (info,): (Value,) = link.call(&pipe).await?;
    Ok(read(info))
}

/// Adds the question to a pipeline; [`read`] reads its answer.
pub fn add_ask(pipe: &mut Pipeline) {
    pipe.cmd("INFO").arg("memory");
}

/// The limit, in bytes, as the answer tells it.
pub fn read(info: Value) -> Option<u64> {
    let info = String::from_redis_value(info).ok()?;
    let limit = info.lines().find_map(|line| line.strip_prefix("maxmemory:")?.trim().parse().ok());
    limit.filter(|&limit| limit > 0)
}

/// How many bytes of one thing, sealed, a Redis with this limit can hold when it holds nothing else:
/// all but an eighth, for what its memory is more than its content, and but what it needs itself.
pub fn most(limit: u64) -> u64 {
    (limit - limit / 8).saturating_sub(ITSELF)
}
