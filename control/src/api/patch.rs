//! PATCH: JSON patch, merge patch and strategic merge patch, applied to what is stored, again if another write
//! came between. Server-side apply is [`super::apply`].

use bytes::Bytes;
use http::header;
use isopod_spec::field_error::{FieldErrors, Path};
use isopod_spec::patch::{self, PatchError, PatchType};
use isopod_spec::resource::{Kind, Target};
use isopod_spec::schema::MessageRef;
use isopod_spec::status::{GroupKind, Reason, Status};
use serde_json::Value;

use super::body::{self, Decoded};
use super::call::{Call, FieldValidation};
use super::create::{view, written_reply};
use super::reply::Reply;
use super::{Addressed, Api, apply};
use crate::objects::{Change, Current};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// What a 415 to a patch lists.
const PATCH_TYPES: [&str; 4] = [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH];

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
    if is_apply(call) {
        return apply::apply(api, on, target, call).await;
    }
    let (commit, view, validation) = (call.commit()?, view(on.kind, call)?, call.field_validation()?);
    let patch = read(call).await?;
    let change = Change { kind: on.kind, namespace: on.namespace, name: on.name, target, commit };
    let (caller, mut warnings) = (api.caller(call), Vec::new());
    let objects = api.objects.managed_by(&call.field_manager()?);
    let written = objects
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
    let kind = match content_type(call) {
        JSON_PATCH => PatchType::Json,
        MERGE_PATCH => PatchType::Merge,
        STRATEGIC_PATCH => PatchType::Strategic,
        _ => return Err(Status::unsupported_media_type(&PATCH_TYPES)),
    };
    if call.query.text("force").is_some() {
        let mut errors = FieldErrors::new();
        errors.forbidden(&Path::new("force"), "may not be specified for non-apply patch");
        return Err(Status::invalid(GroupKind { group: "meta.k8s.io", kind: "PatchOptions" }, "", &errors));
    }
    Ok(Patch { kind, bytes: call.read_body().await? })
}

/// Whether the body is a configuration to be applied.
pub(crate) fn is_apply(call: &Call) -> bool {
    content_type(call) == APPLY_PATCH
}

fn content_type(call: &Call) -> &str {
    let text = call.header(&header::CONTENT_TYPE).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
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
        // Nearly no patch speaks of managed fields, and reading them takes as long as the rest.
        let stored = if self.reaches_managed_fields() { &current.entry.value[..] } else { current.plain };
        let tree = kind.object_json(stored, current.entry.modified.0);
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

    /// Whether the patch may look into managed fields; false only when it surely does not.
    fn reaches_managed_fields(&self) -> bool {
        let has = |text: &[u8]| self.bytes.windows(text.len()).any(|window| window == text);
        let names_them = has(b"managedFields") || has(b"\\u");
        names_them || self.kind == PatchType::Json && (has(b"\"/metadata\"") || has(b"\"\"") || has(b"~"))
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
