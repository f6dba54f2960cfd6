//! All of it together: a server and workers in containers, none of which has anything of ours but the
//! executable that is copied in, told what to do by a file; and jobs that outlive what befalls them.

#![allow(clippy::expect_used, clippy::print_stderr)]

mod ends;
#[path = "../support/loops.rs"]
mod loops;
mod memory;
mod set;
mod setup;
#[path = "../support/mod.rs"]
mod support;

use std::process::Command;

use loops::Loop;
use rustbatch_provision::docker::Trouble;
use set::Set;
use support::assert_unseen;

/// An image whose C library is of Ubuntu 20.04's age.
const OLD: &str = "rustbatch-test-r:bullseye";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_outlives_a_killed_container() {
    let Some(set) = Set::new(2).await else { return };
    let mut work = Loop::open(&set.client, "Sys.sleep(0.05); i^2", 200, 5);
    work.collect(40);
    set.stage.docker.kill(&set.containers[1]).await.expect("to kill");
    work.collect_all("(1:200)^2");
    work.job.close().await;
    assert_eq!(set.end(&set.containers[1]).await, "it was killed by signal 9");
    set.stage.until("one worker", async || set.roll().await.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_image_runs_the_executable_that_users_get() {
    if std::env::var_os("RUSTBATCH_WORKER").is_none() {
        eprintln!("SKIPPED: only the static executable fits: tools/test builds it");
        return;
    }
    let Some(mut set) = Set::bare().await else { return };
    set.hire(set.stage.container("worker", OLD)).await;
    let ldd = ["exec", &set.containers[1], "ldd", "--version"];
    let shown = Command::new("docker").args(ldd).output().expect("docker");
    let libc = String::from_utf8_lossy(&shown.stdout);
    assert!(libc.lines().next().is_some_and(|line| line.ends_with("2.31")), "{libc}");
    let mut work = Loop::open(&set.client, "i^2", 20, 5);
    work.collect_all("(1:20)^2");
    work.job.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_seen_of_a_container() {
    let Some(set) = Set::new(1).await else { return };
    let line = String::from_utf8(set.network.line().expect("a line").to_vec()).expect("text");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let certificate = text(&line["listen"]["key"]);
    let mut secrets = vec![
        set.key.to_hex().expose().to_owned(),
        text(&line["watch"]),
        certificate.lines().nth(1).expect("a line").to_owned(),
    ];
    for server in [set.network.client("h", 1), set.network.worker("h", 1)] {
        secrets.push(server.password.expect("one").expose().to_owned());
    }
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    assert!(secrets.iter().all(|secret| secret.len() > 40));
    assert_unseen(&secrets);
    let mut seen = String::new();
    for container in &set.containers {
        let shown = Command::new("docker").args(["inspect", container]).output().expect("docker");
        seen.push_str(&String::from_utf8_lossy(&shown.stdout));
        seen.push_str(&set.stage.docker.logs(container, 1000).await.expect("its words").join("\n"));
        let file = set.stage.docker.get(container, "/rustbatch/bootstrap").await;
        assert!(matches!(file, Err(Trouble::Gone { .. })), "the file is still there");
    }
    assert!(seen.contains("--bootstrap") && seen.contains("ready"), "{seen}");
    for secret in secrets {
        assert!(!seen.contains(secret));
    }
}
