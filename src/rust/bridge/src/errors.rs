//! The errors of the crates below, as R's conditions.

use rustbatch_provision as provision;
use rustbatch_queue as queue;

use crate::failure::{Failure, Raised};

impl From<provision::Error> for Raised {
    fn from(error: provision::Error) -> Self {
        match error {
            provision::Error::Queue(error) => error.into(),
            _ => {
                let raised = Self::new(error.kind(), error.to_string());
                let fields = error.fields().into_iter();
                fields.fold(raised, |raised, (name, text)| raised.with_field(name, text))
            }
        }
    }
}

impl From<queue::Error> for Raised {
    fn from(error: queue::Error) -> Self {
        let raised = Self::new(error.kind(), error.to_string());
        match error {
            queue::Error::Away { finished, open, .. }
            | queue::Error::NoWorkers { finished, open, .. } => {
                raised.with_number("finished", finished).with_number("open", open)
            }
            queue::Error::TooLarge { size, limit, .. } => {
                raised.with_number("size", size).with_number("limit", limit)
            }
            _ => raised,
        }
    }
}

impl From<rustbatch_protocol::Error> for Raised {
    fn from(error: rustbatch_protocol::Error) -> Self {
        queue::Error::from(error).into()
    }
}

macro_rules! through_raised {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Raised(error.into())
            }
        }
    )*};
}

through_raised!(provision::Error, queue::Error, rustbatch_protocol::Error);
