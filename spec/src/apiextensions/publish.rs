//! The schema of a custom kind as OpenAPI documents show it.

use serde_json::{Map, Value, json};

/// What all objects have, in the words of upstream's documents.
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should \
    convert recognized schemas to the latest internal value, and may reject unrecognized values.";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this \
     from the endpoint the client submits requests to. Cannot be updated. In CamelCase.";

/// `io.example.v1.Widget`, for the kind Widget of `example.io/v1`.
pub(crate) fn schema_name(group: &str, version: &str, kind: &str) -> String {
    let reversed: Vec<&str> = group.split('.').rev().collect();
    format!("{}.{version}.{kind}", reversed.join("."))
}

/// The declared schema with what all objects have but their metadata, which documents refer to.
pub(super) fn schema(declared: &[u8]) -> Value {
    let declared: Map<String, Value> = serde_json::from_slice(declared).unwrap_or_default();
    let mut schema = declared;
    let properties = schema.entry("properties").or_insert_with(|| json!({}));
    if let Value::Object(properties) = properties {
        properties.insert("apiVersion".to_owned(), json!({"type": "string", "description": API_VERSION}));
        properties.insert("kind".to_owned(), json!({"type": "string", "description": KIND}));
    }
    Value::Object(schema)
}
