//! The providers, and how one is made from what somebody wants.

pub mod docker;
#[cfg(feature = "ecs")]
pub mod ecs;
pub mod local;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rustbatch_protocol::ClusterId;
use zeroize::Zeroizing;

use crate::lifecycle::{Policy, Wish};
use crate::provider::{
    ClusterRecord, Cost, Endpoint, Instance, InstanceId, Launched, LogQuery, Logs, Plan, Provider,
    Report, Site, Token, Unit,
};
use crate::spec::{self, Spec};
use crate::{Credentials, Docker, Error};
pub use docker::Containers;
#[cfg(feature = "ecs")]
use ecs::{Ecs, Fargate};
pub use local::Local;

/// How often it is looked at the instances of a cluster that stands: each look costs something.
const REST: Duration = Duration::from_secs(5);

/// How often where each look is several calls over the Internet, of which a cloud allows so many.
const SELDOM: Duration = Duration::from_secs(10);

/// How long a worker of this machine may be silent: that its process ends is seen at once, and one that
/// only stands still (a laptop's, or one that is looked at by a debugger) goes on.
const STILL: Duration = Duration::from_secs(24 * 3600);

/// What the caller brings along.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `rustbatch-worker`.
    pub worker: PathBuf,
    /// The caller's R.
    pub r: PathBuf,
    /// Its version, such as 4.4.1.
    pub r_version: String,
}

/// A provider of any kind.
pub enum Place {
    /// Processes of this machine.
    Local(Local),
    /// Containers of a Docker daemon.
    Docker(Containers),
    /// Tasks of AWS Fargate.
    #[cfg(feature = "ecs")]
    Ecs(Box<Fargate>),
}

// Without clouds, some of what is asked says nothing.
#[cfg_attr(not(feature = "ecs"), allow(unused_variables))]
impl Place {
    /// The provider that `spec` names, for who has these credentials. Asks nobody yet, but who says
    /// where a cloud is. Cancel-safe.
    ///
    /// # Errors
    /// Where a cloud can't be asked: those of [`ecs::Fargate::new`].
    pub async fn new(
        spec: &Spec,
        programs: &Programs,
        credentials: &Credentials,
    ) -> Result<Self, Error> {
        Ok(match &spec.provider {
            spec::Provider::Local => {
                Self::Local(Local::new(&programs.worker, spec.redis.is_none()))
            }
            spec::Provider::Docker(docker) => Self::Docker(Containers {
                docker: Docker::new(docker.context.clone()),
                executable: docker.executable.clone().unwrap_or_else(|| programs.worker.clone()),
                image: docker.unit.image.clone().unwrap_or_else(|| image(&programs.r_version)),
                server_image: docker.server_image.clone().unwrap_or_else(|| "redis:7".into()),
                serves: spec.redis.is_none(),
            }),
            #[cfg(feature = "ecs")]
            spec::Provider::Ecs(ecs) => {
                let usual = || image(&programs.r_version);
                let ecs = Ecs {
                    region: ecs.region.clone().or_else(|| credentials.aws_region.clone()),
                    image: ecs.image.clone().or_else(|| Some(usual())),
                    executable: ecs.executable.clone().or_else(|| Some(programs.worker.clone())),
                    workers: spec.most,
                    life_hours: hours(spec.remote.life.unwrap_or(Policy::default().life)),
                    serves: spec.redis.is_none(),
                    ..(**ecs).clone()
                };
                Self::Ecs(Box::new(Fargate::new(ecs, &credentials.aws, None).await?))
            }
            #[cfg(not(feature = "ecs"))]
            spec::Provider::Ecs(_) => {
                return Err(Error::Internal("rustBatch was built without ECS".into()));
            }
        })
    }

    /// The provider as it was configured when it made this cluster, as far as that is known.
    /// Cancel-safe.
    ///
    /// # Errors
    /// Where it can't be asked for.
    pub async fn of(self, cluster: &ClusterId) -> Result<Self, Error> {
        #[cfg(feature = "ecs")]
        if let Self::Ecs(fargate) = &self {
            return Ok(Self::Ecs(Box::new(fargate.of(cluster).await?)));
        }
        Ok(self)
    }

    /// The commands, each with its arguments, that open a shell in an instance; none where there is
    /// none to be had. Cancel-safe.
    ///
    /// # Errors
    /// Where there is no such instance, or no way into it.
    pub async fn shell(
        &self,
        cluster: &ClusterId,
        id: &InstanceId,
    ) -> Result<Vec<Vec<String>>, Error> {
        match self {
            Self::Local(_) => Ok(Vec::new()),
            Self::Docker(containers) => Ok(vec![containers.docker.shell(&id.0)]),
            #[cfg(feature = "ecs")]
            Self::Ecs(fargate) => fargate.shell(cluster, id).await,
        }
    }

    /// What a cluster costs, as of the last look at it; nothing where that is not known. Asks nobody.
    #[must_use]
    pub fn cost(&self, cluster: &ClusterId) -> Option<Cost> {
        match self {
            Self::Local(_) | Self::Docker(_) => None,
            #[cfg(feature = "ecs")]
            Self::Ecs(fargate) => Some(fargate.known_cost(cluster)),
        }
    }

    /// Whether its clusters end with this process, at once.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }
}

/// Begun hours.
#[cfg(feature = "ecs")]
fn hours(time: Duration) -> u32 {
    u32::try_from(time.as_secs().div_ceil(3600)).unwrap_or(u32::MAX)
}

/// How long a worker may take to join that has packages to install: some compile for long.
const SET_UP: Duration = Duration::from_secs(3600);

/// The image that has this version of R and little else.
fn image(r_version: &str) -> String {
    format!("rocker/r-ver:{r_version}")
}

/// What `spec` asks for, and how long it may take.
#[must_use]
pub fn wish(spec: &Spec, programs: &Programs) -> (Wish, Policy) {
    let wish = Wish {
        name: spec.name.clone(),
        least: spec.workers,
        most: spec.most,
        slots: spec.slots,
        cpu: None,
        memory: None,
        image: None,
        environment: BTreeMap::new(),
        setup: None,
        r: spec.r_command.clone().unwrap_or_else(|| "R".into()),
        redis: spec.redis.clone(),
    };
    let usual = Policy::default();
    let policy = Policy {
        all: spec.remote.all,
        server: spec.remote.start.unwrap_or(usual.server),
        join: spec.remote.start.unwrap_or(usual.join),
        idle: spec.remote.idle.unwrap_or(usual.idle),
        life: spec.remote.life.unwrap_or(usual.life),
        rest: REST,
        ..usual
    };
    match &spec.provider {
        // One worker runs all R processes, so that what they share is fetched once.
        spec::Provider::Local => (
            Wish {
                least: 1,
                most: 1,
                slots: spec.total_slots(),
                r: spec.r_command.clone().unwrap_or_else(|| programs.r.clone()),
                ..wish
            },
            Policy {
                server: Duration::from_secs(20),
                join: Duration::from_secs(60),
                look: Duration::from_millis(5),
                rest: REST,
                silent: STILL,
                ..Policy::default()
            },
        ),
        spec::Provider::Docker(docker) => {
            let spec::Unit { cpu, memory, image, environment, setup } = docker.unit.clone();
            let usual = if setup.is_some() { SET_UP } else { policy.join };
            let policy = Policy { join: spec.remote.start.unwrap_or(usual), ..policy };
            // What loops ask for is installed, too.
            let setup = Some(setup.unwrap_or_default());
            (Wish { cpu, memory, image, environment, setup, ..wish }, policy)
        }
        // Size and image are the provider's to remember.
        spec::Provider::Ecs(ecs) => {
            let usual = if ecs.setup.is_some() { SET_UP } else { policy.join };
            let join = spec.remote.start.unwrap_or(usual);
            let policy = Policy { join, rest: SELDOM, ..policy };
            let (environment, setup) = (ecs.environment.clone(), ecs.setup.clone());
            let setup = Some(setup.unwrap_or_default());
            (Wish { environment, setup, ..wish }, policy)
        }
    }
}

/// The call of whichever provider it is.
macro_rules! each {
    ($place:expr, $provider:ident => $call:expr) => {
        match $place {
            Place::Local($provider) => $call.await,
            Place::Docker($provider) => $call.await,
            #[cfg(feature = "ecs")]
            Place::Ecs($provider) => $call.await,
        }
    };
}

impl Provider for Place {
    async fn check(&self) -> Result<Plan, Error> {
        each!(self, p => p.check())
    }

    async fn prepare(&self, cluster: &ClusterId) -> Result<Site, Error> {
        each!(self, p => p.prepare(cluster))
    }

    async fn launch(
        &self,
        site: &Site,
        unit: &Unit,
        n: u32,
        token: &Token,
    ) -> Result<Launched, Error> {
        each!(self, p => p.launch(site, unit, n, token))
    }

    async fn instances(&self, cluster: &ClusterId) -> Result<Vec<Instance>, Error> {
        each!(self, p => p.instances(cluster))
    }

    async fn changed(&self) {
        each!(self, p => p.changed());
    }

    fn may_pass(&self, why: &str) -> bool {
        match self {
            Place::Local(provider) => provider.may_pass(why),
            Place::Docker(provider) => provider.may_pass(why),
            #[cfg(feature = "ecs")]
            Place::Ecs(provider) => provider.may_pass(why),
        }
    }

    async fn terminate(&self, cluster: &ClusterId, ids: &[InstanceId]) -> Result<(), Error> {
        each!(self, p => p.terminate(cluster, ids))
    }

    async fn endpoint(&self, cluster: &ClusterId, server: &InstanceId) -> Result<Endpoint, Error> {
        each!(self, p => p.endpoint(cluster, server))
    }

    async fn logs(
        &self,
        cluster: &ClusterId,
        id: &InstanceId,
        query: &LogQuery,
    ) -> Result<Logs, Error> {
        each!(self, p => p.logs(cluster, id, query))
    }

    async fn remember(&self, site: &Site, record: &Zeroizing<Vec<u8>>) -> Result<(), Error> {
        each!(self, p => p.remember(site, record))
    }

    async fn recall(&self, cluster: &ClusterId) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        each!(self, p => p.recall(cluster))
    }

    async fn find(&self) -> Result<Vec<ClusterRecord>, Error> {
        each!(self, p => p.find())
    }

    async fn destroy(&self, cluster: &ClusterId) -> Result<Report, Error> {
        each!(self, p => p.destroy(cluster))
    }
}
