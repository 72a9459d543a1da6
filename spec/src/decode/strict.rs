//! Strict validation of a JSON body against the schema table: unknown fields, duplicate fields, and values of the
//! wrong type. One pass over the bytes, no tree, no allocation unless there is something to report.
//!
//! This runs on every create and update, before the body becomes a typed object, which ignores what it does not know.

mod path;
mod scalar;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use super::DecodeError;
use super::cursor::{Cursor, Fault, Start};
use crate::schema::{Field, Form, MessageRef, Type};
use path::Path;
use scalar::Mismatch;

/// No more findings than this are kept, as upstream.
const MAX_FINDINGS: usize = 100;

/// What a body says that its type does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The body's own `apiVersion`.
    pub api_version: Option<String>,
    /// The body's own `kind`.
    pub kind: Option<String>,
    /// In the order of the body, each once, at most a hundred.
    pub fields: Vec<Finding>,
    /// The body to go on with instead, if it has line breaks in base64 values: YAML block scalars make them,
    /// upstream ignores them, and the types' decoder does not.
    pub repaired: Option<Vec<u8>>,
}

/// One field that should not be there. Its path is as Kubernetes words it: `spec.containers[0].foo`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    /// The type has no field of this name.
    Unknown(String),
    /// The field occurs more than once in its object.
    Duplicate(String),
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Finding::Unknown(path) => write!(f, "unknown field {path:?}"),
            Finding::Duplicate(path) => write!(f, "duplicate field {path:?}"),
        }
    }
}

impl Findings {
    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The error of `fieldValidation=Strict`: `strict decoding error: unknown field "spec.foo"`.
    pub fn strict_error(&self) -> Option<String> {
        let all: Vec<String> = self.fields.iter().map(Finding::to_string).collect();
        if all.is_empty() { None } else { Some(format!("strict decoding error: {}", all.join(", "))) }
    }
}

/// Checks a JSON object against its type.
///
/// # Errors
/// [`DecodeError::Json`] if it is not a JSON object; [`DecodeError::Type`] for the first value that has not the type
/// of its field.
pub fn strict_check(json: &[u8], root: MessageRef<'_>) -> Result<Findings, DecodeError> {
    let text = std::str::from_utf8(json).map_err(|_| DecodeError::Json("invalid UTF-8".to_owned()))?;
    let mut check = Check::new(text);
    check.root(root).map_err(|fault| DecodeError::Json(check.cursor.describe(fault)))?;
    match check.mismatch {
        Some(mismatch) => Err(mismatch),
        None => {
            check.findings.repaired = scalar::without_breaks(text, &check.broken);
            Ok(check.findings)
        }
    }
}

/// Finds fields that occur more than once in JSON of no known type, such as a patch.
///
/// # Errors
/// [`DecodeError::Json`] if it is not JSON.
pub fn duplicate_check(json: &[u8]) -> Result<Findings, DecodeError> {
    let text = std::str::from_utf8(json).map_err(|_| DecodeError::Json("invalid UTF-8".to_owned()))?;
    let mut check = Check::new(text);
    let read = check.untyped(0, &Path::Root).and_then(|()| check.cursor.end());
    read.map_err(|fault| DecodeError::Json(check.cursor.describe(fault)))?;
    Ok(check.findings)
}

/// The Go type into which upstream reads `apiVersion` and `kind` of a body.
const TYPE_META: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

struct Check<'j> {
    cursor: Cursor<'j>,
    findings: Findings,
    /// The first value of a wrong type. Reading goes on after it, since a fault in the syntax goes before.
    mismatch: Option<DecodeError>,
    /// Where base64 values with line breaks in them stand in the text.
    broken: Vec<Range<usize>>,
}

impl<'j> Check<'j> {
    fn new(text: &'j str) -> Check<'j> {
        Check { cursor: Cursor::new(text), findings: Findings::default(), mismatch: None, broken: Vec::new() }
    }

    fn root(&mut self, root: MessageRef<'_>) -> Result<(), Fault> {
        let start = self.cursor.start()?;
        if start == Start::Object {
            self.object(root, 0, &Path::Root)?;
        } else {
            self.cursor.skip(0)?;
            if start != Start::Null {
                let word = start.word();
                let text = format!("json: cannot unmarshal {word} into Go value of type {TYPE_META}");
                self.mismatch = Some(DecodeError::Json(text));
            }
        }
        self.cursor.end()
    }

    fn object(&mut self, message: MessageRef<'_>, depth: usize, path: &Path<'_>) -> Result<(), Fault> {
        let mut inside = self.cursor.enter(depth)?;
        let mut seen = Seen::default();
        while let Some(key) = self.cursor.key(&mut inside)? {
            let name = key.unescape();
            let Some(position) = message.position(name.as_bytes()) else {
                self.find(Finding::Unknown(path.with(&name)));
                self.cursor.skip(depth + 1)?;
                continue;
            };
            if !seen.insert(position) {
                self.find(Finding::Duplicate(path.with(&name)));
            }
            let field = &message.fields()[position];
            let place = Place { message, field };
            let value = self.cursor.clone();
            self.value(place, &field.kind, depth + 1, &Path::Key(path, &name))?;
            if depth == 0 {
                self.note_type_meta(&name, self.cursor.since(&value));
            }
        }
        Ok(())
    }

    /// Keeps what the body says of its own kind.
    fn note_type_meta(&mut self, name: &str, value: &str) {
        let kept = match name {
            "apiVersion" => &mut self.findings.api_version,
            "kind" => &mut self.findings.kind,
            _ => return,
        };
        let mut value = Cursor::new(value);
        if value.start() == Ok(Start::String) {
            *kept = value.string().ok().map(|string| string.unescape().into_owned());
        }
    }

    fn value(&mut self, place: Place<'_>, kind: &Type, depth: usize, path: &Path<'_>) -> Result<(), Fault> {
        let start = self.cursor.start()?;
        match (kind, start) {
            (_, Start::Null) => self.cursor.literal(),
            (Type::Json | Type::RawExtension | Type::FieldsV1, _) => self.cursor.skip(depth),
            (Type::Message(id), _) if place.message.get(*id).form() == Form::Union => {
                self.union(place, place.message.get(*id), start, depth, path)
            }
            (Type::Message(id), Start::Object) => self.object(place.message.get(*id), depth, path),
            (Type::Map(values), Start::Object) => self.map(place, values, depth, path),
            (Type::List(items), Start::Array) => self.list(place, items, depth, path),
            (Type::Bytes, Start::String) => self.bytes(place, path),
            _ => match scalar::check(&mut self.cursor, kind, start, depth)? {
                Ok(()) => Ok(()),
                Err(mismatch) => {
                    self.mismatch(place, kind, mismatch, path);
                    Ok(())
                }
            },
        }
    }

    fn bytes(&mut self, place: Place<'_>, path: &Path<'_>) -> Result<(), Fault> {
        let value = self.cursor.string()?;
        let text = value.unescape();
        match scalar::check_base64(text.as_bytes()) {
            Err(mismatch) => self.mismatch(place, &Type::Bytes, mismatch, path),
            Ok(()) if text.contains(['\r', '\n']) => {
                let end = self.cursor.position() - 1;
                self.broken.push(end - value.raw.len()..end);
            }
            Ok(()) => {}
        }
        Ok(())
    }

    fn map(&mut self, place: Place<'_>, values: &Type, depth: usize, path: &Path<'_>) -> Result<(), Fault> {
        let mut inside = self.cursor.enter(depth)?;
        let mut keys = Keys::default();
        while let Some(key) = self.cursor.key(&mut inside)? {
            let name = key.unescape();
            if !keys.insert(name.clone()) {
                self.find(Finding::Duplicate(path.with(&name)));
            }
            self.value(place, values, depth + 1, &Path::Key(path, &name))?;
        }
        Ok(())
    }

    fn untyped(&mut self, depth: usize, path: &Path<'_>) -> Result<(), Fault> {
        match self.cursor.start()? {
            Start::Object => {
                let mut inside = self.cursor.enter(depth)?;
                let mut keys = Keys::default();
                while let Some(key) = self.cursor.key(&mut inside)? {
                    let name = key.unescape();
                    if !keys.insert(name.clone()) {
                        self.find(Finding::Duplicate(path.with(&name)));
                    }
                    self.untyped(depth + 1, &Path::Key(path, &name))?;
                }
                Ok(())
            }
            Start::Array => {
                let (mut inside, mut index) = (self.cursor.enter(depth)?, 0);
                while self.cursor.item(&mut inside)? {
                    self.untyped(depth + 1, &Path::Index(path, index))?;
                    index += 1;
                }
                Ok(())
            }
            _ => self.cursor.skip(depth),
        }
    }

    fn list(&mut self, place: Place<'_>, items: &Type, depth: usize, path: &Path<'_>) -> Result<(), Fault> {
        let mut inside = self.cursor.enter(depth)?;
        let mut index = 0;
        while self.cursor.item(&mut inside)? {
            self.value(place, items, depth + 1, &Path::Index(path, index))?;
            index += 1;
        }
        Ok(())
    }

    /// A value that may have one of several forms: checked as the form that begins as it does, if there is one.
    fn union(
        &mut self,
        place: Place<'_>,
        union: MessageRef<'_>,
        start: Start,
        depth: usize,
        path: &Path<'_>,
    ) -> Result<(), Fault> {
        let fits = |field: &&Field| match field.kind {
            Type::Message(_) => start == Start::Object,
            Type::List(_) => start == Start::Array,
            Type::Bool => start == Start::Bool,
            _ => false,
        };
        match union.fields().iter().find(fits) {
            Some(field) => self.value(Place { message: union, ..place }, &field.kind, depth, path),
            None => self.cursor.skip(depth),
        }
    }

    fn find(&mut self, finding: Finding) {
        let found = &mut self.findings.fields;
        if found.len() < MAX_FINDINGS && !found.contains(&finding) {
            found.push(finding);
        }
    }

    fn mismatch(&mut self, place: Place<'_>, kind: &Type, mismatch: Mismatch<'j>, path: &Path<'_>) {
        if self.mismatch.is_none() {
            let text = mismatch.describe(place.message, place.field, kind, &path.without_indices());
            self.mismatch = Some(DecodeError::Type(text));
        }
    }
}

/// The field that a value belongs to.
#[derive(Clone, Copy)]
struct Place<'s> {
    message: MessageRef<'s>,
    field: &'s Field,
}

/// Which fields of a message occurred.
#[derive(Default)]
struct Seen {
    first: u128,
    rest: Vec<u64>,
}

impl Seen {
    /// False if the position was there already.
    fn insert(&mut self, position: usize) -> bool {
        if position < 128 {
            let before = self.first;
            self.first |= 1 << position;
            return self.first != before;
        }
        let word = position / 64;
        self.rest.resize(self.rest.len().max(word + 1), 0);
        let before = self.rest[word];
        self.rest[word] |= 1 << (position % 64);
        self.rest[word] != before
    }
}

/// The keys of a map: compared one by one while they are few.
#[derive(Default)]
struct Keys<'j> {
    few: Vec<Cow<'j, str>>,
    many: HashSet<Cow<'j, str>>,
}

impl<'j> Keys<'j> {
    /// False if the key was there already.
    fn insert(&mut self, key: Cow<'j, str>) -> bool {
        const FEW: usize = 12;
        if self.few.len() < FEW {
            if self.few.contains(&key) {
                return false;
            }
            self.few.push(key);
            return true;
        }
        !self.few.contains(&key) && self.many.insert(key)
    }
}
