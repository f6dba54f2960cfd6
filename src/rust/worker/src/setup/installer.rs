//! The packages that loops ask for: installed once, however many slots ask, while others work on.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustbatch_protocol::{JobId, RPackages, Wanted};
use tokio::sync::Mutex as AsyncMutex;

use super::Failed;
use super::packages::Script;

/// For how many jobs it is remembered that their packages can't be had.
const REMEMBERED: usize = 64;

/// Installs what loops ask for into the worker's own library.
#[derive(Debug)]
pub struct Installer {
    r: PathBuf,
    library: PathBuf,
    repositories: Vec<String>,
    seen: Mutex<Seen>,
    /// Held while R installs: one at a time. Whether R has been asked for its libraries.
    busy: AsyncMutex<bool>,
}

#[derive(Debug, Default)]
struct Seen {
    /// What has been installed from GitHub, as it was asked for.
    github: HashSet<String>,
    /// The libraries of R itself, as far as they are known.
    libraries: Vec<PathBuf>,
    /// Jobs whose packages can't be installed: their other tasks need not wait for that again.
    failed: VecDeque<(JobId, Failed)>,
}

impl Installer {
    /// Installs with `r`, from these repositories (those that R knows where there are none), into
    /// `library`, which is there.
    #[must_use]
    pub fn new(r: PathBuf, library: PathBuf, repositories: Vec<String>) -> Arc<Self> {
        let (seen, busy) = (Mutex::default(), AsyncMutex::default());
        Arc::new(Self { r, library, repositories, seen, busy })
    }

    /// The worker's own library.
    #[must_use]
    pub fn library(&self) -> &std::path::Path {
        &self.library
    }

    /// Sees to it that the packages of a job are there. Cancel-safe: an installation goes on, and the
    /// next who asks finds it.
    ///
    /// # Errors
    /// [`Failed`], at once where the job's packages could not be installed before.
    pub async fn ensure(self: &Arc<Self>, job: &JobId, wanted: &Wanted) -> Result<(), Failed> {
        if let Some(failed) = self.failed(job) {
            return Err(failed);
        }
        if self.missing(wanted).is_empty() {
            return Ok(());
        }
        let (this, job, wanted) = (Arc::clone(self), job.clone(), wanted.clone());
        // A task of its own: one that is cut in two leaves R's locks behind.
        let installing = tokio::spawn(async move { this.install(&job, &wanted).await });
        installing.await.unwrap_or_else(|e| Err(Failed::new("install R packages", &e)))
    }

    async fn install(&self, job: &JobId, wanted: &Wanted) -> Result<(), Failed> {
        let mut asked = self.busy.lock().await;
        if let Some(failed) = self.failed(job) {
            return Err(failed);
        }
        let script =
            Script { r: &self.r, library: Some(&self.library), repositories: &self.repositories };
        if !*asked {
            let libraries = script.libraries().await?;
            self.seen().libraries = libraries;
            *asked = true;
        }
        // Another slot may have been quicker.
        let missing = self.missing(wanted);
        if missing.is_empty() {
            return Ok(());
        }
        match script.install(&missing, &wanted.libraries).await {
            Ok(()) => {
                self.seen().github.extend(missing.github);
                Ok(())
            }
            Err(failed) => {
                super::say(&failed.to_string());
                let mut seen = self.seen();
                seen.failed.push_back((job.clone(), failed.clone()));
                if seen.failed.len() > REMEMBERED {
                    seen.failed.pop_front();
                }
                Err(failed)
            }
        }
    }

    /// Those that no library has. A GitHub package's name is unknown until it is installed, so it is
    /// tracked by how it was asked for.
    fn missing(&self, wanted: &Wanted) -> RPackages {
        let seen = self.seen();
        let beside = wanted.libraries.iter().map(PathBuf::from);
        let libraries: Vec<_> = [self.library.clone()]
            .into_iter()
            .chain(seen.libraries.clone())
            .chain(beside)
            .collect();
        let lacks = |name: &&String| {
            !libraries.iter().any(|library| library.join(name).join("DESCRIPTION").is_file())
        };
        let Wanted { packages: RPackages { cran, github, bioconductor }, .. } = wanted;
        RPackages {
            cran: cran.iter().filter(lacks).cloned().collect(),
            github: github.iter().filter(|name| !seen.github.contains(*name)).cloned().collect(),
            bioconductor: bioconductor.iter().filter(lacks).cloned().collect(),
        }
    }

    fn failed(&self, job: &JobId) -> Option<Failed> {
        let seen = self.seen();
        seen.failed.iter().find(|(of, _)| of == job).map(|(_, failed)| failed.clone())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
