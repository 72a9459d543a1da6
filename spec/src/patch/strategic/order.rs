//! The order of merged lists: the patch's items in the patch's order, the others in the object's order, and the two
//! woven together so that items which both know stay in the order the object had.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use super::{Object, SET_ORDER, Shape, directives, list};
use crate::patch::PatchError;

/// Orders a merged list. `order` and `before` are the keys of the patch's list and of the object's list before.
pub(super) fn arrange<T>(
    merged: Vec<T>,
    order: &[String],
    before: &[String],
    key: impl Fn(&T) -> String,
) -> Result<Vec<T>, PatchError> {
    let ranks = |keys: &[String]| -> HashMap<String, usize> {
        // The first of equal keys counts.
        keys.iter().enumerate().rev().map(|(rank, key)| (key.clone(), rank)).collect()
    };
    let (order, before) = (ranks(order), ranks(before));
    let (mut from_patch, mut others) = (Vec::new(), Vec::new());
    for item in merged {
        let key = key(&item);
        let place = (order.get(&key).copied(), before.get(&key).copied(), item);
        if place.0.is_some() { from_patch.push(place) } else { others.push(place) }
    }
    from_patch.sort_by_key(|(order, _, _)| *order);
    others.sort_by_key(|(_, before, _)| *before);
    let (mut from_patch, mut others) = (VecDeque::from(from_patch), VecDeque::from(others));
    let mut arranged = Vec::with_capacity(from_patch.len() + others.len());
    while let (Some(patched), Some(other)) = (from_patch.front(), others.front()) {
        let other_first = matches!((other.1, patched.1), (Some(other), Some(patched)) if other < patched);
        let next = if other_first { others.pop_front() } else { from_patch.pop_front() };
        arranged.extend(next.map(|(_, _, item)| item));
    }
    arranged.extend(from_patch.into_iter().chain(others).map(|(_, _, item)| item));
    Ok(arranged)
}

/// `$setElementOrder/f`: merges the list `f`, if the patch has it, and orders it as the directive says.
pub(super) fn merge_ordered_lists(
    original: &mut Object,
    patch: &mut Object,
    shape: Shape<'_>,
) -> Result<(), PatchError> {
    for (name, order) in directives::take_prefixed(patch, SET_ORDER)? {
        let order = array(order)?;
        let (list_shape, field) = shape.field(&name);
        let key = field.and_then(|field| field.merge_key.as_deref());
        let merges = field.is_some_and(|field| field.patch.merge);
        let order_keys = item_keys(&order, key)?;
        let patched = patch.remove(&name).map(array).transpose()?;
        if let Some(patched) = &patched {
            check_order(patched, &order_keys, key)?;
        }
        let current = original.remove(&name).filter(|value| !value.is_null()).map(array).transpose()?;
        let before = item_keys(current.as_deref().unwrap_or_default(), key)?;
        let merged = match (current, patched) {
            (Some(current), Some(patched)) if merges => {
                list::merge(current, patched, list_shape.item(), key)?
            }
            (Some(current), None) => current,
            (_, Some(patched)) => patched.into_iter().filter_map(directives::clean).collect(),
            (None, None) => continue,
        };
        let arranged = arrange(merged, &order_keys, &before, |item| item_key(item, key).unwrap_or_default())?;
        original.insert(name, Value::Array(arranged));
    }
    Ok(())
}

fn array(value: Value) -> Result<Vec<Value>, PatchError> {
    match value {
        Value::Array(items) => Ok(items),
        Value::Null => Ok(Vec::new()),
        _ => Err(PatchError::Malformed("invalid patch format of setElementOrder list".to_owned())),
    }
}

/// What tells an item from others: its merge key, or itself.
fn item_key(item: &Value, key: Option<&str>) -> Option<String> {
    match key {
        Some(key) => item.get(key).map(Value::to_string),
        None => Some(item.to_string()),
    }
}

fn item_keys(items: &[Value], key: Option<&str>) -> Result<Vec<String>, PatchError> {
    let known = |item: &Value| {
        item_key(item, key).ok_or_else(|| {
            let key = key.unwrap_or_default();
            PatchError::Malformed(format!("map: {item} does not contain declared merge key: {key}"))
        })
    };
    items.iter().map(known).collect()
}

/// The patch's items, but for those it deletes, must be in the directive's list, in the same order.
fn check_order(patched: &[Value], order: &[String], key: Option<&str>) -> Result<(), PatchError> {
    let stays = |item: &&Value| item.get(super::PATCH).is_none_or(|directive| directive != "delete");
    let mut order_left = order.iter();
    for item in patched.iter().filter(stays) {
        let own = item_key(item, key);
        if !order_left.any(|ordered| Some(ordered) == own.as_ref()) {
            let patched = Value::from(patched.to_vec());
            return Err(PatchError::Malformed(format!(
                "the order in patch list:\n{patched}\n doesn't match $setElementOrder list:\n[{}]\n",
                order.join(", ")
            )));
        }
    }
    Ok(())
}
