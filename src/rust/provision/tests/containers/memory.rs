//! Containers that are too small: a task that outgrows one, and a worker that dies of a neighbour.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustbatch_protocol::Report;
use rustbatch_provision::docker::{Entry, NewContainer, Owner};
use rustbatch_provision::lifecycle::{self, Policy, Progress, Redis, Wish};
use rustbatch_provision::provider::{Provider, Role};
use rustbatch_provision::providers::Containers;
use tokio::sync::mpsc::unbounded_channel;

use super::loops::Loop;
use super::set::Set;
use super::support::docker::{R, REDIS, available};
use super::support::supervisor;

/// The limit, in MiB.
const LIMIT: u64 = 256;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_outgrows_its_container_says_how_far_it_came() {
    let Some(mut set) = Set::bare().await else { return };
    let plan = NewContainer { memory: Some(LIMIT), ..set.stage.container("worker", R) };
    set.hire(plan).await;
    let mut work = Loop::open(&set.client, "x <- numeric(1e8); x[] <- i; sum(x)", 1, 1);
    let (outcome, _) = work.next();
    let Report::Crashed(cause) = outcome.report else { panic!("{:?}", outcome.report) };
    assert_eq!(cause.words(), "killed by signal 9 (SIGKILL), out of memory");
    assert_eq!(cause.limit, Some(LIMIT << 20));
    // A kernel older than 5.19 knows no peak under control groups of version 2.
    let near = |peak| (LIMIT << 19..=LIMIT << 20).contains(&peak);
    assert!(cause.peak.is_none_or(near), "{:?}", cause.peak);
    assert_eq!(outcome.attempt, 3);
    // It was the R process alone.
    let mut work = Loop::open(&set.client, "i^2", 4, 1);
    work.collect_all("(1:4)^2");
    assert_eq!(set.roll().await.len(), 1);
}

/// Lets the kernel take the worker itself when the container is full, and fills it.
const FILL: &str = "
  for p in /proc/[0-9]*; do
    if [ \"$(readlink $p/exe)\" = /rustbatch/worker ]; then echo 1000 > $p/oom_score_adj; fi
  done
  exec Rscript -e 'x <- numeric(1e8); x[] <- 1'";

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_for_want_of_memory_is_replaced_and_the_cause_is_said() {
    let Some(docker) = available().await else { return };
    let (image, server_image) = (R.to_owned(), REDIS.to_owned());
    let containers =
        Containers { docker, executable: supervisor(), image, server_image, serves: true };
    let containers = Arc::new(containers);
    let wish = Wish {
        name: Some("rb-test-memory".into()),
        least: 1,
        most: 1,
        slots: 1,
        cpu: None,
        memory: Some(LIMIT),
        image: None,
        environment: Default::default(),
        setup: None,
        r: "R".into(),
        redis: None,
    };
    let (tell, mut lines) = unbounded_channel();
    let started =
        lifecycle::start(containers.clone(), Redis, wish, Policy::default(), Progress(Some(tell)));
    let up = started.await.expect("a cluster");
    up.keep();
    let cluster = up.access().cluster;
    let all = containers.instances(&cluster).await.expect("a list");
    let first = all.iter().find(|instance| instance.role == Role::Worker).expect("a worker");
    let slow = Entry { path: "slow", mode: 0o444, content: Some(b"") };
    containers.docker.put(&first.id.0, Owner::default(), &[slow]).await.expect("to copy");
    let client = up.register().await.expect("a client");
    let mut work = Loop::open(&client, "if (file.exists('/slow')) Sys.sleep(600); i^2", 1, 1);
    let held = async || {
        while client.load().await.expect("a load").workers.iter().all(|worker| worker.held == 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), held()).await.expect("the task");
    // Its end is that of the container, or it is killed as well.
    let fill = Command::new("docker").args(["exec", &first.id.0, "sh", "-c", FILL]).output();
    assert!(!fill.expect("docker").status.success());
    work.collect_all("1");
    assert_eq!(work.came.values().collect::<Vec<_>>(), [&2]);
    let mut said = String::new();
    while let Ok(line) = lines.try_recv() {
        said.push_str(&line);
        said.push('\n');
    }
    let why = format!(
        "a worker was lost: the container {}: it was killed by signal 9, out of memory",
        first.id
    );
    assert!(said.contains(&why), "{said}");
    work.job.close().await;
    assert_eq!(up.stop().await.expect("an end").left, []);
}
