//! Images for workers, made by a real daemon of the plain images of `tools/setup --e2e`; where there is
//! none, nothing is tested.

#![allow(clippy::expect_used)]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use rustbatch_protocol::{RPackages, Setup};
use rustbatch_provision::Error;
use rustbatch_provision::image::{EXECUTABLE, Recipe, build};
use support::docker::{R, Stage, source_repository};
use support::supervisor;
use tokio::sync::mpsc::unbounded_channel;

fn recipe(stage: &Stage, setup: Setup) -> Recipe {
    let name = Some(format!("{}:made", stage.name));
    Recipe { base: R.into(), setup, executable: supervisor(), name }
}

/// What a repository in the image has: made by a command line, before R packages are installed.
fn setup(packages: &[&str]) -> Setup {
    Setup {
        system: vec!["hello".into()],
        commands: vec![source_repository("rbBaked", "two <- function() 2")],
        packages: RPackages {
            cran: packages.iter().map(|&name| name.to_owned()).collect(),
            ..RPackages::default()
        },
        repositories: vec!["file:///srv/repository".into()],
    }
}

fn docker(words: &[&str]) -> (bool, String) {
    let output = Command::new("docker").args(words).output().expect("docker");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Removes the image.
struct Made(String);

impl Drop for Made {
    fn drop(&mut self) {
        docker(&["image", "rm", "--force", &self.0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_has_its_packages_and_the_executable() {
    let Some(stage) = Stage::new().await else { return };
    let (tell, mut lines) = unbounded_channel();
    let recipe = recipe(&stage, setup(&["rbBaked"]));
    let name = build(&stage.docker, &recipe, false, &tell).await.expect("an image");
    let _made = Made(name.clone());
    assert_eq!(Some(&name), recipe.name.as_ref());
    drop(tell);
    let mut said = Vec::new();
    while let Some(line) = lines.recv().await {
        said.push(line);
    }
    for line in [
        "installing the Debian package `hello`",
        "running command line 1 of 1",
        "installing the R package rbBaked 1.0",
    ] {
        assert!(said.iter().any(|s| s.ends_with(line)), "{line}: {said:?}");
    }
    let run = |words: &[&str]| {
        let begin = ["run", "--rm", "--network=none", &name];
        docker(&[&begin, words].concat())
    };
    assert_eq!(run(&["hello"]), (true, "Hello, world!".into()));
    assert_eq!(run(&["Rscript", "-e", "cat(rbBaked::two())"]), (true, "2".into()));
    let (works, version) = run(&[EXECUTABLE, "--version"]);
    assert!(works && version.starts_with("rustbatch-worker "), "{version}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_is_nowhere_fails_the_build_within_a_minute() {
    let Some(stage) = Stage::new().await else { return };
    let (tell, _lines) = unbounded_channel();
    let started = Instant::now();
    let recipe = recipe(&stage, setup(&["rbBaked", "rbNowhere"]));
    let error = build(&stage.docker, &recipe, false, &tell).await.expect_err("no image");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    let Error::Package { package, reason, .. } = &error else { panic!("{error}") };
    assert_eq!(package, "rbNowhere");
    assert!(reason.contains("no such package at file:///srv/repository"), "{error}");
    assert!(!docker(&["image", "inspect", &format!("{}:made", stage.name)]).0);
    let unknown = Setup { system: vec!["no-such-package-1".into()], ..Setup::default() };
    let recipe = Recipe { setup: unknown, ..recipe };
    let error = build(&stage.docker, &recipe, false, &tell).await.expect_err("no image");
    assert!(
        matches!(&error, Error::Package { package, .. } if package == "no-such-package-1"),
        "{error}"
    );
    assert!(error.to_string().contains("Unable to locate package"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(120), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_name_or_no_registry_is_not_pushed() {
    let Some(stage) = Stage::new().await else { return };
    let (tell, _lines) = unbounded_channel();
    let recipe = recipe(&stage, Setup::default());
    let nameless = Recipe { name: None, ..recipe.clone() };
    let error = build(&stage.docker, &nameless, true, &tell).await.expect_err("no name");
    assert!(error.to_string().starts_with("Can't push an image: it has no name\n"), "{error}");
    let name = format!("127.0.0.1:9/{}:made", stage.name);
    let _made = Made(name.clone());
    let unheard = Recipe { name: Some(name.clone()), ..recipe };
    let error = build(&stage.docker, &unheard, true, &tell).await.expect_err("no registry");
    assert_eq!(error.kind(), "image");
    assert!(error.to_string().contains(&format!("push the image `{name}`")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_image_has_the_same_name() {
    let Some(stage) = Stage::new().await else { return };
    let (tell, _lines) = unbounded_channel();
    let label = format!("echo {} >/made", stage.name);
    let setup = Setup { commands: vec![label], ..Setup::default() };
    let nameless = Recipe { name: None, ..recipe(&stage, setup) };
    let first = build(&stage.docker, &nameless, false, &tell).await.expect("an image");
    let _made = Made(first.clone());
    assert!(first.starts_with("rustbatch-worker:"), "{first}");
    assert_eq!(build(&stage.docker, &nameless, false, &tell).await.expect("an image"), first);
    let bad = Recipe { base: "rustbatch-test-r:nowhere".into(), ..nameless };
    let error = build(&stage.docker, &bad, false, &tell).await.expect_err("no base");
    assert_eq!(error.kind(), "image");
}
