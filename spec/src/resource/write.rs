//! What every write does to an object, whatever its kind.
//!
//! Follows `k8s.io/apiserver/pkg/registry/rest` (BeforeCreate, BeforeUpdate): the caller decodes, calls the
//! `prepare_` function, runs admission, calls the `validate_` function, and commits the stored form compared
//! against the revision it read. Time, uid and seed are arguments.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;

use super::{Kind, NameRule, Object, Target};
use crate::field_error::{FieldErrors, Path};
use crate::meta;
use crate::status::Status;

/// What the server gives a new object.
#[derive(Clone, Debug)]
pub struct NewObject<'a> {
    /// Namespace of the request; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// The object's uid, a fresh UUID.
    pub uid: String,
    /// When.
    pub now: Timestamp,
    /// Chooses the suffix of a generated name; another seed on each try.
    pub name_seed: u64,
}

/// A new object before admission: system metadata, generated name, defaults, and the kind's own rules.
///
/// May be called again with another seed after a name clash, on a copy from before the first call.
pub fn prepare_create(kind: &Kind, object: &mut dyn Object, new: NewObject<'_>) -> Result<(), Status> {
    let meta = object.meta_mut();
    match_namespace(kind, meta, new.namespace)?;
    if meta.resource_version.as_ref().is_some_and(|version| !version.is_empty()) {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    meta.resource_version = None;
    meta.uid = Some(new.uid);
    meta.creation_timestamp = Some(Time(whole_seconds(new.now)));
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
    meta.generation = kind.has_generation.then_some(1);
    meta.self_link = None;
    meta.managed_fields = None;
    if let (None | Some(""), Some(base)) = (meta.name.as_deref(), meta.generate_name.as_deref())
        && !base.is_empty()
    {
        meta.name = Some(meta::generate_name(base, new.name_seed));
    }
    object.set_defaults();
    object.prepare_create();
    Ok(())
}

/// Whether a new object, prepared and admitted, may be stored.
pub fn validate_create(kind: &Kind, object: &dyn Object) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    meta::validate(object.meta(), kind.scope, kind.name_rule, &mut errors);
    object.validate(&mut errors);
    to_result(kind, object, &errors)
}

/// A changed object before admission: what this request may not change is taken from `old`, the stored object
/// (with its resourceVersion), and the generation moves if the desired state did.
///
/// A stale resourceVersion or uid is a Conflict.
pub fn prepare_update(
    kind: &Kind,
    object: &mut dyn Object,
    old: &dyn Object,
    target: Target,
) -> Result<(), Status> {
    let (meta, stored) = (object.meta_mut(), old.meta());
    match_namespace(kind, meta, old.namespace())?;
    match_name(meta, old.name())?;
    match_resource_version(kind, meta, stored)?;
    match (meta.uid.as_deref(), stored.uid.as_deref()) {
        (Some(wanted), Some(found)) if !wanted.is_empty() && wanted != found => {
            return Err(Status::precondition_failed(kind, old.name(), "UID", wanted, found));
        }
        _ => meta.uid.clone_from(&stored.uid),
    }
    meta.creation_timestamp.clone_from(&stored.creation_timestamp);
    if stored.deletion_timestamp.is_some() {
        meta.deletion_timestamp.clone_from(&stored.deletion_timestamp);
    }
    if meta.deletion_grace_period_seconds.is_none() {
        meta.deletion_grace_period_seconds = stored.deletion_grace_period_seconds;
    }
    meta.generation = stored.generation;
    meta.self_link = None;
    meta.managed_fields.clone_from(&stored.managed_fields);
    object.set_defaults();
    object.prepare_update(old, target);
    // Where a pod runs is not what its author wants of it.
    let wanted = target != Target::Binding;
    if kind.has_generation && wanted && object.generation_moves(old) {
        object.meta_mut().generation = Some(old.meta().generation.unwrap_or(0) + 1);
    }
    Ok(())
}

/// Whether a changed object, prepared and admitted, may replace `old`.
pub fn validate_update(
    kind: &Kind,
    object: &dyn Object,
    old: &dyn Object,
    target: Target,
) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    meta::validate_update(object.meta(), old.meta(), &mut errors);
    object.validate_change(old, target, &mut errors);
    to_result(kind, object, &errors)
}

/// Times in metadata have no fraction; cutting it here makes an object equal to itself read back.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).expect("a timestamp's own second is in range")
}

fn to_result(kind: &Kind, object: &dyn Object, errors: &FieldErrors) -> Result<(), Status> {
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid(kind, object.name(), errors)),
    }
}

fn match_namespace(kind: &Kind, meta: &mut ObjectMeta, namespace: &str) -> Result<(), Status> {
    let given = meta.namespace.as_deref().unwrap_or_default();
    if kind.namespaced() && !given.is_empty() && given != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    meta.namespace = kind.namespaced().then(|| namespace.to_owned());
    Ok(())
}

fn match_name(meta: &ObjectMeta, name: &str) -> Result<(), Status> {
    match meta.name.as_deref().unwrap_or_default() {
        "" => Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
        given if given != name => Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        ))),
        _ => Ok(()),
    }
}

fn match_resource_version(kind: &Kind, meta: &mut ObjectMeta, stored: &ObjectMeta) -> Result<(), Status> {
    let name = stored.name.as_deref().unwrap_or_default();
    match meta.resource_version.as_deref().unwrap_or_default() {
        "" | "0" if kind.unconditional_update => {
            meta.resource_version.clone_from(&stored.resource_version);
            Ok(())
        }
        "" | "0" => {
            let mut errors = FieldErrors::new();
            errors.invalid(
                &Path::new("metadata").child("resourceVersion"),
                0,
                "must be specified for an update",
            );
            Err(Status::invalid(kind, name, &errors))
        }
        given if Some(given) != stored.resource_version.as_deref() => Err(Status::modified(kind, name)),
        _ => Ok(()),
    }
}

/// Whether `name` could be the name of an object of this kind, for paths that name one before it exists.
pub fn is_valid_name(rule: NameRule, name: &str) -> bool {
    meta::name_faults(rule, name).is_empty()
}
