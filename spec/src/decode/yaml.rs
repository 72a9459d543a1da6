//! YAML bodies to JSON, as upstream's YAML library reads them: 1.1 booleans (`yes`, `on`) and octal numbers (`0644`),
//! anchors and merge keys. JSON is written while the YAML is read; aliases cannot make it grow without limit.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Options, alias_limits, budget, options};

use super::DecodeError;
use super::cursor::{Cursor, Start};

/// How deep a document may nest. Less than for JSON, since the YAML reader takes ten times the stack for each level.
const MAX_YAML_DEPTH: usize = 50;

/// The JSON may grow to this many times the body, and some more for small ones.
const MAX_GROWTH: usize = 8;
const FREE_GROWTH_BYTES: usize = 64 << 10;

/// Converts one YAML document to JSON. Text that is JSON already is returned as it is. A key that occurs twice stays
/// twice, for strict validation to report.
///
/// # Errors
/// [`DecodeError::Yaml`] if it is not YAML, holds more than one document, nests too deep, or grows too large.
pub fn yaml_to_json(yaml: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let text = std::str::from_utf8(yaml).map_err(|_| DecodeError::Yaml("yaml: invalid UTF-8".to_owned()))?;
    if is_json(text) {
        return Ok(text.as_bytes().to_vec());
    }
    let mut output = Output { limit: text.len() * MAX_GROWTH + FREE_GROWTH_BYTES, json: Vec::new() };
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        Node { output: &mut output, before: b"" }.deserialize(deserializer)
    });
    match read {
        Ok(()) => Ok(output.json),
        Err(error) => {
            let line = error.location().map(|at| format!(" line {}:", at.line())).unwrap_or_default();
            let text = error.without_snippet().to_string();
            let text = text.split_once(" at line ").map_or(&*text, |(text, _)| text);
            Err(DecodeError::Yaml(format!("yaml:{line} {text}")))
        }
    }
}

fn options() -> Options {
    options! {
        budget: budget! { max_depth: MAX_YAML_DEPTH, flow_nesting_limit: MAX_YAML_DEPTH, max_documents: 2 },
        alias_limits: alias_limits! { max_total_replayed_events: 100_000 },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        legacy_octal_numbers: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

fn is_json(text: &str) -> bool {
    let mut cursor = Cursor::new(text);
    cursor.start() == Ok(Start::Object) && cursor.skip(0).and_then(|()| cursor.end()).is_ok()
}

/// Where the JSON goes.
struct Output {
    json: Vec<u8>,
    limit: usize,
}

impl Output {
    fn write<E: serde::de::Error>(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.json.extend_from_slice(bytes);
        if self.json.len() <= self.limit {
            Ok(())
        } else {
            Err(E::custom("document contains excessive aliasing"))
        }
    }

    fn value<E: serde::de::Error>(&mut self, value: impl serde::Serialize) -> Result<(), E> {
        self.write(&serde_json::to_vec(&value).map_err(E::custom)?)
    }
}

/// A YAML node to be written as a JSON value, after what comes before it.
struct Node<'o> {
    output: &'o mut Output,
    before: &'static [u8],
}

/// A key, which JSON wants to be a string whatever it looks like.
struct Key<'o>(Node<'o>);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.output.write(self.before)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.output.write(self.0.before)?;
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that is a scalar")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<(), E> {
        self.0.output.value(key)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML node")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.output.value(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.output.value(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.output.value(value)
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<(), E> {
        self.output.value(value)
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<(), E> {
        self.output.value(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.output.value(value)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.output.value(value)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.output.write(b"null")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.output.write(b"[")?;
        let mut before: &[u8] = b"";
        while items.next_element_seed(Node { output: self.output, before })?.is_some() {
            before = b",";
        }
        self.output.write(b"]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.output.write(b"{")?;
        let mut before: &[u8] = b"";
        while entries.next_key_seed(Key(Node { output: self.output, before }))?.is_some() {
            entries.next_value_seed(Node { output: self.output, before: b":" })?;
            before = b",";
        }
        self.output.write(b"}")
    }
}
