//! Whether anybody uses a server of ours, as its supervisor asks.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, RedisResult};
use rustbatch_protocol::Keys;
use rustbatch_protocol::bootstrap::Server;

use crate::{Error, Link};

/// How many keys one step of a walk looks at.
const STEP: u32 = 1000;

/// Whether a client or a worker has renewed its lease lately. Only where there is no worker are the
/// server's keys walked through. Not repeated when it fails. Cancel-safe.
///
/// # Errors
/// Those of [`Link::call`].
pub async fn anybody_alive(server: &Server, keys: &Keys) -> Result<bool, Error> {
    let link = Link::new(server, std::time::Duration::ZERO)?;
    let answer = async {
        let mut connection = link.connect().await?;
        Ok(a_worker(&mut connection, keys).await? || a_client(&mut connection, keys).await?)
    };
    answer.await.map_err(|error| link.failure(&error))
}

async fn a_worker(connection: &mut MultiplexedConnection, keys: &Keys) -> RedisResult<bool> {
    let workers: Vec<String> =
        ask(connection, Cmd::new().arg("SMEMBERS").arg(keys.workers())).await?;
    let leases = workers.iter().filter_map(|id| Some(keys.alive(&id.parse().ok()?)));
    let leases: Vec<String> = leases.collect();
    if leases.is_empty() {
        return Ok(false);
    }
    let alive: u64 = ask(connection, Cmd::new().arg("EXISTS").arg(leases)).await?;
    Ok(alive > 0)
}

async fn a_client(connection: &mut MultiplexedConnection, keys: &Keys) -> RedisResult<bool> {
    let mut cursor = 0_u64;
    loop {
        let mut step = redis::cmd("SCAN");
        step.arg(cursor).arg("MATCH").arg(keys.clients()).arg("COUNT").arg(STEP);
        let (next, found): (u64, Vec<String>) = ask(connection, &step).await?;
        if !found.is_empty() || next == 0 {
            return Ok(!found.is_empty());
        }
        cursor = next;
    }
}

async fn ask<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
) -> RedisResult<T> {
    command.query_async(connection).await
}
