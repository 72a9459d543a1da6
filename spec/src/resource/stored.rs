//! The stored form of an object: its JSON without `kind`, `apiVersion` and `metadata.resourceVersion`, metadata
//! first.
//!
//! Those three are spliced in when an object is served, so that a LIST or a WATCH never parses. The upstream
//! types write their fields in alphabetical order, metadata somewhere among them; the serializer here writes a
//! struct's fields straight to bytes and leaves some out, so two passes give the wanted order without a tree.
//!
//! Who owns which field (`metadata.managedFields`) stands before all other metadata and is no part of the typed
//! object: reading would make a tree of it each time, and nothing but the account itself looks into it. A tab, which
//! JSON allows between tokens and nowhere else, marks where it ends.

use std::borrow::Cow;

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::ser::{Impossible, Serialize, SerializeStruct, Serializer};

/// How every stored object begins; always followed by a field of the metadata, never by `}`.
pub const STORED_PREFIX: &[u8] = br#"{"metadata":{"#;

/// How a stored object begins for which an account of its owners is kept.
const MANAGED_PREFIX: &[u8] = br#"{"metadata":{"managedFields":"#;

/// What follows the account.
const MANAGED_END: &[u8] = b"\t,";

/// A stored object and the account of its owners, apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// `metadata.managedFields`, as JSON.
    pub managed: Option<&'a str>,
    /// The object without it, in stored form.
    pub plain: Cow<'a, [u8]>,
}

/// Takes a stored object apart.
pub fn split(stored: &[u8]) -> Split<'_> {
    let parts = stored.strip_prefix(MANAGED_PREFIX).and_then(|rest| {
        let end = rest.iter().position(|byte| *byte == MANAGED_END[0])?;
        let managed = std::str::from_utf8(&rest[..end]).ok()?;
        Some((managed, rest.get(end + MANAGED_END.len()..)?))
    });
    match parts {
        None => Split { managed: None, plain: Cow::Borrowed(stored) },
        Some((managed, rest)) => {
            Split { managed: Some(managed), plain: Cow::Owned([STORED_PREFIX, rest].concat()) }
        }
    }
}

/// Puts a stored object together with the account of its owners.
pub fn join(plain: Vec<u8>, managed: Option<&str>) -> Vec<u8> {
    let Some(managed) = managed else { return plain };
    let rest = plain.strip_prefix(STORED_PREFIX).expect("stored objects begin with their metadata");
    [MANAGED_PREFIX, managed.as_bytes(), MANAGED_END, rest].concat()
}

/// The stored bytes of an object. The object has a name.
pub(crate) fn encode<T: Metadata<Ty = ObjectMeta> + Serialize>(object: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(STORED_PREFIX);
    write_fields(object.metadata(), Fields { out: &mut out, skip: &["resourceVersion"], separator: "" });
    debug_assert!(out.len() > STORED_PREFIX.len(), "a stored object has a name");
    out.push(b'}');
    write_fields(object, Fields { out: &mut out, skip: &["apiVersion", "kind", "metadata"], separator: "," });
    out.push(b'}');
    out
}

/// The stored bytes of an object of no upstream type: its metadata, with a name, and its other fields.
pub(crate) fn encode_parts(
    meta: &ObjectMeta,
    fields: &serde_json::Map<String, serde_json::Value>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(STORED_PREFIX);
    write_fields(meta, Fields { out: &mut out, skip: &["resourceVersion"], separator: "" });
    out.push(b'}');
    for (name, value) in fields {
        out.push(b',');
        serde_json::to_writer(&mut out, name).expect("a name is written to memory");
        out.push(b':');
        serde_json::to_writer(&mut out, value).expect("a JSON tree is written to memory");
    }
    out.push(b'}');
    out
}

fn write_fields<T: Serialize>(object: &T, fields: Fields<'_>) {
    object.serialize(fields).expect("upstream types are structs of JSON values");
}

/// Writes the fields of one struct, without its braces; `separator` comes before the first.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
    skip: &'a [&'static str],
    separator: &'static str,
}

impl SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = serde_json::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), serde_json::Error> {
        if self.skip.contains(&key) {
            return Ok(());
        }
        self.out.extend_from_slice(self.separator.as_bytes());
        self.separator = ",";
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        serde_json::to_writer(&mut *self.out, value)
    }

    fn end(self) -> Result<(), serde_json::Error> {
        Ok(())
    }
}

macro_rules! only_structs {
    ($($name:ident: $type:ty),*) => {$(
        fn $name(self, _: $type) -> Result<(), serde_json::Error> {
            Err(not_a_struct())
        }
    )*};
}

fn not_a_struct() -> serde_json::Error {
    serde::ser::Error::custom("not a struct")
}

type Never = Impossible<(), serde_json::Error>;

impl<'a> Serializer for Fields<'a> {
    type Ok = ();
    type Error = serde_json::Error;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Never;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, serde_json::Error> {
        Ok(self)
    }

    only_structs!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_f32: f32,
        serialize_f64: f64, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8],
        serialize_unit_struct: &'static str
    );

    fn serialize_none(self) -> Result<(), serde_json::Error> {
        Err(not_a_struct())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), serde_json::Error> {
        Err(not_a_struct())
    }

    fn serialize_unit(self) -> Result<(), serde_json::Error> {
        Err(not_a_struct())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<(), serde_json::Error> {
        Err(not_a_struct())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<(), serde_json::Error> {
        Err(not_a_struct())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), serde_json::Error> {
        Err(not_a_struct())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Never, serde_json::Error> {
        Err(not_a_struct())
    }

    fn serialize_tuple(self, _: usize) -> Result<Never, serde_json::Error> {
        Err(not_a_struct())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Never, serde_json::Error> {
        Err(not_a_struct())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Never, serde_json::Error> {
        Err(not_a_struct())
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Never, serde_json::Error> {
        Err(not_a_struct())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Never, serde_json::Error> {
        Err(not_a_struct())
    }
}
