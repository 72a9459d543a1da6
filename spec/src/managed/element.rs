//! One step of a field's path, and its two spellings: that of `FieldsV1` and that of messages.

use std::fmt::Write as _;

use serde_json::Value;

/// One step of a path. Fields sort before items, as upstream writes them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// A field of an object: `f:image`.
    Field(Box<str>),
    /// The item of a list whose key fields have these values, as compact JSON with sorted names:
    /// `k:{"containerPort":80,"protocol":"TCP"}`.
    Key(Box<str>),
    /// The item of a set that is this scalar, as JSON: `v:"finalizer"`.
    Value(Box<str>),
    /// The item at a position: `i:0`. Nothing here makes one; clients may have.
    Index(u32),
}

impl Element {
    /// The element that a name of `FieldsV1` means; `None` when it is none.
    pub fn read(text: &str) -> Option<Element> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Element::Field(rest.into())),
            "k" => Some(Element::Key(rest.into())),
            "v" => Some(Element::Value(rest.into())),
            "i" => rest.parse().ok().map(Element::Index),
            _ => None,
        }
    }

    /// The same in the one spelling that sets are compared in; `None` when its JSON is none. What this program
    /// wrote is canonical already.
    pub fn canonical(self) -> Option<Element> {
        match self {
            Element::Key(text) => {
                let keys: serde_json::Map<String, Value> = serde_json::from_str(&text).ok()?;
                Some(Element::Key(Value::Object(keys).to_string().into()))
            }
            Element::Value(text) => {
                let value: Value = serde_json::from_str(&text).ok()?;
                Some(Element::Value(value.to_string().into()))
            }
            other => Some(other),
        }
    }

    /// Appends the name that `FieldsV1` has for it, as a JSON string.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let (kind, text) = match self {
            Element::Field(name) => (b"\"f:", &**name),
            Element::Key(text) => (b"\"k:", &**text),
            Element::Value(text) => (b"\"v:", &**text),
            Element::Index(position) => {
                out.extend_from_slice(format!("\"i:{position}\"").as_bytes());
                return;
            }
        };
        out.extend_from_slice(kind);
        let is_plain = !text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\');
        if is_plain {
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        } else {
            let quoted = Value::from(text).to_string();
            out.extend_from_slice(&quoted.as_bytes()[1..]);
        }
    }

    /// Appends it as a part of a path that people read: `.image`, `[name="app"]`, `[="finalizer"]`.
    pub fn write_path(&self, path: &mut String) {
        let written = match self {
            Element::Field(name) => write!(path, ".{name}"),
            Element::Key(text) => {
                let keys: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(path, "[{}]", keys.join(","))
            }
            Element::Value(text) => write!(path, "[={text}]"),
            Element::Index(position) => write!(path, "[{position}]"),
        };
        written.expect("a String can be written to");
    }
}
