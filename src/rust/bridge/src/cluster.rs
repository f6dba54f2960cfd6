//! Clusters as R holds them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use extendr_api::prelude::*;
use rustbatch_protocol::{BlobRef, ClusterId};
use rustbatch_provision::lifecycle::{Access, Numbers, Redis, Standing, Up};
use rustbatch_provision::provider::Cost;
use rustbatch_provision::{Error, Place};
use rustbatch_queue::Client;

use crate::boundary::entry;
use crate::failure::Failure;
use crate::runtime::{self, Origin, Pending};
use crate::values;

/// The way out when a cluster is no more.
const AGAIN: &str =
    "* Start another one with `makeCluster()`, and register it with `registerDoRustBatch()`.";

/// A cluster as R holds it.
///
/// In a forked child it is forgotten, never dropped: sockets and processes are the parent's.
pub struct Cluster {
    origin: Origin,
    parts: RefCell<Option<Parts>>,
    /// What stops it, or leaves it, until somebody has been told how that ended.
    ending: RefCell<Option<Rc<Ending>>>,
    /// The blobs of the objects that have been exported, by their digest in memory.
    exported: RefCell<HashMap<[u8; 32], BlobRef>>,
    about: About,
    /// How many workers there may be.
    most: Cell<u32>,
    /// Whether it was to be stopped, and could not be.
    unstopped: Cell<bool>,
}

/// What does not change.
pub struct About {
    /// The cluster's id.
    pub id: ClusterId,
    /// The provider's name.
    pub provider: &'static str,
    /// How many R processes a worker.
    pub slots: u32,
    /// How many workers there may be, at first.
    pub most: u32,
    /// Whether the cluster is stopped when R ends, or forgets it.
    pub stop_on_exit: bool,
}

/// What there is of a cluster that has not been stopped.
#[derive(Clone)]
pub struct Parts {
    /// Keeps it up.
    pub up: Arc<Up<Place, Redis>>,
    /// The provider.
    pub place: Arc<Place>,
    /// Has its jobs done.
    pub client: Client,
}

/// What stops a cluster, or leaves it: that goes on, and R's end waits for it, whoever is interrupted.
struct Ending {
    parts: Parts,
    pending: Pending<(), Error>,
}

impl Cluster {
    /// A cluster of this process.
    pub fn new(parts: Parts, about: About) -> Self {
        Self {
            origin: Origin::here(),
            parts: RefCell::new(Some(parts)),
            ending: RefCell::default(),
            exported: RefCell::default(),
            most: Cell::new(about.most),
            unstopped: Cell::new(false),
            about,
        }
    }

    /// The client of a cluster that has not been stopped.
    ///
    /// # Errors
    /// Of the kind `closed`, or `forked` in a forked child.
    pub fn client(&self) -> Result<Client, Failure> {
        self.with(|parts| parts.client.clone())
    }

    /// What keeps up a cluster that has not been stopped.
    ///
    /// # Errors
    /// Of the kind `closed`, or `forked` in a forked child.
    pub fn up(&self) -> Result<Arc<Up<Place, Redis>>, Failure> {
        self.with(|parts| Arc::clone(&parts.up))
    }

    /// The provider of a cluster that has not been stopped.
    ///
    /// # Errors
    /// Of the kind `closed`, or `forked` in a forked child.
    pub fn place(&self) -> Result<Arc<Place>, Failure> {
        self.with(|parts| Arc::clone(&parts.place))
    }

    /// The cluster's id.
    pub fn id(&self) -> &ClusterId {
        &self.about.id
    }

    fn with<T>(&self, part: impl FnOnce(&Parts) -> T) -> Result<T, Failure> {
        self.origin.check("cluster")?;
        match &*self.parts.borrow() {
            Some(parts) => Ok(part(parts)),
            None => Err(Failure::new("closed", format!("The cluster has been stopped\n{AGAIN}"))),
        }
    }

    /// The blob of the object with this digest, if one was exported. Redis may have lost it since.
    pub fn known(&self, digest: &[u8; 32]) -> Option<BlobRef> {
        self.exported.borrow().get(digest).copied()
    }

    /// Notes the blob of the object with this digest.
    pub fn know(&self, digest: [u8; 32], blob: BlobRef) {
        self.exported.borrow_mut().insert(digest, blob);
    }

    /// How many R processes it may have.
    pub fn slots(&self) -> u32 {
        self.most.get() * self.about.slots
    }

    /// From now on it may have so many workers.
    pub fn resized(&self, most: u32) {
        self.most.set(most);
    }

    /// Fails when the cluster can't work any more: a process has ended unasked and is not started
    /// again, or its server has been stopped.
    ///
    /// # Errors
    /// Of the kind `lost`, with the process' last words; of the kind `paused`.
    pub fn check_alive(&self) -> Result<(), Failure> {
        if let Some(words) = self.lost() {
            return Err(Failure::new("lost", words));
        }
        if self.access().is_some_and(|access| access.standing == Standing::Paused) {
            let text = "The cluster's server has been stopped\n* Start it: `startServer(cluster)`.";
            return Err(Failure::new("paused", text));
        }
        Ok(())
    }

    /// What is known of the cluster; nothing where it is stopped, or another process'.
    fn access(&self) -> Option<Access> {
        let parts = self.parts.borrow();
        if self.origin.is_here() { Some(parts.as_ref()?.up.access()) } else { None }
    }

    /// Why the cluster is lost; `None` while it is kept up.
    fn lost(&self) -> Option<String> {
        let standing = self.access()?.standing;
        let Standing::Lost(words) = standing else { return None };
        Some(format!("The cluster is lost: {words}\n{AGAIN}"))
    }

    fn state(&self) -> &'static str {
        if !self.origin.is_here() {
            return "another process'";
        }
        if let Some(Ending { parts, pending }) = self.ending.borrow().as_deref() {
            return match (pending.has_ended(), parts.up.is_gone()) {
                (false, _) => "being stopped",
                (true, true) => "stopped",
                (true, false) => "could not be stopped",
            };
        }
        match self.access().map(|access| access.standing) {
            None => "stopped",
            Some(_) if self.unstopped.get() => "could not be stopped",
            Some(Standing::Lost(_)) => "lost",
            Some(Standing::Paused) => "its server has been stopped",
            Some(Standing::Replacing) => "its server is being replaced",
            Some(Standing::Up) => "running",
        }
    }

    /// The parts, which the cluster has no more then; nothing where it is stopped, or another process'.
    fn take(&self) -> Option<Parts> {
        if self.origin.is_here() { self.parts.take() } else { None }
    }

    /// What ends the cluster, begun now unless it has begun; nothing where it is stopped, or another
    /// process'.
    fn ending(&self, leave: bool) -> std::result::Result<Option<Rc<Ending>>, Failure> {
        if !self.origin.is_here() {
            return Ok(None);
        }
        if let Some(begun) = &*self.ending.borrow() {
            return Ok(Some(Rc::clone(begun)));
        }
        let Some(up) = self.parts.borrow().as_ref().map(|parts| Arc::clone(&parts.up)) else {
            return Ok(None);
        };
        let pending = Pending::lasting(async move {
            match leave {
                true => up.leave().await,
                false => left(up.stop().await?.left),
            }
        })?;
        let ending = self.parts.take().map(|parts| Rc::new(Ending { parts, pending }));
        self.ending.replace(ending.clone());
        Ok(ending)
    }

    /// It has ended. What could not be stopped can be tried again.
    fn ended(&self) {
        let Some(ending) = self.ending.take() else { return };
        if !ending.parts.up.is_gone() {
            self.unstopped.set(true);
            self.parts.replace(Some(ending.parts.clone()));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            std::mem::forget((self.parts.take(), self.ending.take()));
            return;
        }
        // Where an ending that nobody waited for has failed, it is tried again; where it goes on, R's end
        // waits for it already.
        self.ended();
        let Some(Parts { up, place, .. }) = self.take() else { return };
        if place.is_local() {
            // Its processes die with what is dropped here, at once.
            return;
        }
        let stop = self.about.stop_on_exit || self.unstopped.get();
        runtime::farewell(async move {
            // Nobody is there to be told.
            let _ = if stop { up.stop().await.map(drop) } else { up.leave().await };
        });
    }
}

/// Stops a cluster, and waits until that is done; one that is stopped, or another process', is left
/// alone. With `leave` it is only forgotten by this process. After an interrupt it goes on, and
/// another call waits for the same.
#[extendr]
fn cluster_stop(cluster: Robj, leave: bool) -> Robj {
    entry(|| {
        let cluster = values::pointed::<Cluster>(&cluster)?;
        if let Some(ending) = cluster.ending(leave)? {
            let done = loop {
                match ending.pending.wait() {
                    Ok(None) => {}
                    Ok(Some(())) => break Ok(()),
                    Err(Failure::Unwind(jump)) => return Err(Failure::Unwind(jump)),
                    Err(failure) => break Err(failure),
                }
            };
            cluster.ended();
            done?;
        }
        Ok(values::null())
    })
}

/// What could not be removed is an error.
fn left(left: Vec<(String, String)>) -> std::result::Result<(), Error> {
    if left.is_empty() {
        return Ok(());
    }
    let all: Vec<_> = left.into_iter().map(|(what, why)| format!("{what} ({why})")).collect();
    Err(Error::Refused {
        what: "remove all of the cluster".into(),
        reason: all.join("; "),
        way: "Try again: `stopCluster()`.".into(),
    })
}

/// Fails when a cluster can't run a loop: it has been stopped, is lost, or is another process'.
#[extendr]
fn cluster_check(cluster: Robj) -> Robj {
    entry(|| {
        let cluster = values::pointed::<Cluster>(&cluster)?;
        cluster.client()?;
        cluster.check_alive()?;
        Ok(values::null())
    })
}

/// Why a cluster can't be kept up, where only the user can mend that; else `NULL`. Asks nobody.
#[extendr]
fn cluster_trouble(cluster: Robj) -> Robj {
    entry(|| {
        let cluster = values::pointed::<Cluster>(&cluster)?;
        let trouble = match &*cluster.parts.borrow() {
            Some(parts) if cluster.origin.is_here() => parts.up.trouble(),
            _ => None,
        };
        trouble.map_or(Ok(values::null()), |trouble| values::text(&trouble))
    })
}

/// What there is to say of a cluster. Asks nobody.
#[extendr]
fn cluster_describe(cluster: Robj) -> Robj {
    entry(|| {
        let cluster = values::pointed::<Cluster>(&cluster)?;
        let About { id, provider, slots, .. } = &cluster.about;
        let numbers = match &*cluster.parts.borrow() {
            Some(parts) if cluster.origin.is_here() => parts.up.numbers(),
            _ => Numbers { expected: cluster.most.get(), ..Numbers::default() },
        };
        let cost = match &*cluster.parts.borrow() {
            Some(parts) if cluster.origin.is_here() => parts.place.cost(id),
            _ => None,
        };
        let dollars = |of: fn(Cost) -> f64| values::doubles(&[cost.map_or(f64::NAN, of)]);
        let server = cluster.access().map(|access| access.server.address.to_string());
        let count = |n: u32| values::integers(&[n.cast_signed()]);
        values::named_list(&[
            ("id", values::text(id.as_str())?),
            ("name", values::text(id.as_str().rsplit_once('-').map_or("", |(name, _)| name))?),
            ("provider", values::text(provider)?),
            ("server", values::text(&server.unwrap_or_default())?),
            ("slots", count(*slots)?),
            ("expected", count(numbers.expected)?),
            ("initializing", count(numbers.initializing)?),
            ("running", count(numbers.running)?),
            ("state", values::text(cluster.state())?),
            ("dollarsPerHour", dollars(|cost| cost.per_hour)?),
            ("dollarsSoFar", dollars(|cost| cost.so_far)?),
            ("maxCost", dollars(|cost| cost.limit.unwrap_or(f64::NAN))?),
        ])
    })
}

extendr_module! {
    mod cluster;
    fn cluster_check;
    fn cluster_stop;
    fn cluster_describe;
    fn cluster_trouble;
}
