//! Rules about metadata: names, labels, annotations, owner references, finalizers.
//!
//! Limits and wording follow `k8s.io/apimachinery` (`pkg/util/validation`, `pkg/api/validation`).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::field_error::{FieldErrors, Path, Shown};
use crate::resource::{NameRule, Scope};

mod syntax;

pub use syntax::{
    dns_1035_label_faults, dns_1123_label_faults, dns_1123_subdomain_faults, env_name_faults, is_config_key,
    label_value_faults, port_name_faults, qualified_name_faults,
};

/// Text of the error of a field that may not change.
pub const IMMUTABLE: &str = "field is immutable";

/// Finalizer that keeps an object until its dependents are gone.
pub const FOREGROUND_FINALIZER: &str = "foregroundDeletion";

/// Finalizer that keeps an object until its dependents have been set free.
pub const ORPHAN_FINALIZER: &str = "orphan";

/// Keys and values of all annotations together: more would make every list of the kind slow.
const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;

/// A name is at most this long before its random suffix, so that the whole fits a label (63).
const GENERATED_BASE_MAX_BYTES: usize = 58;

/// No vowels and no digits that look like them: a suffix spells no word and is not misread.
const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

const METADATA: Path<'_> = Path::new("metadata");

/// The base, cut to fit, and five characters chosen by the seed.
pub fn generate_name(base: &str, seed: u64) -> String {
    let mut cut = base.len().min(GENERATED_BASE_MAX_BYTES);
    while !base.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut name = base[..cut].to_owned();
    let mut rest = seed;
    for _ in 0..5 {
        let index = rest % SUFFIX_ALPHABET.len() as u64;
        rest /= SUFFIX_ALPHABET.len() as u64;
        let index = usize::try_from(index).expect("a remainder of 27 fits");
        name.push(char::from(SUFFIX_ALPHABET[index]));
    }
    name
}

/// What is wrong with a name of a kind; empty when nothing is.
pub fn name_faults(rule: NameRule, name: &str) -> Vec<String> {
    match rule {
        NameRule::Dns1123Subdomain => dns_1123_subdomain_faults(name),
        NameRule::Dns1123Label => dns_1123_label_faults(name),
        NameRule::Dns1035Label => dns_1035_label_faults(name),
        NameRule::PathSegment => syntax::path_segment_faults(name),
    }
}

/// What is wrong with the base of a generated name: a separator may end it.
fn name_base_faults(rule: NameRule, base: &str) -> Vec<String> {
    match base.strip_suffix('-') {
        Some(stem) if rule != NameRule::PathSegment => name_faults(rule, &format!("{stem}a")),
        _ => name_faults(rule, base),
    }
}

/// Checks the metadata of a new object. Its name has been generated if it was to be.
pub fn validate(meta: &ObjectMeta, scope: Scope, rule: NameRule, errors: &mut FieldErrors) {
    let generate_name = meta.generate_name.as_deref().unwrap_or_default();
    if !generate_name.is_empty() {
        for fault in name_base_faults(rule, generate_name) {
            errors.invalid(&METADATA.child("generateName"), generate_name, &fault);
        }
    }
    match meta.name.as_deref().unwrap_or_default() {
        "" => errors.required(&METADATA.child("name"), "name or generateName is required"),
        name => {
            for fault in name_faults(rule, name) {
                errors.invalid(&METADATA.child("name"), name, &fault);
            }
        }
    }
    let namespace = METADATA.child("namespace");
    match (scope, meta.namespace.as_deref().unwrap_or_default()) {
        (Scope::Namespaced, "") => errors.required(&namespace, ""),
        (Scope::Namespaced, name) => {
            for fault in dns_1123_label_faults(name) {
                errors.invalid(&namespace, name, &fault);
            }
        }
        (Scope::Cluster, "") => {}
        (Scope::Cluster, _) => errors.forbidden(&namespace, "not allowed on this type"),
    }
    validate_common(meta, errors);
}

/// Checks the metadata of a changed object against the stored one.
pub fn validate_update(meta: &ObjectMeta, old: &ObjectMeta, errors: &mut FieldErrors) {
    if old.deletion_timestamp.is_some() {
        no_new_finalizers(meta, old, errors);
    }
    immutable(&METADATA.child("name"), &meta.name, &old.name, errors);
    immutable(&METADATA.child("namespace"), &meta.namespace, &old.namespace, errors);
    immutable(&METADATA.child("uid"), &meta.uid, &old.uid, errors);
    let deletion = METADATA.child("deletionTimestamp");
    immutable(&deletion, &meta.deletion_timestamp, &old.deletion_timestamp, errors);
    immutable(
        &METADATA.child("deletionGracePeriodSeconds"),
        &meta.deletion_grace_period_seconds,
        &old.deletion_grace_period_seconds,
        errors,
    );
    validate_common(meta, errors);
}

/// Says so when a field changed that may not.
pub fn immutable<T: PartialEq + serde::Serialize>(
    path: &Path<'_>,
    new: &T,
    old: &T,
    errors: &mut FieldErrors,
) {
    if new != old {
        errors.invalid(path, Shown::json(new), IMMUTABLE);
    }
}

fn validate_common(meta: &ObjectMeta, errors: &mut FieldErrors) {
    if let Some(labels) = &meta.labels {
        validate_labels(labels, &METADATA.child("labels"), errors);
    }
    if let Some(annotations) = &meta.annotations {
        validate_annotations(annotations, &METADATA.child("annotations"), errors);
    }
    validate_owners(meta.owner_references.as_deref().unwrap_or_default(), errors);
    validate_finalizers(meta.finalizers.as_deref().unwrap_or_default(), errors);
}

/// Checks keys and values of labels.
pub fn validate_labels(labels: &BTreeMap<String, String>, path: &Path<'_>, errors: &mut FieldErrors) {
    for (key, value) in labels {
        for fault in qualified_name_faults(key) {
            errors.invalid(path, key, &fault);
        }
        for fault in label_value_faults(value) {
            errors.invalid(path, value, &fault);
        }
    }
}

/// Checks keys of annotations and the size of all together.
pub fn validate_annotations(
    annotations: &BTreeMap<String, String>,
    path: &Path<'_>,
    errors: &mut FieldErrors,
) {
    for key in annotations.keys() {
        // Upper case is allowed here, other than in labels.
        for fault in qualified_name_faults(&key.to_lowercase()) {
            errors.invalid(path, key, &fault);
        }
    }
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > ANNOTATIONS_MAX_BYTES {
        errors.too_long(path, ANNOTATIONS_MAX_BYTES);
    }
}

fn validate_owners(owners: &[OwnerReference], errors: &mut FieldErrors) {
    let path = METADATA.child("ownerReferences");
    let mut controller: Option<&OwnerReference> = None;
    for owner in owners {
        validate_owner(owner, &path, errors);
        if owner.controller != Some(true) {
            continue;
        }
        match controller {
            None => controller = Some(owner),
            Some(first) => {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                    first.kind, first.name, owner.kind, owner.name
                );
                errors.invalid(&path, Shown::json(owners), &detail);
            }
        }
    }
}

fn validate_owner(owner: &OwnerReference, path: &Path<'_>, errors: &mut FieldErrors) {
    let version = owner.api_version.rsplit('/').next().unwrap_or_default();
    if version.is_empty() {
        errors.invalid(&path.child("apiVersion"), &owner.api_version, "version must not be empty");
    }
    for (field, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
        if value.is_empty() {
            errors.invalid(&path.child(field), value, "must not be empty");
        }
    }
    if owner.api_version == "v1" && owner.kind == "Event" {
        errors.invalid(path, Shown::json(owner), "/v1, Kind=Event is disallowed from being an owner");
    }
}

fn validate_finalizers(finalizers: &[String], errors: &mut FieldErrors) {
    let path = METADATA.child("finalizers");
    for (index, finalizer) in finalizers.iter().enumerate() {
        for fault in qualified_name_faults(finalizer) {
            errors.invalid(&path, finalizer, &fault);
        }
        let standard = ["kubernetes", ORPHAN_FINALIZER, FOREGROUND_FINALIZER].contains(&finalizer.as_str());
        if !finalizer.contains('/') && !standard {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&path.index(index), finalizer, detail);
        }
    }
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if has(ORPHAN_FINALIZER) && has(FOREGROUND_FINALIZER) {
        let detail = format!("finalizer {ORPHAN_FINALIZER} and {FOREGROUND_FINALIZER} cannot be both set");
        errors.invalid(&path, Shown::json(finalizers), &detail);
    }
}

fn no_new_finalizers(meta: &ObjectMeta, old: &ObjectMeta, errors: &mut FieldErrors) {
    let before = old.finalizers.as_deref().unwrap_or_default();
    let mut added: Vec<&String> =
        meta.finalizers.iter().flatten().filter(|finalizer| !before.contains(finalizer)).collect();
    added.sort_unstable();
    if !added.is_empty() {
        let added: Vec<String> = added.into_iter().map(|name| crate::field_error::quote(name)).collect();
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        );
        errors.forbidden(&METADATA.child("finalizers"), &detail);
    }
}

/// The reference of the owner that manages the object, if it has one.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

#[cfg(test)]
mod tests;
