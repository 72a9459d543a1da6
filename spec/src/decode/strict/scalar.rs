//! Values that are not objects of the schema: whether they have the type of their field, and the error if not.

use std::ops::Range;
use std::str::FromStr;

use crate::decode::cursor::{Cursor, Fault, RawStr, Start};
use crate::schema::{Field, MessageRef, Type};

/// Why a value does not fit its field.
pub(super) enum Mismatch<'j> {
    /// Of another JSON type.
    Type(Start),
    /// A number that the field cannot hold.
    Number(&'j str),
    /// Not an amount; upstream's own sentence.
    Quantity(&'static str),
    /// Not base64 from this byte on.
    Base64(usize),
}

/// Reads a value that begins as `start` says and checks it against a scalar type. `null` fits every type.
pub(super) fn check<'j>(
    cursor: &mut Cursor<'j>,
    kind: &Type,
    start: Start,
    depth: usize,
) -> Result<Result<(), Mismatch<'j>>, Fault> {
    let strings =
        matches!(kind, Type::String | Type::Time | Type::MicroTime | Type::Duration | Type::IntOrString);
    match start {
        Start::String if strings => {
            cursor.string()?;
            Ok(Ok(()))
        }
        Start::String if *kind == Type::Quantity => Ok(check_quantity(&cursor.string()?.unescape())),
        Start::Number => {
            let number = cursor.number()?;
            Ok(match kind {
                Type::Int32 | Type::IntOrString if !is_integer::<i32>(number) => {
                    Err(Mismatch::Number(number))
                }
                Type::Int64 if !is_integer::<i64>(number) => Err(Mismatch::Number(number)),
                Type::Quantity => check_quantity(number),
                Type::Int32 | Type::IntOrString | Type::Int64 | Type::Double => Ok(()),
                _ => Err(Mismatch::Type(start)),
            })
        }
        Start::Bool if *kind == Type::Bool => {
            cursor.literal()?;
            Ok(Ok(()))
        }
        _ => {
            cursor.skip(depth)?;
            Ok(Err(Mismatch::Type(start)))
        }
    }
}

/// Whether the type will take it: a negative zero is a floating point number to those who read it after this.
fn is_integer<T: FromStr>(number: &str) -> bool {
    number != "-0" && number.parse::<T>().is_ok()
}

/// A signed number and a known suffix, each in upstream's words if wrong.
fn check_quantity(text: &str) -> Result<(), Mismatch<'static>> {
    const FORM: &str =
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number_length =
        unsigned.len() - unsigned.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, suffix) = unsigned.split_at(number_length);
    let letters = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    let exponent = letters.strip_prefix(['+', '-']).unwrap_or(letters);
    if number.is_empty() || !exponent.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Mismatch::Quantity(FORM));
    }
    if number.matches('.').count() > 1 || number == "." {
        return Err(Mismatch::Quantity("unable to parse numeric part of quantity"));
    }
    let known = matches!(
        suffix,
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei"
    );
    let power = suffix.strip_prefix(['e', 'E']).is_some_and(|power| power.parse::<i32>().is_ok());
    if known || power { Ok(()) } else { Err(Mismatch::Quantity("unable to parse quantity's suffix")) }
}

/// Checks padded standard base64. Line breaks may stand anywhere. The byte that is blamed is the one that Go blames.
pub(super) fn check_base64(text: &[u8]) -> Result<(), Mismatch<'static>> {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let is_break = |byte: u8| matches!(byte, b'\r' | b'\n');
    let mut digits = 0;
    let mut rest = text.iter().enumerate().filter(|(_, byte)| !is_break(**byte));
    for (position, &byte) in rest.by_ref() {
        if is_digit(byte) {
            digits += 1;
            continue;
        }
        if byte != b'=' || digits % 4 < 2 {
            return Err(Mismatch::Base64(position));
        }
        if digits % 4 == 2 {
            match rest.next() {
                Some((_, b'=')) => {}
                Some((position, _)) => return Err(Mismatch::Base64(position)),
                None => return Err(Mismatch::Base64(text.len())),
            }
        }
        return match rest.next() {
            Some((position, _)) => Err(Mismatch::Base64(position)),
            None => Ok(()),
        };
    }
    if digits % 4 == 0 { Ok(()) } else { Err(Mismatch::Base64(text.len() - digits % 4)) }
}

/// The text without the line breaks in the base64 strings at `places`; `None` if there are no such places.
pub(super) fn without_breaks(text: &str, places: &[Range<usize>]) -> Option<Vec<u8>> {
    let mut whole = Vec::with_capacity(if places.is_empty() { 0 } else { text.len() });
    let mut copied = 0;
    for place in places {
        whole.extend_from_slice(&text.as_bytes()[copied..place.start]);
        let value = RawStr { raw: &text[place.clone()], escaped: true }.unescape();
        whole.extend(value.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        copied = place.end;
    }
    whole.extend_from_slice(&text.as_bytes()[copied..]);
    if places.is_empty() { None } else { Some(whole) }
}

impl Mismatch<'_> {
    /// In the words of Go's `encoding/json`: `json: cannot unmarshal string into Go struct field
    /// DeploymentSpec.spec.replicas of type int32`. `path` is from the root, without positions in lists.
    pub(super) fn describe(&self, message: MessageRef<'_>, field: &Field, kind: &Type, path: &str) -> String {
        let value = match self {
            Mismatch::Type(start) => start.word().to_owned(),
            Mismatch::Number(number) => format!("number {number}"),
            Mismatch::Quantity(sentence) => return (*sentence).to_owned(),
            Mismatch::Base64(byte) => return format!("illegal base64 data at input byte {byte}"),
        };
        let go = go_type(message, kind);
        // Upstream's own decoders of these types see the value only, not where it stands.
        if matches!(kind, Type::IntOrString | Type::Time | Type::MicroTime | Type::Duration) {
            return format!("json: cannot unmarshal {value} into Go value of type {go}");
        }
        let owner = short_name(message.name());
        let path = if path.is_empty() { &field.name } else { path };
        format!("json: cannot unmarshal {value} into Go struct field {owner}.{path} of type {go}")
    }
}

/// The last part of a message's name.
fn short_name(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, short)| short)
}

/// The Go type of a value, near enough: named string types are not known here.
fn go_type(message: MessageRef<'_>, kind: &Type) -> String {
    let word = match kind {
        Type::String | Type::Time | Type::MicroTime | Type::Duration => "string",
        Type::Int32 | Type::IntOrString => "int32",
        Type::Int64 => "int64",
        Type::Bool => "bool",
        Type::Double => "float64",
        Type::Bytes => "[]uint8",
        Type::Quantity => "resource.Quantity",
        Type::FieldsV1 => "v1.FieldsV1",
        Type::RawExtension => "runtime.RawExtension",
        Type::Json => "v1.JSON",
        Type::Message(id) => {
            let name = message.get(*id).name();
            let package = name.rsplit('.').nth(1).unwrap_or_default();
            return format!("{package}.{}", short_name(name));
        }
        Type::List(items) => return format!("[]{}", go_type(message, items)),
        Type::Map(values) => return format!("map[string]{}", go_type(message, values)),
    };
    word.to_owned()
}
