//! Starting or attaching to a cluster: begin, poll for progress, take it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use extendr_api::prelude::*;
use rustbatch_protocol::bootstrap::Address;
use rustbatch_provision::lifecycle::{
    self, Access, Numbers, Policy, Progress, Redis, Standing, Up,
};
use rustbatch_provision::{Place, Programs, Spec};
use rustbatch_queue::Client;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

use crate::boundary::entry;
use crate::cluster::{About, Cluster, Parts};
use crate::failure::{Failure, Raised};
use crate::runtime::{self, Origin, Pending};
use crate::{config, credentials, values};

/// A cluster that is being started, or looked for. Dropping it gives it up: what was begun is taken down
/// in the background, for which R's end waits.
struct Begun {
    origin: Origin,
    pending: RefCell<Option<Pending<(Parts, About), Raised>>>,
    lines: RefCell<UnboundedReceiver<String>>,
    ready: RefCell<Option<(Parts, About)>>,
}

/// Begins to start the cluster that is `wanted`, after everything that can be checked without asking
/// anybody. `programs` are the paths of `rustbatch-worker` and of R, and R's version. Returns a
/// pointer for `cluster_news()`.
#[extendr]
fn cluster_begin(wanted: Robj, programs: Robj) -> Robj {
    entry(|| {
        let (spec, programs) = (config::read(&wanted)?, programs_of(&programs)?);
        begin(|progress| start(spec, programs, progress))
    })
}

/// Begins to look for the cluster that is called `name`, or has this id, at the provider that is
/// `wanted`. With `stop` it is stopped when R ends. Returns a pointer for `cluster_news()`.
#[extendr]
fn cluster_attach(name: Robj, wanted: Robj, programs: Robj, stop: bool) -> Robj {
    entry(|| {
        let (spec, programs) = (config::read(&wanted)?, programs_of(&programs)?);
        let name = values::text_of(&name)?;
        begin(move |progress| attach(name, spec, programs, stop, progress))
    })
}

/// Waits for a moment for what there is to say of a start: lines, none perhaps; `NULL` when the
/// cluster can be taken.
#[extendr]
fn cluster_news(begun: Robj) -> Robj {
    entry(|| {
        let begun = values::pointed::<Begun>(&begun)?;
        let mut ready = begun.ready.borrow_mut();
        if ready.is_none()
            && let Some(pending) = &*begun.pending.borrow()
        {
            *ready = pending.wait()?;
        }
        let mut lines = begun.lines.borrow_mut();
        let said: Vec<String> = std::iter::from_fn(|| lines.try_recv().ok()).collect();
        // The last words come before the end.
        if said.is_empty() && ready.is_some() { Ok(values::null()) } else { values::texts(&said) }
    })
}

/// The cluster that has started.
#[extendr]
fn cluster_take(begun: Robj) -> Robj {
    entry(|| {
        let begun = values::pointed::<Begun>(&begun)?;
        drop(begun.pending.take());
        match begun.ready.take() {
            Some((parts, about)) => Ok(values::pointer(Cluster::new(parts, about))),
            None => Err(Failure::new("internal", "The cluster has not started yet.")),
        }
    })
}

/// Gives up a start, or a search: what was started is taken down in the background. One whose cluster
/// has been taken is left alone.
#[extendr]
fn cluster_cancel(begun: Robj) -> Robj {
    entry(|| {
        values::pointed::<Begun>(&begun)?.give_up();
        Ok(values::null())
    })
}

impl Begun {
    fn give_up(&self) {
        let (pending, ready) = (self.pending.take(), self.ready.take());
        if let Some((parts, about)) = ready {
            // As one that nobody refers to any more.
            drop(Cluster::new(parts, about));
        } else if pending.is_some() && self.origin.is_here() {
            drop(pending);
            let mut lines = self.lines.replace(unbounded_channel().1);
            // Whoever takes down what was begun has the other end until it is done.
            runtime::farewell(async move { while lines.recv().await.is_some() {} });
        } else {
            std::mem::forget(pending);
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// The address of the Redis that a cluster would use, where others can see what is said to it; else
/// `NULL`. Asks nobody.
#[extendr]
fn cluster_exposed(wanted: Robj) -> Robj {
    entry(|| {
        let spec = config::read(&wanted)?;
        match spec.redis.map(|server| server.address).filter(Address::is_exposed) {
            Some(address) => values::text(&address.to_string()),
            None => Ok(values::null()),
        }
    })
}

/// The paths of `rustbatch-worker` and of R, and R's version.
///
/// # Errors
/// Of the kind `internal`.
pub fn programs_of(programs: &Robj) -> std::result::Result<Programs, Failure> {
    let texts: Vec<_> = programs.as_str_iter().map(Iterator::collect).unwrap_or_default();
    let [worker, r, version] = texts[..] else {
        return Err(Failure::new("internal", "Three texts were expected."));
    };
    Ok(Programs { worker: worker.into(), r: PathBuf::from(r), r_version: version.to_owned() })
}

fn begin<F>(work: impl FnOnce(Progress) -> F) -> std::result::Result<Robj, Failure>
where
    F: Future<Output = std::result::Result<(Parts, About), Raised>> + Send + 'static,
{
    let (tell, lines) = unbounded_channel();
    let pending = RefCell::new(Some(Pending::begin(work(Progress(Some(tell))))?));
    let (lines, ready) = (RefCell::new(lines), RefCell::default());
    Ok(values::pointer(Begun { origin: Origin::here(), pending, lines, ready }))
}

async fn start(
    spec: Spec,
    programs: Programs,
    progress: Progress,
) -> std::result::Result<(Parts, About), Raised> {
    let place = Arc::new(Place::new(&spec, &programs, &credentials::current()).await?);
    let (wish, policy) = rustbatch_provision::providers::wish(&spec, &programs);
    let (slots, most) = (wish.slots, wish.most);
    let times = (policy.server, policy.join);
    let up = lifecycle::start(Arc::clone(&place), Redis, wish, policy, progress).await?;
    let about = About {
        id: up.access().cluster,
        provider: spec.provider.name(),
        slots,
        most,
        stop_on_exit: spec.remote.stop_on_exit,
    };
    Ok((parts(up, place, times).await?, about))
}

async fn attach(
    name: String,
    spec: Spec,
    programs: Programs,
    stop_on_exit: bool,
    progress: Progress,
) -> std::result::Result<(Parts, About), Raised> {
    let place = Place::new(&spec, &programs, &credentials::current()).await?;
    let records = lifecycle::find(&place, &Policy::default()).await?;
    let id = lifecycle::named(&records, &name)?;
    let place = Arc::new(place.of(&id).await?);
    let up = lifecycle::attach(Arc::clone(&place), Redis, id.clone(), progress).await?;
    // So that its numbers are known.
    let _ = up.pass(Instant::now()).await;
    let (slots, most) = up.size().await?;
    let Policy { server, join, .. } = Policy::default();
    let about = About { id, provider: spec.provider.name(), slots, most, stop_on_exit };
    Ok((parts(up, place, (server, join)).await?, about))
}

/// Keeps the cluster up from now on. So long may another server take to come, and workers to join it.
async fn parts(
    up: Up<Place, Redis>,
    place: Arc<Place>,
    (server, join): (Duration, Duration),
) -> std::result::Result<Parts, Raised> {
    let client = (*up.register().await?).clone();
    tokio::spawn(follow(up.accesses(), client.clone(), server + join));
    tokio::spawn(hope(up.counts(), client.clone(), join));
    up.keep();
    Ok(Parts { up: Arc::new(up), place, client })
}

/// Tells the client of each new server, and while one is on its way, which may take so long. Ends with
/// the cluster.
async fn follow(mut accesses: watch::Receiver<Access>, client: Client, replacing: Duration) {
    while accesses.changed().await.is_ok() {
        let Access { server, standing, .. } = accesses.borrow_and_update().clone();
        match standing {
            // A server that has no address is none that was reached before.
            Standing::Up => drop(client.moved(&server)),
            Standing::Replacing => client.expect(replacing),
            // It may be started again.
            Standing::Paused | Standing::Lost(_) => {}
        }
    }
}

/// Tells the client when workers are on their way while there is none, which may take so long: a loop waits
/// for them. Ends with the cluster.
async fn hope(mut counts: watch::Receiver<Numbers>, client: Client, joining: Duration) {
    let mut before = false;
    loop {
        let Numbers { initializing, running, .. } = *counts.borrow_and_update();
        let awaited = running == 0 && initializing > 0;
        // Once: those that never join are no hope.
        if awaited && !before {
            client.expect(joining);
        }
        before = awaited;
        if counts.changed().await.is_err() {
            return;
        }
    }
}

extendr_module! {
    mod start;
    fn cluster_begin;
    fn cluster_attach;
    fn cluster_news;
    fn cluster_take;
    fn cluster_cancel;
    fn cluster_exposed;
}
