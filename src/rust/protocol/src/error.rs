//! What can be wrong with bytes that came from elsewhere.

/// A value that this protocol refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The frame is shorter than its header and tag, or longer than a frame may be.
    #[error("a frame of {0} bytes is no frame")]
    FrameSize(usize),
    /// The frame does not begin with our magic, or speaks a version, suite or kind that we do not.
    #[error("the frame's header is not ours: {0}")]
    FrameHeader(&'static str),
    /// The frame was not sealed with this cluster's key for this place, or was changed since.
    #[error("the frame's seal does not fit: it is forged, damaged, or meant for another place")]
    Seal,
    /// The frame's content does not have the length that it declares.
    #[error("the frame's content does not have its declared length")]
    FrameLength,
    /// The system's random number generator failed.
    #[error("the system gave no random bytes")]
    Random,
    /// A structure could not be encoded.
    #[error("can't encode: {0}")]
    Encode(String),
    /// The bytes are not the expected structure.
    #[error("can't decode: {0}")]
    Decode(String),
    /// A name on the wire (a chunk, an id, a hash, a key) does not have its form.
    #[error("`{0}` is not a {1}")]
    Name(String, &'static str),
}
