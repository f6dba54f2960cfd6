//! What an instance of a remote cluster is: its image, its size, its environment.

use std::collections::BTreeMap;

use rustbatch_protocol::Setup;

use super::packages;
use crate::Error;
use crate::field::{Fields, quote};

pub(super) const FIELDS: [&str; 4] = ["image", "cpu", "memory", "env"];

pub(super) const IMAGE: &str = "the name of a container image, such as `rocker/r-ver:4.4`";
const CPU: &str = "a number of processors from 0.01 to 1024";
const MEMORY: &str = "a number of MiB, at least 64, or a text such as `\"2g\"` or `\"512m\"`";
const ENV: &str = "an object whose names are letters, digits and `_`, and whose values are texts";

/// One instance.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Unit {
    /// The container's image; one with the caller's version of R where nothing was said.
    pub image: Option<String>,
    /// Processors, in thousandths; no limit where nothing was said.
    pub cpu: Option<u32>,
    /// Memory, in MiB; no limit where nothing was said.
    pub memory: Option<u64>,
    /// The environment, by name.
    pub environment: BTreeMap<String, String>,
    /// What is installed before a worker joins.
    pub setup: Option<Box<Setup>>,
}

impl Unit {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, Error> {
        Ok(Self {
            image: image(fields, "image")?,
            cpu: cpu(fields)?,
            memory: memory(fields, "memory")?,
            environment: environment(fields)?,
            setup: packages::setup(fields)?,
        })
    }
}

/// The name of an image.
pub(in crate::spec) fn image(
    fields: &mut Fields,
    field: &'static str,
) -> Result<Option<String>, Error> {
    match fields.text(field, IMAGE)? {
        Some(name)
            if name.is_empty() || name.starts_with('-') || name.contains(char::is_whitespace) =>
        {
            Err(fields.wrong(field, quote(&name), IMAGE))
        }
        name => Ok(name),
    }
}

fn cpu(fields: &mut Fields) -> Result<Option<u32>, Error> {
    match fields.number("cpu", CPU)? {
        Some(cpu) if !(0.01..=1024.0).contains(&cpu) => {
            Err(fields.wrong("cpu", format!("the number {cpu}"), CPU))
        }
        cpu => Ok(cpu.map(|cpu| (cpu * 1000.0).round() as u32)),
    }
}

/// MiB.
pub(in crate::spec) fn memory(
    fields: &mut Fields,
    field: &'static str,
) -> Result<Option<u64>, Error> {
    let (found, mib) = match fields.is_text(field) {
        true => {
            let Some(text) = fields.text(field, MEMORY)? else { return Ok(None) };
            (quote(&text), mib(&text))
        }
        false => {
            let Some(number) = fields.number(field, MEMORY)? else { return Ok(None) };
            (format!("the number {number}"), Some(number))
        }
    };
    match mib {
        Some(mib) if (64.0..=1e9).contains(&mib) => Ok(Some(mib.round() as u64)),
        _ => Err(fields.wrong(field, found, MEMORY)),
    }
}

/// `2g`, `2gb`, `512m`, `1.5 GiB` and the like, in MiB, as Docker reads them: powers of 1024.
fn mib(text: &str) -> Option<f64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "k" | "kb" | "kib" => 1.0 / 1024.0,
        "m" | "mb" | "mib" => 1.0,
        "g" | "gb" | "gib" => 1024.0,
        "t" | "tb" | "tib" => 1024.0 * 1024.0,
        _ => return None,
    };
    Some(number.trim().parse::<f64>().ok()? * factor)
}

pub(in crate::spec) fn environment(fields: &mut Fields) -> Result<BTreeMap<String, String>, Error> {
    let all = fields.named_texts("env", ENV)?;
    let fits = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    match all.keys().find(|name| !fits(name)) {
        Some(name) => Err(fields.wrong("env", format!("the name {name:?}"), ENV)),
        None => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Unit, Error> {
        Unit::read(&mut Fields::read(text, "makeCluster()").expect(text))
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, mib) in [
            (r#""2g""#, 2048),
            (r#""512m""#, 512),
            (r#""1.5 GiB""#, 1536),
            (r#""131072k""#, 128),
            ("2048", 2048),
        ] {
            let unit = read(&format!(r#"{{"memory": {text}, "cpu": 0.5}}"#)).expect(text);
            assert_eq!((unit.memory, unit.cpu), (Some(mib), Some(500)), "{text}");
        }
    }

    #[test]
    fn what_no_instance_can_be_is_refused() {
        for text in [
            r#"{"memory": "2"}"#,
            r#"{"memory": "2x"}"#,
            r#"{"memory": "10m"}"#,
            r#"{"memory": true}"#,
            r#"{"cpu": 0}"#,
            r#"{"cpu": "1"}"#,
            r#"{"image": ""}"#,
            r#"{"image": "--privileged"}"#,
            r#"{"image": "a b"}"#,
            r#"{"env": {"A B": "x"}}"#,
            r#"{"env": {"A": 1}}"#,
            r#"{"env": "A=1"}"#,
        ] {
            let error = read(text).expect_err(text);
            assert_eq!(error.kind(), "config", "{text}");
        }
        assert_eq!(read(r#"{"env": {"A_1": "x y"}}"#).expect("one").environment["A_1"], "x y");
    }
}
