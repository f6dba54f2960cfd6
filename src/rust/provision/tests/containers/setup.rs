//! What workers install before they join.

use std::time::{Duration, Instant};

use rustbatch_protocol::{RPackages, Setup};

use super::loops::Loop;
use super::set::Set;
use super::support::docker::{R, source_repository};

/// A Debian package, and packages of R from a repository that is made on the spot.
fn setup(packages: &[&str]) -> Setup {
    Setup {
        system: vec!["hello".into()],
        commands: vec![source_repository("rbSquare", "square <- function(i) i^2")],
        packages: RPackages {
            cran: packages.iter().map(|&name| name.into()).collect(),
            ..RPackages::default()
        },
        repositories: vec!["file:///srv/repository".into()],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_installs_is_there_in_the_loop() {
    let Some(mut set) = Set::bare().await else { return };
    let worker = set.start(set.stage.container("worker", R), Some(setup(&["rbSquare"]))).await;
    // Packages are fetched from afar.
    let limit = Duration::from_secs(180);
    let joined = async || set.roll().await.contains(&worker);
    set.stage.within(limit, "the worker", joined).await;
    let task = "stopifnot(system('hello', intern = TRUE) == 'Hello, world!'); rbSquare::square(i)";
    let mut work = Loop::open(&set.client, task, 20, 5);
    work.collect_all("(1:20)^2");
    work.job.close().await;
    let said = set.stage.docker.logs(&set.containers[1], 500).await.expect("its words").join("\n");
    for part in ["installing the Debian package `hello`", "installing the R package rbSquare 1.0"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_package_is_nowhere_ends_within_a_minute_and_names_it() {
    let Some(mut set) = Set::bare().await else { return };
    let started = Instant::now();
    set.start(set.stage.container("worker", R), Some(setup(&["rbSquare", "rbNowhere"]))).await;
    assert_eq!(set.end(&set.containers[1]).await, "it ended with status 3");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    let said = set.stage.docker.logs(&set.containers[1], 20).await.expect("its words");
    let named =
        "rustbatch-worker: can't install the R package `rbNowhere`: there is no such package at";
    assert!(said.iter().any(|line| line.starts_with(named)), "{said:?}");
}
