//! How a value is divided among its owners: as one piece, field by field, or item by item. The schema says which.

use std::borrow::Cow;

use super::element::Element;
use super::level::{Member, items, members, start};
use crate::decode::cursor::Start;
use crate::schema::{Field, Form, ListType, MapType, MessageRef, Type};

/// How a value is divided.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape<'s> {
    /// Owned as one piece: scalars, atomic lists, maps and objects.
    Leaf,
    /// Field by field.
    Object(MessageRef<'s>),
    /// Key by key; all values are of one type of the message's schema.
    Map(MessageRef<'s>, &'s Type),
    /// Item by item, told apart by the fields named.
    Keyed {
        /// The message that has the list, into whose schema the type refers.
        owner: MessageRef<'s>,
        /// The items' type.
        item: &'s Type,
        /// The names of the fields.
        keys: &'s [Box<str>],
    },
    /// Scalars, each owned for itself.
    Set,
    /// No type is known: objects field by field, all else as one piece.
    Free,
}

/// An item of a divided list.
#[derive(Debug)]
pub(crate) struct Item<'j> {
    /// What tells it from the others.
    pub(crate) element: Element,
    /// Its text.
    pub(crate) value: &'j str,
}

/// Why a list cannot be divided.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ItemError {
    /// An item lacks a field by which items are told apart.
    #[error(
        "element {position}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
    )]
    NoKey {
        /// Which item.
        position: usize,
        /// The field.
        key: String,
    },
    /// An item is no object.
    #[error("element {position}: associative list with keys may not have non-map elements")]
    NoObject {
        /// Which item.
        position: usize,
    },
    /// An item of a set is a list, an object or null.
    #[error("element {position}: sets may only hold scalars")]
    NoScalar {
        /// Which item.
        position: usize,
    },
}

impl<'s> Shape<'s> {
    /// The shape of a value of type `kind`, whose references are to the schema of `message`.
    fn of(message: MessageRef<'s>, kind: &'s Type, field: Option<&'s Field>) -> Shape<'s> {
        let map = field.and_then(|field| field.map);
        match kind {
            Type::Message(id) => {
                let own = message.get(*id);
                let is_atomic = map == Some(MapType::Atomic) || map.is_none() && own.is_atomic();
                if is_atomic || own.form() == Form::Union { Shape::Leaf } else { Shape::Object(own) }
            }
            Type::Map(values) if map != Some(MapType::Atomic) => Shape::Map(message, values),
            Type::List(item) => match field.and_then(|field| field.list.as_ref()) {
                Some(ListType::Map(keys)) => Shape::Keyed { owner: message, item, keys },
                Some(ListType::Set) => Shape::Set,
                _ => Shape::Leaf,
            },
            Type::Json => Shape::Free,
            _ => Shape::Leaf,
        }
    }

    /// The shape of the member `name`, and whether the schema has a field of that name.
    pub(crate) fn member(self, name: &str) -> (Shape<'s>, bool) {
        match self {
            Shape::Object(message) => match message.field(name) {
                Some(field) => (Shape::of(message, &field.kind, Some(field)), true),
                None => (Shape::Free, false),
            },
            Shape::Map(message, values) => (Shape::of(message, values, None), false),
            _ => (Shape::Free, false),
        }
    }

    /// The shape of each item.
    pub(crate) fn item(self) -> Shape<'s> {
        match self {
            Shape::Keyed { owner, item, .. } => Shape::of(owner, item, None),
            _ => Shape::Leaf,
        }
    }

    /// Whether this value is an object whose members are owned one by one.
    pub(crate) fn has_members(self, text: &str) -> bool {
        match self {
            Shape::Object(_) | Shape::Map(..) => true,
            Shape::Free => start(text) == Start::Object,
            _ => false,
        }
    }

    /// Whether its items are owned one by one.
    pub(crate) fn has_items(self) -> bool {
        matches!(self, Shape::Keyed { .. } | Shape::Set)
    }

    /// The items of a list of this shape.
    pub(crate) fn items<'j>(self, text: &'j str) -> Result<Vec<Item<'j>>, ItemError> {
        let texts = items(text).into_iter().enumerate();
        texts
            .map(|(position, value)| {
                let element = match self {
                    Shape::Keyed { owner, item, keys } => key(owner, item, keys, position, value)?,
                    _ => scalar(position, value)?,
                };
                Ok(Item { element, value })
            })
            .collect()
    }
}

fn scalar(position: usize, value: &str) -> Result<Element, ItemError> {
    match start(value) {
        Start::Object | Start::Array | Start::Null => Err(ItemError::NoScalar { position }),
        _ => Ok(Element::Value(canonical(value).into())),
    }
}

/// The element of an item: its key fields, or what they are when they are absent.
fn key(
    owner: MessageRef<'_>,
    item: &Type,
    keys: &[Box<str>],
    position: usize,
    value: &str,
) -> Result<Element, ItemError> {
    if start(value) != Start::Object {
        return Err(ItemError::NoObject { position });
    }
    let members = members(value);
    if let [name] = keys {
        let found = key_value(owner, item, &members, name, position)?;
        return Ok(Element::Key(format!("{{\"{name}\":{found}}}").into()));
    }
    let mut parts = Vec::with_capacity(keys.len());
    for name in keys {
        let found = key_value(owner, item, &members, name, position)?;
        parts.push(format!("\"{name}\":{found}"));
    }
    parts.sort_unstable();
    Ok(Element::Key(format!("{{{}}}", parts.join(",")).into()))
}

fn key_value<'j>(
    owner: MessageRef<'j>,
    item: &Type,
    members: &[Member<'j>],
    name: &str,
    position: usize,
) -> Result<Cow<'j, str>, ItemError> {
    if let Some(member) = members.iter().find(|member| member.name == name && member.value != "null") {
        return Ok(canonical(member.value));
    }
    let default = match item {
        Type::Message(id) => owner.get(*id).field(name).and_then(|field| field.default.as_deref()),
        _ => None,
    };
    default.map(Cow::Borrowed).ok_or_else(|| ItemError::NoKey { position, key: name.to_owned() })
}

/// A scalar in its one spelling.
fn canonical(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    serde_json::from_str::<serde_json::Value>(value)
        .map_or(Cow::Borrowed(value), |read| Cow::Owned(read.to_string()))
}
