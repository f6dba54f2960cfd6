//! What an entry point returns instead of a value: something to raise in R, or a jump of R's to go on
//! with. Nothing is raised here; `R/conditions.R` makes the condition.

use extendr_api::Robj;

/// An error to raise in R: `rustBatch_error_<kind>`, with a message and fields.
///
/// It owns plain Rust data and may come from any thread.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Raised {
    /// The last part of the condition's class: `unreachable`, `config`, `lost`, …
    pub kind: &'static str,
    /// The text that the user reads: what is wrong, and the way out.
    pub message: String,
    /// Elements of the condition, by name.
    pub fields: Vec<(&'static str, Field)>,
}

/// An element of a condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
}

impl Raised {
    /// An error of this kind.
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), fields: Vec::new() }
    }

    /// The same with an element more.
    #[must_use]
    pub fn with_field(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, Field::Text(value.to_string())));
        self
    }

    /// The same with a number more.
    #[must_use]
    pub fn with_number(mut self, name: &'static str, value: u64) -> Self {
        self.fields.push((name, Field::Number(value as f64)));
        self
    }
}

/// Why an entry point has no value.
///
/// It may hold an R object, so it is not `Send`: errors of background threads are [`Raised`], or
/// what can be turned into a `Failure` on R's thread.
#[derive(Debug)]
pub enum Failure {
    /// An error of ours.
    Raised(Raised),
    /// R jumped (an error, a restart, `return()`, an interrupt): the token that resumes the jump.
    Unwind(Robj),
}

impl Failure {
    /// An error of this kind.
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self::Raised(Raised::new(kind, message))
    }

    /// The same with an element more; a jump of R's has no elements and stays as it is.
    #[must_use]
    pub fn with_field(self, name: &'static str, value: impl ToString) -> Self {
        match self {
            Self::Raised(raised) => Self::Raised(raised.with_field(name, value)),
            unwind @ Self::Unwind(_) => unwind,
        }
    }

    /// The same with a number more; a jump of R's stays as it is.
    #[must_use]
    pub fn with_number(self, name: &'static str, value: u64) -> Self {
        match self {
            Self::Raised(raised) => Self::Raised(raised.with_number(name, value)),
            unwind @ Self::Unwind(_) => unwind,
        }
    }
}

impl From<Raised> for Failure {
    fn from(raised: Raised) -> Self {
        Self::Raised(raised)
    }
}
