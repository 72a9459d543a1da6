//! Kubernetes' protobuf bodies to JSON: the envelope, then one generic reader over the schema table.
//!
//! Client libraries in Go send the built-in kinds this way. Nothing here knows a kind: tags, names and types come
//! from the table, tags that it lacks are skipped. The JSON is what the same client would have sent as JSON: the
//! wire holds every plain field, zero or not, so zeros are left out where Go's JSON leaves them out.

mod special;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;

use super::cursor::Cursor;
use super::{DecodeError, MAX_DEPTH};
use crate::schema::{self, Field, Form, MessageRef, Type, Wire};
use wire::{Reader, Value};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// The JSON may grow to this many times the body, and some more for small ones. Names make JSON longer, two or three
/// times in practice; a body made to grow is refused.
const MAX_GROWTH: usize = 8;
const FREE_GROWTH_BYTES: usize = 64 << 10;

/// An object that came as protobuf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// As the envelope says, such as `apps/v1`.
    pub api_version: String,
    /// As the envelope says.
    pub kind: String,
    /// The object, with `apiVersion` and `kind`.
    pub json: Vec<u8>,
}

/// Decodes a body of type `application/vnd.kubernetes.protobuf`.
///
/// # Errors
/// [`DecodeError::Protobuf`] if the envelope or the object is malformed, nests too deep, or grows too large;
/// [`DecodeError::UnknownKind`] if the table has no such kind.
pub fn protobuf_to_json(body: &[u8]) -> Result<Decoded, DecodeError> {
    let envelope = Envelope::read(body)?;
    let Envelope { api_version, kind, raw, .. } = envelope;
    if envelope.content_type == "application/json" {
        return Ok(Decoded { api_version, kind, json: raw.to_vec() });
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let Some(message) = schema::message(group, version, &kind) else {
        return Err(DecodeError::UnknownKind { api_version, kind });
    };
    let limit = body.len() * MAX_GROWTH + FREE_GROWTH_BYTES;
    let mut writer = Writer { json: Vec::with_capacity(body.len() * 2), limit };
    let type_meta = TypeMeta { api_version: &api_version, kind: &kind };
    writer.root(message, raw, &type_meta)?;
    Ok(Decoded { json: writer.json, api_version, kind })
}

/// The message around every object (`runtime.Unknown`).
#[derive(Default)]
struct Envelope<'b> {
    api_version: String,
    kind: String,
    raw: &'b [u8],
    content_type: String,
}

impl<'b> Envelope<'b> {
    fn read(body: &'b [u8]) -> Result<Envelope<'b>, DecodeError> {
        let Some(rest) = body.strip_prefix(MAGIC) else {
            return Err(DecodeError::protobuf(
                "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
            ));
        };
        let mut envelope = Envelope::default();
        let mut reader = Reader::new(rest);
        while let Some((tag, value)) = reader.next()? {
            match tag {
                1 => envelope.read_type_meta(value.bytes("TypeMeta")?)?,
                2 => envelope.raw = value.bytes("Raw")?,
                3 if !value.bytes("ContentEncoding")?.is_empty() => {
                    return Err(DecodeError::protobuf("unsupported content encoding"));
                }
                4 => envelope.content_type = value.text("ContentType")?,
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn read_type_meta(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(bytes);
        while let Some((tag, value)) = reader.next()? {
            match tag {
                1 => self.api_version = value.text("APIVersion")?,
                2 => self.kind = value.text("Kind")?,
                _ => {}
            }
        }
        Ok(())
    }
}

struct TypeMeta<'t> {
    api_version: &'t str,
    kind: &'t str,
}

/// One value of a field, where the wire has it.
struct Occurrence<'b> {
    /// Of the field, in the message's fields.
    position: usize,
    value: Value<'b>,
}

/// Writes JSON while it reads messages.
struct Writer {
    json: Vec<u8>,
    /// The JSON may not get longer.
    limit: usize,
}

impl Writer {
    fn root(
        &mut self,
        message: MessageRef<'_>,
        bytes: &[u8],
        type_meta: &TypeMeta<'_>,
    ) -> Result<(), DecodeError> {
        self.json.extend_from_slice(b"{\"kind\":");
        self.string(type_meta.kind);
        self.json.extend_from_slice(b",\"apiVersion\":");
        self.string(type_meta.api_version);
        let mut found = Vec::new();
        occurrences(message, message, bytes, &mut found, 0)?;
        self.fields(message, found, 1, false)?;
        self.json.push(b'}');
        Ok(())
    }

    /// A message as a JSON value: that of the field `name`, put together from `parts`. `depth` counts the arrays and
    /// objects around it.
    fn message<'b>(
        &mut self,
        message: MessageRef<'_>,
        name: &str,
        parts: impl Iterator<Item = Value<'b>>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        if depth >= MAX_DEPTH {
            return Err(DecodeError::protobuf("exceeded max depth"));
        }
        let mut found = Vec::new();
        for part in parts {
            occurrences(message, message, part.bytes(name)?, &mut found, depth)?;
        }
        if message.form() == Form::Union {
            return self.union(message, found, depth);
        }
        self.json.push(b'{');
        self.fields(message, found, depth + 1, true)?;
        self.json.push(b'}');
        Ok(())
    }

    /// The fields that occurred, without the braces around them. The wire may have them in any order, and the parts
    /// of a list apart from each other.
    fn fields(
        &mut self,
        message: MessageRef<'_>,
        mut found: Vec<Occurrence<'_>>,
        depth: usize,
        mut first: bool,
    ) -> Result<(), DecodeError> {
        found.sort_by_key(|occurrence| occurrence.position);
        for same in found.chunk_by(|a, b| a.position == b.position) {
            let field = &message.fields()[same[0].position];
            let start = self.json.len();
            if !first {
                self.json.push(b',');
            }
            self.string(&field.name);
            self.json.push(b':');
            if self.field(message, field, same, depth)? {
                first = false;
            } else {
                self.json.truncate(start);
            }
            if self.json.len() > self.limit {
                return Err(DecodeError::protobuf("the object is far larger than its encoding"));
            }
        }
        Ok(())
    }

    /// Writes a field's value; false if Go's JSON would leave the field out.
    fn field(
        &mut self,
        message: MessageRef<'_>,
        field: &Field,
        found: &[Occurrence<'_>],
        depth: usize,
    ) -> Result<bool, DecodeError> {
        let keep_zero = field.pointer || field.always;
        match &field.kind {
            Type::List(items) => {
                self.list(message, field, items, found, depth)?;
                Ok(true)
            }
            Type::Map(values) => {
                self.map(message, field, values, found, depth)?;
                Ok(true)
            }
            // A message that occurs again adds to what was there.
            Type::Message(id) => {
                self.message(message.get(*id), &field.name, found.iter().map(|found| found.value), depth)?;
                Ok(true)
            }
            kind => {
                let last = &found.last().expect("a chunk has an item").value;
                if !keep_zero && last.is_zero_of(kind) {
                    return Ok(false);
                }
                self.value(message, field, kind, last, depth)
            }
        }
    }

    /// One value; false if it is an absent one (a zero time, an empty raw value), for which nothing was written.
    fn value(
        &mut self,
        message: MessageRef<'_>,
        field: &Field,
        kind: &Type,
        value: &Value<'_>,
        depth: usize,
    ) -> Result<bool, DecodeError> {
        let name = &*field.name;
        match kind {
            Type::String => self.string(&String::from_utf8_lossy(value.bytes(name)?)),
            Type::Int32 => self.display(value.varint(name)? as i32),
            Type::Int64 => self.display(value.varint(name)?.cast_signed()),
            Type::Bool => self.display(value.varint(name)? != 0),
            Type::Double => self.double(value.fixed64(name)?),
            Type::Bytes => self.base64(value.bytes(name)?),
            Type::Message(id) => self.message(message.get(*id), name, std::iter::once(*value), depth)?,
            Type::Quantity => self.string(&special::quantity(value.bytes(name)?)?),
            Type::IntOrString => match special::int_or_string(value.bytes(name)?)? {
                Ok(number) => self.display(number),
                Err(text) => self.string(&text),
            },
            Type::Time | Type::MicroTime => match special::time(value.bytes(name)?, kind)? {
                Some(text) => self.string(&text),
                None => return Ok(false),
            },
            Type::Duration => self.string(&special::duration(value.bytes(name)?)?),
            Type::FieldsV1 | Type::RawExtension | Type::Json => match special::raw(value.bytes(name)?)? {
                Some(json) => self.raw(json, depth)?,
                None => return Ok(false),
            },
            // Only as the value of a map: a message around the items.
            Type::List(items) => {
                let mut found = Vec::new();
                let mut reader = Reader::new(value.bytes(name)?);
                while let Some((tag, value)) = reader.next()? {
                    if tag == 1 {
                        found.push(Occurrence { position: 0, value });
                    }
                }
                self.list(message, field, items, &found, depth)?;
            }
            Type::Map(_) => return Err(DecodeError::protobuf("a map inside a map has no encoding")),
        }
        Ok(true)
    }

    fn list(
        &mut self,
        message: MessageRef<'_>,
        field: &Field,
        items: &Type,
        found: &[Occurrence<'_>],
        depth: usize,
    ) -> Result<(), DecodeError> {
        self.json.push(b'[');
        let mut first = true;
        for occurrence in found {
            for value in occurrence.value.unpack(items) {
                let value = value?;
                if !std::mem::take(&mut first) {
                    self.json.push(b',');
                }
                if !self.value(message, field, items, &value, depth + 1)? {
                    self.json.extend_from_slice(b"null");
                }
                if self.json.len() > self.limit {
                    return Err(DecodeError::protobuf("the object is far larger than its encoding"));
                }
            }
        }
        self.json.push(b']');
        Ok(())
    }

    /// Entries are messages of a key and a value; one that comes again replaces the earlier.
    fn map(
        &mut self,
        message: MessageRef<'_>,
        field: &Field,
        values: &Type,
        found: &[Occurrence<'_>],
        depth: usize,
    ) -> Result<(), DecodeError> {
        let mut entries = BTreeMap::new();
        for occurrence in found {
            let (mut key, mut value) = (&[][..], Value::Bytes(&[]));
            let mut reader = Reader::new(occurrence.value.bytes(&field.name)?);
            while let Some((tag, part)) = reader.next()? {
                match tag {
                    1 => key = part.bytes(&field.name)?,
                    2 => value = part,
                    _ => {}
                }
            }
            entries.insert(key, value);
        }
        self.json.push(b'{');
        let mut first = true;
        for (key, value) in entries {
            if !std::mem::take(&mut first) {
                self.json.push(b',');
            }
            self.string(&String::from_utf8_lossy(key));
            self.json.push(b':');
            if !self.value(message, field, values, &value, depth + 1)? {
                self.json.extend_from_slice(b"null");
            }
        }
        self.json.push(b'}');
        Ok(())
    }

    /// The value of the field that is set: a list or an object before a boolean, which is always there.
    fn union(
        &mut self,
        union: MessageRef<'_>,
        found: Vec<Occurrence<'_>>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        let rank = |occurrence: &Occurrence<'_>| match union.fields()[occurrence.position].kind {
            Type::List(_) => 2,
            Type::Message(_) => 1,
            _ => 0,
        };
        let Some(position) =
            found.iter().max_by_key(|occurrence| rank(occurrence)).map(|found| found.position)
        else {
            self.json.extend_from_slice(b"null");
            return Ok(());
        };
        let field = Field { always: true, ..union.fields()[position].clone() };
        let same: Vec<Occurrence<'_>> =
            found.into_iter().filter(|found| found.position == position).collect();
        self.field(union, &field, &same, depth)?;
        Ok(())
    }

    fn string(&mut self, text: &str) {
        serde_json::to_writer(&mut self.json, text).expect("a string is written to memory");
    }

    fn display(&mut self, value: impl std::fmt::Display) {
        self.json.extend_from_slice(value.to_string().as_bytes());
    }

    fn double(&mut self, value: f64) {
        serde_json::to_writer(&mut self.json, &value).expect("a number is written to memory");
    }

    fn base64(&mut self, bytes: &[u8]) {
        use base64::Engine as _;
        self.string(&base64::engine::general_purpose::STANDARD.encode(bytes));
    }

    /// JSON inside the message, which must be JSON.
    fn raw(&mut self, json: &[u8], depth: usize) -> Result<(), DecodeError> {
        let text = std::str::from_utf8(json).map_err(|_| DecodeError::protobuf("raw JSON is not UTF-8"))?;
        let mut cursor = Cursor::new(text);
        cursor.skip(depth).and_then(|()| cursor.end()).map_err(|fault| {
            let fault = cursor.describe(fault);
            DecodeError::protobuf(&format!("raw JSON: {fault}"))
        })?;
        self.json.extend_from_slice(text.trim_ascii().as_bytes());
        Ok(())
    }
}

/// Finds the fields of a message, as fields of `outer`: the message itself, or the one that takes it in.
fn occurrences<'b>(
    outer: MessageRef<'_>,
    message: MessageRef<'_>,
    bytes: &'b [u8],
    found: &mut Vec<Occurrence<'b>>,
    depth: usize,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    while let Some((tag, value)) = reader.next()? {
        match message.wire(tag) {
            Some(Wire::Field(position)) => {
                let name = &message.fields()[position].name;
                let position = outer.position(name.as_bytes()).expect("a message has the fields it takes in");
                found.push(Occurrence { position, value });
            }
            Some(Wire::Inline(id)) if depth < MAX_DEPTH => {
                let inner = message.get(id);
                occurrences(outer, inner, value.bytes(inner.name())?, found, depth + 1)?;
            }
            Some(Wire::Inline(_)) => return Err(DecodeError::protobuf("exceeded max depth")),
            None => {}
        }
    }
    Ok(())
}
