//! What a worker installs, with a real R and repositories in folders of the test.

#![allow(clippy::expect_used, missing_docs)]

mod github;
mod repository;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use repository::{Package, Repository};
use rustbatch_protocol::bootstrap::{Address, Server, VERSION, WorkerBootstrap};
use rustbatch_protocol::{RPackages, Secret, Setup, WorkerId};

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|&text| text.to_owned()).collect()
}

fn cran(packages: &[&str], repository: &Repository) -> Setup {
    Setup {
        packages: RPackages { cran: texts(packages), ..RPackages::default() },
        repositories: vec![repository.url()],
        ..Setup::default()
    }
}

/// A folder to install into.
struct Place(tempfile::TempDir);

/// How a run of `rustbatch-worker setup` ended.
struct Run {
    status: Option<i32>,
    said: String,
}

impl Place {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(place.path().join("library")).expect("a library");
        Self(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, setup: &Setup) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_rustbatch-worker")), setup)
    }

    fn command_of(&self, program: &Path, setup: &Setup) -> Command {
        let file = self.path("setup.json");
        std::fs::write(&file, serde_json::to_vec(setup).expect("JSON")).expect("to write");
        let mut command = Command::new(program);
        command.arg("setup").arg("--file").arg(file);
        command.arg("--library").arg(self.path("library")).stdin(Stdio::null());
        command
    }

    fn install(&self, setup: &Setup) -> Run {
        Run::of(self.command(setup).output())
    }

    fn has(&self, package: &str) -> bool {
        self.path("library").join(package).join("DESCRIPTION").is_file()
    }
}

impl Run {
    fn of(output: std::io::Result<Output>) -> Self {
        let output = output.expect("it runs");
        assert!(output.stdout.is_empty(), "all is said on standard error");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { status: output.status.code(), said }
    }

    /// The error, with the lines of the log behind it.
    fn error(&self) -> &str {
        let at =
            self.said.rfind("rustbatch-worker: can't").unwrap_or_else(|| panic!("{}", self.said));
        &self.said[at..]
    }

    #[track_caller]
    fn succeeded(&self) {
        assert_eq!(self.status, Some(0), "{}", self.said);
    }

    #[track_caller]
    fn failed_with(&self, parts: &[&str]) {
        assert_eq!(self.status, Some(3), "{}", self.said);
        for part in parts {
            assert!(self.error().contains(part), "{part}: {}", self.said);
        }
    }
}

#[test]
fn a_package_comes_with_what_it_needs_and_is_installed_once() {
    let repository = Repository::new(&[
        Package { needs: "Imports: rbDep (>= 1.2)\n", ..Package::new("rbGood") },
        Package { version: "1.10", ..Package::new("rbDep") },
        Package::new("rbOther"),
    ]);
    let place = Place::new();
    let first = place.install(&cran(&["rbGood"], &repository));
    first.succeeded();
    assert!(place.has("rbGood") && place.has("rbDep") && !place.has("rbOther"));
    for line in [
        "rustbatch-worker: installing the R package rbGood 1.0\n",
        "rustbatch-worker: installing the R package rbDep 1.10\n",
        "* DONE (rbGood)\n",
    ] {
        assert!(first.said.contains(line), "{line}: {}", first.said);
    }
    let second = place.install(&cran(&["rbGood", "stats"], &repository));
    second.succeeded();
    assert_eq!(second.said, "");
}

#[test]
fn a_dependency_that_is_too_old_is_replaced() {
    let old = Repository::new(&[Package::new("rbDep")]);
    let new = Repository::new(&[
        Package { needs: "Imports: rbDep (>= 1.2)\n", ..Package::new("rbGood") },
        Package { version: "1.2", ..Package::new("rbDep") },
    ]);
    let place = Place::new();
    place.install(&cran(&["rbDep"], &old)).succeeded();
    place.install(&cran(&["rbGood"], &new)).succeeded();
    let kept = std::fs::read_to_string(place.path("library/rbDep/DESCRIPTION")).expect("it");
    assert!(kept.contains("Version: 1.2\n"), "{kept}");
}

#[test]
fn a_package_that_does_not_compile_is_named_with_its_last_lines() {
    let repository = Repository::new(&[
        Package { code: Some("int broken( { no\n"), ..Package::new("rbBad") },
        Package { needs: "Imports: rbBad\n", ..Package::new("rbUser") },
        Package::new("rbGood"),
    ]);
    // Alone, and among others of which one needs it.
    for asked in [&["rbBad"][..], &["rbUser", "rbGood"]] {
        let run = Place::new().install(&cran(asked, &repository));
        run.failed_with(&[
            "can't install the R package `rbBad`: its installation failed\n",
            "error: expected declaration",
            "ERROR: compilation failed for package",
        ]);
        let lines: Vec<_> = run.error().lines().collect();
        assert!((3..=16).contains(&lines.len()), "{}", run.said);
        assert!(run.said.contains("-c a.c -o a.o"), "its compiler is heard: {}", run.said);
    }
}

#[test]
fn a_package_that_is_nowhere_fails_before_anything_is_done() {
    let repository = Repository::new(&[
        Package { needs: "Imports: rbNowhere\n", ..Package::new("rbLost") },
        Package { needs: "Depends: R (>= 99.1)\n", ..Package::new("rbFuture") },
        Package::new("rbGood"),
    ]);
    let place = Place::new();
    let touch = format!("touch {}", place.path("ran").display());
    let setup = |package: &str| Setup {
        commands: vec![touch.clone()],
        ..cran(&["rbGood", package], &repository)
    };
    let started = Instant::now();
    let nowhere = place.install(&setup("rbNowhere"));
    let at = format!("there is no such package at {}", repository.url());
    nowhere.failed_with(&["can't install the R package `rbNowhere`: ", &at]);
    place.install(&setup("rbFuture")).failed_with(&["`rbFuture`: it needs another R", "99.1"]);
    assert!(started.elapsed() < Duration::from_secs(20), "two within 20 s");
    assert!(!place.path("ran").exists() && !place.has("rbGood"));
    let lost = place.install(&cran(&["rbGood", "rbLost"], &repository));
    lost.failed_with(&["the R package `rbNowhere`: ", &at, "(`rbLost` needs it)"]);
    assert!(!place.has("rbGood"));
}

#[test]
fn a_repository_that_can_not_be_reached_is_named() {
    let good = Repository::new(&[Package::new("rbGood")]);
    for url in ["file:///no/such", "http://127.0.0.1:9/cran"] {
        let mut setup = cran(&["rbGood", "rbBad"], &good);
        setup.repositories.insert(0, url.into());
        let place = Place::new();
        let run = place.install(&setup);
        let reason = format!("`rbBad`: can't reach the repository {url}: ");
        run.failed_with(&[&reason]);
        // What the others have is had all the same.
        setup.packages.cran.pop();
        place.install(&setup).succeeded();
    }
}

#[test]
fn a_repository_may_come_with_a_command_line() {
    let repository = Repository::new(&[Package::new("rbGood")]);
    let place = Place::new();
    let later = place.path("later");
    let (from, to) = (repository.path().display(), later.display());
    let setup = Setup {
        commands: vec![format!("cp -r {from} {to}")],
        repositories: vec![format!("file://{to}")],
        ..cran(&["rbGood"], &repository)
    };
    place.install(&setup).succeeded();
    assert!(place.has("rbGood"));
}

#[test]
fn command_lines_run_in_order_and_are_never_shown() {
    let place = Place::new();
    let file = place.path("file").display().to_string();
    let setup = |last: &str| Setup {
        commands: vec![
            format!("printf one >{file} # c4nary"),
            format!("printf two >>{file}; echo heard"),
            last.to_owned(),
        ],
        ..Setup::default()
    };
    let run = place.install(&setup("true"));
    run.succeeded();
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "onetwo");
    assert!(run.said.contains("running command line 2 of 3\nheard\n"), "{}", run.said);
    let run = place.install(&setup("echo c0mplaint; exit 9 # c4nary"));
    run.failed_with(&["can't run command line 3 of 3 (`commandLine`): it ended with status 9\n"]);
    assert!(
        run.error().ends_with("\n  c0mplaint\n") && !run.said.contains("c4nary"),
        "{}",
        run.said
    );
}

#[test]
fn bioconductors_packages_come_from_where_its_manager_says() {
    let bioconductor = Repository::new(&[Package::new("rbBio")]);
    let says = format!("repositories <- function() c(BioC = '{}')\n", bioconductor.url());
    let cran = Repository::new(&[Package { r: &says, ..Package::new("BiocManager") }]);
    let mut setup = Setup { repositories: vec![cran.url()], ..Setup::default() };
    setup.packages.bioconductor = texts(&["rbBio"]);
    let place = Place::new();
    place.install(&setup).succeeded();
    assert!(place.has("rbBio"));
    setup.packages.bioconductor = texts(&["rbNone"]);
    place.install(&setup).failed_with(&["can't install the R package `rbNone`: there is no such"]);
}

#[test]
fn a_package_of_github_is_fetched_and_built() {
    let source = Package { r: "answer <- function() 42\n", ..Package::new("rbHub") };
    let server = github::Server::new("me/hub", &source);
    let mut setup = Setup::default();
    setup.packages.github = texts(&["me/hub"]);
    let place = Place::new();
    let install =
        |setup: &Setup| Run::of(place.command(setup).env("GITHUB_API_URL", &server.url).output());
    install(&setup).succeeded();
    assert!(place.has("rbHub"));
    let asked = server.asked();
    install(&setup).succeeded();
    assert_eq!(server.asked(), asked, "it is there already");
    setup.packages.github = texts(&["me/none"]);
    install(&setup).failed_with(&["can't install the R package `me/none`: "]);
}

#[test]
fn where_there_is_no_dpkg_or_no_root_it_says_so() {
    let setup = Setup { system: texts(&["no-such-package-1"]), ..Setup::default() };
    let place = Place::new();
    let empty = place.path("");
    let run = Run::of(place.command(&setup).env("PATH", &empty).output());
    run.failed_with(&["can't install the Debian package `no-such-package-1`: there is no `dpkg`"]);
    if !Path::new("/usr/bin/dpkg-query").exists() {
        return;
    }
    // The target folder may be root's alone.
    let program = place.path("worker");
    std::fs::copy(env!("CARGO_BIN_EXE_rustbatch-worker"), &program).expect("to copy");
    let mut command = place.command_of(&program, &setup);
    if rustix::process::geteuid().is_root() {
        // Nobody may enter the folder of the test.
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&empty, everybody).expect("to open it");
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
    }
    Run::of(command.output()).failed_with(&["`no-such-package-1`: only root can, and the worker"]);
}

fn bootstrap(setup: Option<Setup>) -> WorkerBootstrap {
    let address = Address::Tcp("127.0.0.1".into(), 1);
    WorkerBootstrap {
        version: VERSION.to_owned(),
        cluster: "c-1".parse().expect("an id"),
        key: Secret::random().expect("a key"),
        worker: WorkerId::random().expect("an id"),
        server: Server { address, username: None, password: None, database: 0 },
        slots: 1,
        r: "R".into(),
        lifeline: false,
        idle_seconds: None,
        life_seconds: None,
        setup: setup.map(Box::new),
    }
}

fn work(place: &Place, told: &WorkerBootstrap) -> Command {
    let (file, input) = (place.path("told"), place.path("input"));
    std::fs::write(&input, serde_json::to_vec(told).expect("JSON")).expect("to write");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rustbatch-worker"));
    command.arg("work").stdin(std::fs::File::open(&input).expect("it"));
    command.stdout(Stdio::null()).stderr(std::fs::File::create(file).expect("a log"));
    command
}

#[test]
fn a_worker_whose_packages_can_not_be_had_does_not_start() {
    let repository = Repository::new(&[Package::new("rbGood")]);
    let place = Place::new();
    let told = bootstrap(Some(cran(&["rbNone"], &repository)));
    let status = work(&place, &told).status().expect("it runs");
    let said = std::fs::read_to_string(place.path("told")).expect("its log");
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.contains("can't install the R package `rbNone`: there is no such"), "{said}");
}

#[test]
fn a_life_ends_while_packages_are_installed() {
    let place = Place::new();
    let setup = Setup { commands: texts(&["sleep 600"]), ..Setup::default() };
    let told = WorkerBootstrap { life_seconds: Some(1), ..bootstrap(Some(setup)) };
    let started = Instant::now();
    let status = work(&place, &told).status().expect("it runs");
    let said = std::fs::read_to_string(place.path("told")).expect("its log");
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.contains("it was not done within 1 s, the life of the worker"), "{said}");
    assert!(started.elapsed() < Duration::from_secs(60));
}
