//! The only crate that knows R: what R calls, and how.
//!
//! `boundary` is the border, with `failure` (what goes wrong), `values` (conversions), `serial` (R
//! objects as bytes), `digest` (whether they have changed), `interrupt` (waiting) and `runtime` (background threads). The entry points are
//! one file a verb. A new one: a function with `#[extendr]` whose body is `boundary::entry(|| …)`,
//! named in the `extendr_module!` of its file; a new file is named below, twice; then
//! `tools/document` writes its wrapper into `R/native.R`.

mod config;
mod errors;
mod ffi;

pub mod boundary;
pub mod digest;
pub mod failure;
pub mod interrupt;
pub mod runtime;
pub mod serial;
pub mod values;

// The entry points.
mod cluster;
mod credentials;
mod export;
mod fleet;
mod image;
mod job;
mod package;
mod probe;
mod start;

/// The table of the entry points, which R is given when it loads the library.
mod entry_points {
    use super::{cluster, credentials, export, fleet, image, job, package, probe, start};
    use extendr_api::prelude::*;

    extendr_module! {
        mod rustbatch;
        use cluster;
        use credentials;
        use export;
        use fleet;
        use image;
        use job;
        use package;
        use probe;
        use start;
    }
}
