//! What R is given of a chunk: its context, the objects of that, and what precedes its arguments.

use rustbatch_protocol::{Context, Payload, stream};
use rustbatch_queue::{Leased, WorkerQueue};

use super::{Stop, Work, cancellable};
use crate::evaluator::{Evaluator, Fault};
use crate::kept::Kept;
use crate::pipe::{FromR, ToR};
use crate::store::Store;

/// Gives R a context, with a chunk right behind it where both are short, and each object that it asks
/// for. Returns R's condition when the context does not load there.
pub(super) async fn load(
    evaluator: &mut Evaluator,
    queue: &WorkerQueue,
    store: &Store,
    work: &Work,
    context: &Context,
    chunk: Option<[&[u8]; 2]>,
) -> Result<Option<Vec<u8>>, Stop> {
    let job = &work.leased.job;
    let mut answer = match (&context.main, chunk) {
        (Payload::Inline(main), Some([head, arguments])) => {
            let length = (main.len() as f64).to_ne_bytes();
            evaluator.ask(ToR::First, &[&length, main, head, arguments], &work.cancel).await?
        }
        (Payload::Inline(main), None) => evaluator.ask(ToR::Context, &[main], &work.cancel).await?,
        (Payload::Blob(blob), _) => {
            let main = cancellable(&work.cancel, store.get(queue, job, blob)).await??;
            evaluator.ask(ToR::Context, &[&main.bytes()?], &work.cancel).await?
        }
    };
    loop {
        match answer.kind {
            FromR::Ready => return Ok(None),
            FromR::Refused => return Ok(Some(answer.payload)),
            FromR::Need => {
                let wanted = std::str::from_utf8(&answer.payload).ok().and_then(|s| s.parse().ok());
                let blob = context.objects.iter().find(|&&blob| Some(blob) == wanted);
                let Some(blob) = blob else {
                    let reason = "R asked for an object that the context does not have".to_owned();
                    return Err(Fault::Died(evaluator.end(Some(reason)).await).into());
                };
                let kept = cancellable(&work.cancel, store.get(queue, job, blob)).await??;
                let (kind, content) = match &*kept {
                    Kept::Memory(bytes) => (ToR::Object, &bytes[..]),
                    Kept::File(shared) => (ToR::File, shared.path().as_bytes()),
                };
                answer = evaluator.ask(kind, &[content], &work.cancel).await?;
            }
            FromR::Done | FromR::Interrupted | FromR::Signal => {
                let reason = format!("R answered {:?} to a context", answer.kind);
                return Err(Fault::Died(evaluator.end(Some(reason)).await).into());
            }
        }
    }
}

/// What precedes the arguments: where in them the chunk begins, how many tasks it has, whether seeds
/// follow, and the seeds, six numbers a task.
pub(super) fn head(leased: &Leased) -> Vec<u8> {
    let offset = (leased.name.first - leased.whole.first) as i32;
    let mut head = Vec::with_capacity(12 + 24 * leased.name.n as usize);
    for number in [offset, leased.name.n.cast_signed(), i32::from(leased.chunk.seed.is_some())] {
        head.extend_from_slice(&number.to_ne_bytes());
    }
    if let Some(seed) = leased.chunk.seed {
        let mut state = stream::jump(seed, leased.name.first - 1);
        for _ in 0..leased.name.n {
            state.iter().for_each(|number| head.extend_from_slice(&number.to_ne_bytes()));
            state = stream::next(state);
        }
    }
    head
}
