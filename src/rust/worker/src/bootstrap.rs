//! What this process is told: one line of JSON from standard input, or from a file of its own.
//!
//! Both hold secrets, so the text is wiped, and never quoted in an error.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use rustbatch_protocol::bootstrap::{ServerBootstrap, VERSION, WorkerBootstrap};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// Where the bootstrap comes from.
#[derive(Args)]
pub struct Source {
    /// A file that only its owner may read, in place of standard input. It is removed when it has been
    /// read, and the end of standard input then means nothing
    #[arg(long, value_name = "FILE")]
    bootstrap: Option<PathBuf>,
}

/// What every version's bootstrap has: the client's version.
#[derive(Deserialize)]
struct Head {
    version: Option<String>,
}

impl Source {
    /// What a worker is told. Blocks until it has been. Standard input stays open as the life line.
    ///
    /// # Errors
    /// When it can't be read, is for a worker of another version, or is no bootstrap; when others may
    /// read the file, or it can't be removed.
    pub fn worker(&self) -> io::Result<WorkerBootstrap> {
        let text = self.text()?;
        // First, because the rest may mean something else in another version.
        let client = self.parse::<Head>(&text)?.version;
        if client.as_deref() != Some(VERSION) {
            let client = client.unwrap_or_else(|| "an unknown version".into());
            return Err(io::Error::other(format!(
                "this worker is rustBatch {VERSION}, the client that wants it is {client}: \
                 give the cluster a worker of the client's version"
            )));
        }
        let told: WorkerBootstrap = self.parse(&text)?;
        Ok(WorkerBootstrap { lifeline: told.lifeline && self.bootstrap.is_none(), ..told })
    }

    /// What the supervisor of a Redis is told. Blocks until it has been. Standard input stays open as
    /// the life line.
    ///
    /// # Errors
    /// When it can't be read or is no bootstrap; when others may read the file, or it can't be removed.
    pub fn server(&self) -> io::Result<ServerBootstrap> {
        let told: ServerBootstrap = self.parse(&self.text()?)?;
        Ok(ServerBootstrap { lifeline: told.lifeline && self.bootstrap.is_none(), ..told })
    }

    fn text(&self) -> io::Result<Zeroizing<String>> {
        // A text that outgrows its place leaves a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(1 << 16));
        match &self.bootstrap {
            None => io::stdin().lock().read_line(&mut text).map(drop)?,
            Some(path) => take(path, &mut text)
                .map_err(|e| io::Error::new(e.kind(), format!("`{}`: {e}", path.display())))?,
        }
        Ok(text)
    }

    fn parse<T: DeserializeOwned>(&self, text: &str) -> io::Result<T> {
        serde_json::from_str(text).map_err(|e| {
            let place = match &self.bootstrap {
                None => "standard input".to_owned(),
                Some(path) => format!("`{}`", path.display()),
            };
            io::Error::other(format!("{place} is no bootstrap (column {})", e.column()))
        })
    }
}

/// Reads the file and removes it. One that others may read is removed, too, but not trusted.
fn take(path: &Path, text: &mut String) -> io::Result<()> {
    let mut file = File::open(path)?;
    let kind = file.metadata()?;
    if !kind.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    std::fs::remove_file(path)
        .map_err(|e| io::Error::new(e.kind(), format!("can't be removed: {e}")))?;
    if kind.mode() & 0o077 != 0 {
        return Err(io::Error::other("others may read it"));
    }
    file.read_to_string(text).map(drop)
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn line(version: &str, rest: &str) -> String {
        format!(
            r#"{{"version": {version}, "cluster": "c", "key": "00", "worker": "w", "slots": 1,
            "server": {{"address": {{"tcp": ["h", 1]}}, "username": null, "password": "s3cret"}},
            "r": "R", "lifeline": true{rest}}}"#
        )
    }

    /// A file of this text and mode, and what came of it; whatever that is, the file is gone.
    fn read(text: &str, mode: u32) -> Result<WorkerBootstrap, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("told");
        std::fs::write(&path, text).expect("to write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        let read = Source { bootstrap: Some(path.clone()) }.worker();
        assert!(!path.exists());
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_is_read_once_and_is_no_life_line() {
        let told = read(&line(&format!("\"{VERSION}\""), ""), 0o400).expect("a bootstrap");
        assert!(!told.lifeline && told.idle_seconds.is_none());
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        for mode in [0o440, 0o404] {
            let error = read(&line(&format!("\"{VERSION}\""), ""), mode).expect_err("refused");
            assert!(error.ends_with("told`: others may read it"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let source = Source { bootstrap: Some("/no/such".into()) };
        let error = source.server().expect_err("no file").to_string();
        assert!(error.starts_with("`/no/such`: No such file"), "{error}");
    }

    #[test]
    fn a_client_of_another_version_is_refused_whatever_else_it_says() {
        for (version, named) in [("\"9.8.7\"", "9.8.7"), ("null", "an unknown version")] {
            for text in [line(version, ""), format!("{{\"version\": {version}, \"new\": 1}}")] {
                let error = read(&text, 0o400).expect_err("refused");
                let both = format!(
                    "this worker is rustBatch {VERSION}, the client that wants it is {named}"
                );
                assert!(error.starts_with(&both), "{error}");
            }
        }
    }

    #[test]
    fn what_is_no_bootstrap_is_not_quoted() {
        for text in ["s3cret".to_owned(), line(&format!("\"{VERSION}\""), ", s3cret")] {
            let error = read(&text, 0o400).expect_err("refused");
            assert!(error.contains("is no bootstrap (column ") && !error.contains("s3cret"));
        }
    }
}
