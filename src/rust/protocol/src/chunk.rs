//! Chunks: consecutive tasks sent together, the unit of queueing, leasing and retrying.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{BlobRef, Error, JobId, Payload};

/// A chunk's name is its range of tasks, `<first>+<n>`: one name, one content for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChunkName {
    /// The first task, from 1.
    pub first: u64,
    /// How many tasks, at least 1.
    pub n: u32,
}

impl ChunkName {
    /// The tasks of the chunk.
    #[must_use]
    pub fn tasks(&self) -> std::ops::Range<u64> {
        self.first..self.first + u64::from(self.n)
    }

    /// Whether every task of `other` is one of this chunk's.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.first <= other.first && other.tasks().end <= self.tasks().end
    }

    /// What stands in the lists of Redis for this chunk of `job`.
    #[must_use]
    pub fn entry(&self, job: &JobId) -> String {
        format!("{job}/{self}")
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`Error::Name`] when it is none.
    pub fn from_entry(entry: &str) -> Result<(JobId, Self), Error> {
        let (job, chunk) =
            entry.split_once('/').ok_or_else(|| Error::Name(entry.into(), "queue's entry"))?;
        Ok((job.parse()?, chunk.parse()?))
    }
}

impl fmt::Display for ChunkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.first, self.n)
    }
}

impl FromStr for ChunkName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Name(text.into(), "chunk's name");
        let (first, n) = text.split_once('+').ok_or_else(bad)?;
        let name =
            Self { first: first.parse().map_err(|_| bad())?, n: n.parse().map_err(|_| bad())? };
        // One name has one spelling: `01+1` or a range past the end of the numbers is no name.
        let fits =
            name.first >= 1 && name.n >= 1 && name.first.checked_add(name.n.into()).is_some();
        if fits && name.to_string() == text { Ok(name) } else { Err(bad()) }
    }
}

/// What a worker needs to run a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// What the tasks of the job share; see [`crate::Context`].
    pub context: BlobRef,
    /// The tasks' arguments, serialized by R.
    pub arguments: Payload,
    /// The state of the random stream of the job's first task, where the job has streams.
    pub seed: Option<[u32; 6]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() -> Result<(), Error> {
        let name: ChunkName = "100000+25".parse()?;
        assert_eq!(name, ChunkName { first: 100_000, n: 25 });
        assert_eq!(name.to_string(), "100000+25");
        for bad in ["", "1", "1+", "+1", "0+1", "1+0", "01+1", "1+ 1", "1e5+1", "-1+1", "1+1+1"] {
            assert!(bad.parse::<ChunkName>().is_err(), "{bad:?} was taken");
        }
        assert!(format!("{}+2", u64::MAX).parse::<ChunkName>().is_err());
        Ok(())
    }

    #[test]
    fn entries_go_both_ways() -> Result<(), Error> {
        let job = JobId::random()?;
        let name = ChunkName { first: 3, n: 4 };
        assert_eq!(ChunkName::from_entry(&name.entry(&job))?, (job, name));
        assert!(ChunkName::from_entry("nonsense").is_err());
        assert!(name.contains(&ChunkName { first: 6, n: 1 }));
        assert!(!name.contains(&ChunkName { first: 7, n: 1 }));
        Ok(())
    }
}
