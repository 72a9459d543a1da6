//! Dropping fields that a schema does not know, and filling in those that it has a default for.
//!
//! Follows `pkg/apiserver/schema/{pruning,defaulting}`.

use serde_json::{Map, Value};

use super::{Additional, Node};

/// Fields of every object, and of an embedded one, that are kept whatever the schema says.
const OWN_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops what the schema does not know; `dropped` is told the path of each.
pub(in super::super) fn prune(value: &mut Value, node: &Node, dropped: &mut dyn FnMut(&str)) {
    Pruner { path: String::new(), dropped }.value(value, node);
}

/// The same for the fields of an object itself, which has its metadata elsewhere.
pub(in super::super) fn prune_fields(
    fields: &mut Map<String, Value>,
    node: &Node,
    dropped: &mut dyn FnMut(&str),
) {
    Pruner { path: String::new(), dropped }.fields(fields, node, true);
}

struct Pruner<'d> {
    path: String,
    dropped: &'d mut dyn FnMut(&str),
}

impl Pruner<'_> {
    fn value(&mut self, value: &mut Value, node: &Node) {
        match value {
            Value::Object(fields) => self.fields(fields, node, node.embedded),
            Value::Array(items) => {
                if let Some(of_items) = &node.items {
                    for (index, item) in items.iter_mut().enumerate() {
                        self.inside(&format!("[{index}]"), item, of_items);
                    }
                }
            }
            _ => {}
        }
    }

    fn fields(&mut self, fields: &mut Map<String, Value>, node: &Node, has_own: bool) {
        let keeps_all = node.preserve || matches!(node.additional, Additional::Any);
        let mut unknown = Vec::new();
        for (name, value) in fields.iter_mut() {
            let is_own = has_own && OWN_FIELDS.contains(&name.as_str());
            match node.field(name) {
                Some(of_field) if !(is_own && name == "metadata") => {
                    let step = if self.path.is_empty() { name.clone() } else { format!(".{name}") };
                    self.inside(&step, value, of_field);
                }
                Some(_) => {}
                None if keeps_all || is_own => {}
                None => unknown.push(name.clone()),
            }
        }
        for name in unknown {
            fields.remove(&name);
            let path = if self.path.is_empty() { name } else { format!("{}.{name}", self.path) };
            (self.dropped)(&path);
        }
    }

    fn inside(&mut self, step: &str, value: &mut Value, node: &Node) {
        let length = self.path.len();
        self.path.push_str(step);
        self.value(value, node);
        self.path.truncate(length);
    }
}

/// Fills in defaults. A null where none may be counts as absent.
pub(in super::super) fn fill(value: &mut Value, node: &Node) {
    match value {
        Value::Object(fields) => fill_fields(fields, node),
        Value::Array(items) => {
            if let Some(of_items) = &node.items {
                for item in items {
                    if let (true, Some(default)) = (item.is_null() && !of_items.nullable, &of_items.default) {
                        item.clone_from(default);
                    }
                    fill(item, of_items);
                }
            }
        }
        _ => {}
    }
}

/// The same for the fields of an object.
pub(in super::super) fn fill_fields(fields: &mut Map<String, Value>, node: &Node) {
    fields.retain(|name, value| match node.field(name) {
        Some(of_field) => !value.is_null() || of_field.nullable || is_anything(of_field),
        None => true,
    });
    for (name, of_field) in &node.properties {
        if let (false, Some(default)) = (fields.contains_key(name), &of_field.default) {
            fields.insert(name.clone(), default.clone());
        }
    }
    for (name, value) in fields.iter_mut() {
        if let Some(of_field) = node.field(name) {
            fill(value, of_field);
        }
    }
}

/// A field of which nothing is said may be null.
fn is_anything(node: &Node) -> bool {
    node.kind.is_none() && node.preserve && !node.int_or_string
}
