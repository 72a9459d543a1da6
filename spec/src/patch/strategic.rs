//! Strategic merge patch: a merge patch whose lists are merged by the keys that the schema names, with directives.
//!
//! The rules and their order are upstream's (`apimachinery/pkg/util/strategicpatch`), since `kubectl apply` computes
//! its patches against them:
//! - `$patch: replace|delete` in an object replaces or empties it; in a list item it replaces the list or deletes the
//!   item of that key;
//! - `$retainKeys` lists the fields of an object that may stay;
//! - `$deleteFromPrimitiveList/f` takes scalars out of the list `f`;
//! - `$setElementOrder/f` says the order of the list `f`; items the patch does not know keep their place among them.

mod directives;
mod list;
mod order;

use serde_json::{Map, Value};

use super::PatchError;
use crate::schema::{Field, MessageRef, Type};
use directives::{DELETE_FROM_LIST, PATCH, SET_ORDER};

type Object = Map<String, Value>;

/// Applies a patch, which must be an object.
pub(super) fn apply(schema: MessageRef<'_>, current: Value, patch: Value) -> Result<Value, PatchError> {
    let (Value::Object(current), Value::Object(patch)) = (current, patch) else {
        return Err(PatchError::Malformed("invalid JSON document".to_owned()));
    };
    merge_objects(current, patch, Shape::Message(schema)).map(Value::Object)
}

/// What is known of a value's type.
#[derive(Clone, Copy)]
enum Shape<'s> {
    Message(MessageRef<'s>),
    /// A map or list of a type, with the message through which it was reached.
    Of(MessageRef<'s>, &'s Type),
    /// Nothing: merged as a merge patch does.
    Any,
}

impl<'s> Shape<'s> {
    fn new(message: MessageRef<'s>, kind: &'s Type) -> Shape<'s> {
        match kind {
            Type::Message(id) => Shape::Message(message.get(*id)),
            kind => Shape::Of(message, kind),
        }
    }

    /// The shape of a field of the object, and the field's facts if the schema has them.
    fn field(self, name: &str) -> (Shape<'s>, Option<&'s Field>) {
        match self {
            Shape::Message(message) => match message.field(name) {
                Some(field) => (Shape::new(message, &field.kind), Some(field)),
                None => (Shape::Any, None),
            },
            Shape::Of(message, Type::Map(values)) => (Shape::new(message, values), None),
            _ => (Shape::Any, None),
        }
    }

    /// The shape of the list's items.
    fn item(self) -> Shape<'s> {
        match self {
            Shape::Of(message, Type::List(items)) => Shape::new(message, items),
            _ => Shape::Any,
        }
    }
}

fn merge_objects(mut original: Object, mut patch: Object, shape: Shape<'_>) -> Result<Object, PatchError> {
    match patch.remove(PATCH) {
        None => {}
        Some(Value::String(directive)) if directive == "replace" => return Ok(patch),
        Some(Value::String(directive)) if directive == "delete" => return Ok(Object::new()),
        Some(directive) => return Err(directives::unknown(&directive, &patch)),
    }
    directives::retain_keys(&mut original, &mut patch)?;
    order::merge_ordered_lists(&mut original, &mut patch, shape)?;
    delete_from_lists(&mut original, &mut patch)?;
    for (name, value) in patch {
        if value.is_null() {
            original.remove(&name);
            continue;
        }
        let (shape, field) = shape.field(&name);
        let strategy = field.map(|field| field.patch).unwrap_or_default();
        let merged = match (original.remove(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) if strategy.replace => {
                drop(old);
                Value::Object(new)
            }
            (Some(Value::Object(old)), Value::Object(new)) => Value::Object(merge_objects(old, new, shape)?),
            (Some(Value::Array(old)), Value::Array(new)) if strategy.merge => {
                let key = field.and_then(|field| field.merge_key.as_deref());
                Value::Array(list::merge(old, new, shape.item(), key)?)
            }
            (Some(Value::Array(_)), Value::Array(new)) => Value::Array(new),
            (_, new) => match directives::clean(new) {
                Some(value) => value,
                None => continue,
            },
        };
        original.insert(name, merged);
    }
    Ok(original)
}

/// `$deleteFromPrimitiveList/f`: takes the listed scalars out of the list `f`.
fn delete_from_lists(original: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    for (name, listed) in directives::take_prefixed(patch, DELETE_FROM_LIST)? {
        let Value::Array(listed) = listed else {
            return Err(PatchError::Malformed("invalid patch format of primitive list".to_owned()));
        };
        if let Some(Value::Array(items)) = original.get_mut(&name) {
            let listed: std::collections::HashSet<String> = listed.iter().map(Value::to_string).collect();
            items.retain(|item| !listed.contains(&item.to_string()));
        }
    }
    Ok(())
}
