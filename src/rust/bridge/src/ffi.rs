//! The part of R's C interface that this crate calls, declared once.
//!
//! The functions are `C-unwind` because R may leave them by a jump. Whoever calls one that allocates,
//! evaluates or raises does so inside [`protect`](crate::boundary::protect).
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_uint, c_void};

use extendr_api::SEXP;

/// R's type codes.
pub mod kind {
    use std::ffi::c_uint;

    /// `NULL`.
    pub const NULL: c_uint = 0;
    /// A logical vector.
    pub const LOGICAL: c_uint = 10;
    /// An integer vector.
    pub const INTEGER: c_uint = 13;
    /// A numeric vector.
    pub const DOUBLE: c_uint = 14;
    /// A complex vector.
    pub const COMPLEX: c_uint = 15;
    /// A character vector.
    pub const TEXT: c_uint = 16;
    /// A list.
    pub const LIST: c_uint = 19;
    /// A raw vector.
    pub const RAW: c_uint = 24;
}

/// UTF-8, in R's words.
pub const UTF8: c_int = 1;

/// `R_outpstream_st`: where `R_Serialize()` writes.
#[repr(C)]
pub struct OutStream {
    pub data: *mut c_void,
    pub format: c_int,
    pub version: c_int,
    pub char: Option<unsafe extern "C-unwind" fn(*mut OutStream, c_int)>,
    pub bytes: Option<unsafe extern "C-unwind" fn(*mut OutStream, *mut c_void, c_int)>,
    pub hook: Option<unsafe extern "C-unwind" fn(SEXP, SEXP) -> SEXP>,
    pub hook_data: SEXP,
}

/// `R_inpstream_st`: where `R_Unserialize()` reads.
#[repr(C)]
pub struct InStream {
    pub data: *mut c_void,
    pub format: c_int,
    pub char: Option<unsafe extern "C-unwind" fn(*mut InStream) -> c_int>,
    pub bytes: Option<unsafe extern "C-unwind" fn(*mut InStream, *mut c_void, c_int)>,
    pub hook: Option<unsafe extern "C-unwind" fn(SEXP, SEXP) -> SEXP>,
    pub hook_data: SEXP,
    pub native_encoding: [c_char; 64],
    pub native_to_native: *mut c_void,
    pub native_to_utf8: *mut c_void,
}

#[allow(improper_ctypes)] // `SEXP` points at something opaque, as it should
unsafe extern "C-unwind" {
    pub static R_NilValue: SEXP;
    pub static R_GlobalEnv: SEXP;
    pub static R_ClassSymbol: SEXP;
    pub static R_NamesSymbol: SEXP;
    pub static R_NaString: SEXP;

    pub fn TYPEOF(x: SEXP) -> c_uint;
    pub fn Rf_xlength(x: SEXP) -> isize;
    pub fn Rf_protect(x: SEXP) -> SEXP;
    pub fn Rf_unprotect(count: c_int);

    pub fn Rf_allocVector(kind: c_uint, length: isize) -> SEXP;
    pub fn Rf_mkCharLenCE(text: *const c_char, length: c_int, encoding: c_int) -> SEXP;
    pub fn Rf_translateCharUTF8(x: SEXP) -> *const c_char;
    pub fn Rf_setAttrib(x: SEXP, name: SEXP, value: SEXP) -> SEXP;
    pub fn Rf_lang1(function: SEXP) -> SEXP;
    pub fn Rf_eval(call: SEXP, environment: SEXP) -> SEXP;
    pub fn Rf_error(format: *const c_char, ...) -> !;

    pub fn RAW(x: SEXP) -> *mut u8;
    pub fn INTEGER(x: SEXP) -> *mut c_int;
    pub fn LOGICAL(x: SEXP) -> *mut c_int;
    pub fn REAL(x: SEXP) -> *mut f64;
    pub fn STRING_ELT(x: SEXP, index: isize) -> SEXP;
    pub fn SET_STRING_ELT(x: SEXP, index: isize, value: SEXP);
    pub fn VECTOR_ELT(x: SEXP, index: isize) -> SEXP;
    pub fn SET_VECTOR_ELT(x: SEXP, index: isize, value: SEXP) -> SEXP;

    pub fn COMPLEX(x: SEXP) -> *const c_void;
    pub fn ALTREP(x: SEXP) -> c_int;
    pub fn INTEGER_GET_REGION(x: SEXP, from: isize, count: isize, into: *mut c_int) -> isize;
    pub fn IS_S4_OBJECT(x: SEXP) -> c_int;
    pub fn ATTRIB(x: SEXP) -> SEXP;
    pub fn PRINTNAME(x: SEXP) -> SEXP;
    pub fn TAG(x: SEXP) -> SEXP;
    pub fn CAR(x: SEXP) -> SEXP;
    pub fn CDR(x: SEXP) -> SEXP;
    pub fn R_CHAR(x: SEXP) -> *const c_char;
    pub fn Rf_getCharCE(x: SEXP) -> c_int;

    pub fn R_CheckUserInterrupt();
    pub fn R_Serialize(x: SEXP, stream: *mut OutStream);
    pub fn R_Unserialize(stream: *mut InStream) -> SEXP;
    pub fn R_InitInPStream(
        stream: *mut InStream,
        data: *mut c_void,
        format: c_int,
        char: Option<unsafe extern "C-unwind" fn(*mut InStream) -> c_int>,
        bytes: Option<unsafe extern "C-unwind" fn(*mut InStream, *mut c_void, c_int)>,
        hook: Option<unsafe extern "C-unwind" fn(SEXP, SEXP) -> SEXP>,
        hook_data: SEXP,
    );

    /// `src/unwind.c`: calls `call(data)`; when R jumps, sets `jumped` and returns the token.
    pub fn rustBatch_protect(
        call: unsafe extern "C-unwind" fn(*mut c_void) -> SEXP,
        data: *mut c_void,
        jumped: *mut c_int,
    ) -> SEXP;
}
