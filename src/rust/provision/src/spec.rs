//! `cluster.json`, and the arguments of `makeCluster()`: what somebody wants, checked.
//!
//! All that can be known wrong before anything is started is found here, and said with the place,
//! the field, what was found and what is allowed.

pub(crate) mod packages;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustbatch_protocol::bootstrap::Server;

use crate::field::{Fields, quote};
use crate::{Error, redis_url};
pub use docker::Docker;
pub use unit::Unit;

mod docker;
pub mod ecs;
pub(crate) mod file;
mod unit;

/// The fields of every provider.
const COMMON: [&str; 6] = ["provider", "name", "workers", "slots", "redis", "rCommand"];
/// Those of the providers whose clusters outlive this process.
const REMOTE: [&str; 5] = ["stopOnExit", "waitForAll", "startTimeout", "idleTimeout", "lifetime"];
const PROVIDERS: &str = if cfg!(feature = "ecs") {
    "`\"local\"`, `\"docker\"` or `\"ecs\"`"
} else {
    "`\"local\"` or `\"docker\"`"
};
const NAME: &str = "a text of at most 40 letters, digits, `-` and `_` that begins with a letter";
const R_COMMAND: &str = "the path of an R executable";
const WORKERS: &str = "a whole number from 1 to 1024, or an object with the fields `min` and `max`";
const MAX_WORKERS: u32 = 1024;
const MAX_SLOTS: u32 = 256;
/// A month, in seconds: nobody means more.
const MAX_TIME: u32 = 31 * 24 * 3600;

/// What runs the workers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Provider {
    /// Processes on this machine.
    Local,
    /// Containers of a Docker daemon.
    Docker(Box<Docker>),
    /// Tasks of AWS Fargate.
    Ecs(Box<ecs::Ecs>),
}

impl Provider {
    /// Its name in a `cluster.json`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Docker(_) => "docker",
            Self::Ecs(_) => "ecs",
        }
    }
}

/// The cluster that somebody wants.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Spec {
    /// What runs the workers.
    pub provider: Provider,
    /// What the cluster is called; a part of its id.
    pub name: Option<String>,
    /// How many workers at least, and at the start, 1 to 1024; where nothing was said as many as
    /// there are cores, or 2 on other machines.
    pub workers: u32,
    /// How many workers at most, while much waits; `workers` where nothing was said.
    pub most: u32,
    /// How many R processes a worker, 1 to 256; one where nothing was said.
    pub slots: u32,
    /// A Redis that runs already; a private one is started where there is none.
    pub redis: Option<Server>,
    /// The R executable of the workers; the caller's own where nothing was said, or the one on the
    /// path of another machine.
    pub r_command: Option<PathBuf>,
    /// What becomes of a cluster that could outlive this process.
    pub remote: Remote,
}

/// What becomes of a cluster that could outlive the process that started it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Remote {
    /// Whether it is stopped when R ends; it is where nothing was said.
    pub stop_on_exit: bool,
    /// Whether a start waits for all workers, or for the first.
    pub all: bool,
    /// How long a server may take to run, and then a worker to join; 5 minutes where nothing was said.
    pub start: Option<Duration>,
    /// After which time without work its machines stop; 10 minutes where nothing was said.
    pub idle: Option<Duration>,
    /// After which time they stop in any case; 12 hours where nothing was said.
    pub life: Option<Duration>,
}

impl Spec {
    /// Reads the arguments of a call, as a JSON object. `origin` names the call in errors, for
    /// example `makeCluster()`. The provider is `local` where none is named.
    ///
    /// # Errors
    /// Of kind `config`, `workers` (a number of workers or slots) or `provider`.
    pub fn from_json(text: &str, origin: &str) -> Result<Self, Error> {
        Self::from_fields(Fields::read(text, origin)?, Some("local"))
    }

    /// Reads a file. Its provider has to be named. Blocks while the file is read.
    ///
    /// # Errors
    /// As [`Spec::from_json`], and of kind `config` when there is no such file, it is a folder,
    /// can't be read or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::from_fields(Fields::read(&file::text(path)?, &path.display().to_string())?, None)
    }

    /// `usual` is the provider where none is named.
    fn from_fields(mut fields: Fields, usual: Option<&str>) -> Result<Self, Error> {
        let named = fields.text("provider", PROVIDERS)?;
        let provider = match named.as_deref().or(usual) {
            Some("local") => {
                fields.only(&COMMON)?;
                Provider::Local
            }
            Some("docker") => {
                fields.only(
                    &[&COMMON[..], &docker::FIELDS, &unit::FIELDS, &packages::FIELDS, &REMOTE]
                        .concat(),
                )?;
                Provider::Docker(Box::new(Docker::read(&mut fields)?))
            }
            Some("ecs") if cfg!(feature = "ecs") => {
                fields.only(&[&COMMON[..], &ecs::FIELDS, &packages::FIELDS, &REMOTE].concat())?;
                Provider::Ecs(Box::new(ecs::Ecs::read(&mut fields)?))
            }
            Some(other) => return Err(fields.unknown_provider(quote(other), PROVIDERS)),
            None => return Err(fields.missing("provider", PROVIDERS)),
        };
        let usual = if matches!(provider, Provider::Local) { cores() } else { 2 };
        let (workers, most) = workers(&mut fields, &provider)?.unwrap_or((usual, usual));
        Ok(Self {
            provider,
            name: name(&mut fields)?,
            workers,
            most,
            slots: fields.count("slots", MAX_SLOTS)?.unwrap_or(1),
            redis: redis(&mut fields)?,
            r_command: r_command(&mut fields)?,
            remote: remote(&mut fields)?,
        })
    }

    /// How many R processes the cluster has in all, at the start.
    #[must_use]
    pub fn total_slots(&self) -> u32 {
        self.workers * self.slots
    }
}

fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(MAX_WORKERS).min(MAX_WORKERS)
}

/// How many workers at least, and at most.
fn workers(fields: &mut Fields, provider: &Provider) -> Result<Option<(u32, u32)>, Error> {
    let Some(mut size) = fields.object("workers")? else {
        return Ok(fields.count("workers", MAX_WORKERS)?.map(|n| (n, n)));
    };
    size.only(&["min", "max"])?;
    let least = size.count("min", MAX_WORKERS)?;
    let most = size.count("max", MAX_WORKERS)?;
    match (least, most) {
        (Some(_), Some(_)) if matches!(provider, Provider::Local) => {
            let allowed = format!("a whole number from 1 to {MAX_WORKERS}");
            Err(fields.wrong("workers", "an object".into(), &allowed))
        }
        (Some(least), Some(most)) if least <= most => Ok(Some((least, most))),
        (Some(least), Some(most)) => {
            Err(fields.wrong("workers", format!("`min` {least} and `max` {most}"), WORKERS))
        }
        _ => Err(fields.wrong("workers", "an object without both".into(), WORKERS)),
    }
}

fn remote(fields: &mut Fields) -> Result<Remote, Error> {
    let mut time = |field| {
        let seconds = fields.count(field, MAX_TIME)?;
        Ok::<_, Error>(seconds.map(|n| Duration::from_secs(n.into())))
    };
    let (start, idle, life) = (time("startTimeout")?, time("idleTimeout")?, time("lifetime")?);
    let stop_on_exit = fields.truth("stopOnExit")?.unwrap_or(true);
    let all = fields.truth("waitForAll")?.unwrap_or(false);
    Ok(Remote { stop_on_exit, all, start, idle, life })
}

fn name(fields: &mut Fields) -> Result<Option<String>, Error> {
    let Some(name) = fields.text("name", NAME)? else {
        return Ok(None);
    };
    let fits = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits { Ok(Some(name)) } else { Err(fields.wrong("name", quote(&name), NAME)) }
}

fn redis(fields: &mut Fields) -> Result<Option<Server>, Error> {
    let Some(url) = fields.text("redis", redis_url::ALLOWED)? else {
        return Ok(None);
    };
    redis_url::parse(&url)
        .map(Some)
        .map_err(|found| fields.wrong("redis", found.to_owned(), redis_url::ALLOWED))
}

fn r_command(fields: &mut Fields) -> Result<Option<PathBuf>, Error> {
    match fields.text("rCommand", R_COMMAND)? {
        Some(text) if text.trim().is_empty() || text.contains('\0') => {
            Err(fields.wrong("rCommand", quote(&text), R_COMMAND))
        }
        text => Ok(text.map(PathBuf::from)),
    }
}

#[cfg(test)]
mod tests;
