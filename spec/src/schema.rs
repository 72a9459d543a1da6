//! The table of facts about every field of every type: the one description that strict validation, protobuf and
//! YAML decoding, strategic merge, server-side apply and OpenAPI all read.
//!
//! The built-in types come from `schema/table.txt`, which `tests/schema_table` makes from the k8s-pb and k8s-openapi
//! crates; it is read once, when first asked for. A [`Schema`] may also be built from other messages, such as those
//! of a CustomResourceDefinition: nothing here knows which it is.

mod names;
mod table;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use names::NameIndex;

static BUILT_IN: LazyLock<Schema> = LazyLock::new(table::built_in);

/// The message of a built-in kind. `group` is `""` for core.
///
/// `DeleteOptions` and the other kinds of meta/v1 are kinds of every group and version.
pub fn message(group: &str, version: &str, kind: &str) -> Option<MessageRef<'static>> {
    let schema: &'static Schema = &BUILT_IN;
    schema.kind(group, version, kind).or_else(|| schema.kind("", "v1", kind).filter(|found| found.is_meta()))
}

/// Every built-in message.
pub fn built_in() -> &'static Schema {
    &BUILT_IN
}

/// A closed set of messages that refer to each other.
#[derive(Debug, Default)]
pub struct Schema {
    messages: Vec<Message>,
    /// Message of each kind, sorted by (group, version, kind).
    kinds: Vec<(GroupVersionKind, MessageId)>,
}

/// The API group, its version, and the kind, as `apiVersion` and `kind` say them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupVersionKind {
    /// `""` for core.
    pub group: Box<str>,
    /// Such as `v1`.
    pub version: Box<str>,
    /// Such as `Pod`.
    pub kind: Box<str>,
}

/// Which message of its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId(u32);

/// An object type: the fields its JSON may have, and the tags they have on the wire.
#[derive(Debug)]
pub struct Message {
    name: Box<str>,
    form: Form,
    kind: Option<GroupVersionKind>,
    atomic: bool,
    open: bool,
    fields: Vec<Field>,
    index: NameIndex,
    /// By tag, ascending.
    wire: Vec<(u32, Wire)>,
}

/// What the JSON of a message looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An object of the fields.
    Object,
    /// The value of the one field that is set, without its name (`JSONSchemaPropsOrBool`).
    Union,
}

/// What a tag of a message stands for.
#[derive(Clone, Copy, Debug)]
pub enum Wire {
    /// The field of this position in [`Message::fields`].
    Field(usize),
    /// A message whose fields are this message's fields in JSON.
    Inline(MessageId),
}

/// One field of a message.
#[derive(Clone, Debug)]
pub struct Field {
    /// As in JSON.
    pub name: Box<str>,
    /// What its value is.
    pub kind: Type,
    /// Must be there.
    pub required: bool,
    /// A zero or empty value is not the same as none: upstream has a pointer here.
    pub pointer: bool,
    /// Upstream writes the field even when its value is zero or empty; that is what none means.
    pub always: bool,
    /// How server-side apply merges the list. `None`: nothing was said, which means atomic.
    pub list: Option<ListType>,
    /// How server-side apply merges the map or object, where it differs from the default, field by field.
    pub map: Option<MapType>,
    /// How strategic merge patch treats the field.
    pub patch: PatchStrategy,
    /// The field that tells items of a strategically merged list apart.
    pub merge_key: Option<Box<str>>,
    /// The value, as JSON text, that an absent field stands for.
    pub default: Option<Box<str>>,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// A JSON string.
    String,
    /// A number that fits 32 bits.
    Int32,
    /// A number that fits 64 bits.
    Int64,
    /// `true` or `false`.
    Bool,
    /// A number with a fraction.
    Double,
    /// A base64 string.
    Bytes,
    /// An amount such as `100m` or `2Gi`.
    Quantity,
    /// A number or a string, such as a port or a percentage.
    IntOrString,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// A Go duration such as `1m30s`.
    Duration,
    /// The set of fields that a manager owns: an object of any shape.
    FieldsV1,
    /// An object of some other kind.
    RawExtension,
    /// Any JSON value.
    Json,
    /// An object of the schema.
    Message(MessageId),
    /// Items of one type. As the value of a map it is, on the wire, a message around the items.
    List(Box<Type>),
    /// From strings to values of one type.
    Map(Box<Type>),
}

/// How server-side apply merges a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListType {
    /// As a whole.
    Atomic,
    /// Scalars that occur once.
    Set,
    /// Objects told apart by these fields.
    Map(Vec<Box<str>>),
}

/// How server-side apply merges an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapType {
    /// As a whole.
    Atomic,
    /// Field by field.
    Granular,
}

/// How strategic merge patch treats a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// A list is merged, by [`Field::merge_key`] or as a set. Otherwise it is replaced.
    pub merge: bool,
    /// An object is replaced, not merged.
    pub replace: bool,
    /// The patch may list the fields to keep (`$retainKeys`).
    pub retain_keys: bool,
}

/// A message together with the schema it refers into. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct MessageRef<'s> {
    schema: &'s Schema,
    message: &'s Message,
}

impl Schema {
    /// Puts messages together. Each one's [`MessageId`] is its position.
    pub fn new(messages: Vec<Message>) -> Schema {
        let mut kinds: Vec<(GroupVersionKind, MessageId)> = Vec::new();
        for (position, message) in messages.iter().enumerate() {
            kinds.extend(message.kind.clone().map(|kind| (kind, MessageId::at(position))));
        }
        kinds.sort_by(|(a, _), (b, _)| a.cmp(b));
        Schema { messages, kinds }
    }

    /// The message of a kind. `group` is `""` for core.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<MessageRef<'_>> {
        let found = self.kinds.binary_search_by(|(has, _)| {
            (&*has.group, &*has.version, &*has.kind).cmp(&(group, version, kind))
        });
        Some(self.get(self.kinds[found.ok()?].1))
    }

    /// All messages, in the order of their ids.
    pub fn messages(&self) -> impl Iterator<Item = MessageRef<'_>> {
        self.messages.iter().map(|message| MessageRef { schema: self, message })
    }

    /// The message with this id, which must be of this schema.
    pub fn get(&self, id: MessageId) -> MessageRef<'_> {
        MessageRef { schema: self, message: &self.messages[id.0 as usize] }
    }
}

impl MessageId {
    /// The id of the message at this position of [`Schema::new`]'s argument.
    pub fn at(position: usize) -> MessageId {
        MessageId(u32::try_from(position).expect("a schema has fewer messages than there are u32s"))
    }
}

impl Message {
    /// An object type of these fields. `wire` says which tag is which of them.
    pub fn new(name: impl Into<Box<str>>, fields: Vec<Field>, mut wire: Vec<(u32, Wire)>) -> Message {
        wire.sort_by_key(|(tag, _)| *tag);
        let index = NameIndex::new(&fields);
        Message {
            name: name.into(),
            form: Form::Object,
            kind: None,
            atomic: false,
            open: false,
            fields,
            index,
            wire,
        }
    }

    /// The same, which server-side apply owns as a whole.
    #[must_use]
    pub fn atomic(mut self) -> Message {
        self.atomic = true;
        self
    }

    /// The same, where fields that are not listed may be there too.
    #[must_use]
    pub fn open(mut self) -> Message {
        self.open = true;
        self
    }
}

impl<'s> MessageRef<'s> {
    /// Upstream's name, such as `io.k8s.api.core.v1.Pod`.
    pub fn name(self) -> &'s str {
        &self.message.name
    }

    /// The kind, if it is one of its own; then `apiVersion` and `kind` are among its fields.
    pub fn kind(self) -> Option<&'s GroupVersionKind> {
        self.message.kind.as_ref()
    }

    /// What its JSON looks like.
    pub fn form(self) -> Form {
        self.message.form
    }

    /// Whether server-side apply owns it as a whole.
    pub fn is_atomic(self) -> bool {
        self.message.atomic
    }

    /// Whether there may be fields that are not listed, of which nothing is known. Only custom kinds have such.
    pub fn is_open(self) -> bool {
        self.message.open
    }

    /// All fields of the JSON form, sorted by name.
    pub fn fields(self) -> &'s [Field] {
        &self.message.fields
    }

    /// The field of this JSON name; names are told apart by case.
    pub fn field(self, name: &str) -> Option<&'s Field> {
        self.field_by_bytes(name.as_bytes())
    }

    /// As [`MessageRef::field`], for bytes that may not be UTF-8.
    pub fn field_by_bytes(self, name: &[u8]) -> Option<&'s Field> {
        self.message.index.find(&self.message.fields, name).map(|position| &self.message.fields[position])
    }

    /// The position in [`MessageRef::fields`] of the field of this JSON name.
    pub fn position(self, name: &[u8]) -> Option<usize> {
        self.message.index.find(&self.message.fields, name)
    }

    /// What a tag of the wire form stands for.
    pub fn wire(self, tag: u32) -> Option<Wire> {
        let found = self.message.wire.binary_search_by_key(&tag, |(tag, _)| *tag);
        found.ok().map(|position| self.message.wire[position].1)
    }

    /// Another message of the same schema.
    pub fn get(self, id: MessageId) -> MessageRef<'s> {
        self.schema.get(id)
    }

    fn is_meta(self) -> bool {
        self.name().starts_with("io.k8s.apimachinery.pkg.apis.meta.")
    }
}
