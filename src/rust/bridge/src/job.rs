//! Jobs: a context is made, chunks go out, outcomes come in.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use extendr_api::prelude::*;
use rustbatch_protocol::schedule::Schedule;
use rustbatch_protocol::{
    BlobHash, BlobRef, ChunkName, Context, Outcome, Payload, RPackages, Report, Stream, Wanted,
    encode,
};
use rustbatch_queue::{CRASHES, Client, Event, Job, JobSpec};

use crate::boundary::entry;
use crate::cluster::Cluster;
use crate::export::LARGE;
use crate::failure::{Failure, Raised};
use crate::interrupt::wait;
use crate::runtime::{self, Origin};
use crate::{serial, values};

/// A job as R holds it. In a forked child it is forgotten, never dropped.
struct Loop {
    origin: Origin,
    client: Client,
    job: RefCell<Option<Job>>,
    events: RefCell<Option<Receiver<Event>>>,
    schedule: RefCell<Schedule>,
    /// How many tasks there will be, where that is known.
    tasks: Option<u64>,
    sent: Cell<u64>,
    received: Cell<u64>,
}

impl Drop for Loop {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            std::mem::forget((self.job.take(), self.events.take(), self.client.clone()));
        }
    }
}

fn serialize(value: &Robj, calling: &Robj) -> std::result::Result<Vec<u8>, Failure> {
    serial::serialize(value, Some(calling).filter(|calling| calling.is_environment()))
}

/// Opens a job. `parts` are the list that the evaluator loads first, and the objects that it loads
/// when the packages are there; `calling` is the environment that goes by name in them, `exports` the
/// blobs that travel beside them, as text, `wanted` the packages that a worker which may installs
/// where they are missing (CRAN's, GitHub's, Bioconductor's, then the client's libraries) or `NULL`,
/// `seed` the state of the first random stream or `NULL`, `sizes` how many tasks there will be, `Inf`
/// where that is not known, and the user's own size of chunks, where there is one. Returns a pointer.
#[extendr]
fn job_open(
    cluster: Robj,
    parts: Robj,
    calling: Robj,
    exports: Robj,
    wanted: Robj,
    seed: Robj,
    sizes: Robj,
) -> Robj {
    entry(|| {
        let cluster = values::pointed::<Cluster>(&cluster)?;
        let client = cluster.client()?;
        let mut blobs = HashMap::new();
        let objects = values::texts_of(&exports)?
            .iter()
            .map(|text| text.parse::<BlobRef>())
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let beside = objects.iter().map(|blob| blob.hash).collect();
        let parts = values::elements_of(&parts)?;
        let [head, body] = <[Robj; 2]>::try_from(parts)
            .map_err(|_| Failure::new("internal", "Internal error: not two parts of a context"))?;
        let head = serialize(&head, &calling)?;
        // What is read first stands first, with its length before it.
        let mut main = (head.len() as f64).to_ne_bytes().to_vec();
        main.extend(head);
        main.append(&mut serialize(&body, &calling)?);
        let mut fresh = Vec::new();
        let main = if main.len() < LARGE {
            Payload::Inline(main)
        } else {
            Payload::Blob(keep(&client, main, &mut blobs, &mut fresh))
        };
        let wanted = wanted_of(&wanted)?.map(Box::new);
        let context = encode(&Context { client: client.id().clone(), main, objects, wanted })?;
        let context = keep(&client, context, &mut blobs, &mut fresh);
        let seed = seed.as_integer_slice().and_then(|state| <[i32; 6]>::try_from(state).ok());
        let sizes = sizes.as_real_slice().unwrap_or_default();
        let size = |i: usize| sizes.get(i).filter(|size| size.is_finite()).map(|&size| size as u64);
        let tasks = size(0);
        let spec = JobSpec {
            context,
            blobs,
            beside,
            fresh,
            seed: seed.map(|state| state.map(i32::cast_unsigned)),
            tasks,
        };
        let fixed = size(1).and_then(|n| u32::try_from(n).ok());
        let (sender, events) = channel();
        let runtime = runtime::handle()?;
        let job = {
            let _inside = runtime.enter();
            Job::open(&client, spec, sender)?
        };
        Ok(values::pointer(Loop {
            origin: Origin::here(),
            client,
            job: RefCell::new(Some(job)),
            events: RefCell::new(Some(events)),
            schedule: RefCell::new(Schedule::new(cluster.slots(), fixed)),
            tasks,
            sent: Cell::new(0),
            received: Cell::new(0),
        }))
    })
}

fn wanted_of(value: &Robj) -> std::result::Result<Option<Wanted>, Failure> {
    if value.is_null() {
        return Ok(None);
    }
    let parts = values::elements_of(value)?;
    let parts: Vec<_> =
        parts.iter().map(values::texts_of).collect::<std::result::Result<_, _>>()?;
    let [cran, github, bioconductor, libraries] = <[Vec<String>; 4]>::try_from(parts)
        .map_err(|_| Failure::new("internal", "Internal error: not four kinds of texts"))?;
    Ok(Some(Wanted { packages: RPackages { cran, github, bioconductor }, libraries }))
}

/// Notes a blob that is to go into Redis with the first chunk.
fn keep(
    client: &Client,
    bytes: Vec<u8>,
    blobs: &mut HashMap<BlobHash, Bytes>,
    fresh: &mut Vec<BlobRef>,
) -> BlobRef {
    let blob = BlobRef::of(client.seal(), &bytes);
    client.remember(blob);
    blobs.insert(blob.hash, bytes.into());
    fresh.push(blob);
    blob
}

/// How many tasks the next chunk should have: 0 while enough chunks are out. `left` is how many tasks
/// are not yet sent, or `Inf` where that is not known.
#[extendr]
fn job_room(job: Robj, left: f64) -> Robj {
    entry(|| {
        let job = values::pointed::<Loop>(&job)?;
        let left = left.is_finite().then_some(left as u64);
        let mut schedule = job.schedule.borrow_mut();
        schedule.set_round_trip(job.client.round_trip());
        values::integers(&[schedule.room(left).cast_signed()])
    })
}

/// Sends the chunk of `n` tasks that begins with task `first`.
#[extendr]
fn job_push(job: Robj, first: f64, n: i32, arguments: Robj, calling: Robj) -> Robj {
    entry(|| {
        let job = values::pointed::<Loop>(&job)?;
        job.origin.check("loop")?;
        let bytes = serialize(&arguments, &calling)?;
        let name = ChunkName { first: first as u64, n: n.cast_unsigned() };
        job.schedule.borrow_mut().sent(name, bytes.len());
        match &*job.job.borrow() {
            Some(open) => open.push(name, bytes)?,
            None => return Err(Failure::new("closed", "The loop has ended.")),
        }
        job.sent.set(job.sent.get() + u64::from(name.n));
        Ok(values::null())
    })
}

/// Waits for outcomes; returns those that have come, at least one, as a list.
#[extendr]
fn job_wait(cluster: Robj, job: Robj) -> Robj {
    entry(|| {
        let cluster = values::pointed::<Cluster>(&cluster)?;
        let job = values::pointed::<Loop>(&job)?;
        job.origin.check("loop")?;
        let inbox = job.events.borrow();
        let Some(inbox) = &*inbox else {
            return Err(Failure::new("closed", "The loop has ended."));
        };
        // Its own .combine may have stopped the cluster.
        cluster.client()?;
        let first = loop {
            match wait(inbox, Some(Instant::now() + runtime::LOOK))? {
                Some(event) => break event,
                None => cluster.check_alive().map_err(|lost| job.counted(lost))?,
            }
        };
        let mut events = Vec::new();
        for event in std::iter::once(first).chain(inbox.try_iter()) {
            events.push(job.receive(event)?);
        }
        values::list(&events)
    })
}

impl Loop {
    /// A failure with how many tasks have finished and how many have not: of all, where their number is
    /// known, else of those sent.
    fn counted(&self, failure: Failure) -> Failure {
        let (finished, all) = (self.received.get(), self.tasks.unwrap_or(self.sent.get()));
        let open = all.saturating_sub(finished);
        failure.with_number("finished", finished).with_number("open", open)
    }

    fn receive(&self, event: Event) -> std::result::Result<Robj, Failure> {
        let (name, lacking, outcome, bytes) = match event {
            Event::Outcome { name, lacking, outcome, bytes } => (name, lacking, outcome, bytes),
            Event::Signal { bytes } => {
                let condition = values::list(&[serial::unserialize(&bytes)?])?;
                return values::named_list(&[
                    ("kind", values::text("signal")?),
                    ("report", condition),
                ]);
            }
            Event::Need { hash, worker } => {
                return values::named_list(&[
                    ("kind", values::text("need")?),
                    ("hash", values::text(&hash.to_string())?),
                    ("worker", values::text(worker.as_str())?),
                ]);
            }
            Event::Notice(notice) => {
                return values::named_list(&[
                    ("kind", values::text("notice")?),
                    ("report", values::text(&notice.to_string())?),
                ]);
            }
            Event::Failed(error) => return Err(error.into()),
        };
        let elapsed = Duration::from_micros(outcome.elapsed_us);
        self.schedule.borrow_mut().received(name, lacking.len() as u32, elapsed);
        self.received.set(self.received.get() + lacking.len() as u64);
        let report = match &outcome.report {
            Report::Values(_) => values::list(&[serial::unserialize(&bytes)?])?,
            Report::Refused(_) => values::list(&[serial::unserialize(&bytes)?])?,
            Report::Uninstalled(uninstalled) => values::named_list(&[
                ("package", values::text(&uninstalled.package)?),
                ("reason", values::text(&uninstalled.reason.replace('\0', ""))?),
                ("log", values::text(&uninstalled.log.join("\n").replace('\0', ""))?),
            ])?,
            Report::Lost(times, why) => values::named_list(&[
                ("times", values::integers(&[times.cast_signed()])?),
                ("why", values::text(&why.replace('\0', ""))?),
            ])?,
            Report::TooLarge { size, limit } => values::named_list(&[
                ("size", values::doubles(&[*size as f64])?),
                ("limit", values::doubles(&[*limit as f64])?),
            ])?,
            Report::GivenUp(why) => values::text(&why.replace('\0', ""))?,
            Report::Crashed(cause) => values::named_list(&[
                ("times", values::integers(&[CRASHES.cast_signed()])?),
                ("message", values::text(&cause.words())?),
                ("signal", number(cause.signal)?),
                ("signalName", values::text(cause.signal_name().unwrap_or_default())?),
                ("exit", number(cause.exit)?),
                ("oom", values::logical(cause.out_of_memory)?),
                ("limit", bytes_of(cause.limit)?),
                ("peak", bytes_of(cause.peak)?),
                ("log", values::text(&cause.stderr.replace('\0', ""))?),
            ])?,
        };
        let tasks: Vec<f64> = lacking.iter().map(|&task| task as f64).collect();
        values::named_list(&[
            ("kind", values::text(kind(&outcome))?),
            ("first", values::doubles(&[name.first as f64])?),
            ("tasks", values::doubles(&tasks)?),
            ("report", report),
            ("worker", values::text(outcome.worker.as_str())?),
            ("attempt", values::integers(&[outcome.attempt.cast_signed()])?),
            ("seconds", values::doubles(&[elapsed.as_secs_f64()])?),
            ("output", output(&outcome)?),
        ])
    }
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome.report {
        Report::Values(_) => "values",
        Report::Refused(_) => "refused",
        Report::Crashed(_) => "crashed",
        Report::Uninstalled(_) => "uninstalled",
        Report::Lost(..) => "lost",
        Report::TooLarge { .. } => "too_large",
        Report::GivenUp(_) => "given_up",
    }
}

fn number(value: Option<i32>) -> std::result::Result<Robj, Failure> {
    values::integers(&[value.unwrap_or(i32::MIN)])
}

/// A number of bytes, `NaN` where it is not known.
fn bytes_of(value: Option<u64>) -> std::result::Result<Robj, Failure> {
    values::doubles(&[value.map_or(f64::NAN, |bytes| bytes as f64)])
}

/// What the tasks printed: a list of pieces, each with its task (from 1), mark, stream, text and how
/// many bytes were cut.
fn output(outcome: &Outcome) -> std::result::Result<Robj, Failure> {
    if outcome.output.is_empty() {
        return Ok(values::null());
    }
    let pieces = outcome.output.iter().map(|piece| {
        values::named_list(&[
            ("task", values::doubles(&[f64::from(piece.task) + 1.0])?),
            ("mark", values::doubles(&[f64::from(piece.mark)])?),
            ("error", values::logical(piece.stream == Stream::Err)?),
            ("text", values::text(&String::from_utf8_lossy(&piece.bytes).replace('\0', ""))?),
            ("cut", values::doubles(&[piece.cut as f64])?),
        ])
    });
    values::list(&pieces.collect::<std::result::Result<Vec<_>, Failure>>()?)
}

/// Ends a job: what is queued is removed, what runs is interrupted; with `wait`, Redis knows when
/// this returns. One that has ended is left alone.
#[extendr]
fn job_close(job: Robj, wait: bool) -> Robj {
    entry(|| {
        let job = values::pointed::<Loop>(&job)?;
        let open = if job.origin.is_here() { job.job.take() } else { None };
        if let Some(open) = open {
            // A task of its own, because an interrupt must not cut it in two.
            let closing = runtime::handle()?.spawn(open.close());
            if !wait {
                return Ok(values::null());
            }
            runtime::run(async move {
                let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
                Ok::<_, Raised>(())
            })?;
        }
        Ok(values::null())
    })
}

extendr_module! {
    mod job;
    fn job_open;
    fn job_room;
    fn job_push;
    fn job_wait;
    fn job_close;
}
