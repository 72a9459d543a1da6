//! Merging lists: scalars as a set, objects by their merge key.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{Object, PATCH, Shape, directives, merge_objects, order};
use crate::patch::PatchError;

/// Merges a patch's list into a list. `key` is the merge key of lists of objects.
pub(super) fn merge(
    original: Vec<Value>,
    patch: Vec<Value>,
    item: Shape<'_>,
    key: Option<&str>,
) -> Result<Vec<Value>, PatchError> {
    if !original.iter().chain(&patch).any(Value::is_object) {
        return merge_scalars(original, patch);
    }
    let Some(key) = key else {
        return Err(PatchError::Malformed("cannot merge lists without merge key".to_owned()));
    };
    let original = objects(original)?;
    let (original, patch) = apply_item_directives(original, objects(patch)?, key)?;
    let order = keys(&patch, key)?;
    let before = keys(&original, key)?;
    let merged = merge_by_key(original, patch, item, key)?;
    order::arrange(merged, &order, &before, |item| item.get(key).map(Value::to_string).unwrap_or_default())
        .map(|items| items.into_iter().map(Value::Object).collect())
}

fn merge_scalars(original: Vec<Value>, patch: Vec<Value>) -> Result<Vec<Value>, PatchError> {
    if original.iter().chain(&patch).any(Value::is_array) {
        return Err(PatchError::Rejected("lists of lists are not supported".to_owned()));
    }
    let order: Vec<String> = patch.iter().map(Value::to_string).collect();
    let before: Vec<String> = original.iter().map(Value::to_string).collect();
    let mut seen = HashSet::new();
    let mut merged = original;
    merged.extend(patch);
    merged.retain(|item| seen.insert(item.to_string()));
    order::arrange(merged, &order, &before, Value::to_string)
}

/// The items as objects, which they all must be.
fn objects(items: Vec<Value>) -> Result<Vec<Object>, PatchError> {
    let object = |item| match item {
        Value::Object(object) => Ok(object),
        _ => Err(PatchError::Rejected("list element types are not identical".to_owned())),
    };
    items.into_iter().map(object).collect()
}

/// The merge keys of all items, as JSON text.
pub(super) fn keys(items: &[Object], key: &str) -> Result<Vec<String>, PatchError> {
    items.iter().map(|item| item.get(key).map(Value::to_string).ok_or_else(|| no_key(item, key))).collect()
}

fn no_key(item: &Object, key: &str) -> PatchError {
    let item = Value::Object(item.clone());
    PatchError::Malformed(format!("map: {item} does not contain declared merge key: {key}"))
}

/// `$patch: delete` in an item deletes the item of its key; `$patch: replace` in any item replaces the list.
fn apply_item_directives(
    mut original: Vec<Object>,
    patch: Vec<Object>,
    key: &str,
) -> Result<(Vec<Object>, Vec<Object>), PatchError> {
    let (mut kept, mut deleted, mut replaces) = (Vec::with_capacity(patch.len()), HashSet::new(), false);
    for item in patch {
        match item.get(PATCH).map(Value::as_str) {
            None => kept.push(item),
            Some(Some("delete")) => {
                deleted.insert(item.get(key).map(Value::to_string).ok_or_else(|| no_key(&item, key))?);
            }
            Some(Some("replace")) => replaces = true,
            Some(Some("merge")) => {
                let text = "merging lists cannot yet be specified in the patch".to_owned();
                return Err(PatchError::Malformed(text));
            }
            Some(_) => return Err(directives::unknown(&item[PATCH], &item)),
        }
    }
    if replaces {
        return Ok((kept, Vec::new()));
    }
    original.retain(|item| !item.get(key).is_some_and(|value| deleted.contains(&value.to_string())));
    Ok((original, kept))
}

/// Merges each item of the patch into the item of its key, or adds it.
fn merge_by_key(
    original: Vec<Object>,
    patch: Vec<Object>,
    shape: Shape<'_>,
    key: &str,
) -> Result<Vec<Object>, PatchError> {
    let mut positions = HashMap::new();
    for (position, key) in keys(&original, key)?.into_iter().enumerate() {
        positions.entry(key).or_insert(position);
    }
    let mut merged = original;
    for (key, item) in keys(&patch, key)?.into_iter().zip(patch) {
        if let Some(position) = positions.get(&key) {
            let old = std::mem::take(&mut merged[*position]);
            merged[*position] = merge_objects(old, item, shape)?;
        } else if let Some(Value::Object(item)) = directives::clean(Value::Object(item)) {
            positions.insert(key, merged.len());
            merged.push(item);
        }
    }
    Ok(merged)
}
