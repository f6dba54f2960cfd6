//! The fields of the provider `ecs`, read and checked.

use std::collections::BTreeMap;

use super::{Architecture, Ecs, Keep, Spot, Way};
use crate::Error;
use crate::field::{Fields, quote};
use crate::spec::docker::executable;
use crate::spec::{packages, unit};

pub(in crate::spec) const FIELDS: [&str; 36] = [
    "region",
    "owner",
    "serverImage",
    "workerImage",
    "workerPath",
    "baked",
    "bucket",
    "executable",
    "serverCpu",
    "serverMemory",
    "architecture",
    "disk",
    "spot",
    "ecsCluster",
    "vpc",
    "subnets",
    "securityGroups",
    "publicIp",
    "reach",
    "clientAddress",
    "executionRole",
    "taskRole",
    "executeCommand",
    "sshPublicKey",
    "logDays",
    "keep",
    "stopTimeout",
    "maxCostPerHour",
    "maxCost",
    "pricePerCpu",
    "pricePerGib",
    "tags",
    "image",
    "cpu",
    "memory",
    "env",
];

pub(crate) const REGION: &str = "the name of a region, such as `eu-central-1`";
const NAMED: &str = "a text without spaces, as AWS shows it";
const CPU: &str = "a whole number of 1024ths of a processor, from 64 to 16384: 1024 is one";
const DISK: &str = "a whole number of GiB from 21 to 200";
const TIMEOUT: &str = "a whole number of seconds from 2 to 120";
const DOLLARS: &str = "a number of US dollars above 0";
const NETWORK: &str = "a network such as `203.0.113.7/32`, of /8 or less";
const BUCKET: &str = "the name of a bucket of S3, in the region of the cluster";
const PATH: &str = "an absolute path in the image";
const ROLE: &str = "the ARN of a role, such as `arn:aws:iam::123456789012:role/name`";
const KEY: &str =
    "one line such as `ssh-ed25519 AAAA… me@host`, or the path of a file with such a line";
const KEPT: &str = "a list of texts, each one of `\"network\"`, `\"role\"` and `\"logs\"`";
const TAGS: &str = "an object of at most 40 texts of letters, digits, spaces and `_.:/=+-@`, by names that do not begin \
     with `rustbatch:` or `aws:`";
const LOG_DAYS: &str = "one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731 and the \
                        other numbers of days that CloudWatch has";
const NO_NETWORK: &str = "`\"private\"` where `vpc` or `subnets` name a network that this machine is in, \
                          or has a VPN to: it would not be in one that is made";
const NO_WAY: &str = "`true`; or also `reach` is `\"private\"`: then this machine has to be in the VPC, \
                      or have a VPN to it";

/// For how many days CloudWatch can keep logs.
const DAYS: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

impl Ecs {
    pub(in crate::spec) fn read(fields: &mut Fields) -> Result<Self, Error> {
        let usual = Self::default();
        let ecs = Self {
            region: checked(fields, "region", is_region, REGION)?,
            owner: named(fields, "owner")?,
            log_days: log_days(fields)?.unwrap_or(usual.log_days),
            keep: keep(fields)?,
            stop_timeout: ranged(fields, "stopTimeout", 2, 120, TIMEOUT)?
                .unwrap_or(usual.stop_timeout),
            max_cost_per_hour: dollars(fields, "maxCostPerHour")?,
            max_cost: dollars(fields, "maxCost")?,
            price_per_cpu: dollars(fields, "pricePerCpu")?,
            price_per_gib: dollars(fields, "pricePerGib")?,
            tags: tags(fields)?,
            ..usual
        };
        ecs.tasks(fields)?.network(fields)?.access(fields)
    }

    /// What a task is.
    fn tasks(self, fields: &mut Fields) -> Result<Self, Error> {
        let architectures = [("x86_64", Architecture::X86_64), ("arm64", Architecture::Arm64)];
        let spots = [("never", Spot::Never), ("prefer", Spot::Prefer), ("only", Spot::Only)];
        Ok(Self {
            image: unit::image(fields, "image")?,
            environment: unit::environment(fields)?,
            setup: packages::setup(fields)?,
            server_image: unit::image(fields, "serverImage")?.unwrap_or(self.server_image),
            worker_image: unit::image(fields, "workerImage")?,
            worker_path: path(fields)?.unwrap_or(self.worker_path),
            baked: fields.truth("baked")?.unwrap_or(self.baked),
            bucket: checked(fields, "bucket", is_bucket, BUCKET)?,
            executable: executable(fields)?,
            cpu: ranged(fields, "cpu", 64, 16_384, CPU)?.unwrap_or(self.cpu),
            memory: memory(fields, "memory")?.unwrap_or(self.memory),
            server_cpu: ranged(fields, "serverCpu", 64, 16_384, CPU)?.unwrap_or(self.server_cpu),
            server_memory: memory(fields, "serverMemory")?.unwrap_or(self.server_memory),
            architecture: choice(fields, "architecture", architectures)?
                .unwrap_or(self.architecture),
            disk: ranged(fields, "disk", 21, 200, DISK)?,
            spot: choice(fields, "spot", spots)?.unwrap_or(self.spot),
            ..self
        })
    }

    /// Where tasks are, and how the client gets there.
    fn network(self, fields: &mut Fields) -> Result<Self, Error> {
        let ecs = Self {
            ecs_cluster: named(fields, "ecsCluster")?,
            vpc: named(fields, "vpc")?,
            subnets: fields.texts("subnets", is_named, NAMED)?,
            security_groups: fields.texts("securityGroups", is_named, NAMED)?,
            public_ip: fields.truth("publicIp")?.unwrap_or(self.public_ip),
            reach: choice(fields, "reach", [("public", Way::Public), ("private", Way::Private)])?
                .unwrap_or(self.reach),
            client_address: checked(fields, "clientAddress", is_network, NETWORK)?,
            ..self
        };
        if !ecs.public_ip && ecs.reach == Way::Public {
            return Err(fields.wrong("publicIp", "false".into(), NO_WAY));
        }
        if ecs.reach == Way::Private && ecs.vpc.is_none() && ecs.subnets.is_empty() {
            return Err(fields.wrong("reach", "\"private\" without a network".into(), NO_NETWORK));
        }
        Ok(ecs)
    }

    /// What tasks may do, and who may get into them.
    fn access(self, fields: &mut Fields) -> Result<Self, Error> {
        Ok(Self {
            execution_role: checked(fields, "executionRole", is_role, ROLE)?,
            task_role: checked(fields, "taskRole", is_role, ROLE)?,
            execute_command: fields.truth("executeCommand")?.unwrap_or(self.execute_command),
            ssh_public_key: ssh_key(fields)?,
            ..self
        })
    }
}

/// A text that `fits`.
fn checked(
    fields: &mut Fields,
    field: &'static str,
    fits: impl Fn(&str) -> bool,
    allowed: &str,
) -> Result<Option<String>, Error> {
    match fields.text(field, allowed)? {
        Some(text) if !fits(&text) => Err(fields.wrong(field, quote(&text), allowed)),
        text => Ok(text),
    }
}

fn named(fields: &mut Fields, field: &'static str) -> Result<Option<String>, Error> {
    checked(fields, field, is_named, NAMED)
}

fn path(fields: &mut Fields) -> Result<Option<String>, Error> {
    checked(fields, "workerPath", |path| path.starts_with('/'), PATH)
}

/// Whether this looks like a region: `eu-central-1`, `us-gov-west-1`.
pub(crate) fn is_region(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    match parts.split_last() {
        Some((number, words)) => {
            (2..=4).contains(&words.len())
                && words.iter().all(letters)
                && number.parse::<u8>().is_ok()
        }
        None => false,
    }
}

fn is_named(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && text.bytes().all(|b| b.is_ascii_graphic())
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
fn is_bucket(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    (3..=63).contains(&text.len()) && text.bytes().all(fits)
}

fn is_role(text: &str) -> bool {
    is_named(text) && text.starts_with("arn:") && text.contains(":role/")
}

/// Whether this is an IPv4 network, and not half of the world.
fn is_network(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, bits)| {
        address.parse::<std::net::Ipv4Addr>().is_ok()
            && bits.parse::<u8>().is_ok_and(|bits| (8..=32).contains(&bits))
    })
}

/// A whole number.
fn ranged(
    fields: &mut Fields,
    field: &'static str,
    least: u32,
    most: u32,
    allowed: &str,
) -> Result<Option<u32>, Error> {
    match fields.number(field, allowed)? {
        None => Ok(None),
        Some(n) if n.fract() == 0.0 && (f64::from(least)..=f64::from(most)).contains(&n) => {
            Ok(Some(n as u32))
        }
        Some(n) => Err(fields.wrong(field, format!("the number {n}"), allowed)),
    }
}

fn memory(fields: &mut Fields, field: &'static str) -> Result<Option<u32>, Error> {
    let mib = unit::memory(fields, field)?;
    Ok(mib.map(|mib| u32::try_from(mib).unwrap_or(u32::MAX)))
}

fn dollars(fields: &mut Fields, field: &'static str) -> Result<Option<f64>, Error> {
    match fields.number(field, DOLLARS)? {
        Some(n) if n <= 0.0 => Err(fields.wrong(field, format!("the number {n}"), DOLLARS)),
        dollars => Ok(dollars),
    }
}

fn log_days(fields: &mut Fields) -> Result<Option<u32>, Error> {
    match ranged(fields, "logDays", 1, 3653, LOG_DAYS)? {
        Some(days) if !DAYS.contains(&days) => {
            Err(fields.wrong("logDays", format!("the number {days}"), LOG_DAYS))
        }
        days => Ok(days),
    }
}

/// One of some texts, as what it means.
fn choice<T: Copy, const N: usize>(
    fields: &mut Fields,
    field: &'static str,
    known: [(&str, T); N],
) -> Result<Option<T>, Error> {
    let allowed = known.map(|(text, _)| format!("`\"{text}\"`")).join(" or ");
    let Some(text) = fields.text(field, &allowed)? else { return Ok(None) };
    match known.iter().find(|(name, _)| *name == text) {
        Some((_, meant)) => Ok(Some(*meant)),
        None => Err(fields.wrong(field, quote(&text), &allowed)),
    }
}

fn keep(fields: &mut Fields) -> Result<Vec<Keep>, Error> {
    let meant = |text: &str| match text {
        "network" => Some(Keep::Network),
        "role" => Some(Keep::Role),
        "logs" => Some(Keep::Logs),
        _ => None,
    };
    let texts = fields.texts("keep", |text| meant(text).is_some(), KEPT)?;
    Ok(texts.iter().filter_map(|text| meant(text)).collect())
}

/// AWS takes 50 of at most 128 and 256 characters; some are ours.
fn tags(fields: &mut Fields) -> Result<BTreeMap<String, String>, Error> {
    let tags = fields.named_texts("tags", TAGS)?;
    let fits = |(name, value): &(&String, &String)| {
        let taken = ["rustbatch:", "aws:"].iter().any(|ours| name.starts_with(ours));
        // All services take these; some take more.
        let plain = |c: char| c.is_alphanumeric() || "_.:/=+-@ ".contains(c);
        let room = (1..=128).contains(&name.chars().count()) && value.chars().count() <= 256;
        !taken && room && name.chars().chain(value.chars()).all(plain)
    };
    match tags.iter().find(|tag| !fits(tag)) {
        Some((name, _)) => Err(fields.wrong("tags", format!("the name {name:?}"), TAGS)),
        None if tags.len() > 40 => {
            Err(fields.wrong("tags", format!("{} of them", tags.len()), TAGS))
        }
        None => Ok(tags),
    }
}

/// A key, or the one in a file. What may be a private one is not quoted.
fn ssh_key(fields: &mut Fields) -> Result<Option<String>, Error> {
    let Some(said) = fields.text("sshPublicKey", KEY)? else { return Ok(None) };
    let file =
        said.strip_prefix("~/").map(|rest| std::env::home_dir().unwrap_or_default().join(rest));
    let content = match said.contains(char::is_whitespace) {
        true => Ok(said),
        false => std::fs::read_to_string(file.unwrap_or_else(|| said.into())),
    };
    match content {
        Ok(key) if key.trim().lines().count() == 1 && key.trim().contains(' ') => {
            Ok(Some(key.trim().to_owned()))
        }
        Ok(_) => Err(fields.wrong("sshPublicKey", "another text".into(), KEY)),
        Err(error) => {
            Err(fields.wrong("sshPublicKey", format!("a file that can't be read ({error})"), KEY))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;
    use crate::spec::Provider;

    fn read(text: &str) -> Result<Box<Ecs>, Error> {
        let text = format!(r#"{{"provider": "ecs", {text}}}"#);
        Spec::from_json(&text, "makeCluster()").map(|spec| match spec.provider {
            Provider::Ecs(ecs) => ecs,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn every_field_is_read_and_remembered() {
        let ecs = read(
            r#""image": "r-base", "baked": true, "spot": "prefer", "maxCostPerHour": 2.5,
            "architecture": "arm64", "keep": ["network"], "securityGroups": ["sg-1"], "cpu": 512.0,
            "memory": "4g", "publicIp": false, "reach": "private", "vpc": "vpc-1", "tags": {"team": "t"},
            "sshPublicKey": "ssh-ed25519 AAAA me@host ", "rPackages": "R6", "env": {"A": "b"}"#,
        )
        .expect("a configuration");
        assert_eq!((ecs.spot, ecs.architecture), (Spot::Prefer, Architecture::Arm64));
        assert_eq!(ecs.carrier().expect("an image"), "r-base");
        assert_eq!((ecs.cpu, ecs.memory, ecs.reach), (512, 4096, Way::Private));
        assert_eq!(ecs.ssh_public_key.as_deref(), Some("ssh-ed25519 AAAA me@host"));
        assert!(ecs.keeps(Keep::Network) && !ecs.keeps(Keep::Logs));
        assert!(ecs.setup.is_some() && ecs.environment["A"] == "b");
        let text = serde_json::to_string(&ecs).expect("text");
        let back: Ecs = serde_json::from_str(&text).expect("a configuration");
        let (environment, setup) = (ecs.environment.clone(), ecs.setup.clone());
        assert_eq!(Ecs { environment, setup, ..back }, *ecs);
    }

    #[test]
    fn what_can_never_work_is_refused_before_anything_is_made() {
        let nowhere = read(r#""image": "r-base""#).expect("fields").carrier().expect_err("none");
        assert!(nowhere.to_string().contains("buildWorkerImage("), "{nowhere}");
        for (field, text) in [
            ("logDays", r#""logDays": 2"#),
            ("stopTimeout", r#""stopTimeout": 121"#),
            ("disk", r#""disk": 20"#),
            ("cpu", r#""cpu": 2"#),
            ("cpu", r#""cpu": 512.5"#),
            ("memory", r#""memory": "many""#),
            ("clientAddress", r#""clientAddress": "0.0.0.0/0""#),
            ("clientAddress", r#""clientAddress": "10.0.0.1""#),
            ("publicIp", r#""publicIp": false"#),
            ("reach", r#""reach": "private""#),
            ("tags", r#""tags": {"a": "b, c"}"#),
            ("region", r#""region": "mars-1""#),
            ("spot", r#""spot": "always""#),
            ("keep", r#""keep": "all""#),
            ("maxCost", r#""maxCost": 0"#),
            ("executionRole", r#""executionRole": "mine""#),
            ("subnets", r#""subnets": ["subnet-1", ""]"#),
            ("tags", r#""tags": {"rustbatch:owner": "me"}"#),
            ("bucket", r#""bucket": "s3://mine""#),
            ("executable", r#""executable": "/no/such/file""#),
            ("workerPath", r#""workerPath": "worker""#),
            ("sshPublicKey", r#""sshPublicKey": "/no/such/file""#),
            ("sshPublicKey", r#""sshPublicKey": "a b\nc d""#),
        ] {
            let error = read(text).expect_err(text);
            assert_eq!(error.kind(), "config");
            let place = format!("Can't use `{field}` of `makeCluster()`: ");
            assert!(error.to_string().starts_with(&place), "{error}");
        }
    }
}
