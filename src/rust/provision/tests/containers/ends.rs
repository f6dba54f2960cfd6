//! Workers that are told to end: SIGTERM drains, and what takes too long is handed back.

use std::process::Command;
use std::time::{Duration, Instant};

use rustbatch_provision::docker::NewContainer;

use super::loops::Loop;
use super::set::Set;
use super::support::docker::R;

fn docker(words: &[&str]) {
    let done = Command::new("docker").args(words).output().expect("docker");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_end_finishes_what_runs() {
    let Some(set) = Set::new(2).await else { return };
    let mut work = Loop::open(&set.client, "Sys.sleep(0.05); i^2", 60, 1);
    work.collect(20);
    docker(&["kill", "--signal", "TERM", &set.containers[1]]);
    work.collect_all("(1:60)^2");
    assert!(work.came.values().all(|attempt| *attempt == 1), "{:?}", work.came);
    assert_eq!(work.blames(&set.client, &set.server).await, [""; 0]);
    assert_eq!(set.end(&set.containers[1]).await, "it ended with status 0");
    assert_eq!(set.roll().await.len(), 1);
    work.job.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_handed_back_before_docker_kills() {
    let Some(mut set) = Set::bare().await else { return };
    let slow = NewContainer {
        environment: [("SLOW".to_owned(), "yes".to_owned())].into(),
        ..set.stage.container("slow", R)
    };
    set.hire(slow).await;
    let slow = "if (nzchar(Sys.getenv('SLOW'))) Sys.sleep(60); i^2";
    let mut work = Loop::open(&set.client, slow, 1, 1);
    let held = async || set.client.load().await.expect("a load").workers[0].held == 1;
    set.stage.until("the task", held).await;
    set.hire(set.stage.container("quick", R)).await;
    let asked = Instant::now();
    docker(&["stop", &set.containers[1]]);
    // Docker kills after 10 s, which would be signal 9.
    assert_eq!(set.end(&set.containers[1]).await, "it ended with status 0");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    // Of what was not handed back the client's heartbeat finds that it is nowhere, but later.
    let ended = Instant::now();
    work.collect(1);
    assert!(ended.elapsed() < Duration::from_secs(2), "{:?}", ended.elapsed());
    work.collect_all("1");
    assert_eq!(work.came.values().collect::<Vec<_>>(), [&2]);
    assert_eq!(work.blames(&set.client, &set.server).await, [""; 0]);
    work.job.close().await;
}
