//! What `makeCluster()` and its like are given, as the specification of a cluster. JSON is read and
//! checked in one place, `provision::spec`, so arguments become JSON first.

use extendr_api::prelude::*;
use rustbatch_provision::Spec;
use serde_json::{Map, Number, Value};

use crate::failure::Failure;
use crate::values;

/// Reads what `wanted_cluster()` returns: the path of a file, or, where that is `NULL`, a named list of
/// fields; and the call that they were given to, for errors.
///
/// # Errors
/// Those of [`Spec::read`] and [`Spec::from_json`].
pub fn read(wanted: &Robj) -> std::result::Result<Spec, Failure> {
    let Ok([file, fields, call]) = <[Robj; 3]>::try_from(values::elements_of(wanted)?) else {
        return Err(Failure::new("internal", "A file, fields and a call were expected."));
    };
    if !file.is_null() {
        return Ok(Spec::read(values::text_of(&file)?.as_ref())?);
    }
    Ok(Spec::from_json(&json(&fields).to_string(), &values::text_of(&call)?)?)
}

/// An R value as JSON text.
pub fn json_text(value: &Robj) -> String {
    json(value).to_string()
}

/// An R value as JSON: scalars as such, named lists as objects, everything else as a list.
fn json(value: &Robj) -> Value {
    if value.is_null() {
        return Value::Null;
    }
    if let (Some(list), Some(names)) = (value.as_list(), value.names()) {
        let fields = names.zip(list.values()).map(|(name, value)| (name.to_owned(), json(&value)));
        return Value::Object(fields.collect::<Map<_, _>>());
    }
    let items: Vec<Value> = match value.rtype() {
        Rtype::List => value.as_list().map(|l| l.values().map(|v| json(&v)).collect()),
        Rtype::Strings => value.as_str_iter().map(|all| all.map(Value::from).collect()),
        Rtype::Logicals => value.as_logical_iter().map(|all| {
            all.map(|b| if b.is_na() { missing() } else { b.is_true().into() }).collect()
        }),
        Rtype::Integers => value.as_integer_slice().map(|all| {
            all.iter().map(|&i| if i == i32::MIN { missing() } else { i.into() }).collect()
        }),
        Rtype::Doubles => value.as_real_slice().map(|all| all.iter().map(|&x| number(x)).collect()),
        _ => None,
    }
    .unwrap_or_default();
    match <[Value; 1]>::try_from(items) {
        Ok([single]) if value.rtype() != Rtype::List => single,
        Ok([single]) => Value::Array(vec![single]),
        Err(items) => Value::Array(items),
    }
}

/// `NA` is no absent field: it is refused, and named.
fn missing() -> Value {
    Value::from("NA")
}

/// A whole number stays whole; what JSON cannot say is said in words, which the check then quotes.
fn number(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 9e15 {
        return Value::from(x as i64);
    }
    Number::from_f64(x).map_or_else(|| Value::from(x.to_string()), Value::Number)
}
