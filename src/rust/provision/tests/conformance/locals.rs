//! `local` on trial. Its processes run a script that notes who they are, and ends when it is told to.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustbatch_protocol::ClusterId;
use rustbatch_provision::Local;
use rustbatch_provision::provider::InstanceId;

use super::Ground;
use super::support::{kill, runs, until};

/// Says that it is ready, notes its process and what it was told, and ends with the file `break.<pid>`.
const SCRIPT: &str = r#"#!/bin/sh
read -r told
here=$(dirname "$0")
printf '%s %s\n' $$ "$told" >> "$here/told"
echo ready
echo hello
while sleep 0.05; do
  if [ -f "$here/break.$$" ]; then cat "$here/break.$$" >&2; exit 3; fi
done
"#;

pub struct Locals {
    place: tempfile::TempDir,
    provider: Arc<Local>,
    stranger: Child,
}

impl Drop for Locals {
    fn drop(&mut self) {
        let _ = self.stranger.kill();
        let _ = self.stranger.wait();
    }
}

impl Locals {
    /// The processes that were started for a cluster: their ids, and what they were told.
    fn told(&self, cluster: &ClusterId) -> Vec<(u32, serde_json::Value)> {
        let text = std::fs::read_to_string(self.place.path().join("told")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let each = whole.lines().map(|line| {
            let (pid, told) = line.split_once(' ').expect("two words");
            (pid.parse().expect("a number"), serde_json::from_str(told).expect("a bootstrap"))
        });
        each.filter(|(_, told): &(u32, serde_json::Value)| told["cluster"] == cluster.as_str())
            .collect()
    }
}

impl Ground for Locals {
    const REMEMBERS: bool = false;
    type Provider = Local;

    fn new() -> Option<Self> {
        let place = tempfile::tempdir().expect("a folder");
        let worker = place.path().join("worker");
        std::fs::write(&worker, SCRIPT).expect("to write");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&worker, mode).expect("to change the mode");
        let provider = Arc::new(Local::new(&worker, true));
        // The same program, started by somebody else.
        let stranger = Command::new(&worker).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        Some(Self { place, provider, stranger: stranger.expect("a process") })
    }

    fn provider(&self) -> Arc<Local> {
        Arc::clone(&self.provider)
    }

    fn break_down(&self, cluster: &ClusterId, id: &InstanceId, why: &str) {
        let mut pid = None;
        until("the process", || {
            let named = self.told(cluster).into_iter().find(|(_, t)| t["worker"] == id.0.as_str());
            pid = named.map(|(pid, _)| pid);
            pid.is_some()
        });
        let pid = pid.expect("a process");
        let file = self.place.path().join(format!("break.{pid}"));
        std::fs::write(file.with_extension("new"), format!("{why}\n")).expect("to write");
        std::fs::rename(file.with_extension("new"), file).expect("to rename");
    }

    fn left(&self, cluster: &ClusterId) -> Vec<String> {
        let told = self.told(cluster);
        let alive = told.iter().filter(|(pid, _)| runs(*pid)).map(|(pid, _)| pid.to_string());
        let folders = told.iter().filter_map(|(_, told)| told["folder"].as_str());
        let there = folders.filter(|folder| PathBuf::from(folder).exists()).map(str::to_owned);
        alive.chain(there).collect()
    }

    fn strangers_are_well(&self) -> bool {
        kill("-CONT", self.stranger.id());
        runs(self.stranger.id())
    }
}
