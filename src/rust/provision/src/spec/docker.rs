//! The fields of the provider `docker`.

use std::path::PathBuf;

use super::unit::{self, Unit};
use crate::Error;
use crate::field::{Fields, quote};

pub(super) const FIELDS: [&str; 3] = ["context", "serverImage", "executable"];

const CONTEXT: &str = "the name of a Docker context, as `docker context ls` shows it";
const EXECUTABLE: &str = "the path of a `rustbatch-worker` that was built for the image";

/// A cluster of containers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Docker {
    /// One container.
    pub unit: Unit,
    /// The context; the current one where nothing was said.
    pub context: Option<String>,
    /// The image of the server, with a `redis-server`; `redis:7` where nothing was said.
    pub server_image: Option<String>,
    /// The `rustbatch-worker` that is copied in; the package's own where nothing was said.
    pub executable: Option<PathBuf>,
}

impl Docker {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, Error> {
        Ok(Self {
            unit: Unit::read(fields)?,
            context: context(fields)?,
            server_image: unit::image(fields, "serverImage")?,
            executable: executable(fields)?,
        })
    }
}

fn context(fields: &mut Fields) -> Result<Option<String>, Error> {
    match fields.text("context", CONTEXT)? {
        Some(name) if name.is_empty() || name.starts_with('-') => {
            Err(fields.wrong("context", quote(&name), CONTEXT))
        }
        name => Ok(name),
    }
}

/// The path of an executable that is there.
pub(in crate::spec) fn executable(fields: &mut Fields) -> Result<Option<PathBuf>, Error> {
    match fields.text("executable", EXECUTABLE)? {
        Some(path) if !std::path::Path::new(&path).is_file() => Err(fields.wrong(
            "executable",
            format!("{}, which is no file", quote(&path)),
            EXECUTABLE,
        )),
        path => Ok(path.map(PathBuf::from)),
    }
}
