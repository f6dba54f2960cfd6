//! The private Redis of a cluster: found, checked, configured, and given a folder.
//!
//! It listens on a Unix socket in a folder that only its owner may enter, keeps nothing on disk,
//! and knows two users, confined to the keys of one cluster.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustbatch_protocol::bootstrap::ServerBootstrap;
use rustbatch_protocol::{ClusterId, Secret};
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::Error;
use crate::acl::User;

const NAMES: [&str; 2] = ["redis-server", "valkey-server"];
const OLDEST: (u32, u32) = (6, 2);

/// How long a server may take to tell its version.
const VERSION: Duration = Duration::from_secs(10);

/// The longest path of a socket, in bytes; macOS takes 103.
const SOCKET_PATH: usize = 100;

/// The first server on `path` that is new enough. Cancel-safe.
///
/// # Errors
/// [`Error::RedisMissing`].
pub(crate) async fn find(path: &OsStr) -> Result<PathBuf, Error> {
    let mut reason = "neither `redis-server` nor `valkey-server` is on the path".to_owned();
    for name in NAMES {
        let Some(executable) = on_path(path, name) else {
            continue;
        };
        match check_version(&executable).await {
            Ok(()) => return Ok(executable),
            Err(found) => reason = format!("`{}` {found}", executable.display()),
        }
    }
    Err(Error::RedisMissing { reason })
}

fn on_path(path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path).filter(|folder| folder.is_absolute()).map(|f| f.join(name)).find(
        |file| {
            file.metadata()
                .is_ok_and(|kind| kind.is_file() && kind.permissions().mode() & 0o111 != 0)
        },
    )
}

/// Asks a server for its version; the error says what it answered.
async fn check_version(executable: &Path) -> Result<(), String> {
    let answer =
        Command::new(executable).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let answer = match timeout(VERSION, answer).await {
        Ok(Ok(answer)) => String::from_utf8_lossy(&answer.stdout).into_owned(),
        Ok(Err(error)) => return Err(format!("can't be run: {error}")),
        Err(_) => {
            return Err(format!("does not tell its version within {} s", VERSION.as_secs()));
        }
    };
    match version(&answer) {
        Some(_) if answer.starts_with("Valkey") => Ok(()),
        Some(found) if found >= OLDEST => Ok(()),
        Some((major, minor)) => {
            let (least, and) = OLDEST;
            Err(format!(
                "is version {major}.{minor}, and version {least}.{and} is the oldest that will do"
            ))
        }
        None => Err("does not tell its version".into()),
    }
}

/// Major and minor from `Redis server v=7.0.15 sha=…`.
fn version(answer: &str) -> Option<(u32, u32)> {
    let (_, version) = answer.split_once(" v=")?;
    let mut parts = version.split(['.', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What a bootstrap is told as. It holds secrets.
pub(crate) fn json(bootstrap: &ServerBootstrap) -> Result<Zeroizing<Vec<u8>>, Error> {
    let line = serde_json::to_vec(bootstrap).map_err(|e| Error::Internal(e.to_string()))?;
    Ok(Zeroizing::new(line))
}

/// What the server of `cluster` does, and for whom; where it is, its supervisor adds. Somebody
/// without a name is nobody, whatever the default user may do.
pub(crate) fn configuration(cluster: &ClusterId, users: &[(User, &Secret)]) -> Secret {
    let mut text = String::from(
        "save \"\"\nappendonly no\nmaxmemory-policy noeviction\ndatabases 1\n\
         user default off resetpass\n",
    );
    for (user, password) in users {
        let _ = writeln!(text, "{}", user.line(cluster, password));
    }
    Secret::new(text)
}

/// The socket's name in the folder, as the supervisor makes it.
const SOCKET: &str = "redis.sock";

/// A folder that only its owner may enter. Dropping it removes it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes one where this process may.
    ///
    /// # Errors
    /// [`Error::Start`].
    pub(crate) fn make() -> Result<Self, Error> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        Self::new(runtime, std::env::temp_dir())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes one under `runtime` if that is ours, else under `temporary`, else under `/tmp`: the
    /// first that can be written to and leaves the socket's path short enough.
    fn new(runtime: Option<PathBuf>, temporary: PathBuf) -> Result<Self, Error> {
        let ours = |folder: &PathBuf| {
            let user = rustix::process::geteuid().as_raw();
            folder.metadata().is_ok_and(|kind| kind.is_dir() && kind.uid() == user)
        };
        let places = runtime.filter(ours).into_iter().chain([temporary, PathBuf::from("/tmp")]);
        let mut reason = String::new();
        for place in places {
            let made = tempfile::Builder::new()
                .prefix("rustBatch-")
                .permissions(std::fs::Permissions::from_mode(0o700))
                .tempdir_in(&place);
            match made {
                Ok(made) if fits(made.path()) => return Ok(Self(made.keep())),
                Ok(_) => reason = format!("the path of `{}` is too long", place.display()),
                Err(error) => reason = error.to_string(),
            }
        }
        let reason = format!("can't make a folder for its socket: {reason}");
        Err(Error::Start { what: "the private Redis", reason })
    }

    /// Where the server in it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join(SOCKET)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether a socket in `folder` can be bound, and written into a configuration by the supervisor.
fn fits(folder: &Path) -> bool {
    let socket = folder.join(SOCKET);
    socket.is_absolute() && socket.to_str().is_some_and(|path| path.len() < SOCKET_PATH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(folder: &Path, name: &str, says: &str) {
        let file = folder.join(name);
        std::fs::write(&file, format!("#!/bin/sh\necho '{says}'\n")).expect("to write");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&file, mode).expect("to change the mode");
    }

    #[tokio::test]
    async fn a_missing_server_says_how_to_get_one() {
        let empty = tempfile::tempdir().expect("a folder");
        std::fs::write(empty.path().join("redis-server"), "not executable").expect("to write");
        let error = find(empty.path().as_os_str()).await.expect_err("no server");
        assert_eq!(error.kind(), "redis_missing");
        let text = error.to_string();
        for part in [
            "neither `redis-server` nor `valkey-server` is on the path\n* ",
            "sudo apt install redis-server",
            "brew install redis",
            "conda install -c conda-forge redis-server",
            "makeCluster(redis = \"redis://host:6379\")",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[tokio::test]
    async fn the_first_server_that_is_new_enough_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        script(path, "redis-server", "Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc");
        let error = find(path.as_os_str()).await.expect_err("an old server");
        assert_eq!(error.kind(), "redis_missing");
        let text = "redis-server` is version 6.0, and version 6.2 is the oldest that will do\n";
        assert!(error.to_string().contains(text), "{error}");
        script(path, "valkey-server", "Valkey server v=1.0.0 sha=00000000:0");
        assert_eq!(find(path.as_os_str()).await.expect("valkey"), path.join("valkey-server"));
        script(path, "redis-server", "Redis server v=6.2.0 sha=00000000:0");
        assert_eq!(find(path.as_os_str()).await.expect("redis"), path.join("redis-server"));
        script(path, "redis-server", "Hello");
        script(path, "valkey-server", "Hello");
        let error = find(path.as_os_str()).await.expect_err("no server").to_string();
        assert!(error.contains("valkey-server` does not tell its version\n"), "{error}");
    }

    #[test]
    fn the_folder_is_private_and_its_path_short() {
        let place = tempfile::tempdir().expect("a folder");
        let within = |folder: &Folder, place: &Path| folder.0.starts_with(place);
        let runtime = Some(place.path().to_owned());
        let folder = Folder::new(runtime, "/no/such".into()).expect("a folder");
        assert!(within(&folder, place.path()));
        let mode = folder.0.metadata().expect("a folder").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let path = folder.0.clone();
        drop(folder);
        assert!(!path.exists());

        let long = place.path().join("x".repeat(90));
        std::fs::create_dir(&long).expect("a folder");
        let folder = Folder::new(Some("/no/such".into()), long.clone()).expect("a folder");
        assert!(within(&folder, Path::new("/tmp")));
        assert_eq!(std::fs::read_dir(&long).expect("a folder").count(), 0, "a folder stayed");
    }

    #[test]
    fn a_configuration_names_its_users_and_no_password() {
        let cluster = "c".parse().expect("an id");
        let password = Secret::new("s3cret");
        let text = configuration(&cluster, &[(User::Client, &password)]);
        let text = text.expose();
        assert!(text.contains("\nuser client on #") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(version("Redis server v=7.0.15 sha=0 malloc=x"), Some((7, 0)));
        assert_eq!(version("Redis server v=255.255.255 sha=0"), Some((255, 255)));
        assert_eq!(version("Redis server v=x"), None);
        assert_eq!(version(""), None);
    }
}
