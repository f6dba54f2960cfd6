//! What can be said about a cluster on Fargate. `ecsCluster()` and `cluster.json` have these fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Error;

/// All that can be said; nothing has to be, but where the worker's executable comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ecs {
    /// The region; AWS's own chain names it when absent.
    pub region: Option<String>,
    /// Whose clusters these are, in the tag `rustbatch:owner`; the ARN that AWS knows the caller by
    /// when absent. To be set where that changes from login to login.
    pub owner: Option<String>,
    /// The image of a worker: any with R.
    pub image: String,
    /// The image of the server: any with `redis-server` or `valkey-server`.
    pub server_image: String,
    /// The image that holds `rustbatch-worker`; that of the workers when absent and `baked`.
    pub worker_image: Option<String>,
    /// Where in that image the executable is.
    pub worker_path: String,
    /// Whether the workers' own image holds the executable.
    pub baked: bool,
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
            image: "rocker/r-ver:4.4".into(),
            server_image: "public.ecr.aws/docker/library/redis:7".into(),
            worker_image: None,
            worker_path: "/usr/local/bin/rustbatch-worker".into(),
            baked: false,
            cpu: 1024,
            memory: 2048,
            server_cpu: 256,
            server_memory: 2048,
            architecture: Architecture::X86_64,
            disk: None,
            spot: Spot::Never,
            workers: 1,
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
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Intel's and AMD's.
    X86_64,
    /// Amazon's own, a fifth cheaper.
    Arm64,
}

/// Whether spare capacity is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// By its public address, over the Internet.
    Public,
    /// By its private one: the client is in the VPC, or has a VPN to it.
    Private,
}

/// What may outlive a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The VPC with its subnets and gateway.
    Network,
    /// The role that starts tasks.
    Role,
    /// What the instances wrote.
    Logs,
}

/// For how many days CloudWatch can keep logs.
const DAYS: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

impl Ecs {
    /// The image that brings the executable into a task.
    ///
    /// # Errors
    /// Where none is named.
    pub fn carrier(&self) -> Result<&str, Error> {
        match &self.worker_image {
            Some(image) => Ok(image),
            None if self.baked => Ok(&self.image),
            None => Err(Error::Refused {
                what: "bring `rustbatch-worker` into the tasks".into(),
                reason: "no image is named that holds it".into(),
                way: "Name one: `ecsCluster(workerImage = \"<account>.dkr.ecr.<region>.amazonaws.com/\
                      rustbatch-worker:<version>\")`; `buildWorkerImage()` makes it.\n* Or build the \
                      workers' image with the executable at /usr/local/bin/rustbatch-worker and say \
                      `ecsCluster(baked = TRUE)`."
                    .into(),
            }),
        }
    }

    /// Whether this stays when the cluster goes.
    #[must_use]
    pub fn keeps(&self, what: Keep) -> bool {
        self.keep.contains(&what)
    }

    /// What is wrong with the values, each by itself and with each other.
    ///
    /// # Errors
    /// Of the first that can't be used.
    pub fn check(&self) -> Result<(), Error> {
        self.carrier()?;
        if !DAYS.contains(&self.log_days) {
            return Err(wrong("logDays", self.log_days, "one of 1, 3, 5, 7, 14, 30, 60, 90, 365"));
        }
        if !(2..=120).contains(&self.stop_timeout) {
            return Err(wrong("stopTimeout", self.stop_timeout, "2 to 120 seconds"));
        }
        if let Some(disk) = self.disk.filter(|disk| !(21..=200).contains(disk)) {
            return Err(wrong("disk", disk, "21 to 200 GiB"));
        }
        if !self.public_ip && self.reach == Way::Public {
            let reason = "without a public address the server can't be reached over the Internet";
            let way = "Say `reach = \"private\"` where this machine is in the VPC or has a VPN to \
                       it, or `publicIp = TRUE`.";
            return Err(refused(reason, way));
        }
        for (field, cost) in
            [("maxCost", self.max_cost), ("maxCostPerHour", self.max_cost_per_hour)]
        {
            if let Some(cost) = cost.filter(|cost| !cost.is_finite() || *cost <= 0.0) {
                return Err(wrong(field, cost, "a number of US dollars above 0"));
            }
        }
        if let Some(named) = self.client_address.as_ref().filter(|named| !is_network(named)) {
            return Err(wrong(
                "clientAddress",
                named,
                "a network such as 203.0.113.7/32, of /8 or less",
            ));
        }
        let key = |key: &&String| key.lines().count() != 1 || !key.contains(' ');
        if self.ssh_public_key.as_ref().filter(key).is_some() {
            let allowed =
                "one line such as `ssh-ed25519 AAAA… me@host`, the content of a file .pub";
            return Err(wrong("sshPublicKey", "another text", allowed));
        }
        Ok(())
    }
}

/// Whether this is an IPv4 network, and not half of the world.
fn is_network(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, bits)| {
        address.parse::<std::net::Ipv4Addr>().is_ok()
            && bits.parse::<u8>().is_ok_and(|bits| (8..=32).contains(&bits))
    })
}

fn wrong(field: &str, found: impl std::fmt::Display, allowed: &str) -> Error {
    refused(&format!("`{field}` is {found}"), &format!("It has to be {allowed}."))
}

pub(super) fn refused(reason: &str, way: &str) -> Error {
    let what = "make this cluster on ECS".to_owned();
    Error::Refused { what, reason: reason.to_owned(), way: way.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_camel_case_and_unknown_ones_refused() {
        let text = r#"{"image": "r-base", "baked": true, "spot": "prefer", "maxCostPerHour": 2.5,
            "architecture": "arm64", "keep": ["network"], "securityGroups": ["sg-1"]}"#;
        let ecs: Ecs = serde_json::from_str(text).expect("a configuration");
        assert_eq!((ecs.spot, ecs.architecture), (Spot::Prefer, Architecture::Arm64));
        assert_eq!(ecs.carrier().expect("an image"), "r-base");
        assert!(ecs.keeps(Keep::Network) && !ecs.keeps(Keep::Logs));
        let back = serde_json::to_string(&ecs).expect("text");
        assert_eq!(serde_json::from_str::<Ecs>(&back).expect("a configuration"), ecs);
        assert!(serde_json::from_str::<Ecs>(r#"{"Image": "r-base"}"#).is_err());
    }

    #[test]
    fn what_can_never_work_is_refused_before_anything_is_made() {
        let good = Ecs { worker_image: Some("w".into()), ..Ecs::default() };
        good.check().expect("nothing wrong");
        let bad = [
            (Ecs::default(), "buildWorkerImage()"),
            (Ecs { log_days: 2, ..good.clone() }, "`logDays` is 2"),
            (Ecs { stop_timeout: 121, ..good.clone() }, "`stopTimeout` is 121"),
            (Ecs { disk: Some(20), ..good.clone() }, "`disk` is 20"),
            (Ecs { client_address: Some("0.0.0.0/0".into()), ..good.clone() }, "clientAddress"),
            (Ecs { client_address: Some("10.0.0.1".into()), ..good.clone() }, "clientAddress"),
            (Ecs { public_ip: false, ..good.clone() }, "reach = \"private\""),
            (Ecs { max_cost: Some(0.0), ..good.clone() }, "`maxCost` is 0"),
            (Ecs { max_cost_per_hour: Some(f64::NAN), ..good.clone() }, "`maxCostPerHour` is NaN"),
            (Ecs { ssh_public_key: Some("a b\nc".into()), ..good }, "sshPublicKey"),
        ];
        for (ecs, words) in bad {
            let error = ecs.check().expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
