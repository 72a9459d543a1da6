//! The wire format: tags and values one after the other. Reads what is there and allocates nothing.

use crate::decode::DecodeError;
use crate::schema::Type;

/// A value as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'b> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'b [u8]),
}

/// Reads the fields of one message.
pub(super) struct Reader<'b> {
    rest: &'b [u8],
}

fn error(text: &str) -> DecodeError {
    DecodeError::protobuf(text)
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Reader<'b> {
        Reader { rest: bytes }
    }

    /// The next field's tag and value. Groups, which the API never had, are skipped.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'b>)>, DecodeError> {
        // How many groups are open. Their tags need not match: nothing in them is used.
        let mut groups = 0_u32;
        while !self.rest.is_empty() {
            let key = self.varint()?;
            let tag = u32::try_from(key >> 3).map_err(|_| error("proto: illegal tag"))?;
            if tag == 0 {
                return Err(error("proto: illegal tag 0"));
            }
            let value = match key & 7 {
                0 => Value::Varint(self.varint()?),
                1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
                2 => Value::Bytes(self.bytes()?),
                3 => {
                    groups += 1;
                    continue;
                }
                4 if groups == 0 => return Err(error("proto: unexpected end of group")),
                4 => {
                    groups -= 1;
                    continue;
                }
                5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
                other => return Err(error(&format!("proto: illegal wireType {other}"))),
            };
            if groups == 0 {
                return Ok(Some((tag, value)));
            }
        }
        if groups == 0 { Ok(None) } else { Err(error("unexpected EOF")) }
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or_else(|| error("unexpected EOF"))?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(error("proto: integer overflow"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(|| error("unexpected EOF"))?;
        self.rest = rest;
        Ok(*array)
    }

    fn bytes(&mut self) -> Result<&'b [u8], DecodeError> {
        let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(|| error("unexpected EOF"))?;
        self.rest = rest;
        Ok(bytes)
    }
}

impl<'b> Value<'b> {
    pub(super) fn bytes(&self, field: &str) -> Result<&'b [u8], DecodeError> {
        if let Value::Bytes(bytes) = self { Ok(bytes) } else { Err(self.wrong(field)) }
    }

    pub(super) fn text(&self, field: &str) -> Result<String, DecodeError> {
        Ok(String::from_utf8_lossy(self.bytes(field)?).into_owned())
    }

    pub(super) fn varint(&self, field: &str) -> Result<u64, DecodeError> {
        if let Value::Varint(value) = self { Ok(*value) } else { Err(self.wrong(field)) }
    }

    pub(super) fn fixed64(&self, field: &str) -> Result<f64, DecodeError> {
        if let Value::Fixed64(bits) = self { Ok(f64::from_bits(*bits)) } else { Err(self.wrong(field)) }
    }

    fn wrong(&self, field: &str) -> DecodeError {
        let wire_type = match self {
            Value::Varint(_) => 0,
            Value::Fixed64(_) => 1,
            Value::Bytes(_) => 2,
            Value::Fixed32(_) => 5,
        };
        error(&format!("proto: wrong wireType = {wire_type} for field {field}"))
    }

    /// Whether it is the zero value of a scalar type. Other types have none on the wire.
    pub(super) fn is_zero_of(&self, kind: &Type) -> bool {
        match (kind, self) {
            (Type::Bool | Type::Int32 | Type::Int64, Value::Varint(0)) => true,
            (Type::Double, Value::Fixed64(bits)) => f64::from_bits(*bits) == 0.0,
            (Type::String | Type::Bytes, Value::Bytes(bytes)) => bytes.is_empty(),
            _ => false,
        }
    }

    /// The items that one value of a list holds: itself, or many numbers packed together.
    pub(super) fn unpack(&self, items: &Type) -> Items<'b> {
        match (items, *self) {
            (Type::Int32 | Type::Int64 | Type::Bool, Value::Bytes(bytes)) => {
                Items::Packed(Reader::new(bytes))
            }
            (_, value) => Items::One(Some(value)),
        }
    }
}

/// The items of one value of a list.
pub(super) enum Items<'b> {
    One(Option<Value<'b>>),
    Packed(Reader<'b>),
}

impl<'b> Iterator for Items<'b> {
    type Item = Result<Value<'b>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Items::One(value) => value.take().map(Ok),
            Items::Packed(reader) if reader.rest.is_empty() => None,
            Items::Packed(reader) => Some(reader.varint().map(Value::Varint)),
        }
    }
}
