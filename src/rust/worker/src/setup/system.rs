//! Debian packages, by apt.

use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::{Failed, Log, ended, run, say};
use crate::exec;

/// What apt-get is told: to ask nobody, to keep what is configured, to wait for another apt, to try
/// again, and to take no more than is needed.
const OPTIONS: [&str; 9] = [
    "--yes",
    "--no-install-recommends",
    "-oDpkg::Options::=--force-confdef",
    "-oDpkg::Options::=--force-confold",
    "-oDPkg::Lock::Timeout=300",
    "-oAcquire::Retries=3",
    "-oAcquire::http::Timeout=30",
    "-oDpkg::Use-Pty=0",
    "-qq",
];

/// Installs those packages that are not installed. Not cancel-safe: a part may be.
///
/// # Errors
/// [`Failed`], with the package where apt names one.
pub async fn install(packages: &[String]) -> Result<(), Failed> {
    if packages.is_empty() {
        return Ok(());
    }
    let what = |packages: &[String]| match packages {
        [one] => format!("install the Debian package `{one}`"),
        all => format!("install the Debian packages `{}`", all.join("`, `")),
    };
    let missing = lacking(packages).await.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            let reason =
                "there is no `dpkg` here: `sysPackages` needs an image of Debian or Ubuntu";
            Failed::new(what(packages), &reason)
        }
        _ => Failed::new(what(packages), &e),
    })?;
    if missing.is_empty() {
        return Ok(());
    }
    let what = what(&missing);
    if !rustix::process::geteuid().is_root() {
        let reason = "only root can, and the worker runs as another user: take an image whose user \
                      is root, or one that has the package";
        return Err(Failed { package: missing[0].clone(), ..Failed::new(what, &reason) });
    }
    say(&format!("installing {}", what.trim_start_matches("install ")));
    let log = Log::default();
    apt(&["update"], &log).await.map_err(|(reason, log)| Failed {
        log,
        ..Failed::new("ask apt's repositories what they have", &reason)
    })?;
    let words: Vec<&str> =
        ["install", "--"].into_iter().chain(missing.iter().map(String::as_str)).collect();
    apt(&words, &log).await.map_err(|(reason, log)| {
        let package = blamed(&log, &missing).cloned().unwrap_or_default();
        let named = if package.is_empty() {
            what
        } else {
            format!("install the Debian package `{package}`")
        };
        Failed { package, log, ..Failed::new(named, &reason) }
    })
}

/// Those that are not installed whole. One with a version is always looked at by apt.
async fn lacking(packages: &[String]) -> io::Result<Vec<String>> {
    let format = "--showformat=${Package} ${Package}:${Architecture} ${db:Status-Status}\\n";
    let output = Command::new("dpkg-query")
        .args(["--show", format, "--"])
        .args(packages)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let there = |package: &str| {
        shown.lines().any(|line| {
            let mut words = line.split(' ');
            let named = words.by_ref().take(2).any(|name| name == package);
            named && line.ends_with(" installed")
        })
    };
    Ok(packages.iter().filter(|package| !there(package)).cloned().collect())
}

/// Runs apt-get; else says how it ended, and its last lines.
async fn apt(words: &[&str], log: &Log) -> Result<(), (String, Vec<String>)> {
    let failed = |e: io::Error| (e.to_string(), log.tail());
    let mut command = exec::command(Path::new("apt-get"), None).map_err(failed)?;
    command.args(OPTIONS).args(words);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
    let status = run(command, &[], log).await.map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let log = log.tail();
    // It asks for packages all the same, and then knows of none.
    let reason = match unfetched(&log) {
        Some(url) => format!("apt-get can't fetch {url}"),
        None => format!("apt-get: {}", ended(status)),
    };
    Err((reason, log))
}

/// What apt could not fetch.
fn unfetched(log: &[String]) -> Option<&str> {
    log.iter().find_map(|line| line.split_once("Failed to fetch ")?.1.split(' ').next())
}

/// The package that apt's errors name.
fn blamed<'a>(log: &[String], packages: &'a [String]) -> Option<&'a String> {
    let name = |package: &'a String| package.split(['=', ':']).next().unwrap_or_default();
    let word = |line: &str, package: &'a String| {
        let part = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        line.split(part).any(|word| word.trim_end_matches('.') == name(package))
    };
    let errors = || log.iter().filter(|line| line.starts_with("E: "));
    packages.iter().find(|package| errors().any(|line| word(line, package)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn the_package_that_apt_complains_of_is_found() {
        let log = texts(&[
            "Reading package lists...",
            "W: libfoo is old",
            "E: Unable to locate package libfoo-dev",
        ]);
        let wanted = texts(&["libfoo", "libfoo-dev"]);
        assert_eq!(blamed(&log, &wanted).map(String::as_str), Some("libfoo-dev"));
        let log = texts(&["E: Package 'g++' has no installation candidate"]);
        assert_eq!(blamed(&log, &texts(&["r-base", "g++:amd64"])), Some(&"g++:amd64".to_owned()));
        let log = texts(&["E: Version '9' for 'r-base' was not found"]);
        assert_eq!(blamed(&log, &texts(&["r-base=9"])), Some(&"r-base=9".to_owned()));
        let log = texts(&["W: Failed to fetch http://h/dists/x/InRelease  It can't be", "E: no"]);
        assert_eq!(unfetched(&log), Some("http://h/dists/x/InRelease"));
        assert_eq!(blamed(&texts(&["E: Could not get lock"]), &texts(&["r-base"])), None);
    }

    #[tokio::test]
    async fn what_dpkg_has_is_not_installed_again() -> io::Result<()> {
        let wanted = texts(&["dpkg", "no-such-package-1", "dpkg=9"]);
        match lacking(&wanted).await {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            missing => {
                assert_eq!(missing?, texts(&["no-such-package-1", "dpkg=9"]));
                Ok(())
            }
        }
    }
}
