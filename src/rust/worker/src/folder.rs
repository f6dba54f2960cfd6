//! The worker's folder: R ends by being killed, and would leave its temporary files behind.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustbatch_protocol::{WorkerId, bootstrap::folder_of};

/// A folder that only its owner may enter. Dropping it removes it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder of `worker`.
    ///
    /// # Errors
    /// When there is something in its place, or no room for it.
    pub fn new(worker: &WorkerId) -> io::Result<Self> {
        let path = folder_of(worker);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
