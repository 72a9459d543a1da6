//! Whether the defaults of a schema are values of it.

use serde_json::Value;

use super::check::Checker;
use super::prune::{fill, prune};
use super::{Additional, Node};
use crate::field_error::{FieldErrors, Path};

/// Checks the defaults in a schema that has no other faults.
pub(super) fn check(node: &Node, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(default) = &node.default {
        let field = path.child("default");
        let mut filled = default.clone();
        let mut unknown = Vec::new();
        prune(&mut filled, node, &mut |path| unknown.push(path.to_owned()));
        if let Some(first) = unknown.first() {
            let detail = format!("must not have unknown fields: {first}");
            errors.invalid(&field, crate::field_error::Shown::json(default), &detail);
        }
        fill(&mut filled, node);
        if !(filled == Value::Null && node.nullable) {
            Checker::new(errors).value(&filled, None, node, &field);
        }
    }
    let properties = path.child("properties");
    for (name, node) in &node.properties {
        check(node, &properties.key(name), errors);
    }
    if let Some(items) = &node.items {
        check(items, &path.child("items"), errors);
    }
    if let Additional::Of(values) = &node.additional {
        check(values, &path.child("additionalProperties"), errors);
    }
}
