//! Entry points for the tests of the boundary (`tests/testthat/test-boundary.R`) and for nothing else.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use extendr_api::prelude::*;

use crate::boundary::{entry, evaluate};
use crate::failure::{Failure, Raised};
use crate::runtime::{self, Origin};
use crate::{serial, values};

/// How many witnesses were dropped.
static DROPPED: AtomicI32 = AtomicI32::new(0);

/// Counts its own end.
struct Witness;

impl Drop for Witness {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Fails with an error of the kind `task`, with two fields.
#[extendr]
fn probe_fail(message: Robj) -> Robj {
    entry(|| {
        let message = values::text_of(&message)?;
        Err(Failure::new("task", message).with_field("task", 7).with_field("worker", "w-1"))
    })
}

/// Panics.
#[extendr]
fn probe_panic(message: Robj) -> Robj {
    entry(|| {
        let _witness = Witness;
        panic!("{}", values::text_of(&message)?)
    })
}

/// Panics on a background thread.
#[extendr]
fn probe_panic_behind() -> Robj {
    async fn collapse() -> Result<(), Raised> {
        panic!("behind")
    }
    entry(|| {
        runtime::run(collapse())?;
        Ok(values::null())
    })
}

/// Calls an R function below a Rust frame that has something to drop; its value comes in a list.
#[extendr]
fn probe_call(action: Robj) -> Robj {
    entry(|| {
        let _witness = Witness;
        values::list(&[evaluate(&action)?])
    })
}

/// How many witnesses were dropped so far.
#[extendr]
fn probe_dropped() -> Robj {
    entry(|| values::integers(&[DROPPED.load(Ordering::Relaxed)]))
}

/// The serialized value; `environment`, if it is one, goes by name.
#[extendr]
fn probe_serialize(value: Robj, environment: Robj) -> Robj {
    entry(|| {
        let replaced = Some(&environment).filter(|environment| environment.is_environment());
        values::raw(&serial::serialize(&value, replaced)?)
    })
}

/// What the bytes hold, in a list.
#[extendr]
fn probe_unserialize(bytes: Robj) -> Robj {
    entry(|| values::list(&[serial::unserialize(values::bytes_of(&bytes)?)?]))
}

/// Strings there and back again.
#[extendr]
fn probe_texts(texts: Robj) -> Robj {
    entry(|| values::texts(&values::texts_of(&texts)?))
}

/// Waits on the background threads, with a witness on either side.
#[extendr]
fn probe_wait(seconds: f64) -> Robj {
    entry(|| {
        let _witness = Witness;
        runtime::run(async move {
            let _witness = Witness;
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            Ok::<_, Raised>(())
        })?;
        Ok(values::null())
    })
}

/// Has this process started its background threads?
#[extendr]
fn probe_started() -> Robj {
    entry(|| values::logical(runtime::is_started()))
}

/// An external pointer to a value that counts its end.
#[extendr]
fn probe_pointer() -> Robj {
    entry(|| Ok(values::pointer((Origin::here(), Witness))))
}

/// Uses such a pointer: fails in a forked child of the process that made it.
#[extendr]
fn probe_pointed(pointer: Robj) -> Robj {
    entry(|| {
        let (origin, _) = values::pointed::<(Origin, Witness)>(&pointer)?;
        origin.check("probe")?;
        values::logical(true)
    })
}

extendr_module! {
    mod probe;
    fn probe_fail;
    fn probe_panic;
    fn probe_panic_behind;
    fn probe_call;
    fn probe_dropped;
    fn probe_serialize;
    fn probe_unserialize;
    fn probe_texts;
    fn probe_wait;
    fn probe_started;
    fn probe_pointer;
    fn probe_pointed;
}
