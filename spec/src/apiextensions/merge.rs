//! A structural schema in the form that server-side apply reads: a [`Schema`] of messages, as the built-in types have.

use std::collections::HashMap;

use super::structural::{Additional, Kind, List, Node};
use crate::schema::{
    self, Field, ListType, MapType, Message, MessageId, MessageRef, PatchStrategy, Schema, Type,
};

/// The built-in message of metadata.
pub(super) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The schema of a custom kind; the kind itself is its first message.
pub(super) fn schema(name: &str, root: &Node) -> Schema {
    let mut builder = Builder::default();
    let position = builder.reserve();
    let mut fields = builder.fields(root);
    fields.retain(|field| !matches!(&*field.name, "apiVersion" | "kind" | "metadata"));
    let metadata = builder.metadata();
    fields.extend([
        field("apiVersion", Type::String),
        field("kind", Type::String),
        field("metadata", Type::Message(metadata)),
    ]);
    builder.put(position, message(name, fields, root.preserve));
    let messages = builder.messages.into_iter().map(|own| own.expect("every reserved place is taken"));
    Schema::new(messages.collect())
}

/// The message of the kind itself.
pub(super) fn root(schema: &Schema) -> MessageRef<'_> {
    schema.get(MessageId::at(0))
}

#[derive(Default)]
struct Builder {
    messages: Vec<Option<Message>>,
    /// Messages that were copied from the built-in ones, by name.
    copied: HashMap<String, MessageId>,
}

impl Builder {
    fn reserve(&mut self) -> usize {
        self.messages.push(None);
        self.messages.len() - 1
    }

    fn put(&mut self, position: usize, message: Message) {
        self.messages[position] = Some(message);
    }

    fn fields(&mut self, node: &Node) -> Vec<Field> {
        node.properties.iter().map(|(name, node)| self.field(name, node)).collect()
    }

    fn field(&mut self, name: &str, node: &Node) -> Field {
        let list = match (&node.kind, &node.list) {
            (Some(Kind::Array), List::Atomic) => Some(ListType::Atomic),
            (Some(Kind::Array), List::Set) => Some(ListType::Set),
            (Some(Kind::Array), List::Map(keys)) => {
                Some(ListType::Map(keys.iter().map(|key| key.as_str().into()).collect()))
            }
            _ => None,
        };
        Field {
            list,
            map: node.is_atomic.then_some(MapType::Atomic),
            default: node.default.as_ref().map(|default| default.to_string().into()),
            ..field(name, self.kind(node))
        }
    }

    fn kind(&mut self, node: &Node) -> Type {
        if node.int_or_string {
            return Type::IntOrString;
        }
        match node.kind {
            None => Type::Json,
            Some(Kind::String) => Type::String,
            Some(Kind::Integer) => Type::Int64,
            Some(Kind::Number) => Type::Double,
            Some(Kind::Boolean) => Type::Bool,
            Some(Kind::Array) => match &node.items {
                Some(items) => Type::List(Box::new(self.kind(items))),
                None => Type::Json,
            },
            Some(Kind::Object) => self.object(node),
        }
    }

    fn object(&mut self, node: &Node) -> Type {
        match &node.additional {
            Additional::Of(values) => return Type::Map(Box::new(self.kind(values))),
            Additional::Any => return Type::Map(Box::new(Type::Json)),
            Additional::Unsaid => {}
        }
        let position = self.reserve();
        let mut fields = self.fields(node);
        if node.embedded {
            let metadata = self.metadata();
            fields.retain(|field| !matches!(&*field.name, "apiVersion" | "kind" | "metadata"));
            fields.extend([
                field("apiVersion", Type::String),
                field("kind", Type::String),
                field("metadata", Type::Message(metadata)),
            ]);
        }
        let message = message("", fields, node.preserve);
        self.put(position, if node.is_atomic { message.atomic() } else { message });
        Type::Message(MessageId::at(position))
    }

    fn metadata(&mut self) -> MessageId {
        let built_in = schema::built_in().messages().find(|message| message.name() == OBJECT_META);
        self.copy(built_in.expect("the table has ObjectMeta"))
    }

    /// Takes a built-in message over, with those that it refers to.
    fn copy(&mut self, built_in: MessageRef<'static>) -> MessageId {
        if let Some(known) = self.copied.get(built_in.name()) {
            return *known;
        }
        let position = self.reserve();
        self.copied.insert(built_in.name().to_owned(), MessageId::at(position));
        let fields = built_in
            .fields()
            .iter()
            .map(|field| Field { kind: self.copy_type(built_in, &field.kind), ..field.clone() });
        let fields = fields.collect();
        self.put(position, message(built_in.name(), fields, false));
        MessageId::at(position)
    }

    fn copy_type(&mut self, of: MessageRef<'static>, kind: &Type) -> Type {
        match kind {
            Type::Message(id) => Type::Message(self.copy(of.get(*id))),
            Type::List(items) => Type::List(Box::new(self.copy_type(of, items))),
            Type::Map(values) => Type::Map(Box::new(self.copy_type(of, values))),
            other => other.clone(),
        }
    }
}

fn message(name: &str, mut fields: Vec<Field>, is_open: bool) -> Message {
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    let message = Message::new(name, fields, Vec::new());
    if is_open { message.open() } else { message }
}

fn field(name: &str, kind: Type) -> Field {
    Field {
        name: name.into(),
        kind,
        required: false,
        pointer: true,
        always: false,
        list: None,
        map: None,
        patch: PatchStrategy::default(),
        merge_key: None,
        default: None,
    }
}
