//! A blob as a worker keeps it: a short one in memory, a long one in a file of memory, which each R
//! process reads by itself. Through a pipe 100 MB would take R and this process twice as long, for
//! every slot again.

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use rustbatch_protocol::{BlobRef, blob::INLINE};
use rustbatch_queue::{Error, WorkerQueue};

/// The content of a blob.
#[derive(Debug)]
pub enum Kept {
    /// The bytes themselves.
    Memory(Vec<u8>),
    /// A file that is gone when this is dropped.
    File(Shared),
}

/// A file that only this process and its children can find.
#[derive(Debug)]
pub struct Shared {
    file: File,
    path: String,
    /// Where the system has no files without a name.
    _named: Option<tempfile::TempPath>,
}

impl Kept {
    /// Fetches a blob; `None` when Redis does not have it whole and genuine. Cancel-safe.
    ///
    /// # Errors
    /// Those of the queue.
    pub async fn fetch(queue: &WorkerQueue, blob: &BlobRef) -> Result<Option<Self>, Error> {
        if blob.length > INLINE as u64
            && let Ok(mut shared) = Shared::new()
        {
            let mut written = Ok(());
            let write = |part: &[u8]| {
                if written.is_ok() {
                    written = shared.file.write_all(part);
                }
            };
            if !queue.read(blob, write).await? {
                return Ok(None);
            }
            if written.is_ok() {
                return Ok(Some(Self::File(shared)));
            }
        }
        Ok(queue.fetch(blob).await?.map(Self::Memory))
    }

    /// The bytes; a copy of them where they are in a file.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn bytes(&self) -> io::Result<std::borrow::Cow<'_, [u8]>> {
        match self {
            Self::Memory(bytes) => Ok(bytes.into()),
            Self::File(shared) => {
                let mut bytes = Vec::new();
                let mut file = &shared.file;
                file.rewind()?;
                file.read_to_end(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }
}

impl Shared {
    #[cfg(target_os = "linux")]
    fn new() -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let file = rustix::fs::memfd_create("blob", rustix::fs::MemfdFlags::CLOEXEC)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        Ok(Self { file: file.into(), path, _named: None })
    }

    #[cfg(not(target_os = "linux"))]
    fn new() -> io::Result<Self> {
        let (file, named) = tempfile::NamedTempFile::new()?.into_parts();
        let path = named.to_string_lossy().into_owned();
        Ok(Self { file, path, _named: Some(named) })
    }

    /// Where a child process finds it.
    pub fn path(&self) -> &str {
        &self.path
    }
}
