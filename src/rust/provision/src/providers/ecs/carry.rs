//! The executable, where it comes from a bucket: put there once for each version, by its digest, and
//! fetched by a task's first container.

use std::path::Path;
use std::time::Duration;

use rustbatch_protocol::ClusterId;

use super::task::digest;
use super::{Architecture, Ecs, Fargate, refused};
use crate::Error;
use crate::executable::platform;

/// The parameter with the address from which the first container fetches it.
pub(super) const LINK: &str = "executable";

/// How long such an address can be used; each launch has a new one.
const LIFE: Duration = Duration::from_secs(12 * 3600);

/// What the first container does, for `/bin/sh`; its argument is the digest. It tries five times.
///
/// What it has fetched is only run when it is what the task definition names: whoever may write to the
/// bucket may not run code in the tasks. Any R can fetch; `curl` and `wget` are not in every image.
pub(super) const FETCH: &str = r#"
command -v R >/dev/null || { echo "the image has no R, which a worker needs" >&2; exit 78; }
for i in 1 2 3 4 5; do
  R --vanilla --no-echo -e 'options(timeout = 600)
    url <- Sys.getenv("RUSTBATCH_EXECUTABLE")
    quit(status = download.file(url, "/rustbatch/fetched", mode = "wb", quiet = TRUE))' >/tmp/said 2>&1 &&
    echo "$1  /rustbatch/fetched" | sha256sum --check --status && chmod 755 /rustbatch/fetched &&
    unset RUSTBATCH_EXECUTABLE && exec /rustbatch/fetched unpack /rustbatch
  sleep $i
done
# The address is secret.
sed 's|https\?://[^ ]*|...|g' /tmp/said >&2
echo "the executable could not be fetched from the bucket" >&2
exit 1"#;

impl Fargate {
    /// Puts the executable into the bucket, where it is to come from there and is not there yet.
    pub(super) async fn upload(&self) -> Result<(), Error> {
        let Some(bucket) = self.ecs.fetched() else { return Ok(()) };
        let key = self.key().await?;
        if self.aws.has_object(bucket, key).await? {
            return Ok(());
        }
        let bytes = self.executable().await?;
        if name(&bytes) != key {
            let path = self.ecs.executable.clone().unwrap_or_default();
            return Err(unfit(&path, "it has been replaced since this R session used it first"));
        }
        match self.aws.put_object(bucket, key, bytes).await {
            Err(trouble) if trouble.is(&["NoSuchBucket", "PermanentRedirect"]) => {
                let region = self.aws.region();
                Err(refused(
                    &format!("there is no bucket {bucket} of yours in {region} ({})", trouble.code),
                    &format!("`aws s3 mb s3://{bucket} --region {region}` makes it."),
                ))
            }
            done => Ok(done?),
        }
    }

    /// Keeps, for tasks that are to be started, the address of the executable.
    pub(super) async fn put_link(&self, cluster: &ClusterId) -> Result<(), Error> {
        let Some(bucket) = self.ecs.fetched() else { return Ok(()) };
        // Who goes on with a cluster may have another one than who made it.
        self.upload().await?;
        let link = self.aws.link(bucket, self.key().await?, LIFE).await?;
        self.put_secret(cluster, LINK, &link).await
    }

    /// The digest of the executable, where tasks fetch it.
    pub(super) async fn fetched_digest(&self) -> Result<Option<&str>, Error> {
        match self.ecs.fetched() {
            None => Ok(None),
            Some(_) => Ok(self.key().await?.rsplit('/').next()),
        }
    }

    /// The name of the executable in the bucket, which ends with its digest.
    async fn key(&self) -> Result<&str, Error> {
        let key = self.key.get_or_try_init(async || Ok(name(&self.executable().await?)));
        key.await.map(String::as_str)
    }

    async fn executable(&self) -> Result<Vec<u8>, Error> {
        let path = self.ecs.executable.clone().unwrap_or_default();
        let read = tokio::fs::read(&path).await;
        read.map_err(|e| unfit(&path, &e.to_string()))
    }
}

fn name(executable: &[u8]) -> String {
    format!("rustbatch/worker/{}", digest(executable))
}

/// Looks whether the executable runs in tasks.
pub(super) fn check(ecs: &Ecs) -> Result<(), Error> {
    if ecs.fetched().is_none() {
        return Ok(());
    }
    let path = ecs.executable.clone().unwrap_or_default();
    let wanted = match ecs.architecture {
        Architecture::X86_64 => "linux/amd64",
        Architecture::Arm64 => "linux/arm64",
    };
    match platform(&path) {
        Ok(found) if found == wanted => Ok(()),
        Ok(found) => Err(unfit(&path, &format!("it is for {found}, and the tasks are {wanted}"))),
        Err(error) => Err(unfit(&path, &error.to_string())),
    }
}

fn unfit(path: &Path, why: &str) -> Error {
    refused(
        &format!("`{}` can't be run in the tasks: {why}", path.display()),
        "Name one that was built for them, `ecsCluster(executable = )`, or an image that holds it, \
         `ecsCluster(workerImage = )`.",
    )
}
