//! The life of the package: what `.onUnload` calls.

use std::time::Duration;

use extendr_api::prelude::*;

use crate::boundary::entry;
use crate::{runtime, values};

/// Stops the background threads.
#[extendr]
fn package_unload() -> Robj {
    entry(|| {
        runtime::shutdown();
        Ok(values::null())
    })
}

/// Waits, as R ends, until the clusters that end with it are gone, for so many seconds. Whether they
/// are.
#[extendr]
fn package_farewell(seconds: f64) -> Robj {
    entry(|| values::logical(runtime::say_farewell(Duration::from_secs_f64(seconds))))
}

extendr_module! {
    mod package;
    fn package_farewell;
    fn package_unload;
}
