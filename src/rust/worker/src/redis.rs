//! A Redis process of ours: its folder, its configuration, and how it is started and reached.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustbatch_protocol::Secret;
use rustbatch_protocol::bootstrap::Listen;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// How long Redis may take to answer.
pub const READY: Duration = Duration::from_secs(15);

/// How long to wait before the socket is tried again.
const AGAIN: Duration = Duration::from_millis(5);

/// The socket's name in the server's folder, where `provision` looks for it, too.
const SOCKET: &str = "redis.sock";

/// The names of the files from which Redis reads certificate and key.
const FILES: [&str; 2] = ["tls.crt", "tls.key"];

/// All that it takes to start a Redis, as often as need be.
#[derive(Debug)]
pub struct Redis {
    /// The executable.
    pub executable: PathBuf,
    /// Its folder, which is private.
    pub folder: PathBuf,
    /// Where it listens besides the socket in its folder.
    pub listen: Option<Listen>,
    /// What it is told besides where it is.
    pub configuration: Secret,
}

impl Redis {
    /// Starts the process and tells it its configuration, certificate and key included. By way of
    /// `rustbatch-worker exec`, so that the system kills it when this process ends, and in a group of
    /// its own, so that Ctrl-C does not reach it. To be called on the process' first thread.
    ///
    /// Not cancel-safe: the process may not know its configuration; but it is killed.
    ///
    /// # Errors
    /// When the process can't be started or the folder can't be written to.
    pub async fn start(&self) -> io::Result<Child> {
        if let Some(listen) = &self.listen {
            for (name, text) in FILES.iter().zip([&listen.certificate, listen.key.expose()]) {
                write_private(&self.folder.join(name), text)?;
            }
        }
        let mut child = Command::new(std::env::current_exe()?)
            .args(["exec", "--parent-pid", &std::process::id().to_string(), "--"])
            .arg(&self.executable)
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(io::stderr())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let text = self.text()?;
        if let Some(mut stdin) = child.stdin.take() {
            // If Redis ended without reading it, its status says more than the broken pipe.
            let _ = stdin.write_all(text.expose().as_bytes()).await;
        }
        Ok(child)
    }

    /// Waits until the process answers, whatever it says: then it listens everywhere and has read
    /// its files, which are removed. Cancel-safe.
    ///
    /// # Errors
    /// What the last attempt came to, when it does not answer within [`READY`].
    pub async fn reach(&self) -> io::Result<()> {
        let socket = self.socket();
        let mut last = io::ErrorKind::TimedOut.into();
        let tries = async {
            while let Err(error) = ask(&socket).await {
                last = error;
                sleep(AGAIN).await;
            }
        };
        timeout(READY, tries).await.map_err(|_| last)?;
        self.forget_files();
        Ok(())
    }

    /// The socket by which this machine reaches it.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }

    fn forget_files(&self) {
        for name in FILES {
            let _ = std::fs::remove_file(self.folder.join(name));
        }
    }

    /// The whole configuration.
    fn text(&self) -> io::Result<Secret> {
        let path = |path: &Path| {
            path.to_str()
                .map(quote)
                .ok_or_else(|| io::Error::other("the folder's name is not UTF-8"))
        };
        let mut text = format!(
            "port 0\nunixsocket {}\nunixsocketperm 600\ndir {}\ndaemonize no\nlogfile \"\"\n\
             loglevel warning\n",
            path(&self.socket())?,
            path(&self.folder)?,
        );
        if let Some(listen) = &self.listen {
            let bind = listen.bind.map_or_else(|| "* -::*".to_owned(), |ip| ip.to_string());
            let [certificate, key] = FILES.map(|name| path(&self.folder.join(name)));
            let _ = writeln!(
                text,
                "tls-port {}\nbind {bind}\nprotected-mode yes\ntls-cert-file {}\ntls-key-file {}\n\
                 tls-auth-clients no\ntls-protocols \"TLSv1.2 TLSv1.3\"\ntcp-keepalive 60",
                listen.port, certificate?, key?,
            );
        }
        text.push_str(self.configuration.expose());
        Ok(Secret::new(text))
    }
}

/// Makes `folder` where it is missing, so that nobody else may enter it.
///
/// # Errors
/// When it can't be made, or is there and others may enter it: then it is not ours.
pub fn private(folder: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let kind = std::fs::symlink_metadata(folder)?;
    let user = rustix::process::geteuid().as_raw();
    if kind.is_dir() && kind.uid() == user && kind.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!("others may enter `{}`", folder.display())))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    // One that ended before it was ready has left it.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Asks at `socket` for a byte of an answer; that a password is wanted is one.
async fn ask(socket: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"PING\r\n").await?;
    stream.read_exact(&mut [0]).await.map(drop)
}

/// A text as a word of a configuration.
fn quote(text: &str) -> String {
    let mut word = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            c if c.is_ascii_control() => {
                let _ = write!(word, "\\x{:02x}", u32::from(c));
            }
            c => word.push(c),
        }
    }
    word.push('"');
    word
}

// What it does to real processes is tested in `provision/tests/local.rs` and `network.rs`.
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn redis(folder: &Path, listen: Option<Listen>) -> Redis {
        let configuration = Secret::new("save \"\"\n");
        Redis {
            executable: "redis-server".into(),
            folder: folder.to_owned(),
            listen,
            configuration,
        }
    }

    #[test]
    fn a_path_is_quoted_for_the_configuration() -> io::Result<()> {
        assert_eq!(quote("/a b\"c\\d\n"), r#""/a b\"c\\d\x0a""#);
        let text = redis(Path::new("/a b"), None).text()?;
        let text = text.expose();
        assert!(text.contains("\nunixsocket \"/a b/redis.sock\"\n"), "{text}");
        assert!(text.starts_with("port 0\n") && text.ends_with("save \"\"\n"), "{text}");
        assert!(!text.contains("tls"), "{text}");
        Ok(())
    }

    #[test]
    fn on_a_network_there_is_nothing_but_tls() -> io::Result<()> {
        let listen = |bind| Listen {
            bind,
            port: 6380,
            certificate: "public".into(),
            key: Secret::new("s3cret"),
        };
        let text = redis(Path::new("/x"), Some(listen(None))).text()?;
        for line in ["port 0", "tls-port 6380", "bind * -::*", "protected-mode yes"] {
            assert!(text.expose().lines().any(|l| l == line), "{line}");
        }
        assert!(!text.expose().contains("s3cret"));
        let here = Some(std::net::Ipv4Addr::LOCALHOST.into());
        let text = redis(Path::new("/x"), Some(listen(here))).text()?;
        assert!(text.expose().contains("\nbind 127.0.0.1\n"));
        Ok(())
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let folder = place.path().join("new");
        private(&folder)?;
        assert_eq!(folder.metadata()?.mode() & 0o777, 0o700);
        private(&folder)?;
        for mode in [0o710, 0o701] {
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode))?;
            assert!(private(&folder).is_err(), "{mode:o}");
        }
        let link = place.path().join("link");
        std::os::unix::fs::symlink("/tmp", &link)?;
        assert!(private(&link).is_err());
        Ok(())
    }

    #[tokio::test]
    async fn a_socket_is_tried_until_it_answers() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let redis = redis(folder.path(), None);
        let late = async {
            tokio::task::yield_now().await;
            let listener = tokio::net::UnixListener::bind(redis.socket())?;
            // Who hangs up has not answered.
            drop(listener.accept().await?);
            let (mut stream, _) = listener.accept().await?;
            stream.read_exact(&mut [0; 6]).await?;
            stream.write_all(b"-NOAUTH\r\n").await
        };
        let (reached, answered) = tokio::join!(redis.reach(), late);
        answered?;
        reached
    }
}
