//! Waiting on R's thread: on channels alone, in short ticks, and always open to Ctrl-C.
#![allow(unsafe_code)]

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::boundary::protect_plain;
use crate::failure::Failure;
use crate::ffi;

/// How long R's thread waits before it looks for an interrupt.
pub const TICK: Duration = Duration::from_millis(50);

/// Lets R act on an interrupt, or on a time limit of its own.
pub fn check_interrupt() -> Result<(), Failure> {
    // SAFETY: R's thread, inside `protect`.
    protect_plain(|| unsafe { ffi::R_CheckUserInterrupt() })
}

/// Waits for a message: `None` when the deadline passes first.
///
/// A sender that is gone is a failure of the kind `closed`; an interrupt is R's jump.
pub fn wait<T>(inbox: &Receiver<T>, deadline: Option<Instant>) -> Result<Option<T>, Failure> {
    loop {
        let now = Instant::now();
        let tick = deadline.map_or(TICK, |end| TICK.min(end.saturating_duration_since(now)));
        match inbox.recv_timeout(tick) {
            Ok(message) => return Ok(Some(message)),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::new("closed", "What was waited for has ended."));
            }
            Err(RecvTimeoutError::Timeout) => check_interrupt()?,
        }
        if deadline.is_some_and(|end| Instant::now() >= end) {
            return Ok(None);
        }
    }
}
