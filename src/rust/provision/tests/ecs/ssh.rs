//! A key that may log in to the workers, and no other.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use rustbatch_provision::providers::ecs::Ecs;

use super::cloud::Cloud;
use super::support::docker::SSH;
use super::support::supervisor;
use super::{client, policy, squares, start, wish};

/// A new key: the path of the private one.
fn key(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    let words = ["-q", "-t", "ed25519", "-N", "", "-f"];
    let made = Command::new("ssh-keygen").args(words).arg(&path).output().expect("ssh-keygen");
    assert!(made.status.success(), "{made:?}");
    path
}

/// What the command that a user is shown does, with this key.
fn log_in(command: &[String], key: &Path) -> Output {
    let options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"];
    let options = options.iter().flat_map(|option| ["-o", option]);
    Command::new(&command[0])
        .args(options)
        .args(["-o", "IdentitiesOnly=yes", "-i"])
        .arg(key)
        .args(&command[1..])
        .arg("id -un && ls /rustbatch && env")
        .output()
        .expect("ssh")
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_key_it_is_may_log_in_and_nobody_else() {
    let Some(mut cloud) = Cloud::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, other) = (key(folder.path(), "ours"), key(folder.path(), "other"));
    let public = std::fs::read_to_string(ours.with_extension("pub")).expect("a key");
    let carrier = cloud.carrier(&supervisor());
    let ecs = Ecs { image: Some(SSH.into()), ssh_public_key: Some(public), ..cloud.ecs(&carrier) };
    let provider = Arc::new(cloud.provider(ecs).await);
    let up = start(&provider, wish("ssh", 1), policy()).await;
    let cluster = up.access().cluster;
    squares(&client(&up.access()).await, 20).await;

    let all = up.instances().await.expect("instances");
    let worker = all.iter().find(|one| one.worker.is_some()).expect("a worker");
    let commands = provider.shell(&cluster, &worker.id).await.expect("commands");
    let seen = log_in(&commands[0], &ours);
    let said = String::from_utf8_lossy(&seen.stdout);
    assert!(seen.status.success() && said.starts_with("root\nworker\n"), "{seen:?}");
    assert!(!said.contains("RUSTBATCH"), "{said}");
    assert!(!log_in(&commands[0], &other).status.success());
    assert_eq!(up.stop().await.expect("an end").left, []);
}
