//! `components.schemas`: the messages of the schema table, each under upstream's name.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::GroupVersion;
use crate::apiextensions::schema_name;
use crate::resource::Kind;
use crate::schema::{self, Field, Form, ListType, MapType, MessageRef, Type};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Collects the schemas that a document refers to, and those that they refer to.
pub(super) struct Schemas<'k> {
    served: &'k GroupVersion,
    schemas: Map<String, Value>,
}

impl<'k> Schemas<'k> {
    pub(super) fn new(served: &'k GroupVersion) -> Schemas<'k> {
        Schemas { served, schemas: Map::new() }
    }

    pub(super) fn into_json(self) -> Value {
        Value::Object(self.schemas)
    }

    /// A reference to a kind's schema, which the document then has; any object if the table lacks the kind.
    pub(super) fn kind(&mut self, group: &str, version: &str, kind: &str) -> Value {
        match schema::message(group, version, kind) {
            Some(message) => self.message(message),
            None => json!({"type": "object"}),
        }
    }

    /// A reference to the schema of a kind's objects.
    pub(super) fn object(&mut self, kind: &Kind) -> Value {
        let Some(mut schema) = kind.custom_openapi() else {
            return self.kind(&kind.group, &kind.version, &kind.kind);
        };
        let name = schema_name(&kind.group, &kind.version, &kind.kind);
        schema["properties"]["metadata"] = json!({ "allOf": [self.meta("ObjectMeta")] });
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": kind.group, "version": kind.version, "kind": kind.kind}]);
        self.special(&name, schema)
    }

    /// A reference to the schema of a list of them.
    pub(super) fn list(&mut self, kind: &Kind) -> Value {
        if kind.defined_by.is_none() {
            return self.kind(&kind.group, &kind.version, &kind.list_kind);
        }
        let (items, metadata) = (self.object(kind), self.meta("ListMeta"));
        let text = json!({"type": "string"});
        let schema = json!({
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": text, "kind": text, "metadata": {"allOf": [metadata]},
                "items": {"type": "array", "items": items},
            },
            "x-kubernetes-group-version-kind":
                [{"group": kind.group, "version": kind.version, "kind": kind.list_kind}],
        });
        self.special(&schema_name(&kind.group, &kind.version, &kind.list_kind), schema)
    }

    /// A reference to a message of meta/v1.
    fn meta(&mut self, name: &str) -> Value {
        let name = format!("{META}{name}");
        let found = schema::built_in().messages().find(|message| message.name() == name);
        found.map_or_else(|| json!({"type": "object"}), |message| self.message(message))
    }

    /// A reference to the schema of a patch's body.
    pub(super) fn patch(&mut self) -> Value {
        self.special(&format!("{META}Patch"), json!({"type": "object"}))
    }

    fn message(&mut self, message: MessageRef<'_>) -> Value {
        let name = message.name();
        if !self.schemas.contains_key(name) {
            // Stands for it while its fields are looked at: types refer to themselves.
            self.schemas.insert(name.to_owned(), Value::Null);
            let schema = if message.form() == Form::Union { json!({}) } else { self.message_object(message) };
            self.schemas.insert(name.to_owned(), schema);
        }
        reference(name)
    }

    fn message_object(&mut self, message: MessageRef<'_>) -> Value {
        let mut schema = Map::from_iter([("type".to_owned(), json!("object"))]);
        let mut properties = Map::new();
        for field in message.fields() {
            properties.insert(field.name.to_string(), self.property(message, field));
        }
        let required: Vec<&str> =
            message.fields().iter().filter(|field| field.required).map(|field| &*field.name).collect();
        if !properties.is_empty() {
            schema.insert("properties".to_owned(), Value::Object(properties));
        }
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        if message.is_atomic() {
            schema.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
        }
        let kinds = self.kinds_of(message);
        if !kinds.is_empty() {
            schema.insert("x-kubernetes-group-version-kind".to_owned(), Value::from(kinds));
        }
        Value::Object(schema)
    }

    /// The kinds that a message is: one, or for the options of a request one in each group of the document.
    fn kinds_of(&self, message: MessageRef<'_>) -> Vec<Value> {
        let Some(own) = message.kind() else { return Vec::new() };
        let mut kinds = BTreeSet::from([(&*own.group, &*own.version)]);
        if message.name().starts_with(META) && message.name().ends_with("Options") {
            kinds.insert((&self.served.group, &self.served.version));
        }
        let entry = |(group, version)| json!({"group": group, "version": version, "kind": &*own.kind});
        kinds.into_iter().map(entry).collect()
    }

    fn property(&mut self, message: MessageRef<'_>, field: &Field) -> Value {
        let value = self.value(message, &field.kind);
        // A reference stands alone: what else is known of the field goes beside it.
        let value = if value.get("$ref").is_some() { json!({ "allOf": [value] }) } else { value };
        let Value::Object(mut property) = value else { return value };
        property.extend(facts(field));
        Value::Object(property)
    }

    fn value(&mut self, message: MessageRef<'_>, kind: &Type) -> Value {
        let meta = |name: &str| format!("{META}{name}");
        match kind {
            Type::String => json!({"type": "string"}),
            Type::Int32 => json!({"type": "integer", "format": "int32"}),
            Type::Int64 => json!({"type": "integer", "format": "int64"}),
            Type::Bool => json!({"type": "boolean"}),
            Type::Double => json!({"type": "number", "format": "double"}),
            Type::Bytes => json!({"type": "string", "format": "byte"}),
            Type::List(items) => json!({"type": "array", "items": self.value(message, items)}),
            Type::Map(values) => {
                json!({"type": "object", "additionalProperties": self.value(message, values)})
            }
            Type::Message(id) => self.message(message.get(*id)),
            Type::Quantity => self.special(
                "io.k8s.apimachinery.pkg.api.resource.Quantity",
                json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            ),
            Type::IntOrString => self.special(
                "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            ),
            Type::Time => self.special(&meta("Time"), json!({"type": "string", "format": "date-time"})),
            Type::MicroTime => {
                self.special(&meta("MicroTime"), json!({"type": "string", "format": "date-time"}))
            }
            Type::Duration => self.special(&meta("Duration"), json!({"type": "string"})),
            Type::FieldsV1 => self.special(&meta("FieldsV1"), json!({"type": "object"})),
            Type::RawExtension => {
                self.special("io.k8s.apimachinery.pkg.runtime.RawExtension", json!({"type": "object"}))
            }
            Type::Json => {
                self.special("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", json!({}))
            }
        }
    }

    fn special(&mut self, name: &str, schema: Value) -> Value {
        self.schemas.entry(name).or_insert(schema);
        reference(name)
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// What is known of a field besides its type.
fn facts(field: &Field) -> Vec<(String, Value)> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: Value| facts.push((name.to_owned(), value));
    if let Some(default) = default(field) {
        add("default", default);
    }
    match &field.list {
        Some(ListType::Atomic) => add("x-kubernetes-list-type", json!("atomic")),
        Some(ListType::Set) => add("x-kubernetes-list-type", json!("set")),
        Some(ListType::Map(keys)) => {
            add("x-kubernetes-list-type", json!("map"));
            add("x-kubernetes-list-map-keys", json!(keys));
        }
        None => {}
    }
    match field.map {
        Some(MapType::Atomic) => add("x-kubernetes-map-type", json!("atomic")),
        Some(MapType::Granular) => add("x-kubernetes-map-type", json!("granular")),
        None => {}
    }
    let patch = field.patch;
    let strategies = [("merge", patch.merge), ("replace", patch.replace), ("retainKeys", patch.retain_keys)];
    let strategies: Vec<&str> =
        strategies.into_iter().filter_map(|(name, set)| set.then_some(name)).collect();
    if !strategies.is_empty() {
        add("x-kubernetes-patch-strategy", json!(strategies.join(",")));
    }
    if let Some(key) = &field.merge_key {
        add("x-kubernetes-patch-merge-key", json!(key));
    }
    facts
}

/// The declared default, or the zero that upstream writes for a field that is never left out.
fn default(field: &Field) -> Option<Value> {
    if let Some(default) = &field.default {
        return serde_json::from_str(default).ok();
    }
    match field.kind {
        _ if !field.always => None,
        Type::String => Some(json!("")),
        Type::Int32 | Type::Int64 | Type::Double => Some(json!(0)),
        Type::Bool => Some(json!(false)),
        _ => None,
    }
}
