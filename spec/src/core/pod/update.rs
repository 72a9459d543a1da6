//! What may change in a pod that exists.
//!
//! Follows `pkg/apis/core/validation` (ValidatePodUpdate, ValidatePodStatusUpdate): a pod runs as it was made, but
//! for its images, its deadline and its tolerations.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration};
use serde_json::Value;

use super::SPEC;
use crate::field_error::{FieldErrors, Path};
use crate::resource::Target;
use crate::validation;

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks the step from `old` to `new`.
pub(super) fn step(new: &Pod, old: &Pod, target: Target, errors: &mut FieldErrors) {
    let (Some(spec), Some(old_spec)) = (&new.spec, &old.spec) else { return };
    match target {
        Target::Main => main(spec, old_spec, errors),
        Target::Status => {
            let nominated = new.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
            if let Some(name) = nominated.filter(|name| !name.is_empty()) {
                let path = Path::new("status");
                let path = path.child("nominatedNodeName");
                validation::syntax(&path, name, crate::meta::dns_1123_subdomain_faults, errors);
            }
        }
        _ => {}
    }
}

fn main(new: &PodSpec, old: &PodSpec, errors: &mut FieldErrors) {
    let init = |spec: &PodSpec| spec.init_containers.as_ref().map_or(0, Vec::len);
    if new.containers.len() != old.containers.len() {
        errors.forbidden(&SPEC.child("containers"), "pod updates may not add or remove containers");
        return;
    }
    if init(new) != init(old) {
        errors.forbidden(&SPEC.child("initContainers"), "pod updates may not add or remove containers");
        return;
    }
    deadline(new, old, errors);
    tolerations(new, old, errors);
    gates(new, old, errors);
    let allowed = with_updatable_fields_of(new, old);
    if allowed != *old {
        let changed = differences(&allowed, old);
        errors.forbidden(&SPEC, &format!("{UPDATABLE}\nchanged: {}", changed.join(", ")));
    }
}

/// `new` as it would be had nothing changed that may.
fn with_updatable_fields_of(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut spec = new.clone();
    keep_images(&mut spec.containers, &old.containers);
    if let (Some(containers), Some(old)) = (&mut spec.init_containers, &old.init_containers) {
        keep_images(containers, old);
    }
    spec.active_deadline_seconds = old.active_deadline_seconds;
    spec.tolerations.clone_from(&old.tolerations);
    spec.scheduling_gates.clone_from(&old.scheduling_gates);
    let was_negative = old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0);
    if was_negative && new.termination_grace_period_seconds == Some(1) {
        spec.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    spec
}

fn keep_images(containers: &mut [Container], old: &[Container]) {
    for (container, old) in containers.iter_mut().zip(old) {
        container.image.clone_from(&old.image);
    }
}

/// A deadline may be set, or moved nearer.
fn deadline(new: &PodSpec, old: &PodSpec, errors: &mut FieldErrors) {
    let path = SPEC.child("activeDeadlineSeconds");
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(new), Some(old)) if new > old => {
            errors.invalid(&path, new, "must be less than or equal to previous value");
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            errors.invalid(&path, crate::field_error::Shown::json(&Value::Null), detail);
        }
        _ => {}
    }
}

/// Tolerations may be added; of an old one only the seconds may change.
fn tolerations(new: &PodSpec, old: &PodSpec, errors: &mut FieldErrors) {
    let same = |a: &Toleration, b: &Toleration| {
        (&a.key, &a.operator, &a.value, &a.effect) == (&b.key, &b.operator, &b.value, &b.effect)
    };
    let new = new.tolerations.as_deref().unwrap_or_default();
    let kept = old.tolerations.iter().flatten().all(|old| new.iter().any(|new| same(new, old)));
    if !kept {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.forbidden(&SPEC.child("tolerations"), detail);
    }
}

/// Gates may be opened, never added.
fn gates(new: &PodSpec, old: &PodSpec, errors: &mut FieldErrors) {
    let before = old.scheduling_gates.as_deref().unwrap_or_default();
    let added = new.scheduling_gates.iter().flatten().find(|gate| !before.contains(gate));
    if let Some(gate) = added {
        let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name);
        errors.forbidden(&SPEC.child("schedulingGates"), &detail);
    }
}

/// The paths of the fields in which two specs differ.
fn differences(new: &PodSpec, old: &PodSpec) -> Vec<String> {
    let (new, old) = (serde_json::to_value(new), serde_json::to_value(old));
    let mut paths = Vec::new();
    if let (Ok(new), Ok(old)) = (new, old) {
        compare(&new, &old, "spec", &mut paths);
    }
    paths
}

fn compare(new: &Value, old: &Value, path: &str, paths: &mut Vec<String>) {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let mut keys: Vec<&String> = new.keys().chain(old.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let null = &Value::Null;
                compare(
                    new.get(key).unwrap_or(null),
                    old.get(key).unwrap_or(null),
                    &format!("{path}.{key}"),
                    paths,
                );
            }
        }
        (Value::Array(new), Value::Array(old)) if new.len() == old.len() => {
            for (index, (new, old)) in new.iter().zip(old).enumerate() {
                compare(new, old, &format!("{path}[{index}]"), paths);
            }
        }
        (new, old) if new != old => paths.push(path.to_owned()),
        _ => {}
    }
}
