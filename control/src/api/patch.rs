//! PATCH: JSON patch, merge patch and strategic merge patch, applied to what is stored, again if another write
//! came between.

use bytes::Bytes;
use http::header;
use isopod_spec::patch::{self, PatchError, PatchType};
use isopod_spec::resource::{Kind, Target};
use isopod_spec::schema::MessageRef;
use isopod_spec::status::{Reason, Status};
use serde_json::Value;

use super::body::{self, Decoded};
use super::call::{Call, FieldValidation};
use super::create::{view, written_reply};
use super::reply::Reply;
use super::{Addressed, Api};
use crate::objects::{Change, Current};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// What a 415 to a patch lists.
const PATCH_TYPES: [&str; 3] = [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH];

/// A patch, read and not yet applied.
pub(crate) struct Patch {
    kind: PatchType,
    bytes: Bytes,
}

/// Patches what `target` names of an object.
pub(crate) async fn patch(
    api: &Api,
    on: &Addressed<'_>,
    target: Target,
    call: &mut Call,
) -> Result<Reply, Status> {
    let (commit, view, validation) = (call.commit()?, view(on.kind, call)?, call.field_validation()?);
    let patch = read(call).await?;
    let change = Change { kind: on.kind, namespace: on.namespace, name: on.name, target, commit };
    let (caller, mut warnings) = (api.caller(call), Vec::new());
    let written = api
        .objects
        .update_object(&change, |current| {
            let Decoded { object, warnings: found } = patch.object(on.kind, current, validation)?;
            caller.may_replace(on.kind, current.object, object.as_ref())?;
            warnings = found;
            Ok(object)
        })
        .await?;
    Ok(written_reply(&view, &written)?.warn(warnings))
}

/// Reads the patch in the body; its type is that of the body.
pub(crate) async fn read(call: &mut Call) -> Result<Patch, Status> {
    let content_type = call.header(&header::CONTENT_TYPE).unwrap_or_default();
    let kind = match content_type.split(';').next().unwrap_or_default().trim() {
        JSON_PATCH => PatchType::Json,
        MERGE_PATCH => PatchType::Merge,
        STRATEGIC_PATCH => PatchType::Strategic,
        APPLY_PATCH => {
            let mut status = Status::unsupported_media_type(&PATCH_TYPES);
            status.message = format!("server-side apply is not supported yet: {}", status.message);
            return Err(status);
        }
        _ => return Err(Status::unsupported_media_type(&PATCH_TYPES)),
    };
    Ok(Patch { kind, bytes: call.read_body().await? })
}

impl Patch {
    /// The patched object.
    fn object(
        &self,
        kind: &Kind,
        current: &Current<'_>,
        validation: FieldValidation,
    ) -> Result<Decoded, Status> {
        let duplicates = body::check_patch(&self.bytes, validation)?;
        let tree = kind.object_json(&current.entry.value, current.entry.modified.0);
        let tree: Value = serde_json::from_slice(&tree).map_err(|error| crate::objects::corrupt(&error))?;
        let patched = self.apply(kind.strategic(), tree)?;
        let json = serde_json::to_vec(&patched).expect("a JSON tree can be written");
        let checked = body::check_fields(kind, &json, validation)?;
        let object = kind.decode(&checked.json)?;
        let warnings = duplicates
            .into_iter()
            .chain(checked.warnings)
            .chain(object.warnings())
            .chain(kind.inert.map(str::to_owned))
            .collect();
        Ok(Decoded { object, warnings })
    }

    /// Applies the patch to a tree of any type.
    pub(crate) fn apply(&self, schema: Option<MessageRef<'_>>, tree: Value) -> Result<Value, Status> {
        patch::apply(self.kind, schema, tree, &self.bytes).map_err(|error| {
            let message = error.to_string();
            match error {
                PatchError::Rejected(_) => {
                    Status { code: 422, reason: Reason::Invalid, message, details: None }
                }
                PatchError::TooLarge(_) => Status { message, ..Status::too_large(0) },
                PatchError::Unsupported => Status { message, ..Status::unsupported_media_type(&PATCH_TYPES) },
                _ => Status::bad_request(message),
            }
        })
    }
}
