//! What can go wrong with Docker, told apart by what its command says.

/// Why Docker did not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// There is no `docker` command.
    #[error(
        "Can't find the command `{program}`\n* Install Docker: https://docs.docker.com/get-docker\n\
         * On Debian or Ubuntu: `sudo apt install docker.io`"
    )]
    Missing {
        /// The command.
        program: String,
    },

    /// No daemon answers.
    #[error(
        "Can't reach the Docker daemon: {reason}\n* Start it: Docker Desktop, or \
         `sudo systemctl start docker`\n* `docker context ls` shows which one is asked."
    )]
    Daemon {
        /// What the command said.
        reason: String,
    },

    /// The daemon does not listen to this user.
    #[error(
        "Not permitted to use Docker: {reason}\n* Become a member of its group: \
         `sudo usermod -aG docker $USER`, then log in again."
    )]
    Permission {
        /// What the command said.
        reason: String,
    },

    /// An image that there is not, or that needs a login.
    #[error(
        "There is no image `{image}`, or it is a private one: {reason}\n* See that its name and tag \
         are right: `docker pull {image}`\n* For a private one, log in: `docker login`"
    )]
    NoImage {
        /// The image.
        image: String,
        /// What the registry said.
        reason: String,
    },

    /// An image that could not be fetched.
    #[error("Can't pull the image `{image}`: {reason}\n* Try it by hand: `docker pull {image}`")]
    Pull {
        /// The image.
        image: String,
        /// What the command said.
        reason: String,
    },

    /// An image that could not be made, or pushed.
    #[error("Docker can't {did}; its last lines:\n{}", .said.join("\n"))]
    Build {
        /// What was tried, in words.
        did: String,
        /// The last lines that the command printed.
        said: Vec<String>,
    },

    /// An image in which the worker's executable can't run.
    #[error(
        "The worker's executable `{executable}` is for {found}, the image `{image}` is for {wanted}\n\
         * Take an image for {found}, or give the cluster the executable of an installation of \
         rustBatch on {wanted}; there `system.file(\"bin\", \"rustbatch-worker\", package = \
         \"rustBatch\")` says where it is."
    )]
    Unfit {
        /// The executable.
        executable: String,
        /// What it is for: "linux/amd64".
        found: String,
        /// The image.
        image: String,
        /// What the image is for: "linux/arm64".
        wanted: String,
    },

    /// Something of this name is there already.
    #[error("Docker can't {did}: the name is taken")]
    Taken {
        /// What was tried, in words.
        did: String,
    },

    /// What is spoken of is not there.
    #[error("Docker can't {did}: {reason}")]
    Gone {
        /// What was tried, in words.
        did: String,
        /// What the command said.
        reason: String,
    },

    /// The command took too long.
    #[error("Docker did not {did} within {seconds} s")]
    Late {
        /// What was tried, in words.
        did: String,
        /// How long it was waited for.
        seconds: u64,
    },

    /// Docker refuses.
    #[error("Docker can't {did}: {reason}")]
    Refused {
        /// What was tried, in words.
        did: String,
        /// What the command said.
        reason: String,
    },
}

impl Trouble {
    /// The kind of the error, the last part of its R class `rustBatch_error_<kind>`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "docker_missing",
            Self::Daemon { .. } => "docker_daemon",
            Self::Permission { .. } => "docker_permission",
            Self::NoImage { .. } | Self::Pull { .. } | Self::Build { .. } | Self::Unfit { .. } => {
                "image"
            }
            Self::Late { .. } => "timed_out",
            Self::Taken { .. } | Self::Gone { .. } | Self::Refused { .. } => "provision",
        }
    }

    /// What was found in place of what was wanted.
    #[must_use]
    pub fn found(&self) -> String {
        match self {
            Self::Missing { program } => program.clone(),
            Self::Unfit { found, .. } => found.clone(),
            Self::Build { said, .. } => said.join("\n"),
            Self::Taken { did } | Self::Late { did, .. } => did.clone(),
            Self::Daemon { reason }
            | Self::Permission { reason }
            | Self::NoImage { reason, .. }
            | Self::Pull { reason, .. }
            | Self::Gone { reason, .. }
            | Self::Refused { reason, .. } => reason.clone(),
        }
    }

    /// What the command's standard error means. `did` says what was tried: "start a container".
    pub(super) fn told(did: &str, said: &str) -> Self {
        let (did, reason) = (did.to_owned(), reason(said));
        let any = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
        if any(&["permission denied while trying to connect"]) {
            Self::Permission { reason }
        } else if any(&["Cannot connect to the Docker daemon", "error during connect"]) {
            Self::Daemon { reason }
        } else if any(&["is already in use", "already exists"]) {
            Self::Taken { did }
        } else if any(&["No such", "Could not find the file", "not found"]) {
            Self::Gone { did, reason }
        } else {
            Self::Refused { did, reason }
        }
    }

    /// What a pull's standard error means.
    pub(super) fn pull(image: &str, said: &str) -> Self {
        let error = Self::told("pull an image", said);
        if matches!(error, Self::Permission { .. } | Self::Daemon { .. }) {
            return error;
        }
        let (image, reason) = (image.to_owned(), reason(said));
        let none = ["manifest unknown", "not found", "does not exist", "invalid reference format"];
        match none.iter().any(|part| said.contains(part)) {
            true => Self::NoImage { image, reason },
            false => Self::Pull { image, reason },
        }
    }
}

/// What the daemon said, or else the command's last line that says something.
fn reason(said: &str) -> String {
    const DAEMON: &str = "Error response from daemon: ";
    if let Some((_, reason)) = said.split_once(DAEMON) {
        return reason.lines().next().unwrap_or_default().trim().to_owned();
    }
    let mut lines = said.lines().map(str::trim).filter(|line| {
        !line.is_empty() && !line.starts_with("See '") && !line.starts_with("Run 'docker")
    });
    lines.next_back().unwrap_or("it does not say why").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_command_says_is_told_apart() {
        for (said, kind, found) in [
            (
                "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?\n",
                "docker_daemon",
                "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
            ),
            (
                "Got permission denied while trying to connect to the Docker daemon socket at x\n",
                "docker_permission",
                "Got permission denied while trying to connect to the Docker daemon socket at x",
            ),
            (
                "docker: Error response from daemon: no space.\n\nRun 'docker run --help'\n",
                "provision",
                "no space.",
            ),
            (
                "Error response from daemon: no port.\nError: failed to start containers: a\n",
                "provision",
                "no port.",
            ),
            ("", "provision", "it does not say why"),
        ] {
            let error = Trouble::told("start a container", said);
            assert_eq!((error.kind(), error.found().as_str()), (kind, found));
        }
        assert!(matches!(Trouble::told("x", "Error: No such container: a"), Trouble::Gone { .. }));
        assert!(matches!(
            Trouble::told("x", "Conflict. The container name \"/a\" is already in use by b"),
            Trouble::Taken { .. }
        ));
    }

    #[test]
    fn an_image_that_there_is_not_is_another_thing_than_a_registry_that_is_away() {
        let none = Trouble::pull(
            "a/b",
            "Error response from daemon: pull access denied for a/b, \
             repository does not exist or may require 'docker login': denied",
        );
        assert!(matches!(none, Trouble::NoImage { .. }), "{none}");
        let away = Trouble::pull(
            "a/b",
            "Error response from daemon: Get \"https://r/v2/\": dial \
             tcp: lookup r on 10.0.0.1:53: no such host",
        );
        assert!(away.to_string().starts_with("Can't pull the image `a/b`: Get \"https://r"));
        let down = Trouble::pull("a/b", "Cannot connect to the Docker daemon at x.");
        assert_eq!(down.kind(), "docker_daemon");
    }
}
