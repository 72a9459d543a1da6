//! The directives of a strategic merge patch: finding them, checking them, and keeping them out of the object.

use serde_json::Value;

use super::Object;
use crate::patch::PatchError;

pub(super) const PATCH: &str = "$patch";
pub(super) const RETAIN_KEYS: &str = "$retainKeys";
pub(super) const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
pub(super) const SET_ORDER: &str = "$setElementOrder";

/// `$retainKeys`: removes from the object what is not listed. The patch itself may set only what is listed.
pub(super) fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let Some(listed) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let malformed = || PatchError::Malformed("invalid patch format of retainKeys".to_owned());
    let listed = listed.as_array().ok_or_else(malformed)?;
    let is_listed = |name: &str| listed.iter().any(|listed| listed.as_str() == Some(name));
    let is_directive = |name: &str| name.starts_with(DELETE_FROM_LIST) || name.starts_with(SET_ORDER);
    let mut set = patch.iter().filter(|(name, value)| !value.is_null() && !is_directive(name));
    if !set.all(|(name, _)| is_listed(name)) {
        return Err(malformed());
    }
    original.retain(|name, _| is_listed(name));
    Ok(())
}

/// Takes the `prefix/field` directives out of the patch: the fields' names and what the directives say.
pub(super) fn take_prefixed(
    patch: &mut Object,
    prefix: &'static str,
) -> Result<Vec<(String, Value)>, PatchError> {
    let names: Vec<String> = patch.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
    let mut taken = Vec::with_capacity(names.len());
    for name in names {
        let value = patch.remove(&name).unwrap_or_default();
        let Some(field) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')) else {
            let list = if prefix == SET_ORDER { "setElementOrder" } else { "primitive" };
            return Err(PatchError::Malformed(format!("invalid patch format of {list} list")));
        };
        taken.push((field.to_owned(), value));
    }
    Ok(taken)
}

/// A value that the object had not, without directives and nulls; `None` if it asks for its own deletion.
pub(super) fn clean(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) => {
            if fields.get(PATCH).is_some_and(|directive| directive == "delete") {
                return None;
            }
            let is_directive = |name: &str| {
                [PATCH, RETAIN_KEYS].contains(&name)
                    || name.starts_with(DELETE_FROM_LIST)
                    || name.starts_with(SET_ORDER)
            };
            let kept = fields.into_iter().filter(|(name, value)| !value.is_null() && !is_directive(name));
            Some(Value::Object(kept.filter_map(|(name, value)| Some((name, clean(value)?))).collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(clean).collect())),
        scalar => Some(scalar),
    }
}

/// A `$patch` that is none of those that may stand there.
pub(super) fn unknown(directive: &Value, patch: &Object) -> PatchError {
    let directive = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    let patch = Value::Object(patch.clone());
    PatchError::Malformed(format!("unknown patch type: '{directive}' in map: {patch}"))
}
