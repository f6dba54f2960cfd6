//! A text that must not be seen: a password.

use serde::{Deserialize, Serialize};
use zeroize::ZeroizeOnDrop;

/// A secret text: wiped from memory when dropped, and never shown by `Debug`.
///
/// It serializes as its text, because the bootstrap hands it to a worker over standard input;
/// nothing else serializes one.
#[derive(Clone, Serialize, Deserialize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into keeping.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A new secret of 256 random bits, as 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`crate::Error::Random`] when the system gives no random bytes.
    pub fn random() -> Result<Self, crate::Error> {
        Ok(Self(crate::ids::random_hex(32)?))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}
