//! R packages, by a script in base R.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use command_fds::{CommandFdExt, FdMapping};
use rustbatch_protocol::RPackages;
use rustbatch_protocol::setup::{is_github_package, is_r_package};
use tokio::net::unix::pipe;

use super::{Failed, Log, ended, is_line, run};
use crate::exec;

/// The script that R runs; it takes its request from standard input, and answers on descriptor 4.
const SCRIPT: &str = include_str!("install.R");

/// What R does first; the rest it would parse anew after every line.
const READ_SCRIPT: &str = "eval(suppressWarnings(parse('/dev/fd/5',keep.source=FALSE)),new.env())";

/// The statuses of a script that has answered with a failure: with its log, or when that is what was
/// printed last.
const ANSWERED: i32 = 10;
const PRINTED: i32 = 11;

/// The installing of R packages somewhere.
#[derive(Debug, Clone, Copy)]
pub struct Script<'a> {
    /// The R executable.
    pub r: &'a Path,
    /// The library to install into; the first of R's own when absent.
    pub library: Option<&'a Path>,
    /// The URLs of the repositories; those that R knows when there are none.
    pub repositories: &'a [String],
}

impl Script<'_> {
    /// The libraries of this R. Cancel-safe.
    ///
    /// # Errors
    /// [`Failed`] when R does not say.
    pub async fn libraries(&self) -> Result<Vec<PathBuf>, Failed> {
        let request = self.request("look", &RPackages::default(), &[])?;
        Ok(self.run(&request).await?.into_iter().map(PathBuf::from).collect())
    }

    /// Fails when one of these packages is known to be nowhere. Where R or a repository is missing,
    /// nothing is known. Cancel-safe.
    ///
    /// # Errors
    /// [`Failed`], with the package.
    pub async fn check(&self, packages: &RPackages) -> Result<(), Failed> {
        let request = self.request("check", packages, &[])?;
        match self.run(&request).await {
            Err(failed) if !failed.package.is_empty() => Err(failed),
            _ => Ok(()),
        }
    }

    /// Installs those packages that are in none of the libraries, R's or those `beside`. Not
    /// cancel-safe: a part may be installed.
    ///
    /// # Errors
    /// [`Failed`], with the package.
    pub async fn install(&self, packages: &RPackages, beside: &[String]) -> Result<(), Failed> {
        let request = self.request("install", packages, beside)?;
        self.run(&request).await.map(drop)
    }

    fn request(&self, verb: &str, all: &RPackages, beside: &[String]) -> Result<String, Failed> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut text = format!("do {verb}\ncores {cores}\n");
        let mut put = |key: &str, values: &[String], fits: fn(&str) -> bool| {
            for value in values {
                if !fits(value) {
                    let reason = format!("`{}` can't be one", value.escape_debug());
                    return Err(Failed::new(format!("install R packages ({key})"), &reason));
                }
                text.push_str(&format!("{key} {value}\n"));
            }
            Ok(())
        };
        put("repository", self.repositories, is_line)?;
        put("library", self.library.map(|l| l.display().to_string()).as_slice(), is_line)?;
        put("beside", beside, is_line)?;
        put("cran", &all.cran, is_r_package)?;
        put("github", &all.github, is_github_package)?;
        put("bioconductor", &all.bioconductor, is_r_package)?;
        Ok(text)
    }

    /// Runs the script, and returns what it answered.
    async fn run(&self, request: &str) -> Result<Vec<String>, Failed> {
        let what = || format!("run R ({}) to install packages", self.r.display());
        let log = Log::default();
        let (status, answer) =
            self.spoken(request, &log).await.map_err(|e| Failed::new(what(), &e))?;
        let lines: Vec<String> = answer.lines().map(str::to_owned).collect();
        match (status.code(), lines.as_slice()) {
            (Some(0), _) => Ok(lines),
            (Some(code @ (ANSWERED | PRINTED)), [package, reason, said @ ..]) => {
                let mut log = if code == PRINTED { log.tail() } else { said.to_vec() };
                // What was said of the step is no part of it.
                log.retain(|line| !line.starts_with("rustbatch-worker: "));
                let what = format!("install the R package `{package}`");
                Err(Failed { package: package.clone(), log, ..Failed::new(what, reason) })
            }
            _ => Err(Failed { log: log.tail(), ..Failed::new(what(), &ended(status)) }),
        }
    }

    async fn spoken(
        &self,
        request: &str,
        log: &Log,
    ) -> io::Result<(std::process::ExitStatus, String)> {
        let (script, mut writer) = io::pipe()?;
        let (from_r, to) = io::pipe()?;
        let mut command = exec::command(self.r, None)?;
        command
            .args(["--no-echo", "--no-restore", "--no-save", "--no-init-file", "-e", READ_SCRIPT])
            .fd_mappings(vec![
                FdMapping { parent_fd: to.into(), child_fd: 4 },
                FdMapping { parent_fd: script.into(), child_fd: 5 },
            ])
            .map_err(io::Error::other)?;
        // Shorter than what a pipe holds, so this does not wait for R; then the pipe ends.
        io::Write::write_all(&mut writer, SCRIPT.as_bytes())?;
        drop(writer);
        let status = run(command, request.as_bytes(), log).await?;
        // All that R wrote stands in the pipe; what it left running may keep it open.
        let from_r = pipe::Receiver::from_owned_fd(OwnedFd::from(from_r))?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 1 << 12]);
        while let Ok(n @ 1..) = rustix::io::read(&from_r, &mut buffer) {
            answer.extend_from_slice(&buffer[..n]);
        }
        Ok((status, String::from_utf8_lossy(&answer).into_owned()))
    }
}
