//! The seal: nothing that crosses Redis is believed unless it was sealed with the cluster's key for
//! exactly the place where it is found.
//!
//! A frame is `rB`, version, suite, kind, flags, plain length (8 bytes, little endian), salt (32
//! bytes), AES-256-GCM ciphertext, tag (16 bytes). Each frame has its own key, derived by
//! HKDF-SHA256 (RFC 5869) from the cluster's key and a random salt, so the nonce is constant and no
//! count of messages limits a cluster's life (NIST SP 800-38D, section 8, asks for one nonce a key).
//! The header and the [`Binding`] are authenticated but the binding is not sent: the reader states
//! what it expects, and a frame from another place does not open.

use ring::{aead, hkdf, rand::SecureRandom, rand::SystemRandom};
use zeroize::ZeroizeOnDrop;

use crate::{ClusterId, Error, JobId, ids};

const MAGIC: [u8; 2] = *b"rB";
const VERSION: u8 = 1;
const SUITE: u8 = 1;
const FLAG_LZ4: u8 = 1;
const SALT: usize = 32;
const HEADER: usize = 2 + 1 + 1 + 1 + 1 + 8 + SALT;
const TAG: usize = 16;
const INFO: &[u8] = b"rustBatch frame v1";
const INFO_BLOB: &[u8] = b"rustBatch blob hash v1";

/// The longest content of one frame, in bytes; what is longer travels as the parts of a blob.
pub const MAX_PLAIN: usize = 16 << 20;

/// Content shorter than this many bytes is not worth compressing.
const MIN_COMPRESS: usize = 1 << 10;

/// How many bytes are tried before a longer content is compressed.
const SAMPLE: usize = 64 << 10;

/// What a frame holds. The number is on the wire: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A chunk's payload.
    Chunk = 1,
    /// How a chunk ended.
    Outcome = 2,
    /// One part of a blob.
    Blob = 3,
    /// A message to one worker.
    Control = 4,
    /// Something a running task says: a relayed condition, a step of progress, a blob it lacks.
    Signal = 5,
}

/// Where a frame belongs. Sealed for one place, it opens in no other.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// What the frame holds.
    pub kind: Kind,
    /// The job, where the frame is of one.
    pub job: Option<&'a JobId>,
    /// The chunk's name, the blob's hash, or the worker's id.
    pub name: &'a str,
    /// Which part of a blob this is, from 0.
    pub part: u64,
    /// The blob's length in bytes.
    pub total: u64,
    /// A control message's number; 0 elsewhere.
    pub counter: u64,
}

impl<'a> Binding<'a> {
    /// The place of a frame that stands by itself under `name`.
    #[must_use]
    pub fn new(kind: Kind, job: &'a JobId, name: &'a str) -> Self {
        Self { kind, job: Some(job), name, part: 0, total: 0, counter: 0 }
    }

    /// The place of part `part` of the blob `hash` of `total` bytes.
    #[must_use]
    pub fn part(hash: &'a str, part: u64, total: u64) -> Self {
        Self { kind: Kind::Blob, job: None, name: hash, part, total, counter: 0 }
    }

    /// The place of control message number `counter` to the worker `name`.
    #[must_use]
    pub fn control(name: &'a str, counter: u64) -> Self {
        Self { kind: Kind::Control, job: None, name, part: 0, total: 0, counter }
    }

    fn aad(&self, header: &[u8], cluster: &ClusterId) -> Vec<u8> {
        let job = self.job.map_or("", JobId::as_str);
        let mut aad = Vec::with_capacity(header.len() + job.len() + self.name.len() + 64);
        aad.extend_from_slice(header);
        for text in [cluster.as_str(), job, self.name] {
            aad.extend_from_slice(&(text.len() as u64).to_le_bytes());
            aad.extend_from_slice(text.as_bytes());
        }
        for number in [self.part, self.total, self.counter] {
            aad.extend_from_slice(&number.to_le_bytes());
        }
        aad
    }
}

/// The 256-bit secret of a cluster, wiped from memory when dropped and never printed.
#[derive(Clone, ZeroizeOnDrop)]
pub struct ClusterKey([u8; 32]);

impl ClusterKey {
    /// A new key from the operating system's generator.
    ///
    /// # Errors
    /// [`Error::Random`] when the system gives no random bytes.
    pub fn random() -> Result<Self, Error> {
        let mut key = [0; 32];
        SystemRandom::new().fill(&mut key).map_err(|_| Error::Random)?;
        Ok(Self(key))
    }

    /// The key as 64 hexadecimal digits, for the bootstrap of a worker alone.
    #[must_use]
    pub fn to_hex(&self) -> crate::Secret {
        crate::Secret::new(ids::hex(&self.0))
    }

    /// Reads what [`ClusterKey::to_hex`] wrote.
    ///
    /// # Errors
    /// [`Error::Name`] when it is not 64 hexadecimal digits; the text is not quoted.
    pub fn from_hex(text: &crate::Secret) -> Result<Self, Error> {
        ids::unhex(text.expose())
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| Error::Name("…".into(), "cluster's key"))
    }
}

impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterKey(…)")
    }
}

/// Seals and opens the frames of one cluster.
#[derive(Debug, Clone)]
pub struct Seal {
    cluster: ClusterId,
    key: ClusterKey,
    blob_key: [u8; 32],
    random: SystemRandom,
}

struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

impl Seal {
    /// The seal of `cluster`, whose key is `key`.
    ///
    /// # Errors
    /// [`Error::Random`] never in practice: the derivation has no other way to fail.
    pub fn new(cluster: ClusterId, key: ClusterKey) -> Result<Self, Error> {
        let mut blob_key = [0; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, cluster.as_str().as_bytes())
            .extract(&key.0)
            .expand(&[INFO_BLOB], Length)
            .and_then(|okm| okm.fill(&mut blob_key))
            .map_err(|_| Error::Random)?;
        Ok(Self { cluster, key, blob_key, random: SystemRandom::new() })
    }

    /// The cluster whose seal this is.
    #[must_use]
    pub fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    /// The key under which blobs are hashed: a hash tells nothing to who lacks the cluster's key.
    pub(crate) fn blob_key(&self) -> &[u8; 32] {
        &self.blob_key
    }

    fn frame_key(&self, salt: &[u8]) -> Result<aead::LessSafeKey, Error> {
        hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
            .extract(&self.key.0)
            .expand(&[INFO], &aead::AES_256_GCM)
            .map(|okm| aead::LessSafeKey::new(okm.into()))
            .map_err(|_| Error::Seal)
    }

    /// Seals `plain` for the place `binding`, compressed where that pays.
    ///
    /// # Errors
    /// [`Error::FrameSize`] over [`MAX_PLAIN`]; [`Error::Random`].
    pub fn seal(&self, binding: &Binding<'_>, plain: &[u8]) -> Result<Vec<u8>, Error> {
        if plain.len() > MAX_PLAIN {
            return Err(Error::FrameSize(plain.len()));
        }
        let packed = compress(plain);
        let body = packed.as_deref().unwrap_or(plain);
        let mut frame = Vec::with_capacity(HEADER + body.len() + TAG);
        frame.extend_from_slice(&MAGIC);
        let flags = if packed.is_some() { FLAG_LZ4 } else { 0 };
        frame.extend_from_slice(&[VERSION, SUITE, binding.kind as u8, flags]);
        frame.extend_from_slice(&(plain.len() as u64).to_le_bytes());
        let mut salt = [0; SALT];
        self.random.fill(&mut salt).map_err(|_| Error::Random)?;
        frame.extend_from_slice(&salt);
        let aad = binding.aad(&frame, &self.cluster);
        frame.extend_from_slice(body);
        let tag = self
            .frame_key(&salt)?
            .seal_in_place_separate_tag(nonce(), aead::Aad::from(aad), &mut frame[HEADER..])
            .map_err(|_| Error::Seal)?;
        frame.extend_from_slice(tag.as_ref());
        Ok(frame)
    }

    /// Opens a frame found at the place `binding`. The checks come in this order: size, header, tag,
    /// declared length, decompression within it.
    ///
    /// # Errors
    /// [`Error::FrameSize`], [`Error::FrameHeader`], [`Error::Seal`], [`Error::FrameLength`].
    pub fn open(&self, binding: &Binding<'_>, mut frame: Vec<u8>) -> Result<Vec<u8>, Error> {
        if frame.len() < HEADER + TAG || frame.len() > HEADER + MAX_PLAIN + TAG {
            return Err(Error::FrameSize(frame.len()));
        }
        let (flags, length) = read_header(&frame, binding.kind)?;
        let aad = binding.aad(&frame[..HEADER], &self.cluster);
        let key = self.frame_key(&frame[HEADER - SALT..HEADER])?;
        let body = key
            .open_within(nonce(), aead::Aad::from(aad), &mut frame, HEADER..)
            .map_err(|_| Error::Seal)?
            .len();
        frame.truncate(body);
        if flags & FLAG_LZ4 == 0 {
            return if frame.len() == length { Ok(frame) } else { Err(Error::FrameLength) };
        }
        let mut plain = vec![0; length];
        match lz4_flex::block::decompress_into(&frame, &mut plain) {
            Ok(n) if n == length => Ok(plain),
            _ => Err(Error::FrameLength),
        }
    }
}

/// Flags and plain length of a frame whose header fits `kind`.
fn read_header(frame: &[u8], kind: Kind) -> Result<(u8, usize), Error> {
    if frame[..2] != MAGIC {
        return Err(Error::FrameHeader("magic"));
    }
    if frame[2] != VERSION {
        return Err(Error::FrameHeader("version"));
    }
    if frame[3] != SUITE {
        return Err(Error::FrameHeader("suite"));
    }
    if frame[4] != kind as u8 {
        return Err(Error::FrameHeader("kind"));
    }
    if frame[5] & !FLAG_LZ4 != 0 {
        return Err(Error::FrameHeader("flags"));
    }
    let mut length = [0; 8];
    length.copy_from_slice(&frame[6..14]);
    let length = u64::from_le_bytes(length);
    if length > MAX_PLAIN as u64 {
        return Err(Error::FrameHeader("length"));
    }
    Ok((frame[5], length as usize))
}

fn nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

/// The content compressed by LZ4, or `None` where that saves less than an eighth.
fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    let pays = |packed: usize, plain: usize| packed < plain - plain / 8;
    if plain.len() < MIN_COMPRESS {
        return None;
    }
    if plain.len() > SAMPLE {
        let middle = (plain.len() - SAMPLE) / 2;
        let sample = lz4_flex::block::compress(&plain[middle..middle + SAMPLE]);
        if !pays(sample.len(), SAMPLE) {
            return None;
        }
    }
    let packed = lz4_flex::block::compress(plain);
    pays(packed.len(), plain.len()).then_some(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Result<(Seal, JobId), Error> {
        let key = ClusterKey::random()?;
        Ok((Seal::new("test".parse()?, key)?, JobId::random()?))
    }

    #[test]
    fn what_is_sealed_opens_at_its_place_and_nowhere_else() -> Result<(), Error> {
        let (seal, job) = seal()?;
        let other_job = JobId::random()?;
        let place = Binding::new(Kind::Chunk, &job, "1+5");
        let frame = seal.seal(&place, b"hello")?;
        assert_eq!(seal.open(&place, frame.clone())?, b"hello");
        let elsewhere = [
            Binding::new(Kind::Chunk, &job, "1+6"),
            Binding::new(Kind::Chunk, &other_job, "1+5"),
            Binding { part: 1, ..place },
            Binding { total: 1, ..place },
            Binding { counter: 1, ..place },
        ];
        for wrong in elsewhere {
            assert_eq!(seal.open(&wrong, frame.clone()), Err(Error::Seal), "{wrong:?}");
        }
        let wrong_kind = Binding::new(Kind::Outcome, &job, "1+5");
        assert_eq!(seal.open(&wrong_kind, frame.clone()), Err(Error::FrameHeader("kind")));
        let foreign = Seal::new("test".parse()?, ClusterKey::random()?)?;
        assert_eq!(foreign.open(&place, frame.clone()), Err(Error::Seal));
        let renamed = Seal::new("tess".parse()?, seal.key.clone())?;
        assert_eq!(renamed.open(&place, frame), Err(Error::Seal));
        Ok(())
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() -> Result<(), Error> {
        let (seal, job) = seal()?;
        let place = Binding::new(Kind::Outcome, &job, "1+1");
        let frame = seal.seal(&place, &[7; 4096])?;
        for i in 0..frame.len() {
            let mut bent = frame.clone();
            bent[i] ^= 1;
            assert!(seal.open(&place, bent).is_err(), "byte {i}");
            assert!(seal.open(&place, frame[..i].to_vec()).is_err(), "cut at {i}");
        }
        Ok(())
    }

    #[test]
    fn compression_goes_both_ways_and_only_where_it_pays() -> Result<(), Error> {
        let (seal, job) = seal()?;
        let place = Binding::new(Kind::Blob, &job, "x");
        let zeros = vec![0; 1 << 20];
        let frame = seal.seal(&place, &zeros)?;
        assert!(frame.len() < zeros.len() / 50);
        assert_eq!(seal.open(&place, frame)?, zeros);
        let mut noise = vec![0; 1 << 20];
        SystemRandom::new().fill(&mut noise).map_err(|_| Error::Random)?;
        let frame = seal.seal(&place, &noise)?;
        assert_eq!(frame.len(), HEADER + noise.len() + TAG);
        assert_eq!(seal.open(&place, frame)?, noise);
        Ok(())
    }

    #[test]
    fn a_key_is_never_shown() -> Result<(), Error> {
        let key = ClusterKey::random()?;
        let hex = key.to_hex();
        assert!(!format!("{key:?}{hex:?}").contains(hex.expose()));
        assert_eq!(ClusterKey::from_hex(&hex)?.0, key.0);
        assert!(ClusterKey::from_hex(&crate::Secret::new("12")).is_err());
        Ok(())
    }
}
