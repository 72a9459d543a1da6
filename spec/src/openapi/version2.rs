//! OpenAPI v2: one document of everything, made from those of v3, for generators and tools that know no other.
//!
//! v2 has no alternatives (`oneOf`, `anyOf`) and no facts beside a reference but its own, so a little is lost.

use serde_json::{Map, Value, json};

/// Builds the document, piece by piece.
#[derive(Default)]
pub(super) struct Builder {
    paths: Map<String, Value>,
    definitions: Map<String, Value>,
}

/// What v2 has no word for.
const UNKNOWN: [&str; 5] = ["anyOf", "oneOf", "not", "nullable", "allOf"];

impl Builder {
    /// Adds what a v3 document says.
    pub(super) fn add(&mut self, document: &Value) {
        for (path, item) in entries(&document["paths"]) {
            self.paths.insert(path.clone(), path_item(item));
        }
        for (name, schema) in entries(&document["components"]["schemas"]) {
            // The options of requests name the groups of the document that they are in: here, of all.
            let kinds = "x-kubernetes-group-version-kind";
            let before = self.definitions.get(name).and_then(|known| known.get(kinds)?.as_array().cloned());
            let mut merged = schema_2(schema);
            if let (Some(before), Some(own)) = (before, merged.get_mut(kinds).and_then(Value::as_array_mut)) {
                let new: Vec<Value> = before.into_iter().filter(|kind| !own.contains(kind)).collect();
                own.extend(new);
            }
            self.definitions.insert(name.clone(), merged);
        }
    }

    /// The whole document; `version` is the server's.
    pub(super) fn finish(self, version: &str) -> Value {
        json!({
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": version},
            "paths": self.paths,
            "definitions": self.definitions,
            "securityDefinitions": {
                "BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}
            },
            "security": [{"BearerToken": []}],
        })
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn path_item(item: &Value) -> Value {
    let convert = |(name, value): (&String, &Value)| match name.as_str() {
        "parameters" => (name.clone(), value.as_array().into_iter().flatten().map(parameter).collect()),
        _ => (name.clone(), operation(value)),
    };
    Value::Object(entries(item).map(convert).collect())
}

fn operation(operation: &Value) -> Value {
    let mut converted = Map::new();
    let mut parameters: Vec<Value> =
        operation["parameters"].as_array().into_iter().flatten().map(parameter).collect();
    for (name, value) in entries(operation) {
        match name.as_str() {
            "parameters" => {}
            "requestBody" => {
                let mut body = json!({"in": "body", "name": "body", "schema": body_schema(value)});
                if value["required"] == true {
                    body["required"] = true.into();
                }
                parameters.insert(0, body);
                converted.insert("consumes".to_owned(), media_types(value).into());
            }
            "responses" => {
                let answers = entries(value).map(|(code, answer)| (code.clone(), response(answer)));
                converted.insert(name.clone(), answers.collect());
                let mut produced: Vec<String> =
                    entries(value).flat_map(|(_, answer)| media_types(answer)).collect();
                produced.sort_unstable();
                produced.dedup();
                converted.insert("produces".to_owned(), produced.into());
            }
            _ => drop(converted.insert(name.clone(), value.clone())),
        }
    }
    if !parameters.is_empty() {
        converted.insert("parameters".to_owned(), parameters.into());
    }
    converted.insert("schemes".to_owned(), json!(["https"]));
    Value::Object(converted)
}

/// The schema's words stand in the parameter itself.
fn parameter(parameter: &Value) -> Value {
    let outside = entries(parameter).filter(|(name, _)| *name != "schema");
    let all = outside.chain(entries(&parameter["schema"]));
    Value::Object(all.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn response(answer: &Value) -> Value {
    let mut response = json!({"description": answer["description"]});
    let schema = body_schema(answer);
    if !schema.is_null() {
        response["schema"] = schema;
    }
    response
}

/// The schema of a body, which is the same for all its media types.
fn body_schema(body: &Value) -> Value {
    let first = entries(&body["content"]).next();
    first.map_or(Value::Null, |(_, content)| schema_2(&content["schema"]))
}

fn media_types(body: &Value) -> Vec<String> {
    entries(&body["content"]).map(|(media, _)| media.clone()).collect()
}

/// A schema in v2's words.
fn schema_2(schema: &Value) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(schema_2).collect(),
        Value::Object(fields) => {
            let mut converted = Map::new();
            for (name, value) in fields.iter().filter(|(name, _)| !UNKNOWN.contains(&name.as_str())) {
                let value = match (name.as_str(), value) {
                    ("$ref", Value::String(path)) => {
                        path.replace("#/components/schemas/", "#/definitions/").into()
                    }
                    // Fields may have any names, also those of words.
                    ("properties", Value::Object(_)) => {
                        entries(value).map(|(name, field)| (name.clone(), schema_2(field))).collect()
                    }
                    ("default" | "enum" | "example", value) => value.clone(),
                    (_, value) => schema_2(value),
                };
                converted.insert(name.clone(), value);
            }
            // A reference that stood alone, so that facts could stand beside it.
            if let Some([only]) = schema["allOf"].as_array().map(Vec::as_slice) {
                converted.extend(entries(&schema_2(only)).map(|(name, value)| (name.clone(), value.clone())));
            }
            // A quantity, or a number or text, are texts to v2.
            if schema["oneOf"].is_array() && !converted.contains_key("type") {
                converted.insert("type".to_owned(), "string".into());
            }
            Value::Object(converted)
        }
        other => other.clone(),
    }
}
