//! R objects to bytes and back: the bytes of `serialize(x, NULL, xdr = FALSE, version = 3)`, written
//! straight into Rust's memory (17 times faster than `serialize()` for large vectors).
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use extendr_api::{GetSexp, Robj, SEXP};

use crate::boundary::protect;
use crate::failure::Failure;
use crate::ffi::{self, InStream, OutStream, kind};

/// What stands in the bytes for the environment that [`serialize`] was told to replace.
pub const CALLING: &str = "rustBatch:calling";

const ANY_FORMAT: c_int = 0;
const BINARY_FORMAT: c_int = 2;
const VERSION: c_int = 3;

/// Serializes a value.
///
/// With `replaced`, that very environment is written as the name [`CALLING`], and whoever
/// unserializes gives a `refhook` that puts another in its place. R never asks for the global
/// environment, base, packages and namespaces: these go by name as always.
pub fn serialize(value: &Robj, replaced: Option<&Robj>) -> Result<Vec<u8>, Failure> {
    serialize_into(Vec::new(), value, replaced)
}

/// [`serialize`] into memory that is there already: for a large value that need not be copied as it
/// grows.
pub fn serialize_into(
    mut bytes: Vec<u8>,
    value: &Robj,
    replaced: Option<&Robj>,
) -> Result<Vec<u8>, Failure> {
    let sink = &raw mut bytes;
    // SAFETY: both are held by their `Robj` for the time of the call.
    let (value, replaced) = unsafe { (value.get(), replaced.map(|environment| environment.get())) };
    // SAFETY: R's thread, inside `protect`; `sink` outlives the call.
    protect(move || unsafe {
        write(value, replaced, sink);
        ffi::R_NilValue
    })?;
    Ok(bytes)
}

/// The value that the bytes hold. Bytes that end early or are none of R's raise R's own error.
///
/// This runs no code of the bytes' author but is not made for hostile bytes either: they are to be
/// authenticated before.
pub fn unserialize(bytes: &[u8]) -> Result<Robj, Failure> {
    let mut rest = Rest { next: bytes.as_ptr(), left: bytes.len() };
    let source = (&raw mut rest).cast::<c_void>();
    // SAFETY: R's thread, inside `protect`; `source` and the bytes outlive the call.
    protect(move || unsafe { read(source) })
}

/// What is still to be read.
struct Rest {
    next: *const u8,
    left: usize,
}

/// # Safety
/// Inside `protect`, with a live `sink`.
unsafe fn write(value: SEXP, replaced: Option<SEXP>, sink: *mut Vec<u8>) {
    // SAFETY: the hook's data is protected while the stream lives.
    unsafe {
        let hook_data = match replaced {
            Some(environment) => calling(environment),
            None => ffi::R_NilValue,
        };
        ffi::Rf_protect(hook_data);
        let mut stream = OutStream {
            data: sink.cast(),
            format: BINARY_FORMAT,
            version: VERSION,
            char: Some(out_char),
            bytes: Some(out_bytes),
            hook: replaced.map(|_| out_hook as unsafe extern "C-unwind" fn(SEXP, SEXP) -> SEXP),
            hook_data,
        };
        ffi::R_Serialize(value, &raw mut stream);
        ffi::Rf_unprotect(1);
    }
}

/// The hook's data: the environment, and what is written for it.
///
/// # Safety
/// Inside `protect`. The list is not protected.
unsafe fn calling(environment: SEXP) -> SEXP {
    // SAFETY: the lists have the elements that are set, and are protected until they are whole.
    unsafe {
        let pair = ffi::Rf_protect(ffi::Rf_allocVector(kind::LIST, 2));
        ffi::SET_VECTOR_ELT(pair, 0, environment);
        let name = ffi::Rf_allocVector(kind::TEXT, 1);
        ffi::SET_VECTOR_ELT(pair, 1, name);
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
        let length = CALLING.len() as c_int;
        let text = ffi::Rf_mkCharLenCE(CALLING.as_ptr().cast(), length, ffi::UTF8);
        ffi::SET_STRING_ELT(name, 0, text);
        ffi::Rf_unprotect(1);
        pair
    }
}

/// # Safety
/// Inside `protect`, with a live `source`.
unsafe fn read(source: *mut c_void) -> SEXP {
    // SAFETY: R fills in the rest of the stream.
    unsafe {
        let mut stream = InStream {
            data: source,
            format: ANY_FORMAT,
            char: None,
            bytes: None,
            hook: None,
            hook_data: ffi::R_NilValue,
            native_encoding: [0; 64],
            native_to_native: ptr::null_mut(),
            native_to_utf8: ptr::null_mut(),
        };
        ffi::R_InitInPStream(
            &raw mut stream,
            source,
            ANY_FORMAT,
            Some(in_char),
            Some(in_bytes),
            None,
            ffi::R_NilValue,
        );
        ffi::R_Unserialize(&raw mut stream)
    }
}

// What follows is called by R, and may leave by a jump of R's: frames that own nothing.

unsafe extern "C-unwind" fn out_char(stream: *mut OutStream, byte: c_int) {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let mut byte = byte as u8;
    // SAFETY: the stream is the one that R was given.
    unsafe { out_bytes(stream, (&raw mut byte).cast(), 1) }
}

unsafe extern "C-unwind" fn out_bytes(stream: *mut OutStream, bytes: *mut c_void, length: c_int) {
    // SAFETY: `data` is the sink; R gives `length` bytes at `bytes`.
    unsafe {
        let sink = &mut *(*stream).data.cast::<Vec<u8>>();
        let length = usize::try_from(length).unwrap_or(0);
        if sink.try_reserve(length).is_err() {
            raise(c"can't allocate memory for the serialized value".as_ptr());
        }
        sink.extend_from_slice(std::slice::from_raw_parts(bytes.cast::<u8>(), length));
    }
}

unsafe extern "C-unwind" fn out_hook(object: SEXP, pair: SEXP) -> SEXP {
    // SAFETY: `pair` is the list of `calling()`.
    unsafe {
        if object == ffi::VECTOR_ELT(pair, 0) { ffi::VECTOR_ELT(pair, 1) } else { ffi::R_NilValue }
    }
}

unsafe extern "C-unwind" fn in_char(stream: *mut InStream) -> c_int {
    let mut byte = 0_u8;
    // SAFETY: the stream is the one that R was given.
    unsafe { in_bytes(stream, (&raw mut byte).cast(), 1) };
    c_int::from(byte)
}

unsafe extern "C-unwind" fn in_bytes(stream: *mut InStream, into: *mut c_void, length: c_int) {
    // SAFETY: `data` is the rest, which is not read past its end; R has `length` bytes at `into`.
    unsafe {
        let rest = &mut *(*stream).data.cast::<Rest>();
        match usize::try_from(length) {
            Ok(length) if length <= rest.left => {
                ptr::copy_nonoverlapping(rest.next, into.cast::<u8>(), length);
                rest.next = rest.next.add(length);
                rest.left -= length;
            }
            _ => raise(c"the serialized value ends before its time".as_ptr()),
        }
    }
}

/// Raises R's error.
///
/// # Safety
/// Inside `protect`; every frame up to there owns nothing.
unsafe fn raise(text: *const c_char) -> ! {
    // SAFETY: a format with one string.
    unsafe { ffi::Rf_error(c"%s".as_ptr(), text) }
}
