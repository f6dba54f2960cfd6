//! The life of the package: what `.onUnload` calls.

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

/// Waits, as R ends, until the clusters that end with it are gone.
#[extendr]
fn package_farewell() -> Robj {
    entry(|| {
        runtime::say_farewell();
        Ok(values::null())
    })
}

extendr_module! {
    mod package;
    fn package_farewell;
    fn package_unload;
}
