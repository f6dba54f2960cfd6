//! The border itself: no jump of R's crosses a Rust frame, and no panic crosses into R.
//!
//! An entry point is a function whose body is [`entry`]; what it calls of R goes through [`protect`]
//! and comes back as a value or a [`Failure`], which R turns into a condition.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Once;

use extendr_api::{GetSexp, Robj, SEXP};

use crate::failure::{Failure, Raised};
use crate::ffi;
use crate::values;

thread_local! {
    /// Where the last panic of this thread happened.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The body of every entry point: runs `body`, and makes one R value of whatever comes out.
///
/// A failure or a panic becomes a list of class `rustBatch_failure`, a jump of R's one of class
/// `rustBatch_unwind`; `unwrap()` in `R/conditions.R` knows both. A user's object must therefore be
/// returned inside a list, never bare.
pub fn entry(body: impl FnOnce() -> Result<Robj, Failure>) -> Robj {
    let value = catch(body).or_else(values::failure).or_else(values::failure);
    // Not even room for the report: extendr raises this panic as an ordinary error.
    value.unwrap_or_else(|_| panic!("R has no memory left to report a failure"))
}

/// Runs `body`; a panic in it is a failure of the kind `internal`.
pub fn catch<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    install_hook();
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(panic) => Err(from_panic(panic.as_ref(), PLACE.take()).into()),
    }
}

/// The error that stands for a panic.
pub(crate) fn from_panic(panic: &(dyn Any + Send), place: Option<String>) -> Raised {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    let raised = Raised::new("internal", format!("Internal error: {text}"));
    match place {
        Some(place) => raised.with_field("place", place),
        None => raised,
    }
}

/// Panics are reported as conditions, never printed by the thread that panics.
fn install_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string);
            // A thread that is ending has no such variable left; then the place is not known.
            let _ = PLACE.try_with(|last| last.replace(place));
        }));
    });
}

/// Calls R where it may jump: the jump comes back as [`Failure::Unwind`].
///
/// `call` is `Copy`, so it owns nothing that would have to be dropped; whatever it fills is reached
/// through a pointer, and lives outside. Its body keeps to the same rule (no `Vec`, `String`, `Robj`
/// or guard of its own across a call of R) and does not panic. Inside it the usual rules of R's C
/// interface hold: protect what is allocated until it is returned.
pub fn protect<F>(mut call: F) -> Result<Robj, Failure>
where
    F: FnOnce() -> SEXP + Copy,
{
    unsafe extern "C-unwind" fn frame<F: FnOnce() -> SEXP + Copy>(call: *mut c_void) -> SEXP {
        // SAFETY: `call` is the closure of the enclosing function, which waits for us.
        let call = unsafe { call.cast::<F>().read() };
        call()
    }

    let mut jumped: c_int = 0;
    // SAFETY: `frame::<F>` takes a pointer to an `F`; both pointers outlive the call. Between the
    // return and `from_sexp()`, which protects, nothing allocates.
    let value = unsafe {
        let call = (&raw mut call).cast::<c_void>();
        Robj::from_sexp(ffi::rustBatch_protect(frame::<F>, call, &raw mut jumped))
    };
    if jumped == 0 { Ok(value) } else { Err(Failure::Unwind(value)) }
}

/// [`protect`] for a call that returns no R object.
pub fn protect_plain<T, F>(call: F) -> Result<T, Failure>
where
    T: Copy,
    F: FnOnce() -> T + Copy,
{
    let mut slot = MaybeUninit::<T>::uninit();
    let out = slot.as_mut_ptr();
    // SAFETY: `out` outlives the call.
    protect(move || unsafe {
        out.write(call());
        ffi::R_NilValue
    })?;
    // SAFETY: no jump happened, so `out` was written.
    Ok(unsafe { slot.assume_init() })
}

/// Calls an R function without arguments.
pub fn evaluate(function: &Robj) -> Result<Robj, Failure> {
    // SAFETY: only read, and held by `function` for the time of the call.
    let function = unsafe { function.get() };
    // SAFETY: R's thread, inside `protect`; the call is protected while it is evaluated.
    protect(move || unsafe {
        let call = ffi::Rf_protect(ffi::Rf_lang1(function));
        let value = ffi::Rf_eval(call, ffi::R_GlobalEnv);
        ffi::Rf_unprotect(1);
        value
    })
}
