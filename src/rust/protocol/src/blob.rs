//! Blobs: serialized R bytes, addressed by their hash. Rust never looks inside.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Binding, Error, Seal, ids};

/// The length in bytes of every part of a blob but the last. Two workers fetch 100 MB three times
/// faster in parts of some MiB than whole, and Redis peaks at a third; parts of 1 MiB, which stay in
/// the processor's cache, take a tenth less time than parts of 4 MiB.
pub const PART: usize = 1 << 20;

/// What is longer than this many bytes travels as a blob beside its message, not within it.
pub const INLINE: usize = 1 << 20;

/// The BLAKE3 hash by which a blob is known, keyed by the cluster's key: of its content, or of what
/// stands for its content and never for any other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlobHash(#[serde(with = "serde_bytes")] [u8; 32]);

/// What the hash is of.
enum Of<'a> {
    Content(&'a [u8]),
    Label(&'a str),
    Digest(&'a [u8; 32]),
}

impl BlobHash {
    fn new(seal: &Seal, of: &Of<'_>, length: u64) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(seal.blob_key());
        let (kind, bytes): (u8, &[u8]) = match of {
            Of::Content(bytes) => (1, bytes),
            Of::Label(label) => (2, label.as_bytes()),
            Of::Digest(digest) => (3, &digest[..]),
        };
        hasher.update(&[kind]).update(&length.to_le_bytes()).update(bytes);
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ids::hex(&self.0))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BlobHash {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        ids::unhex(text)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| Error::Name(text.into(), "blob's hash"))
    }
}

/// A blob's hash and length: all that is needed to fetch and check it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// The hash.
    pub hash: BlobHash,
    /// The length in bytes.
    pub length: u64,
}

impl BlobRef {
    /// The reference to content that many may share.
    #[must_use]
    pub fn of(seal: &Seal, bytes: &[u8]) -> Self {
        let length = bytes.len() as u64;
        Self { hash: BlobHash::new(seal, &Of::Content(bytes), length), length }
    }

    /// The reference to the `length` bytes of one owner, which may remove them: `label` names them,
    /// and is never used for others.
    #[must_use]
    pub fn owned(seal: &Seal, label: &str, length: u64) -> Self {
        Self { hash: BlobHash::new(seal, &Of::Label(label), length), length }
    }

    /// The reference to the `length` bytes that an object with this digest is serialized to: to hash
    /// them as well would take as long again.
    #[must_use]
    pub fn of_object(seal: &Seal, digest: &[u8; 32], length: u64) -> Self {
        Self { hash: BlobHash::new(seal, &Of::Digest(digest), length), length }
    }

    /// How many parts the blob has; an empty one has one empty part.
    #[must_use]
    pub fn parts(&self) -> u64 {
        self.length.div_ceil(PART as u64).max(1)
    }

    /// Seals part `part` of the blob `bytes`.
    ///
    /// # Errors
    /// Those of [`Seal::seal`].
    pub fn seal_part(&self, seal: &Seal, bytes: &[u8], part: u64) -> Result<Vec<u8>, Error> {
        let start = bytes.len().min(part as usize * PART);
        let end = bytes.len().min(start + PART);
        let name = self.hash.to_string();
        seal.seal(&Binding::part(&name, part, self.length), &bytes[start..end])
    }

    /// Opens part `part`.
    ///
    /// # Errors
    /// Those of [`Seal::open`].
    pub fn open_part(&self, seal: &Seal, frame: Vec<u8>, part: u64) -> Result<Vec<u8>, Error> {
        let name = self.hash.to_string();
        seal.open(&Binding::part(&name, part, self.length), frame)
    }
}

impl fmt::Display for BlobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.hash, self.length)
    }
}

impl FromStr for BlobRef {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Name(text.into(), "blob");
        let (hash, length) = text.split_once(':').ok_or_else(bad)?;
        Ok(Self { hash: hash.parse()?, length: length.parse().map_err(|_| bad())? })
    }
}

/// Serialized R bytes on their way: within the message when short, as a blob when long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// The bytes themselves.
    Inline(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Where they are.
    Blob(BlobRef),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClusterKey;

    #[test]
    fn blobs_of_different_kinds_owners_and_lengths_are_told_apart() -> Result<(), Error> {
        let seal = Seal::new("test".parse()?, ClusterKey::random()?)?;
        let (text, digest) = ("x".repeat(32), [b'x'; 32]);
        let mut names = vec![
            BlobRef::of(&seal, text.as_bytes()),
            BlobRef::owned(&seal, &text, 32),
            BlobRef::owned(&seal, &text, 33),
            BlobRef::of_object(&seal, &digest, 32),
            BlobRef::of_object(&seal, &digest, 33),
            BlobRef::of(&Seal::new("test".parse()?, ClusterKey::random()?)?, text.as_bytes()),
        ];
        names.sort_by_key(|blob| blob.hash);
        names.dedup_by_key(|blob| blob.hash);
        assert_eq!(names.len(), 6);
        Ok(())
    }

    #[test]
    fn parts_make_the_whole_and_cannot_change_places() -> Result<(), Error> {
        let seal = Seal::new("test".parse()?, ClusterKey::random()?)?;
        let bytes: Vec<u8> = (0..PART * 2 + 5).map(|i| (i % 251) as u8).collect();
        let blob = BlobRef::of(&seal, &bytes);
        assert_eq!(blob.parts(), 3);
        let mut whole = Vec::new();
        for part in 0..3 {
            let frame = blob.seal_part(&seal, &bytes, part)?;
            assert_eq!(blob.open_part(&seal, frame.clone(), (part + 1) % 3), Err(Error::Seal));
            whole.extend(blob.open_part(&seal, frame, part)?);
        }
        assert_eq!(BlobRef::of(&seal, &whole), blob);
        let longer = BlobRef { length: blob.length + 1, ..blob };
        let last = blob.seal_part(&seal, &bytes, 2)?;
        assert_eq!(longer.open_part(&seal, last, 2), Err(Error::Seal));
        assert_eq!(BlobRef::of(&seal, b"").parts(), 1);
        assert_eq!(blob.hash.to_string().parse::<BlobHash>()?, blob.hash);
        assert_eq!(blob.to_string().parse::<BlobRef>()?, blob);
        Ok(())
    }
}
