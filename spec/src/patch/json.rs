//! JSON patch (RFC 6902), one operation at a time, with bounds on what the operations together may cost.

use json_patch::{PatchOperation, jsonptr::Pointer};
use serde_json::Value;

use super::PatchError;

/// As upstream.
const MAX_OPERATIONS: usize = 10_000;

/// All `copy` operations together may copy this much, as upstream: copies of copies double each time.
const MAX_COPIED_BYTES: usize = 3 << 20;

/// How many list items all insertions and removals may push aside, and how many values all moves may be measured:
/// ten thousand insertions at the head of a long list would otherwise take seconds.
const MAX_STEPS: usize = 20_000_000;

/// How deep the object may become: what `serde_json` reads again.
const MAX_DEPTH: usize = 127;

/// Applies the operations in their order.
pub(super) fn apply(current: Value, patch: Value) -> Result<Value, PatchError> {
    let count = patch.as_array().map_or(0, Vec::len);
    if count > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "the allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}"
        )));
    }
    let operations: json_patch::Patch = serde_json::from_value(patch)
        .map_err(|error| PatchError::Malformed(format!("error decoding patch: {error}")))?;
    let mut costs = Costs { depth: depth(&current, &mut 0), ..Costs::default() };
    let mut patched = current;
    for operation in operations.0 {
        costs.add(&patched, &operation)?;
        if is_absent_as_tested(&patched, &operation) {
            continue;
        }
        json_patch::patch_unsafe(&mut patched, std::slice::from_ref(&operation))
            .map_err(|error| PatchError::Rejected(describe(&operation, &error.kind)))?;
    }
    Ok(patched)
}

/// Whether the operation tests for null and the field is not there, which is the same to Kubernetes: clients so make
/// sure that they are the first to write a field.
fn is_absent_as_tested(object: &Value, operation: &PatchOperation) -> bool {
    let PatchOperation::Test(test) = operation else { return false };
    let parent = test.path.parent().and_then(|parent| object.pointer(parent.as_str()));
    test.value.is_null()
        && parent.is_some_and(Value::is_object)
        && object.pointer(test.path.as_str()).is_none()
}

/// What the operations have cost so far.
#[derive(Default)]
struct Costs {
    copied_bytes: usize,
    /// List items pushed aside and values measured.
    steps: usize,
    /// The object is at most this deep.
    depth: usize,
}

impl Costs {
    /// Adds what an operation is going to cost.
    fn add(&mut self, object: &Value, operation: &PatchOperation) -> Result<(), PatchError> {
        match operation {
            PatchOperation::Add(add) => {
                self.shift(object, &add.path);
                self.deepen(&add.path, depth(&add.value, &mut 0))?;
            }
            PatchOperation::Replace(replace) => self.deepen(&replace.path, depth(&replace.value, &mut 0))?,
            PatchOperation::Remove(remove) => self.shift(object, &remove.path),
            PatchOperation::Move(moved) => {
                self.shift(object, &moved.from);
                self.shift(object, &moved.path);
                self.deepen_by_own(object, &moved.from, &moved.path)?;
            }
            PatchOperation::Copy(copy) => {
                let copied = object.pointer(copy.from.as_str());
                self.copied_bytes += copied.map_or(0, |value| value.to_string().len());
                self.shift(object, &copy.path);
                self.deepen_by_own(object, &copy.from, &copy.path)?;
            }
            PatchOperation::Test(_) => {}
        }
        if self.copied_bytes > MAX_COPIED_BYTES {
            return Err(too_large(format!(
                "the copies in a JSON patch may have {MAX_COPIED_BYTES} bytes in all"
            )));
        }
        if self.steps > MAX_STEPS {
            return Err(too_large("the JSON patch moves too many values".to_owned()));
        }
        Ok(())
    }

    fn shift(&mut self, object: &Value, path: &Pointer) {
        let parent = path.parent().and_then(|parent| object.pointer(parent.as_str()));
        self.steps += parent.and_then(Value::as_array).map_or(0, Vec::len);
    }

    /// A part of the object goes to another place of it. It is measured only when it might be too deep there, since
    /// that takes a walk over it.
    fn deepen_by_own(&mut self, object: &Value, from: &Pointer, path: &Pointer) -> Result<(), PatchError> {
        if self.deepen(path, self.depth).is_ok() {
            return Ok(());
        }
        let part = object.pointer(from.as_str()).map_or(0, |part| depth(part, &mut self.steps));
        self.deepen(path, part)
    }

    /// A value of some depth goes to `path`.
    fn deepen(&mut self, path: &Pointer, value: usize) -> Result<(), PatchError> {
        let there = path.tokens().count() + value;
        if there > MAX_DEPTH {
            return Err(too_large("the JSON patch nests the object too deep".to_owned()));
        }
        self.depth = self.depth.max(there);
        Ok(())
    }
}

fn too_large(text: String) -> PatchError {
    PatchError::TooLarge(text)
}

/// How many arrays and objects nest in a value, and in `steps` how many values were looked at. No value here is
/// deeper than [`MAX_DEPTH`].
fn depth(value: &Value, steps: &mut usize) -> usize {
    *steps += 1;
    match value {
        Value::Array(items) => 1 + items.iter().map(|item| depth(item, steps)).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(|field| depth(field, steps)).max().unwrap_or(0),
        _ => 0,
    }
}

fn describe(operation: &PatchOperation, error: &json_patch::PatchErrorKind) -> String {
    let path = operation.path();
    let name = match operation {
        PatchOperation::Test(_) => return format!("testing value {path} failed: {error}"),
        PatchOperation::Add(_) => "add",
        PatchOperation::Remove(_) => "remove",
        PatchOperation::Replace(_) => "replace",
        PatchOperation::Move(_) => "move",
        PatchOperation::Copy(_) => "copy",
    };
    format!("{name} operation does not apply: {path}: {error}")
}
