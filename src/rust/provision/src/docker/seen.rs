//! What Docker shows of images and containers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;

use super::Trouble;
use crate::executable::platform;

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Image {
    /// Its id, which stays when its name means another image.
    pub id: String,
    /// The system: "linux".
    pub os: String,
    /// The processor: "amd64".
    pub architecture: String,
    #[serde(default)]
    config: Option<Config>,
}

impl Image {
    /// Whether this executable can run in the image, which is called `name`. Blocks while its first
    /// bytes are read.
    ///
    /// # Errors
    /// [`Trouble::Unfit`]; [`Trouble::Refused`] when it can't be read.
    pub fn fits(&self, name: &str, executable: &Path) -> Result<(), Trouble> {
        let found = platform(executable).map_err(|error| Trouble::Refused {
            did: format!("copy `{}` into a container", executable.display()),
            reason: error.to_string(),
        })?;
        let wanted = format!("{}/{}", self.os, self.architecture);
        if found == wanted {
            return Ok(());
        }
        let (executable, image) = (executable.display().to_string(), name.to_owned());
        Err(Trouble::Unfit { executable, found, image, wanted })
    }

    /// As whom its programs run: empty, a name, a number, or either with a group behind a colon.
    #[must_use]
    pub fn user(&self) -> &str {
        self.config.as_ref().map_or("", |config| &config.user)
    }
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Seen {
    /// Its id.
    pub id: String,
    /// When it was made, by the daemon's clock (RFC 3339).
    pub created: String,
    /// How it is.
    pub state: State,
    name: String,
    config: Config,
    #[serde(default)]
    network_settings: Networks,
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct State {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub status: String,
    /// How its program ended; 0 while it runs.
    pub exit_code: i64,
    /// Whether a process of it was killed for want of memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Why it did not start.
    pub error: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    user: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Networks {
    #[serde(default)]
    ports: Option<BTreeMap<String, Option<Vec<Port>>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Port {
    host_ip: String,
    host_port: String,
}

impl Seen {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    /// What a label of it says.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.config.labels.as_ref()?.get(name).map(String::as_str)
    }

    /// Whether its program runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        matches!(self.state.status.as_str(), "running" | "paused" | "restarting")
    }

    /// Where its daemon's machine listens for the container's TCP port; `None` while it does not.
    #[must_use]
    pub fn published(&self, port: u16) -> Option<(IpAddr, u16)> {
        let ports = self.network_settings.ports.as_ref()?;
        let port = ports.get(&format!("{port}/tcp"))?.as_ref()?.first()?;
        Some((port.host_ip.parse().ok()?, port.host_port.parse().ok()?))
    }

    /// How it ended, in words; `None` for one that runs or has not been started.
    #[must_use]
    pub fn end(&self) -> Option<String> {
        let State { status, exit_code, oom_killed, error } = &self.state;
        if !matches!(status.as_str(), "exited" | "dead") && error.is_empty() {
            return None;
        }
        if !error.is_empty() {
            return Some(format!("it did not start: {error}"));
        }
        // One that ended well has only seen others of its processes killed.
        let memory = if *oom_killed && *exit_code != 0 { ", out of memory" } else { "" };
        Some(match exit_code {
            129..=159 => format!("it was killed by signal {}{memory}", exit_code - 128),
            _ => format!("it ended with status {exit_code}{memory}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: &str, exit: i64, oom: bool, error: &str) -> Seen {
        let text = serde_json::json!({
            "Id": "1", "Name": "/a", "Created": "2026-01-01T00:00:00Z",
            "State": {"Status": status, "ExitCode": exit, "OOMKilled": oom, "Error": error},
            "Config": {"User": "", "Labels": {"x": "y"}},
            "NetworkSettings": {"Ports": {
                "6379/tcp": [{"HostIp": "127.0.0.1", "HostPort": "49153"}], "1/tcp": null}},
        });
        serde_json::from_value(text).expect("a container")
    }

    #[test]
    fn how_a_container_ended_is_put_into_words() {
        assert_eq!(seen("running", 0, false, "").end(), None);
        assert_eq!(seen("created", 0, false, "").end(), None);
        let end = |status: &str, exit, oom, error: &str| seen(status, exit, oom, error).end();
        assert_eq!(end("exited", 1, false, "").as_deref(), Some("it ended with status 1"));
        assert_eq!(end("exited", 0, true, "").as_deref(), Some("it ended with status 0"));
        let killed = "it was killed by signal 9, out of memory";
        assert_eq!(end("exited", 137, true, "").as_deref(), Some(killed));
        let broken = "it did not start: no such file";
        assert_eq!(end("created", 127, false, "no such file").as_deref(), Some(broken));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_executable_for_another_processor_is_refused() {
        let image = |architecture: &str| {
            let text = serde_json::json!({"Id": "1", "Os": "linux", "Architecture": architecture});
            serde_json::from_value::<Image>(text).expect("an image")
        };
        let mine = std::env::current_exe().expect("a path");
        let here = platform(&mine).expect("a platform");
        let processor = here.split_once('/').expect("linux/...").1;
        image(processor).fits("r", &mine).expect("it fits");
        let error = image("s390x").fits("r", &mine).expect_err("it does not fit").to_string();
        let both = format!("is for {here}, the image `r` is for linux/s390x\n* Take");
        assert!(error.contains(&both), "{error}");
        assert!(image("amd64").fits("r", Path::new("/no/such")).is_err());
    }

    #[test]
    fn names_labels_and_ports_are_found() {
        let seen = seen("running", 0, false, "");
        assert_eq!((seen.name(), seen.label("x"), seen.label("z")), ("a", Some("y"), None));
        assert_eq!(seen.published(6379), Some(([127, 0, 0, 1].into(), 49153)));
        assert_eq!((seen.published(1), seen.published(2)), (None, None));
    }
}
