//! Rust values to R values and back. Whatever allocates does so inside `protect`, so that R's "cannot
//! allocate" (or a NUL in a string) is an error of R's and not the end of the session.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int};
use std::slice;

use extendr_api::{Error, ExternalPtr, GetSexp, Robj, SEXP};

use crate::boundary::{protect, protect_plain};
use crate::failure::{Failure, Field, Raised};
use crate::ffi::{self, kind};

/// `NULL`.
pub fn null() -> Robj {
    Robj::from(())
}

/// `TRUE` or `FALSE`.
pub fn logical(value: bool) -> Result<Robj, Failure> {
    // SAFETY: R's thread, inside `protect`; the vector has one element.
    protect(move || unsafe {
        let vector = ffi::Rf_allocVector(kind::LOGICAL, 1);
        ffi::LOGICAL(vector).write(c_int::from(value));
        vector
    })
}

/// An integer vector.
pub fn integers(values: &[i32]) -> Result<Robj, Failure> {
    // SAFETY: R's thread, inside `protect`; the vector is as long as the slice.
    protect(move || unsafe {
        let vector = ffi::Rf_allocVector(kind::INTEGER, length(values));
        ffi::INTEGER(vector).copy_from_nonoverlapping(values.as_ptr(), values.len());
        vector
    })
}

/// A numeric vector.
pub fn doubles(values: &[f64]) -> Result<Robj, Failure> {
    // SAFETY: R's thread, inside `protect`; the vector is as long as the slice.
    protect(move || unsafe {
        let vector = ffi::Rf_allocVector(kind::DOUBLE, length(values));
        ffi::REAL(vector).copy_from_nonoverlapping(values.as_ptr(), values.len());
        vector
    })
}

/// A raw vector.
pub fn raw(bytes: &[u8]) -> Result<Robj, Failure> {
    // SAFETY: R's thread, inside `protect`; the vector is as long as the slice.
    protect(move || unsafe {
        let vector = ffi::Rf_allocVector(kind::RAW, length(bytes));
        ffi::RAW(vector).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        vector
    })
}

/// A character vector of one string.
pub fn text(text: &str) -> Result<Robj, Failure> {
    texts(&[text])
}

/// A character vector.
pub fn texts<S: AsRef<str>>(texts: &[S]) -> Result<Robj, Failure> {
    // SAFETY: R's thread, inside `protect`.
    protect(move || unsafe { text_vector(texts, |text| text.as_ref()) })
}

/// A list without names.
pub fn list(values: &[Robj]) -> Result<Robj, Failure> {
    // SAFETY: R's thread, inside `protect`; the vector is as long as the slice.
    protect(move || unsafe {
        let list = ffi::Rf_allocVector(kind::LIST, length(values));
        for (index, value) in (0..).zip(values) {
            ffi::SET_VECTOR_ELT(list, index, value.get());
        }
        list
    })
}

/// A list with names.
pub fn named_list(values: &[(&str, Robj)]) -> Result<Robj, Failure> {
    // SAFETY: R's thread, inside `protect`; the vector is as long as the slice.
    protect(move || unsafe {
        let list = ffi::Rf_protect(ffi::Rf_allocVector(kind::LIST, length(values)));
        for (index, (_, value)) in (0..).zip(values) {
            ffi::SET_VECTOR_ELT(list, index, value.get());
        }
        let names = ffi::Rf_protect(text_vector(values, |(name, _)| name));
        ffi::Rf_setAttrib(list, ffi::R_NamesSymbol, names);
        ffi::Rf_unprotect(2);
        list
    })
}

/// An external pointer that owns a Rust value, which is dropped when R collects it or ends.
///
/// The drop may happen in a forked child and at any allocation of R's: it does not panic, touch R
/// (the value holds no `Robj`), wait, or speak for the parent.
pub fn pointer<T: 'static>(value: T) -> Robj {
    ExternalPtr::new(value).into()
}

/// The Rust value that an external pointer owns. One that comes from a saved session owns nothing:
/// a failure of the kind `closed`.
pub fn pointed<T: 'static>(pointer: &Robj) -> Result<&T, Failure> {
    match <&ExternalPtr<T>>::try_from(pointer) {
        Ok(pointer) => pointer.try_addr().map_err(|_| unexpected("a live pointer")),
        Err(Error::ExpectedExternalNonNullPtr(_)) => Err(Failure::new(
            "closed",
            "The cluster belongs to an R session that has ended\n* Start another one with `makeCluster()`.",
        )),
        Err(_) => Err(unexpected("an external pointer of the expected kind")),
    }
}

/// What `unwrap()` in `R/conditions.R` makes a condition of.
pub(crate) fn failure(failure: Failure) -> Result<Robj, Failure> {
    match failure {
        Failure::Raised(raised) => raised_value(&raised),
        Failure::Unwind(token) => with_class(list(&[token])?, "rustBatch_unwind"),
    }
}

fn raised_value(raised: &Raised) -> Result<Robj, Failure> {
    let fields = raised
        .fields
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Field::Text(value) => text(&value.replace('\0', ""))?,
                Field::Number(value) => doubles(&[*value])?,
            };
            Ok((*name, value))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let value = named_list(&[
        ("kind", text(raised.kind)?),
        ("message", text(&raised.message.replace('\0', ""))?),
        ("fields", named_list(&fields)?),
    ])?;
    with_class(value, "rustBatch_failure")
}

/// Sets the class of a value that nobody else has seen.
fn with_class(value: Robj, class: &str) -> Result<Robj, Failure> {
    let class = text(class)?;
    // SAFETY: both are held by their `Robj` for the time of the call.
    let (object, class) = unsafe { (value.get(), class.get()) };
    // SAFETY: R's thread, inside `protect`.
    protect(move || unsafe { ffi::Rf_setAttrib(object, ffi::R_ClassSymbol, class) })?;
    Ok(value)
}

/// The bytes of a raw vector, in place.
pub fn bytes_of(value: &Robj) -> Result<&[u8], Failure> {
    let vector = of_kind(value, kind::RAW, "a raw vector")?;
    // SAFETY: R's thread; `value` keeps the vector alive for as long as the slice.
    unsafe {
        let first = protect_plain(move || ffi::RAW(vector))?;
        let length = usize::try_from(ffi::Rf_xlength(vector)).unwrap_or(0);
        Ok(if length == 0 { &[] } else { slice::from_raw_parts(first, length) })
    }
}

/// A string, whatever its encoding is in R.
pub fn text_of(value: &Robj) -> Result<String, Failure> {
    let mut texts = texts_of(value)?;
    match (texts.pop(), texts.is_empty()) {
        (Some(text), true) => Ok(text),
        _ => Err(unexpected("one string")),
    }
}

/// The strings of a character vector without `NA`, whatever their encoding is in R.
pub fn texts_of(value: &Robj) -> Result<Vec<String>, Failure> {
    let vector = of_kind(value, kind::TEXT, "a character vector")?;
    // SAFETY: R's thread; `value` keeps the vector alive.
    let length = unsafe { ffi::Rf_xlength(vector) };
    (0..length)
        .map(|index| {
            // SAFETY: `index` is below the length; the pointer is valid until this `.Call` ends.
            let text = protect_plain(move || unsafe {
                let text = ffi::STRING_ELT(vector, index);
                if text == ffi::R_NaString { None } else { Some(ffi::Rf_translateCharUTF8(text)) }
            })?
            .ok_or_else(|| unexpected("a string that is not `NA`"))?;
            // SAFETY: as above; R ends its strings with a NUL.
            Ok(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
        })
        .collect()
}

/// The elements of a list.
pub fn elements_of(value: &Robj) -> Result<Vec<Robj>, Failure> {
    let list = of_kind(value, kind::LIST, "a list")?;
    // SAFETY: R's thread; `value` keeps the list and its elements alive.
    let length = unsafe { ffi::Rf_xlength(list) };
    (0..length).map(|index| protect(move || unsafe { ffi::VECTOR_ELT(list, index) })).collect()
}

fn of_kind(value: &Robj, kind: u32, name: &str) -> Result<SEXP, Failure> {
    // SAFETY: only looks at the type of a live object.
    let (object, is_it) = unsafe { (value.get(), ffi::TYPEOF(value.get()) == kind) };
    if is_it { Ok(object) } else { Err(unexpected(name)) }
}

fn unexpected(wanted: &str) -> Failure {
    Failure::new("internal", format!("Internal error: an argument is not {wanted}"))
}

fn length<T>(items: &[T]) -> isize {
    items.len().cast_signed()
}

/// A character vector with a string for each item.
///
/// # Safety
/// Inside `protect`; `text` neither allocates nor panics. The vector is not protected.
unsafe fn text_vector<T>(items: &[T], text: impl Fn(&T) -> &str + Copy) -> SEXP {
    // SAFETY: the vector is as long as the slice, and protected while strings are made.
    unsafe {
        let vector = ffi::Rf_protect(ffi::Rf_allocVector(kind::TEXT, length(items)));
        for (index, item) in (0..).zip(items) {
            let text = text(item);
            let Ok(length) = c_int::try_from(text.len()) else {
                ffi::Rf_error(c"a string of more than 2^31 - 1 bytes".as_ptr());
            };
            let text = ffi::Rf_mkCharLenCE(text.as_ptr().cast(), length, ffi::UTF8);
            ffi::SET_STRING_ELT(vector, index, text);
        }
        ffi::Rf_unprotect(1);
        vector
    }
}
