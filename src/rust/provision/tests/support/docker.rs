//! A stage in a Docker daemon: a network of its own, and containers that are removed with it.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use rustbatch_protocol::ClusterId;
use rustbatch_provision::docker::{Docker, NewContainer};

use super::SOON;

/// An image with R and nothing of ours, one with a Redis, and one with R and sshd.
pub const R: &str = "rustbatch-test-r:bookworm";
pub const REDIS: &str = "rustbatch-test-redis:bookworm";
pub const SSH: &str = "rustbatch-test-ssh:bookworm";

/// The daemon, where there is one that has our images.
pub async fn available() -> Option<Docker> {
    let docker = Docker::new(None);
    let answer = match docker.version().await {
        Ok(_) => docker.image(R).await.and(docker.image(REDIS).await).map(drop),
        Err(error) => Err(error),
    };
    match answer {
        Ok(()) => Some(docker),
        Err(error) => {
            eprintln!("SKIPPED: run tools/setup --e2e first: {error}");
            None
        }
    }
}

/// A command line that makes a repository in `/srv/repository` with an R package of this name and code.
pub fn source_repository(package: &str, code: &str) -> String {
    format!(
        "mkdir -p /srv/{package}/R /srv/repository/src/contrib && cd /srv && \
         printf 'Package: {package}\\nVersion: 1.0\\nTitle: T\\nDescription: D.\\nLicense: MIT\\n\
         Author: A\\nMaintainer: A <a@example.org>\\n' >{package}/DESCRIPTION && \
         echo \"exportPattern('.')\" >{package}/NAMESPACE && echo '{code}' >{package}/R/all.R && \
         tar -czf repository/src/contrib/{package}_1.0.tar.gz {package} && \
         Rscript -e \"tools::write_PACKAGES('repository/src/contrib', type = 'source')\""
    )
}

/// Dropping it removes what carries its label.
pub struct Stage {
    pub docker: Docker,
    pub name: String,
}

impl Stage {
    pub const LABEL: &str = "rustbatch.test";

    /// A network, whose name is the value of the label.
    pub async fn new() -> Option<Self> {
        let docker = available().await?;
        let name = format!("rb-test-{}", ClusterId::random().expect("an id"));
        let stage = Self { docker, name };
        stage.docker.create_network(&stage.name, &stage.labels()).await.expect("a network");
        Some(stage)
    }

    pub fn label(&self) -> String {
        format!("{}={}", Self::LABEL, self.name)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(Self::LABEL.to_owned(), self.name.clone())])
    }

    /// A container that is to be made, without a program.
    pub fn container(&self, name: &str, image: &str) -> NewContainer {
        NewContainer {
            name: format!("{}-{name}", self.name),
            image: image.into(),
            network: self.name.clone(),
            labels: self.labels(),
            ..NewContainer::default()
        }
    }

    /// Looks again until it is so.
    pub async fn until(&self, what: &str, so: impl AsyncFnMut() -> bool) {
        self.within(2 * SOON, what, so).await;
    }

    /// As [`Stage::until`], for what takes its time.
    pub async fn within(&self, limit: Duration, what: &str, mut so: impl AsyncFnMut() -> bool) {
        let look = async {
            while !so().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(limit, look).await.is_ok(), "in vain: {what}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let filter = format!("label={}", self.label());
        for (list, remove) in [
            (vec!["ps", "--all", "--quiet"], vec!["rm", "--force", "--volumes"]),
            (vec!["network", "ls", "--quiet"], vec!["network", "rm"]),
        ] {
            let listed = Command::new("docker").args(list).args(["--filter", &filter]).output();
            let listed = String::from_utf8_lossy(&listed.expect("docker").stdout).into_owned();
            for id in listed.split_whitespace() {
                let _ = Command::new("docker").args(&remove).arg(id).output();
            }
        }
    }
}
