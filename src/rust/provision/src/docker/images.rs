//! Images: found, pulled, made and pushed. What the command says while one is made is passed on line by
//! line.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;

use super::wanted::archive;
use super::{Docker, Entry, Image, Owner, Trouble, parse, refused, text};

/// How long an image may take to come.
const PULL: Duration = Duration::from_secs(3600);

/// How long an image may take to be made, or to be pushed.
const LONG: Duration = Duration::from_secs(6 * 3600);

/// How many last lines tell why one could not be made.
const LAST_WORDS: usize = 20;

impl Docker {
    /// The image of this name, which is pulled where it is not there. Cancel-safe: a pull goes on.
    ///
    /// # Errors
    /// [`Trouble::NoImage`], [`Trouble::Pull`], and those of [`Docker::version`].
    pub async fn image(&self, name: &str) -> Result<Image, Trouble> {
        if let Some(image) = self.known_image(name).await? {
            return Ok(image);
        }
        let did = "pull an image";
        let output = self.output(did, ["pull", "--quiet", "--", name], &[], PULL).await?;
        if !output.status.success() {
            return Err(Trouble::pull(name, &text(output.stderr)));
        }
        self.known_image(name).await?.ok_or_else(|| Trouble::Gone {
            did: format!("show the image `{name}`"),
            reason: "it is not there".into(),
        })
    }

    async fn known_image(&self, name: &str) -> Result<Option<Image>, Trouble> {
        let did = format!("show the image `{name}`");
        match self.run(&did, ["image", "inspect", "--", name], &[]).await {
            Ok(shown) => Ok(parse::<Vec<Image>>(&did, &shown)?.into_iter().next()),
            // What no image can be called there is none of, either: a pull says why.
            Err(Trouble::Gone { .. } | Trouble::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an image, and calls it `name`: `files`, a Dockerfile among them, are sent over the
    /// command's standard input. What is printed goes to `lines`. Cancel-safe: the image is not made.
    ///
    /// # Errors
    /// [`Trouble::Build`], with the last lines; [`Trouble`].
    pub async fn build(
        &self,
        name: &str,
        files: &[Entry<'_>],
        lines: &UnboundedSender<String>,
    ) -> Result<(), Trouble> {
        let did = format!("make the image `{name}`");
        let context = archive(Owner::default(), files).map_err(|e| refused(&did, &e))?;
        let words = ["build", "--force-rm", "--tag", name, "-"];
        self.spoken(&did, &words, &context, lines).await
    }

    /// Pushes an image to the registry that its name begins with. What is printed goes to `lines`.
    /// Cancel-safe: a part may be there.
    ///
    /// # Errors
    /// [`Trouble::Build`], with the last lines; [`Trouble`].
    pub async fn push(&self, name: &str, lines: &UnboundedSender<String>) -> Result<(), Trouble> {
        let did = format!("push the image `{name}`");
        self.spoken(&did, &["push", "--", name], &[], lines).await
    }

    /// Runs the command, which is killed when nobody waits for it any more, and passes on what it
    /// prints.
    async fn spoken(
        &self,
        did: &str,
        words: &[&str],
        stdin: &[u8],
        lines: &UnboundedSender<String>,
    ) -> Result<(), Trouble> {
        let failed = |e: io::Error| refused(did, &e);
        let (from, to) = io::pipe().map_err(failed)?;
        let mut command = self.started(words);
        // Drawn for a log, not for a terminal.
        command.env("BUILDKIT_PROGRESS", "plain").stdin(Stdio::piped());
        command.stdout(to.try_clone().map_err(failed)?).stderr(to);
        let mut child = command.spawn().map_err(|error| self.unstarted(did, &error))?;
        // The command holds our copies of the pipe's other end.
        drop(command);
        let from = pipe::Receiver::from_owned_fd(OwnedFd::from(from)).map_err(failed)?;
        let pipe = child.stdin.take();
        let tell = async {
            if let Some(mut pipe) = pipe {
                // If it ended without reading, what it says is more than the broken pipe.
                let _ = pipe.write_all(stdin).await;
            }
        };
        let all = async { tokio::join!(child.wait(), pass_on(from, lines), tell) };
        let Ok((status, said, ())) = timeout(LONG, all).await else {
            return Err(Trouble::Late { did: did.to_owned(), seconds: LONG.as_secs() });
        };
        if status.map_err(failed)?.success() {
            return Ok(());
        }
        Err(match Trouble::told(did, &said.join("\n")) {
            told @ (Trouble::Permission { .. } | Trouble::Daemon { .. }) => told,
            _ => Trouble::Build { did: did.to_owned(), said },
        })
    }
}

/// Passes lines on to their end; returns the last ones.
async fn pass_on(from: pipe::Receiver, lines: &UnboundedSender<String>) -> Vec<String> {
    let (mut from, mut bytes) = (BufReader::new(from), Vec::new());
    let mut last = VecDeque::new();
    while let Ok(1..) = from.read_until(b'\n', &mut bytes).await {
        let line = plain(&String::from_utf8_lossy(&bytes));
        bytes.clear();
        if line.is_empty() {
            continue;
        }
        if last.len() == LAST_WORDS {
            last.pop_front();
        }
        last.push_back(line.clone());
        // Who listened may have gone.
        let _ = lines.send(line);
    }
    last.into()
}

/// A line without colours, and of a bar that is drawn anew its last state alone.
fn plain(line: &str) -> String {
    let line = line.trim_end();
    let line = line.rsplit('\r').next().unwrap_or_default();
    let mut pieces = line.split("\u{1b}[");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| c.is_ascii_alphabetic()).map_or(piece.len(), |at| at + 1);
        text.push_str(&piece[end..]);
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_without_colours_and_bars() {
        assert_eq!(plain("\u{1b}[91mError\u{1b}[0m: a\n"), "Error: a");
        assert_eq!(plain("10%\r50%\r100%\r\n"), "100%");
        assert_eq!((plain("\u{1b}[0m\n"), plain("\u{1b}[")), (String::new(), String::new()));
    }
}
