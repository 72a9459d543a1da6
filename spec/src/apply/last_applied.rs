//! The annotation of client-side apply: what its user still owns by it, and keeping it in step.
//!
//! `kubectl apply` without a server's help kept the configuration in an annotation. One who changes over to server-side
//! apply with the same files has no conflict with himself.

use serde_json::Value;

use super::LAST_APPLIED;
use super::merge::annotation;
use crate::managed::FieldSet;
use crate::managed::compare::{compare, named_fields};
use crate::managed::shape::Shape;

/// The fields that the annotation of `live` names and that still have the value it gave them.
pub(super) fn own_fields(live: &str, shape: Shape<'_>) -> FieldSet {
    let Some(text) = annotation(live, LAST_APPLIED) else { return FieldSet::default() };
    let Ok(last) = serde_json::from_str::<Value>(&text) else { return FieldSet::default() };
    let last = last.to_string();
    let Ok(named) = named_fields(&last, shape) else { return FieldSet::default() };
    let changes = compare(&last, live, shape);
    named.difference(&changes.written).difference(&changes.removed)
}

/// The annotation's text after `config` was applied.
pub(super) fn of(config: &str) -> String {
    let mut tree: Value = serde_json::from_str(config).unwrap_or_default();
    let metadata = tree.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }
    format!("{tree}\n")
}
