//! `ecs` on trial, in containers. They run a script that ends when it is told to.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustbatch_protocol::ClusterId;
use rustbatch_provision::provider::{InstanceId, Provider};
use rustbatch_provision::providers::ecs::{Ecs, Fargate};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::Ground;
use super::cloud::Cloud;

/// Does what `rustbatch-worker unpack` does, says that it is ready, and ends with the file `/break`.
const SCRIPT: &str = r#"#!/bin/sh
if [ "$1" = unpack ]; then
  cp "$0" "$2/worker" && printf %s "$RUSTBATCH_BOOTSTRAP" > "$2/bootstrap"
  exit
fi
rm "$3"
trap 'exit 0' TERM
echo hello
echo ready
while sleep 0.05; do
  if [ -f /break ]; then cat /break >&2; exit 3; fi
done
"#;

pub struct Fargates {
    cloud: Cloud,
    ecs: Ecs,
    stranger: ClusterId,
    theirs: Vec<String>,
}

impl Fargates {
    async fn made(&self, ecs: Ecs) -> Fargate {
        self.cloud.provider(ecs).await
    }
}

impl Ground for Fargates {
    const REMEMBERS: bool = true;
    type Provider = Fargate;

    fn new() -> Option<Self> {
        let mut cloud = Cloud::new()?;
        let place = tempfile::tempdir().expect("a folder");
        let worker = place.path().join("worker");
        std::fs::write(&worker, SCRIPT).expect("to write");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&worker, mode).expect("to change the mode");
        let carrier = cloud.carrier(&worker);
        let ecs = Ecs { stop_timeout: 5, ..cloud.ecs(&carrier) };
        let stranger = ClusterId::random().expect("an id");
        let mut ground = Self { cloud, ecs, stranger, theirs: Vec::new() };
        // Somebody else's cluster, made by the same program.
        let theirs = Ecs { owner: Some("somebody else".into()), ..ground.ecs.clone() };
        block_in_place(|| {
            Handle::current().block_on(async {
                let provider = ground.made(theirs).await;
                provider.prepare(&ground.stranger).await.expect("a site");
            });
        });
        ground.theirs = ground.cloud.left(&ground.stranger);
        assert!(ground.theirs.len() > 5, "{:?}", ground.theirs);
        Some(ground)
    }

    fn hasten(&self) {
        self.cloud.tell("ghosts", &serde_json::json!({}));
    }

    fn provider(&self) -> Arc<Fargate> {
        block_in_place(|| Handle::current().block_on(self.made(self.ecs.clone()))).into()
    }

    fn break_down(&self, _: &ClusterId, id: &InstanceId, why: &str) {
        let container = self.cloud.container(&id.0);
        let mut writer = Command::new("docker")
            .args(["exec", "--interactive", &container, "sh", "-c", "cat >/new && mv /new /break"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("docker");
        writeln!(writer.stdin.take().expect("its input"), "{why}").expect("to write");
        assert!(writer.wait().expect("its end").success());
    }

    fn left(&self, cluster: &ClusterId) -> Vec<String> {
        self.cloud.left(cluster)
    }

    fn strangers_are_well(&self) -> bool {
        self.cloud.left(&self.stranger) == self.theirs
    }
}
