//! The sweep: what dead workers hold goes back to the queue, and a task whose host was lost too often
//! is settled as lost.

use redis::Pipeline;
use rustbatch_protocol::{
    Binding, ChunkName, JobId, Keys, Kind, Outcome, Report, Seal, WorkerId, encode,
};

use crate::whys::Whys;
use crate::{Error, LOSSES, Link, TTL, Timing, ms, script};

/// Who sweeps.
#[derive(Debug, Clone, Copy)]
pub enum Sweeper<'a> {
    /// A client, which renews its lease thereby; and what it knows of the dead.
    Client(&'a str, &'a Whys),
    /// A worker, where no client and no other worker does.
    Worker(&'a str),
}

/// Worker, job, chunk, attempt.
type Lost = (String, String, String, u32);

/// Sweeps once. Cancel-safe: what is not settled as lost stays held, and the next sweep finds it.
///
/// # Errors
/// Those of [`Link::call`]; [`Error::Protocol`] when an outcome can't be sealed.
pub async fn sweep(
    link: &Link,
    keys: &Keys,
    seal: &Seal,
    timing: &Timing,
    sweeper: Sweeper<'_>,
) -> Result<(), Error> {
    let (who, role) = match sweeper {
        Sweeper::Client(id, _) => (id, "client"),
        Sweeper::Worker(id) => (id, "worker"),
    };
    let mut pipe = Pipeline::new();
    script::invoke(&mut pipe, &script::SWEEP, &keys.ring())
        .arg(who)
        .arg(role)
        .arg(ms(timing.lease))
        .arg(ms(timing.second_look()))
        .arg(ms(timing.look()))
        .arg(ms(TTL))
        .arg(LOSSES);
    let (lost,): (Vec<Lost>,) = link.call(&pipe).await?;
    let mut pipe = Pipeline::new();
    for (worker, job, chunk, attempt) in &lost {
        let dead = worker.parse()?;
        let why = match sweeper {
            Sweeper::Client(_, whys) => whys.of(&dead),
            Sweeper::Worker(_) => String::new(),
        };
        let outcome = outcome(seal, dead, job, chunk, *attempt, why)?;
        // In the dead worker's name: if it comes back and hands in its own, the first one counts.
        script::invoke(&mut pipe, &script::SETTLE, &keys.ring()).arg(worker).arg(job).arg(chunk);
        pipe.arg(*attempt).arg(outcome).arg(ms(TTL)).ignore();
        tracing::warn!(worker, job, chunk, "a task's host was lost too often");
    }
    if lost.is_empty() { Ok(()) } else { link.call(&pipe).await }
}

/// What the client is told of a task whose host was lost too often, sealed.
fn outcome(
    seal: &Seal,
    worker: WorkerId,
    job: &str,
    chunk: &str,
    attempt: u32,
    why: String,
) -> Result<Vec<u8>, Error> {
    let outcome = Outcome {
        worker,
        attempt,
        elapsed_us: 0,
        report: Report::Lost(LOSSES, why),
        output: Vec::new(),
    };
    let (job, name): (JobId, ChunkName) = (job.parse()?, chunk.parse()?);
    let text = name.to_string();
    Ok(seal.seal(&Binding::new(Kind::Outcome, &job, &text), &encode(&outcome)?)?)
}
