//! PersistentVolumeClaim: the wish for storage that outlives pods.
//!
//! Rules: `pkg/apis/core/v1/defaults.go`, `pkg/apis/core/validation` (ValidatePersistentVolumeClaim); columns:
//! `pkg/printers/internalversion`.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use crate::apps::workload::{SPEC, keep_unwritten};
use crate::field_error::FieldErrors;
use crate::quantity::{self, Amount};
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column, age};
use crate::{defaults, selector, validation};

/// The ways to use a volume, and how tables write them.
const MODES: [(&str, &str); 4] = [
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];

/// Access modes as a cell.
pub(super) fn access_modes(modes: Option<&[String]>) -> String {
    let modes = modes.unwrap_or_default();
    let shown = MODES.iter().filter(|(mode, _)| modes.iter().any(|own| own == mode)).map(|(_, short)| *short);
    shown.collect::<Vec<_>>().join(",")
}

/// There must be at least one access mode, and all must be known.
pub(super) fn check_modes(modes: Option<&[String]>, errors: &mut FieldErrors) {
    let path = SPEC.child("accessModes");
    let modes = modes.unwrap_or_default();
    if modes.is_empty() {
        errors.required(&path, "at least 1 access mode is required");
    }
    let known = MODES.map(|(mode, _)| mode);
    for mode in modes.iter().filter(|mode| !known.contains(&mode.as_str())) {
        errors.not_supported(&path, mode, &known);
    }
}

/// Keeps a claim as long as a pod uses it.
pub const PROTECTION: &str = "kubernetes.io/pvc-protection";

/// Adds a finalizer that the object does not have yet.
pub(super) fn protect(meta: &mut ObjectMeta, finalizer: &str) {
    let finalizers = meta.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|own| own == finalizer) {
        finalizers.push(finalizer.to_owned());
    }
}

impl Resource for PersistentVolumeClaim {
    fn declaration() -> Declaration {
        Declaration {
            delete_returns_object: true,
            ..Declaration::of::<Self>("persistentvolumeclaim")
                .short_names(&["pvc"])
                .subresources(&[Subresource::STATUS])
        }
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        defaults::text(&mut spec.volume_mode, "Filesystem");
        let resources = spec.resources.iter_mut();
        let amounts = resources.flat_map(|own| own.requests.iter_mut().chain(own.limits.iter_mut()));
        amounts.flatten().for_each(|(_, amount)| quantity::canonicalize(amount));
        let status = self.status.get_or_insert_default();
        defaults::text(&mut status.phase, "Pending");
    }

    fn prepare_create(&mut self) {
        let phase = Some("Pending".to_owned());
        self.status = Some(PersistentVolumeClaimStatus { phase, ..PersistentVolumeClaimStatus::default() });
        protect(&mut self.metadata, PROTECTION);
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        keep_unwritten(target, (&mut self.spec, &old.spec), (&mut self.status, &old.status));
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let Some(spec) = &self.spec else { return };
        check_modes(spec.access_modes.as_deref(), errors);
        if let Some(chosen) = &spec.selector {
            selector::validate(chosen, &SPEC.child("selector"), errors);
        }
        let mode = SPEC.child("volumeMode");
        validation::required_word(&mode, spec.volume_mode.as_ref(), &["Block", "Filesystem"], errors);
        let requests = spec.resources.as_ref().and_then(|own| own.requests.as_ref());
        let (resources, storage) = (SPEC.child("resources"), requests.and_then(|own| own.get("storage")));
        match storage {
            None => errors.required(&resources.child("requests").key("storage"), ""),
            Some(amount) if Amount::parse(&amount.0).is_ok_and(|amount| amount.value() <= 0) => {
                let path = resources.child("requests");
                errors.invalid(&path.key("storage"), &amount.0, "must be greater than zero");
            }
            Some(_) => {}
        }
    }

    fn validate_update(&self, old: &Self, target: Target, errors: &mut FieldErrors) {
        let (Target::Main, Some(spec), Some(was)) = (target, &self.spec, &old.spec) else { return };
        if fixed(spec) != fixed(&with_choices(was, spec)) {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName \
                          for bound claims";
            errors.forbidden(&SPEC, detail);
        }
        if let (Some(size), Some(before)) = (requested(spec), requested(was))
            && size < before
        {
            let path = SPEC.child("resources");
            let path = path.child("requests");
            errors.forbidden(&path.child("storage"), "field can not be less than previous value");
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::NAME,
            Column::text("Status", "How far it is."),
            Column::text("Volume", "What it got."),
            Column::text("Capacity", "How much fits."),
            Column::text("Access Modes", "Who may use it at once."),
            Column::text("StorageClass", "Which kind of storage."),
            Column::text("VolumeAttributesClass", "Which kind of service."),
            Column::AGE,
            Column::text("VolumeMode", "Files or blocks.").wide(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (self.spec.as_ref(), self.status.as_ref());
        let bound = spec.and_then(|spec| spec.volume_name.as_deref()).filter(|name| !name.is_empty());
        let capacity = status.and_then(|status| Some(status.capacity.as_ref()?.get("storage")?.0.as_str()));
        let modes = status.and_then(|status| status.access_modes.as_deref());
        let phase = match &self.metadata.deletion_timestamp {
            Some(_) => Some("Terminating"),
            None => status.and_then(|status| status.phase.as_deref()),
        };
        let class = spec.and_then(|spec| spec.volume_attributes_class_name.as_deref());
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(phase),
            Cell::from(bound),
            Cell::from(bound.and(capacity)),
            Cell::from(if bound.is_some() { access_modes(modes) } else { String::new() }),
            Cell::from(spec.and_then(|spec| spec.storage_class_name.as_deref())),
            Cell::from(class.unwrap_or("<unset>")),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
            Cell::from(spec.and_then(|spec| spec.volume_mode.as_deref()).unwrap_or("<unset>")),
        ]
    }
}

/// The old spec with what may be chosen once, by whoever binds the claim or gives it its class.
fn with_choices(
    was: &PersistentVolumeClaimSpec,
    new: &PersistentVolumeClaimSpec,
) -> PersistentVolumeClaimSpec {
    let is_bound = was.volume_name.as_ref().is_some_and(|name| !name.is_empty());
    let mut was = was.clone();
    if !is_bound {
        was.volume_name.clone_from(&new.volume_name);
        was.storage_class_name = was.storage_class_name.or_else(|| new.storage_class_name.clone());
    }
    was
}

fn requested(spec: &PersistentVolumeClaimSpec) -> Option<Amount> {
    let requests = spec.resources.as_ref()?.requests.as_ref()?;
    Amount::parse(&requests.get("storage")?.0).ok()
}

/// The spec without what may change.
fn fixed(spec: &PersistentVolumeClaimSpec) -> PersistentVolumeClaimSpec {
    PersistentVolumeClaimSpec { resources: None, volume_attributes_class_name: None, ..spec.clone() }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_row, check_update, create};

    const CLAIM: &str = "{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}";

    #[test]
    fn broken_claims_are_told_what_is_wrong() {
        check_invalid::<PersistentVolumeClaim>(
            "{metadata: {name: a}}",
            expect![[r#"
            spec.accessModes: Required value: at least 1 access mode is required
            spec.resources.requests[storage]: Required value"#]],
        );
        check_invalid::<PersistentVolumeClaim>(
            "{metadata: {name: a}, spec: {accessModes: [Sometimes], volumeMode: Air, resources: {requests: {storage: 0}}}}",
            expect![[r#"
                spec.accessModes: Unsupported value: "Sometimes": supported values: "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"
                spec.volumeMode: Unsupported value: "Air": supported values: "Block", "Filesystem"
                spec.resources.requests[storage]: Invalid value: "0": must be greater than zero"#]],
        );
        let other = CLAIM.replace("ReadWriteOnce", "ReadWriteMany");
        check_update::<PersistentVolumeClaim>(
            CLAIM,
            &other,
            Target::Main,
            expect![[
                r#"PersistentVolumeClaim "data" is invalid: spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"#
            ]],
        );
    }

    #[test]
    fn a_claim_waits_and_is_a_row() {
        let claim = create::<PersistentVolumeClaim>(CLAIM).unwrap();
        check_row::<PersistentVolumeClaim>(
            claim.as_ref(),
            expect![[r#"
            Name: "data"
            Status: "Pending"
            Volume: ""
            Capacity: ""
            Access Modes: ""
            StorageClass: ""
            VolumeAttributesClass: "<unset>"
            Age: "0s"
            VolumeMode*: "Filesystem""#]],
        );
    }
}
