//! `cluster.json`, and the arguments of `makeCluster()`: what somebody wants, checked.
//!
//! All that can be known wrong before anything is started is found here, and said with the place,
//! the field, what was found and what is allowed.

pub(crate) mod packages;

use std::path::{Path, PathBuf};

use rustbatch_protocol::bootstrap::Server;

use crate::field::{Fields, quote};
use crate::{Error, redis_url};

const FIELDS: [&str; 6] = ["provider", "name", "workers", "slots", "redis", "rCommand"];
const PROVIDERS: &str = "`\"local\"`";
const NAME: &str = "a text of at most 40 letters, digits, `-` and `_` that begins with a letter";
const R_COMMAND: &str = "the path of an R executable";
const MAX_WORKERS: u32 = 1024;
const MAX_SLOTS: u32 = 256;

/// What runs the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provider {
    /// Processes on this machine.
    Local,
}

/// The cluster that somebody wants.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Spec {
    /// What runs the workers.
    pub provider: Provider,
    /// What the cluster is called; a part of its id.
    pub name: Option<String>,
    /// How many workers, 1 to 1024; as many as there are cores where nothing was said.
    pub workers: u32,
    /// How many R processes a worker, 1 to 256; one where nothing was said.
    pub slots: u32,
    /// A Redis that runs already; a private one is started where there is none.
    pub redis: Option<Server>,
    /// The R executable of the workers; the caller's own where nothing was said.
    pub r_command: Option<PathBuf>,
}

impl Spec {
    /// Reads the arguments of a call, as a JSON object. `origin` names the call in errors, for
    /// example `makeCluster()`. The provider is `local` where none is named.
    ///
    /// # Errors
    /// Of kind `config`, `workers` (a number of workers or slots) or `provider`.
    pub fn from_json(text: &str, origin: &str) -> Result<Self, Error> {
        let mut fields = Fields::read(text, origin)?;
        fields.only(&FIELDS)?;
        let provider = provider(&mut fields)?.unwrap_or(Provider::Local);
        Self::from_fields(provider, fields)
    }

    /// Reads a file. Its provider has to be named. Blocks while the file is read.
    ///
    /// # Errors
    /// As [`Spec::from_json`], and of kind `config` when there is no such file, it is a folder,
    /// can't be read or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut fields = Fields::read(&read_text(path)?, &path.display().to_string())?;
        fields.only(&FIELDS)?;
        let provider =
            provider(&mut fields)?.ok_or_else(|| fields.missing("provider", PROVIDERS))?;
        Self::from_fields(provider, fields)
    }

    fn from_fields(provider: Provider, mut fields: Fields) -> Result<Self, Error> {
        let workers = match fields.count("workers", MAX_WORKERS)? {
            Some(workers) => workers,
            None => cores(),
        };
        let slots = fields.count("slots", MAX_SLOTS)?.unwrap_or(1);
        Ok(Self {
            provider,
            name: name(&mut fields)?,
            workers,
            slots,
            redis: redis(&mut fields)?,
            r_command: r_command(&mut fields)?,
        })
    }

    /// How many R processes the cluster has in all.
    #[must_use]
    pub fn total_slots(&self) -> u32 {
        self.workers * self.slots
    }
}

fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(MAX_WORKERS).min(MAX_WORKERS)
}

fn provider(fields: &mut Fields) -> Result<Option<Provider>, Error> {
    match fields.text("provider", PROVIDERS)?.as_deref() {
        None => Ok(None),
        Some("local") => Ok(Some(Provider::Local)),
        Some(other) => Err(fields.unknown_provider(quote(other), PROVIDERS)),
    }
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

fn read_text(path: &Path) -> Result<String, Error> {
    let refuse =
        |reason: String, way: String| Error::File { file: path.display().to_string(), reason, way };
    let failed = |error: std::io::Error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let way = match std::env::current_dir() {
            Ok(folder) if missing && path.is_relative() => {
                format!("A path without a leading `/` starts at the folder `{}`.", folder.display())
            }
            _ if missing => "See that the path is written as it is on this machine.".into(),
            _ => "See that you may read it.".into(),
        };
        let reason = if missing { "there is no such file".into() } else { error.to_string() };
        refuse(reason, way)
    };
    let kind = std::fs::metadata(path).map_err(failed)?;
    if kind.is_dir() {
        let way =
            format!("Name the file in it, such as `{}`.", path.join("cluster.json").display());
        return Err(refuse("it is a folder".into(), way));
    }
    if !kind.is_file() {
        return Err(refuse("it is not a regular file".into(), "Save it as a file.".into()));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to() + 1;
        refuse(format!("byte {at} is not UTF-8"), "Save it with the encoding UTF-8.".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustbatch_protocol::bootstrap::Address;

    const ORIGIN: &str = "makeCluster()";

    fn error(text: &str) -> Error {
        Spec::from_json(text, ORIGIN).expect_err(text)
    }

    #[test]
    fn every_field_is_read() {
        let text = r#"{"provider": "local", "name": "fit-1_A", "workers": 3, "slots": 2.0,
            "redis": "rediss://u:p@h:1/2", "rCommand": "/opt/R/bin/R"}"#;
        let spec = Spec::from_json(text, ORIGIN).expect("a good text");
        assert_eq!(spec.provider, Provider::Local);
        assert_eq!(spec.name.as_deref(), Some("fit-1_A"));
        assert_eq!((spec.workers, spec.slots, spec.total_slots()), (3, 2, 6));
        assert_eq!(spec.r_command, Some("/opt/R/bin/R".into()));
        let redis = spec.redis.expect("a server");
        assert_eq!((redis.address, redis.database), (Address::Tls("h".into(), 1), 2));
    }

    #[test]
    fn absent_and_null_fields_have_defaults() {
        for text in ["{}", "\u{feff}{}", r#"{"workers": null, "redis": null, "provider": null}"#] {
            let spec = Spec::from_json(text, ORIGIN).expect(text);
            assert_eq!((spec.provider, spec.slots), (Provider::Local, 1));
            assert_eq!(spec.workers, cores());
            assert!(spec.name.is_none() && spec.redis.is_none() && spec.r_command.is_none());
        }
    }

    #[test]
    fn a_value_that_cannot_be_used_is_named_with_what_can() {
        let cases = [
            (
                r#"{"workers": "four"}"#,
                "workers",
                "`workers` of `makeCluster()`: the text \"four\"\n* It is a whole number from 1 to 1024.",
            ),
            (r#"{"workers": 2.5}"#, "workers", "`workers` of `makeCluster()`: the number 2.5\n"),
            (r#"{"workers": 0}"#, "workers", ": the number 0\n"),
            (r#"{"workers": -1}"#, "workers", ": the number -1\n"),
            (r#"{"workers": 1025}"#, "workers", ": the number 1025\n"),
            (r#"{"workers": 1e300}"#, "workers", ": the number 1e+300\n"),
            (r#"{"workers": true}"#, "workers", ": true\n"),
            (r#"{"workers": [4]}"#, "workers", ": a list\n"),
            (r#"{"workers": {"n": 4}}"#, "workers", ": an object\n"),
            (
                r#"{"slots": 257}"#,
                "workers",
                "`slots` of `makeCluster()`: the number 257\n* It is a whole number from 1 to 256.",
            ),
            (
                r#"{"name": 1}"#,
                "config",
                "`name` of `makeCluster()`: the number 1\n* It is a text of at most 40",
            ),
            (r#"{"name": ""}"#, "config", ": an empty text\n"),
            (r#"{"name": "1a"}"#, "config", ": the text \"1a\"\n"),
            (r#"{"name": "my cluster"}"#, "config", ": the text \"my cluster\"\n"),
            (r#"{"name": "clüster"}"#, "config", ": the text \"clüster\"\n"),
            (r#"{"name": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#, "config", "a…\"\n"),
            (
                r#"{"provider": "ecs"}"#,
                "provider",
                "Unknown provider in `makeCluster()`: the text \"ecs\"\n* It is `\"local\"`.",
            ),
            (
                r#"{"provider": 1}"#,
                "config",
                "`provider` of `makeCluster()`: the number 1\n* It is `\"local\"`.",
            ),
            (
                r#"{"redis": 6379}"#,
                "config",
                "`redis` of `makeCluster()`: the number 6379\n* It is a URL such as `redis://",
            ),
            (
                r#"{"redis": "http://u:s3cret@h"}"#,
                "config",
                ": a URL that begins neither with `redis://` nor with `rediss://`\n",
            ),
            (
                r#"{"rCommand": " "}"#,
                "config",
                "`rCommand` of `makeCluster()`: the text \" \"\n* It is the path of",
            ),
            (r#"{"rCommand": false}"#, "config", ": false\n"),
        ];
        for (text, kind, part) in cases {
            let error = error(text);
            assert_eq!(error.kind(), kind, "{text}");
            assert!(error.to_string().contains(part), "{text}: {error}");
            assert!(!format!("{error} {error:?} {:?}", error.fields()).contains("s3cret"));
        }
    }

    #[test]
    fn a_field_that_nothing_reads_is_refused_with_the_nearest() {
        let found = error(r#"{"worker": 2}"#);
        assert_eq!(found.kind(), "config");
        assert_eq!(
            found.to_string(),
            "Unknown field in `makeCluster()`: `worker`\n* Did you mean `workers`?\n* Known fields \
             are `provider`, `name`, `workers`, `slots`, `redis`, `rCommand`."
        );
        assert_eq!(found.fields()[1], ("field", "worker".to_owned()));
        let comment = error(r#"{"//": "a comment"}"#).to_string();
        assert!(
            comment.starts_with("Unknown field in `makeCluster()`: `//`\n* Known"),
            "{comment}"
        );
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_place() {
        let cases = [
            ("", "it is empty"),
            (" \n", "it is empty"),
            ("{\n\"workers\": 4,\n}", "trailing comma at line 3 column 1\n* JSON has no comments"),
            ("{\"workers\": 4} x", "line 1 column 16"),
            ("{\"workers\": 4", "EOF while parsing an object at line 1 column 13"),
            ("// no\n{}", "line 1 column 1"),
            ("[]", "found a list in place of an object"),
            ("\"redis://u:s3cret@h\"", "found a text in place of an object"),
            ("{\"workers\": 4,\n\"workers\": 5}", "the field `workers` stands twice at line 2"),
        ];
        for (text, part) in cases {
            let error = error(text);
            assert_eq!(error.kind(), "config");
            let shown = error.to_string();
            assert!(shown.starts_with("Can't read `makeCluster()` as JSON: "), "{shown}");
            assert!(shown.contains(part), "{text}: {shown}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("cluster.json");
        let shown = |path: &Path| {
            let error = Spec::read(path).expect_err("a bad file");
            assert_eq!(error.kind(), "config");
            assert_eq!(error.fields()[0], ("file", path.display().to_string()));
            error.to_string()
        };
        assert!(shown(&file).contains("cluster.json`: there is no such file\n* See"));
        assert!(shown(Path::new("no/such.json")).contains("starts at the folder `/"));
        let text = shown(folder.path());
        assert!(text.contains(": it is a folder\n* Name the file in it, such as `"), "{text}");
        assert!(shown(Path::new("/dev/null")).contains("it is not a regular file"));
        std::fs::write(&file, b"{\"name\": \"\xfc\"}").expect("to write");
        assert!(shown(&file).contains(": byte 11 is not UTF-8\n* Save it"));
        std::fs::write(&file, "{\"workers\": 2}").expect("to write");
        assert!(shown(&file).ends_with("`: `provider`\n* It is `\"local\"`."), "{}", shown(&file));
        std::fs::write(&file, "{\"provider\": \"local\", \"workers\": 2}").expect("to write");
        assert_eq!(Spec::read(&file).expect("a good file").workers, 2);
    }

    #[test]
    fn example_and_schema_agree_with_what_is_read() {
        let inst = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../inst");
        Spec::read(&inst.join("examples/cluster.json")).expect("the example");
        let schema = std::fs::read_to_string(inst.join("schema/cluster.json")).expect("the schema");
        let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
        let properties = schema["properties"].as_object().expect("properties");
        let mut known: Vec<&str> = FIELDS.to_vec();
        known.sort_unstable();
        let mut listed: Vec<&str> = properties.keys().map(String::as_str).collect();
        listed.sort_unstable();
        assert_eq!(listed, known);
        assert_eq!(schema["properties"]["workers"]["maximum"], MAX_WORKERS);
        assert_eq!(schema["properties"]["slots"]["maximum"], MAX_SLOTS);
        assert_eq!(schema["properties"]["provider"]["enum"], serde_json::json!(["local"]));
        assert_eq!(schema["additionalProperties"], false);
    }
}
