//! The hash of plain R data in memory: it tells whether an object has been sent before without
//! serializing it, at the speed of memory.
//!
//! Plain data is atomic vectors and lists, with attributes of the same kind: two copies of it can't be
//! told apart. Whatever refers to an environment, or is S4, or holds a pointer, is not plain.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::slice;

use extendr_api::{GetSexp, Robj, SEXP};

use crate::boundary::protect_plain;
use crate::failure::Failure;
use crate::ffi::{self, kind};

/// How deep lists may be nested; what is deeper counts as not plain.
const DEPTH: u32 = 64;

/// How many elements of a compact vector are looked at together.
const BLOCK: usize = 4096;

/// The digest of plain data, and how many bytes it has, about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// The BLAKE3 hash of type, length, content and attributes.
    pub hash: [u8; 32],
    /// The bytes of content.
    pub bytes: usize,
}

/// The digest of `value`, or `None` when it is not plain data.
///
/// # Errors
/// R's own, such as an error of a vector that computes its elements.
pub fn of(value: &Robj) -> Result<Option<Digest>, Failure> {
    let mut walk = Walk { hasher: blake3::Hasher::new(), bytes: 0 };
    let state = &raw mut walk;
    // SAFETY: `value` lives for the time of the call.
    let object = unsafe { value.get() };
    // SAFETY: R's thread, inside `protect`; `state` outlives the call.
    let plain = protect_plain(move || unsafe { take(&mut *state, object, 0) })?;
    Ok(plain.then(|| Digest { hash: *walk.hasher.finalize().as_bytes(), bytes: walk.bytes }))
}

struct Walk {
    hasher: blake3::Hasher,
    bytes: usize,
}

impl Walk {
    fn number(&mut self, number: usize) {
        self.hasher.update(&(number as u64).to_le_bytes());
    }

    fn content(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.hasher.update(bytes);
    }
}

/// # Safety
/// Inside `protect`. What is owned here lives in `walk`, outside.
unsafe fn take(walk: &mut Walk, object: SEXP, depth: u32) -> bool {
    // SAFETY: `object` is alive, because what holds it is.
    unsafe {
        let of_kind = ffi::TYPEOF(object);
        walk.number(of_kind as usize);
        if of_kind == kind::NULL {
            return true;
        }
        if depth > DEPTH || ffi::IS_S4_OBJECT(object) != 0 {
            return false;
        }
        let length = usize::try_from(ffi::Rf_xlength(object)).unwrap_or(0);
        walk.number(length);
        let plain = match of_kind {
            kind::LOGICAL | kind::INTEGER | kind::DOUBLE | kind::COMPLEX | kind::RAW => {
                vector(walk, object, of_kind, length);
                true
            }
            kind::TEXT => {
                (0..length).for_each(|i| text(walk, ffi::STRING_ELT(object, i.cast_signed())));
                true
            }
            kind::LIST => {
                (0..length).all(|i| take(walk, ffi::VECTOR_ELT(object, i.cast_signed()), depth + 1))
            }
            _ => false,
        };
        plain && attributes(walk, object, depth)
    }
}

/// # Safety
/// As for [`take`].
unsafe fn attributes(walk: &mut Walk, object: SEXP, depth: u32) -> bool {
    // SAFETY: the attributes are a pairlist whose tags are symbols.
    unsafe {
        let mut cell = ffi::ATTRIB(object);
        while cell != ffi::R_NilValue {
            text(walk, ffi::PRINTNAME(ffi::TAG(cell)));
            if !take(walk, ffi::CAR(cell), depth + 1) {
                return false;
            }
            cell = ffi::CDR(cell);
        }
        walk.number(0);
        true
    }
}

/// # Safety
/// As for [`take`]; `of_kind` is the type of `object`.
unsafe fn vector(walk: &mut Walk, object: SEXP, of_kind: u32, length: usize) {
    // SAFETY: the pointers are valid for `length` elements, the buffers for a block.
    unsafe {
        if length == 0 {
            return;
        }
        // A compact vector (`1:n`) must not be expanded by a look at it.
        if ffi::ALTREP(object) != 0 && of_kind == kind::INTEGER {
            let mut block = [0_i32; BLOCK];
            for from in (0..length).step_by(BLOCK) {
                let n = BLOCK.min(length - from).cast_signed();
                ffi::INTEGER_GET_REGION(object, from.cast_signed(), n, block.as_mut_ptr());
                walk.content(slice::from_raw_parts(block.as_ptr().cast(), n.cast_unsigned() * 4));
            }
            return;
        }
        let (first, size): (*const c_void, usize) = match of_kind {
            kind::LOGICAL => (ffi::LOGICAL(object).cast(), 4),
            kind::INTEGER => (ffi::INTEGER(object).cast(), 4),
            kind::DOUBLE => (ffi::REAL(object).cast(), 8),
            kind::COMPLEX => (ffi::COMPLEX(object), 16),
            _ => (ffi::RAW(object).cast(), 1),
        };
        walk.content(slice::from_raw_parts(first.cast(), length * size));
    }
}

/// # Safety
/// `string` is a live `CHARSXP`.
unsafe fn text(walk: &mut Walk, string: SEXP) {
    // SAFETY: R ends its strings with a NUL.
    unsafe {
        if string == ffi::R_NaString {
            walk.number(usize::MAX);
            return;
        }
        walk.number(ffi::Rf_getCharCE(string) as usize);
        walk.content(CStr::from_ptr(ffi::R_CHAR(string)).to_bytes_with_nul());
    }
}
