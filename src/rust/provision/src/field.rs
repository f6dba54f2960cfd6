//! The fields of a JSON object, each taken once, with errors that name the place, what was found
//! and what is allowed.

use std::collections::BTreeMap;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use crate::Error;

/// The longest text that an error quotes, in characters.
const QUOTED: usize = 40;

/// The fields of one object that have not been read yet.
pub(crate) struct Fields {
    file: String,
    rest: Vec<(String, Value)>,
}

/// An object's members in order, refused where a name stands twice.
struct Members(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        let text = format!("the field `{}` stands twice", shorten(&name));
                        return Err(A::Error::custom(text));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl Fields {
    /// Reads the object in `text`. A field of value `null` counts as absent.
    pub(crate) fn read(text: &str, file: &str) -> Result<Self, Error> {
        let refuse = |reason: String, way: &str| Error::Json {
            file: file.to_owned(),
            reason,
            way: way.to_owned(),
        };
        let text = text.trim_start_matches('\u{feff}');
        if text.trim().is_empty() {
            return Err(refuse("it is empty".into(), "The least is `{\"provider\": \"local\"}`."));
        }
        // Its shape is looked at first, because serde's error would quote a text that may be a
        // password.
        let value: Value = serde_json::from_str(text).map_err(|error| {
            refuse(error.to_string(), "JSON has no comments, and no comma after the last field.")
        })?;
        if !value.is_object() {
            let reason = format!("found {} in place of an object", kind_of(&value));
            return Err(refuse(reason, "The least is `{\"provider\": \"local\"}`."));
        }
        let Members(mut rest) = serde_json::from_str(text)
            .map_err(|error| refuse(error.to_string(), "Keep one of the two."))?;
        rest.retain(|(_, value)| !value.is_null());
        Ok(Self { file: file.to_owned(), rest })
    }

    /// Refuses the first field that is not among `known`.
    pub(crate) fn only(&self, known: &[&'static str]) -> Result<(), Error> {
        let Some((field, _)) = self.rest.iter().find(|(name, _)| !known.contains(&name.as_str()))
        else {
            return Ok(());
        };
        let allowed: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
        Err(Error::UnknownField {
            file: self.file.clone(),
            field: shorten(field),
            nearest: nearest(field, known),
            allowed: allowed.join(", "),
        })
    }

    /// Takes texts, each of which `fits`: a list of them, or one alone.
    pub(crate) fn texts(
        &mut self,
        field: &'static str,
        fits: impl Fn(&str) -> bool,
        allowed: &str,
    ) -> Result<Vec<String>, Error> {
        let all = match self.take(field) {
            None => return Ok(Vec::new()),
            Some(Value::Array(all)) => all,
            Some(one) => vec![one],
        };
        let mut texts = Vec::new();
        for value in all {
            match value {
                Value::String(text) if fits(&text) => texts.push(text),
                other => return Err(self.wrong(field, describe(&other), allowed)),
            }
        }
        Ok(texts)
    }

    /// Takes a field as it is.
    fn take(&mut self, field: &str) -> Option<Value> {
        let at = self.rest.iter().position(|(name, _)| name == field)?;
        Some(self.rest.swap_remove(at).1)
    }

    /// A field whose value can't be used.
    pub(crate) fn wrong(&self, field: &'static str, found: String, allowed: &str) -> Error {
        Error::Value { file: self.file.clone(), field, found, allowed: allowed.to_owned() }
    }

    /// A field that has to be there and is not.
    pub(crate) fn missing(&self, field: &'static str, allowed: &str) -> Error {
        Error::MissingField { file: self.file.clone(), field, allowed: allowed.to_owned() }
    }

    /// A provider that there is not.
    pub(crate) fn unknown_provider(&self, found: String, allowed: &str) -> Error {
        Error::Provider { file: self.file.clone(), found, allowed: allowed.to_owned() }
    }

    /// Takes a text.
    pub(crate) fn text(
        &mut self,
        field: &'static str,
        allowed: &str,
    ) -> Result<Option<String>, Error> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(field, describe(&other), allowed)),
        }
    }

    /// Takes a text that is not empty, and that no error quotes.
    pub(crate) fn hidden(
        &mut self,
        field: &'static str,
        allowed: &str,
    ) -> Result<Option<String>, Error> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) if is_line(&text) => Ok(Some(text)),
            Some(Value::String(_)) => {
                Err(self.wrong(field, "a text that is empty, or of several lines".into(), allowed))
            }
            Some(other) => Err(self.wrong(field, kind_of(&other).to_owned(), allowed)),
        }
    }

    /// Takes a logical value.
    pub(crate) fn truth(&mut self, field: &'static str) -> Result<Option<bool>, Error> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(truth)),
            Some(other) => Err(self.wrong(field, describe(&other), "`true` or `false`")),
        }
    }

    /// Takes a number.
    pub(crate) fn number(
        &mut self,
        field: &'static str,
        allowed: &str,
    ) -> Result<Option<f64>, Error> {
        match self.take(field) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(field, describe(&value), allowed)),
            },
        }
    }

    /// Takes an object's fields, where the field is an object; else leaves it.
    pub(crate) fn object(&mut self, field: &'static str) -> Result<Option<Self>, Error> {
        if !self.rest.iter().any(|(name, value)| name == field && value.is_object()) {
            return Ok(None);
        }
        let text = self.take(field).unwrap_or_default().to_string();
        let file = format!("{field}` of `{}", self.file);
        Self::read(&text, &file).map(Some)
    }

    /// Takes the texts of an object, by name.
    pub(crate) fn named_texts(
        &mut self,
        field: &'static str,
        allowed: &str,
    ) -> Result<BTreeMap<String, String>, Error> {
        match self.take(field) {
            None => Ok(BTreeMap::new()),
            Some(Value::Object(members)) => members
                .into_iter()
                .map(|(name, value)| match value {
                    Value::String(text) => Ok((name, text)),
                    other => {
                        let found = format!("`{}`: {}", shorten(&name), kind_of(&other));
                        Err(self.wrong(field, found, allowed))
                    }
                })
                .collect(),
            // It may be a secret.
            Some(other) => Err(self.wrong(field, kind_of(&other).to_owned(), allowed)),
        }
    }

    /// Whether there is a field of this name.
    pub(crate) fn present(&self, field: &str) -> bool {
        self.rest.iter().any(|(name, _)| name == field)
    }

    /// Whether a field is a text.
    pub(crate) fn is_text(&self, field: &str) -> bool {
        self.rest.iter().any(|(name, value)| name == field && value.is_string())
    }

    /// Takes a whole number from 1 to `most`; `4.0` is one too, since R has no other way to say it.
    pub(crate) fn count(&mut self, field: &'static str, most: u32) -> Result<Option<u32>, Error> {
        let Some(value) = self.take(field) else {
            return Ok(None);
        };
        let number = value.as_f64().filter(|n| n.fract() == 0.0);
        match number {
            Some(n) if (1.0..=f64::from(most)).contains(&n) => Ok(Some(n as u32)),
            _ => {
                let allowed = format!("a whole number from 1 to {most}");
                Err(self.wrong(field, describe(&value), &allowed))
            }
        }
    }
}

/// Whether this is a text of one line, and not empty.
fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

/// A value in the words of an error.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => quote(text),
        Value::Null | Value::Array(_) | Value::Object(_) => kind_of(value).to_owned(),
    }
}

/// A text in the words of an error.
pub(crate) fn quote(text: &str) -> String {
    if text.is_empty() { "an empty text".into() } else { format!("the text {:?}", shorten(text)) }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a logical value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= QUOTED {
        return text.to_owned();
    }
    text.chars().take(QUOTED).chain(['…']).collect()
}

/// The known name that looks most like `name`, if any looks like it at all.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let plain = |text: &str| -> Vec<char> {
        text.chars()
            .take(QUOTED)
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect()
    };
    let name = plain(name);
    known
        .iter()
        .map(|candidate| (distance(&name, &plain(candidate)), *candidate))
        .filter(|(far, candidate)| *far <= candidate.len() / 3)
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, dropped, changed or swapped with their neighbour to make one
/// word of the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["provider", "name", "workers", "slots", "redis", "rCommand"];
        let cases = [
            ("worker", Some("workers")),
            ("wrokers", Some("workers")),
            ("r_command", Some("rCommand")),
            ("RCOMMAND", Some("rCommand")),
            ("slot", Some("slots")),
            ("providr", Some("provider")),
            ("//", None),
            ("password", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(nearest(name, &known), expected, "{name}");
        }
    }

    #[test]
    fn a_text_in_an_error_is_short_and_on_one_line() {
        assert_eq!(quote("a\nb"), r#"the text "a\nb""#);
        assert!(quote(&"x".repeat(1000)).chars().count() < 60);
    }
}
