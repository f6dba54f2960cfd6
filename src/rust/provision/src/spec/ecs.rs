//! A cluster on AWS Fargate, as it is wanted.

mod read;

use std::collections::BTreeMap;
use std::path::PathBuf;

use rustbatch_protocol::Setup;
use serde::{Deserialize, Serialize};

use crate::Error;
pub(super) use read::FIELDS;
pub(crate) use read::{REGION, is_region};

/// A cluster of Fargate's tasks. Nothing has to be said, but where the worker's executable comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ecs {
    /// The region; AWS's own chain names it when absent.
    pub region: Option<String>,
    /// Whose clusters these are, in the tag `rustbatch:owner`; the ARN that AWS knows the caller by
    /// when absent. To be set where that changes from login to login.
    pub owner: Option<String>,
    /// The image of a worker: any with R; one with the caller's version of R when absent.
    pub image: Option<String>,
    /// The environment of a worker, by name.
    #[serde(skip)]
    pub environment: BTreeMap<String, String>,
    /// What is installed before a worker joins.
    #[serde(skip)]
    pub setup: Option<Box<Setup>>,
    /// The image of the server: any with `redis-server` or `valkey-server`.
    pub server_image: String,
    /// The image that holds `rustbatch-worker`; that of the workers when absent and `baked`.
    pub worker_image: Option<String>,
    /// Where in that image the executable is.
    pub worker_path: String,
    /// Whether the workers' own image holds the executable.
    pub baked: bool,
    /// The bucket, by name, that the executable is put into, and from which each task fetches it by
    /// means of the workers' R.
    pub bucket: Option<String>,
    /// The executable that is put there; the package's own when absent.
    #[serde(skip)]
    pub executable: Option<PathBuf>,
    /// Processors of a worker, in 1024ths; rounded up to what Fargate has.
    pub cpu: u32,
    /// Memory of a worker, in MiB; rounded up to what Fargate has.
    pub memory: u32,
    /// Processors of the server, in 1024ths.
    pub server_cpu: u32,
    /// Memory of the server, in MiB: jobs and results wait in it.
    pub server_memory: u32,
    /// The processor: that of the executable and of the images.
    pub architecture: Architecture,
    /// Disk of a worker, in GiB, 21 to 200; Fargate's 20 when absent.
    pub disk: Option<u32>,
    /// Whether workers run on spare capacity, which is cheaper and taken away at two minutes' notice.
    /// The server never does.
    pub spot: Spot,
    /// How many workers are planned: the price before a start is for so many.
    pub workers: u32,
    /// Whether there is a server, or somebody's own Redis.
    pub serves: bool,
    /// An ECS cluster that is there, by name; one is made when absent.
    pub ecs_cluster: Option<String>,
    /// A VPC that is there; one is made when absent, unless subnets are named.
    pub vpc: Option<String>,
    /// Subnets that are there, of one VPC; all of the VPC when absent.
    pub subnets: Vec<String>,
    /// Security groups that are there; one is made when absent.
    pub security_groups: Vec<String>,
    /// Whether tasks have a public address: without, their subnets need a NAT gateway or endpoints.
    pub public_ip: bool,
    /// By which address the client reaches the server.
    pub reach: Way,
    /// The addresses that may reach the server, as a network (`203.0.113.7/32`); this machine's own
    /// when absent.
    pub client_address: Option<String>,
    /// The role that starts tasks, by ARN; one is made when absent.
    pub execution_role: Option<String>,
    /// The role that R code in the workers has, by ARN; none when absent, but with `execute_command`
    /// one is made that allows that alone.
    pub task_role: Option<String>,
    /// Whether `aws ecs execute-command` opens a shell in a task.
    pub execute_command: bool,
    /// The public key that may log in as root by ssh; the image needs `/usr/sbin/sshd`. No ssh when
    /// absent.
    pub ssh_public_key: Option<String>,
    /// For how many days logs are kept that outlive the cluster; one of CloudWatch's numbers.
    pub log_days: u32,
    /// What stays when the cluster goes, and is used again by the next one.
    pub keep: Vec<Keep>,
    /// How long a container may take to end, in seconds, 2 to 120; then it is killed.
    pub stop_timeout: u32,
    /// For how many hours the cluster is meant to be, in the tag `rustbatch:expires`.
    pub life_hours: u32,
    /// What an hour of the cluster may cost at most, in US dollars.
    pub max_cost_per_hour: Option<f64>,
    /// What the cluster may cost in all, in US dollars: then its tasks end by themselves.
    pub max_cost: Option<f64>,
    /// The price of a processor for an hour, in US dollars; that of us-east-1 when absent.
    pub price_per_cpu: Option<f64>,
    /// The price of a GiB of memory for an hour, in US dollars; that of us-east-1 when absent.
    pub price_per_gib: Option<f64>,
    /// More tags for all that is made.
    pub tags: BTreeMap<String, String>,
}

impl Default for Ecs {
    fn default() -> Self {
        Self {
            region: None,
            owner: None,
            image: None,
            environment: BTreeMap::new(),
            setup: None,
            server_image: "public.ecr.aws/docker/library/redis:7".into(),
            worker_image: None,
            worker_path: crate::image::EXECUTABLE.into(),
            baked: false,
            bucket: None,
            executable: None,
            cpu: 1024,
            memory: 2048,
            server_cpu: 256,
            server_memory: 2048,
            architecture: Architecture::X86_64,
            disk: None,
            spot: Spot::Never,
            workers: 1,
            serves: true,
            ecs_cluster: None,
            vpc: None,
            subnets: Vec::new(),
            security_groups: Vec::new(),
            public_ip: true,
            reach: Way::Public,
            client_address: None,
            execution_role: None,
            task_role: None,
            execute_command: false,
            ssh_public_key: None,
            log_days: 14,
            keep: Vec::new(),
            stop_timeout: 120,
            life_hours: 12,
            max_cost_per_hour: None,
            max_cost: None,
            price_per_cpu: None,
            price_per_gib: None,
            tags: BTreeMap::new(),
        }
    }
}

/// The processor of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// Intel's and AMD's.
    X86_64,
    /// Amazon's own, a fifth cheaper.
    Arm64,
}

/// Whether spare capacity is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spot {
    /// No.
    Never,
    /// Where there is some; the rest runs as usual.
    Prefer,
    /// Yes, and nothing else.
    Only,
}

/// A way from the client to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// By its public address, over the Internet.
    Public,
    /// By its private one: the client is in the VPC, or has a VPN to it.
    Private,
}

/// What may outlive a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// The VPC with its subnets and gateway.
    Network,
    /// The role that starts tasks.
    Role,
    /// What the instances wrote.
    Logs,
}

impl Ecs {
    /// The image that brings the executable into a task: one that holds it, or, where it comes from a
    /// bucket, that of the workers.
    ///
    /// # Errors
    /// Where none is named.
    pub fn carrier(&self) -> Result<&str, Error> {
        let own = self.image.as_ref().filter(|_| self.baked || self.bucket.is_some());
        self.worker_image.as_ref().or(own).map(String::as_str).ok_or_else(|| Error::Refused {
            what: "bring `rustbatch-worker` into the tasks".into(),
            reason: "no bucket or image is named that holds it".into(),
            way: "Name a bucket of yours, in the cluster's region: `ecsCluster(bucket = )`; it is put \
                  there, and fetched by each task.\n* Or make an image with it, once, in a registry \
                  of yours: `buildWorkerImage(\"rocker/r-ver:4.4\", push = TRUE, tag = \
                  \"<account>.dkr.ecr.<region>.amazonaws.com/worker:1\")`; then name it: \
                  `ecsCluster(workerImage = )`, or `ecsCluster(image = , baked = TRUE)`."
                .into(),
        })
    }

    /// The bucket that the executable comes from; nothing where it comes from an image.
    #[must_use]
    pub fn fetched(&self) -> Option<&str> {
        self.bucket.as_deref().filter(|_| self.worker_image.is_none() && !self.baked)
    }

    /// Whether this stays when the cluster goes.
    #[must_use]
    pub fn keeps(&self, what: Keep) -> bool {
        self.keep.contains(&what)
    }
}
