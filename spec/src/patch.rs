//! JSON patch, merge patch and strategic merge patch: a patch and an object make the patched object.
//!
//! Patches come from the network: their number of operations, their depth, and what they make the object grow to
//! are bounded. Server-side apply is not a patch in this sense.

mod json;
mod strategic;
#[cfg(test)]
mod tests;

use serde_json::Value;
use thiserror::Error;

use crate::decode::cursor::{Cursor, Start};
use crate::schema::MessageRef;

/// What a patch's media type says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// `application/json-patch+json`: a list of operations (RFC 6902).
    Json,
    /// `application/merge-patch+json`: the changed fields (RFC 7396).
    Merge,
    /// `application/strategic-merge-patch+json`: as a merge patch, with lists merged as the schema says.
    Strategic,
}

/// Why a patch was not applied.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatchError {
    /// The patch itself is wrong (400).
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the object: a failed `test`, a path that is not there (422).
    #[error("the server rejected our request due to an error in our request: {0}")]
    Rejected(String),
    /// Too many operations, or the object would grow too large (413).
    #[error("{0}")]
    TooLarge(String),
    /// Strategic merge of a kind without a schema (415).
    #[error("strategic merge patch is not supported for this kind")]
    Unsupported,
}

/// Applies a patch to an object. `schema` is the object's type, which only a strategic merge needs.
///
/// # Errors
/// See [`PatchError`]; the object is then gone.
pub fn apply(
    kind: PatchType,
    schema: Option<MessageRef<'_>>,
    current: Value,
    patch: &[u8],
) -> Result<Value, PatchError> {
    let patch = parse(kind, patch)?;
    match kind {
        PatchType::Json => json::apply(current, patch),
        PatchType::Merge => {
            let mut patched = current;
            json_patch::merge(&mut patched, &patch);
            Ok(patched)
        }
        PatchType::Strategic => {
            let schema = schema.ok_or(PatchError::Unsupported)?;
            strategic::apply(schema, current, patch)
        }
    }
}

/// Reads the patch: a list for JSON patch, an object otherwise.
fn parse(kind: PatchType, patch: &[u8]) -> Result<Value, PatchError> {
    let malformed = |text: String| PatchError::Malformed(format!("error decoding patch: {text}"));
    let text = std::str::from_utf8(patch).map_err(|_| malformed("invalid UTF-8".to_owned()))?;
    let mut cursor = Cursor::new(text);
    let start = cursor.start();
    let read = start.and_then(|_| cursor.skip(0)).and_then(|()| cursor.end());
    read.map_err(|fault| malformed(cursor.describe(fault)))?;
    let (wanted, go_type) = match kind {
        PatchType::Json => (Start::Array, "jsonpatch.Patch"),
        PatchType::Merge | PatchType::Strategic => (Start::Object, "map[string]interface {}"),
    };
    if start != Ok(wanted) {
        let word = start.map_or("null", Start::word);
        return Err(malformed(format!("json: cannot unmarshal {word} into Go value of type {go_type}")));
    }
    serde_json::from_str(text).map_err(|error| malformed(error.to_string()))
}
