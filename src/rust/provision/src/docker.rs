//! Docker, through its command: networks, images and containers, each call one run of `docker`.
//!
//! The command brings contexts, remote hosts and every login helper with it. Nothing secret is ever
//! said to it but on its standard input: its arguments, and what it keeps of them, anybody may read.

mod files;
mod images;
mod place;
mod seen;
mod trouble;
mod wanted;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

pub use seen::{Image, Seen, State};
pub use trouble::Trouble;
pub use wanted::{Entry, NewContainer, Owner};
use wanted::{pairs, strings};

/// How long Docker may take for anything but a pull.
const SOON: Duration = Duration::from_secs(60);

/// The `docker` command, and whom it speaks to.
#[derive(Debug, Clone)]
pub struct Docker {
    program: String,
    context: Option<String>,
}

impl Docker {
    /// The command on the path, with this context; with the current one where none is named.
    #[must_use]
    pub fn new(context: Option<String>) -> Self {
        Self::command("docker".into(), context)
    }

    /// As [`Docker::new`], with another command that takes the same arguments: a path, or a name.
    #[must_use]
    pub fn command(program: String, context: Option<String>) -> Self {
        Self { program, context }
    }

    /// The daemon's version. Cancel-safe.
    ///
    /// # Errors
    /// [`Trouble::Missing`], [`Trouble::Daemon`], [`Trouble::Permission`] and the like.
    pub async fn version(&self) -> Result<String, Trouble> {
        let version = ["version", "--format", "{{.Server.Version}}"];
        Ok(text(self.run("say its version", version, &[]).await?).trim().to_owned())
    }

    /// Makes a network. Where there is one of this name, that one is left as it is: it may have no
    /// labels of ours. Not cancel-safe: it may be made.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn create_network(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), Trouble> {
        let mut words = strings(["network", "create"]);
        words.extend(pairs("--label", labels));
        words.extend(strings(["--", name]));
        match self.run(&format!("make the network `{name}`"), words, &[]).await {
            Ok(_) | Err(Trouble::Taken { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The networks with this label, `name` or `name=value`: the name of each, and what another label,
    /// `shown`, says of it; empty where it has none. Cancel-safe.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn networks(
        &self,
        label: &str,
        shown: &str,
    ) -> Result<Vec<(String, String)>, Trouble> {
        let (filter, format) =
            (format!("label={label}"), format!("{{{{.Name}}}} {{{{.Label {shown:?}}}}}"));
        let words = ["network", "ls", "--filter", &filter, "--format", &format];
        let listed = text(self.run("list networks", words, &[]).await?);
        let both = listed.lines().filter_map(|line| line.split_once(' '));
        Ok(both.map(|(name, says)| (name.to_owned(), says.to_owned())).collect())
    }

    /// Removes a network. One that is not there is no error. Not cancel-safe.
    ///
    /// # Errors
    /// [`Trouble`], as when a container is still in it.
    pub async fn remove_network(&self, name: &str) -> Result<(), Trouble> {
        let did = format!("remove the network `{name}`");
        unless_gone(self.run(&did, ["network", "rm", name], &[]).await)
    }

    /// Makes a container, which does not run yet, and returns its id. Its own children that nobody
    /// waits for are buried by Docker's init. Not cancel-safe: it may be made.
    ///
    /// # Errors
    /// [`Trouble::Taken`] when there is one of this name; [`Trouble`].
    pub async fn create(&self, plan: &NewContainer) -> Result<String, Trouble> {
        let did = format!("make the container `{}`", plan.name);
        Ok(text(self.run(&did, plan.words(), &[]).await?).trim().to_owned())
    }

    /// Starts a container. One that runs is no error; one whose program can't be run ends at once,
    /// with status 126 or 127. Not cancel-safe: it may be started.
    ///
    /// # Errors
    /// [`Trouble`], as when a published port can't be listened at.
    pub async fn start(&self, container: &str) -> Result<(), Trouble> {
        self.run("start a container", ["start", container], &[]).await.map(drop)
    }

    /// The ids of the containers with this label, `name` or `name=value`, whether they run or not.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn containers(&self, label: &str) -> Result<Vec<String>, Trouble> {
        let filter = format!("label={label}");
        let words = ["ps", "--all", "--no-trunc", "--filter", &filter, "--format", "{{.ID}}"];
        Ok(words_of(self.run("list containers", words, &[]).await?))
    }

    /// What can be seen of these containers, by id or name, without those that are gone. Cancel-safe.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn inspect(&self, containers: &[String]) -> Result<Vec<Seen>, Trouble> {
        if containers.is_empty() {
            return Ok(Vec::new());
        }
        let did = "show containers";
        let words = strings(["container", "inspect", "--"]);
        let words = words.into_iter().chain(containers.iter().cloned());
        let output = self.output(did, words, &[], SOON).await?;
        // Those that are there are shown all the same.
        if !output.status.success() {
            match Trouble::told(did, &text(output.stderr)) {
                Trouble::Gone { .. } => {}
                error => return Err(error),
            }
        }
        parse(did, &output.stdout)
    }

    /// The last `tail` lines that a container's program wrote, the oldest first, without their ends.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`Trouble::Gone`] when there is no such container; [`Trouble`].
    pub async fn logs(&self, container: &str, tail: usize) -> Result<Vec<String>, Trouble> {
        let (did, tail) = ("read a container's output", tail.to_string());
        let words = ["logs", "--timestamps", "--tail", &tail, container];
        let output = self.output(did, words, &[], SOON).await?;
        let (out, error) = (text(output.stdout), text(output.stderr));
        if !output.status.success() {
            return Err(Trouble::told(did, &error));
        }
        Ok(by_time(&out, &error))
    }

    /// Kills a container's program. One that does not run, or is gone, is no error. Not cancel-safe.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn kill(&self, container: &str) -> Result<(), Trouble> {
        match self.run("kill a container", ["kill", container], &[]).await {
            Err(Trouble::Refused { reason, .. }) if reason.contains("is not running") => Ok(()),
            killed => unless_gone(killed),
        }
    }

    /// Removes a container with its volumes; kills its program first. One that is gone is no error. Not
    /// cancel-safe.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn remove(&self, container: &str) -> Result<(), Trouble> {
        let words = ["rm", "--force", "--volumes", container];
        match self.run("remove a container", words, &[]).await {
            Err(Trouble::Refused { reason, .. }) if reason.contains("is already in progress") => {
                Ok(())
            }
            removed => unless_gone(removed),
        }
    }

    /// Runs the command and returns its standard output.
    async fn run<I>(&self, did: &str, words: I, stdin: &[u8]) -> Result<Vec<u8>, Trouble>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let output = self.output(did, words, stdin, SOON).await?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(Trouble::told(did, &text(output.stderr))),
        }
    }

    /// Runs the command, which is killed when nobody waits for it any more.
    async fn output<I>(
        &self,
        did: &str,
        words: I,
        stdin: &[u8],
        within: Duration,
    ) -> Result<Output, Trouble>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = self.started(words);
        command.stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| self.unstarted(did, &error))?;
        let pipe = child.stdin.take();
        let tell = async {
            if let Some(mut pipe) = pipe {
                // If it ended without reading, what it says is more than the broken pipe.
                let _ = pipe.write_all(stdin).await;
            }
        };
        let both = async { tokio::join!(child.wait_with_output(), tell).0 };
        match timeout(within, both).await {
            Ok(output) => output.map_err(|error| refused(did, &error)),
            Err(_) => Err(Trouble::Late { did: did.to_owned(), seconds: within.as_secs() }),
        }
    }

    /// The command, to be started in a group of its own: Ctrl-C is meant for the client.
    fn started<I>(&self, words: I) -> Command
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = Command::new(&self.program);
        command.args(self.context.iter().flat_map(|context| ["--context", context]));
        command.args(words).process_group(0).kill_on_drop(true);
        command
    }

    fn unstarted(&self, did: &str, error: &std::io::Error) -> Trouble {
        match error.kind() {
            std::io::ErrorKind::NotFound => Trouble::Missing { program: self.program.clone() },
            _ => refused(did, error),
        }
    }
}

/// The lines of two streams, each of which begins with its time, by these and without them. Those of
/// one stream stay in order.
fn by_time(out: &str, error: &str) -> Vec<String> {
    let mut lines: Vec<&str> = out.lines().chain(error.lines()).collect();
    lines.sort_by_key(|line| line.split(' ').next());
    lines.iter().map(|line| line.split_once(' ').map_or("", |(_, said)| said).to_owned()).collect()
}

fn refused(did: &str, reason: &dyn std::fmt::Display) -> Trouble {
    Trouble::Refused { did: did.to_owned(), reason: reason.to_string() }
}

fn unless_gone(done: Result<Vec<u8>, Trouble>) -> Result<(), Trouble> {
    match done {
        Ok(_) | Err(Trouble::Gone { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn parse<T: DeserializeOwned>(did: &str, shown: &[u8]) -> Result<T, Trouble> {
    serde_json::from_slice(shown)
        .map_err(|e| refused(did, &format_args!("what it shows is not understood: {e}")))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

fn words_of(shown: Vec<u8>) -> Vec<String> {
    text(shown).split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_to_two_streams_is_put_in_order() {
        let out = "2026-01-01T00:00:00.100000000Z a b\n2026-01-01T00:00:00.300000000Z c\n";
        let error = "2026-01-01T00:00:00.200000000Z two\n2026-01-01T00:00:00.300000000Z\n";
        assert_eq!(by_time(out, error), ["a b", "two", "c", ""]);
    }
}
