//! Workers, with a real Redis, a real R and clients' jobs.

#![allow(clippy::expect_used, clippy::print_stderr, missing_docs)]

#[path = "jobs/house.rs"]
mod house;
#[path = "setup/repository.rs"]
mod repository;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use house::{House, heard, outcome, until};
use repository::{Package, Repository};
use rustbatch_protocol::Report;

/// A package whose installation says that it has begun, and waits for a word.
fn slow(folder: &Path) -> String {
    format!(
        "local({{ file.create('{0}/begun'); while (!file.exists('{0}/go')) Sys.sleep(0.02) }})\n\
         here <- TRUE\n",
        folder.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn other_jobs_go_on_while_one_is_installed_for() {
    let place = tempfile::tempdir().expect("a folder");
    let code = slow(place.path());
    let repository = Repository::new(&[Package { r: &code, ..Package::new("rbSlow") }]);
    let Some(house) = House::installing(&repository).await else { return };
    let (first, slow) = house.job("rbSlow::here", &["rbSlow"]);
    until("the installation", || place.path().join("begun").exists());
    for packages in [&["stats", "tools"][..], &[]] {
        let (job, events) = house.job("stats::median(i)", packages);
        let came = outcome(&events);
        assert!(matches!(came.report, Report::Values(_)), "{:?}", came.report);
        job.close().await;
    }
    assert!(slow.try_recv().is_err(), "it waits");
    std::fs::write(place.path().join("go"), "").expect("to write");
    assert!(matches!(outcome(&slow).report, Report::Values(_)));
    first.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_given_up_does_not_cut_its_installation_in_two() {
    let place = tempfile::tempdir().expect("a folder");
    let code = slow(place.path());
    let repository = Repository::new(&[Package { r: &code, ..Package::new("rbSlow") }]);
    let Some(house) = House::installing(&repository).await else { return };
    let (first, _events) = house.job("rbSlow::here", &["rbSlow"]);
    until("the installation", || place.path().join("begun").exists());
    first.close().await;
    std::fs::remove_file(place.path().join("begun")).expect("to remove");
    let (second, events) = house.job("rbSlow::here", &["rbSlow"]);
    // Both slots are free again for what does not need it.
    let (third, others) = house.job("i", &[]);
    assert!(matches!(outcome(&others).report, Report::Values(_)));
    std::fs::write(place.path().join("go"), "").expect("to write");
    assert!(matches!(outcome(&events).report, Report::Values(_)));
    assert!(!place.path().join("begun").exists(), "it was not begun again");
    second.close().await;
    third.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_life_is_over_hands_back_what_runs_and_ends() {
    let born = Instant::now();
    let changed = |life| {
        move |told: &mut rustbatch_protocol::bootstrap::WorkerBootstrap| {
            (told.slots, told.life_seconds) = (1, Some(life));
        }
    };
    let Some(mut house) = House::new(changed(4)).await else { return };
    let begun = house.path("begun");
    let (job, events) = house.job(
        &format!(
            "if (!file.exists('{0}')) {{ file.create('{0}'); Sys.sleep(600) }}",
            begun.display()
        ),
        &[],
    );
    until("the task", || begun.exists());
    until("the end of the worker", || house.ended().is_some());
    assert!(born.elapsed() < Duration::from_secs(25), "{:?}", born.elapsed());
    assert!(house.ended().is_some_and(|status| status.success()), "{}", house.log());
    let log = house.log();
    assert!(log.contains("chunk 1+1 given back: the worker's life is over"), "{log}");
    house.replace_worker(changed(600));
    let came = outcome(&events);
    assert!(matches!(came.report, Report::Values(_)), "{:?}", came.report);
    assert_eq!((came.attempt, &came.worker), (2, house.worker()));
    job.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_can_never_run_is_given_up() {
    let Some(house) = House::new(|_| ()).await else { return };
    let started = Instant::now();
    // No context.
    let (bad, events) = house.open(vec![0xc1; 9]);
    let came = outcome(&events);
    let Report::GivenUp(why) = &came.report else { panic!("{:?}", came.report) };
    assert!(why.starts_with("can't decode: "), "{why}");
    assert_eq!(came.attempt, 3);
    assert!(started.elapsed() >= Duration::from_secs(3), "another worker had no time");
    let (good, events) = house.job("i", &[]);
    assert!(matches!(outcome(&events).report, Report::Values(_)));
    bad.close().await;
    good.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_word_of_a_task_is_its_own() {
    let place = tempfile::tempdir().expect("a folder");
    let r = place.path().join("R");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/jobs/report.R");
    std::fs::write(&r, format!("#!/bin/sh\nexec R --no-echo --vanilla -f '{script}'\n"))
        .expect("to write");
    std::fs::set_permissions(&r, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let Some(house) = House::new(|told| (told.slots, told.r) = (1, r)).await else { return };
    for _ in 0..2 {
        let (job, events) = house.job("i", &[]);
        assert_eq!(heard(&events).0, [b"the last word"]);
        job.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_waits_for_room_and_is_not_wanted_any_more_holds_no_slot() {
    let Some(house) = House::new(|told| told.slots = 1).await else { return };
    house.ask(&["CONFIG", "SET", "maxmemory", "32mb"]);
    let blobs = || house.ask(&["KEYS", "*blob:*"])[1..].parse::<usize>().expect("a number");
    for key in ["a", "b", "c", "d"] {
        assert_eq!(house.ask(&["SET", key, &"x".repeat(5 << 20)]), "+OK");
    }
    let (first, _events) = house.job("runif(2.5e6)", &[]);
    until("a value on its way", || blobs() == 2);
    first.close().await;
    let (second, events) = house.job("i", &[]);
    assert!(matches!(outcome(&events).report, Report::Values(_)));
    until("what has been stored of it is gone", || blobs() <= 2);
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_genuine_is_told_in_the_log() {
    let Some(house) = House::new(|_| ()).await else { return };
    let key = format!("rb:{{c-1}}:ctl:{}", house.worker());
    house.ask(&["RPUSH", &key, "forged"]);
    until("a warning", || house.log().contains("a control message that is not genuine"));
    assert!(house.log().contains(" WARN rustbatch_queue"), "{}", house.log());
}
