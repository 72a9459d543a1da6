//! PersistentVolume: storage that outlives pods.
//!
//! Rules: `pkg/apis/core/v1/defaults.go`, `pkg/apis/core/validation` (ValidatePersistentVolume); columns:
//! `pkg/printers/internalversion`.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeSpec, PersistentVolumeStatus};
use k8s_openapi::jiff::Timestamp;

use super::persistent_volume_claim::{access_modes, check_modes, protect};
use crate::apps::workload::{SPEC, keep_unwritten};
use crate::defaults;
use crate::field_error::{FieldErrors, Shown};
use crate::quantity;
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column, age};
use crate::validation;

/// Keeps a volume as long as a claim is bound to it.
pub const PROTECTION: &str = "kubernetes.io/pv-protection";

impl Resource for PersistentVolume {
    fn declaration() -> Declaration {
        Declaration {
            delete_returns_object: true,
            ..Declaration::of::<Self>("persistentvolume")
                .short_names(&["pv"])
                .subresources(&[Subresource::STATUS])
        }
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.capacity.iter_mut().flatten().for_each(|(_, amount)| quantity::canonicalize(amount));
        defaults::text(&mut spec.persistent_volume_reclaim_policy, "Retain");
        defaults::text(&mut spec.volume_mode, "Filesystem");
        if let Some(path) = &mut spec.host_path {
            path.type_.get_or_insert_default();
        }
        self.status.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        let phase = Some("Pending".to_owned());
        self.status = Some(PersistentVolumeStatus { phase, ..PersistentVolumeStatus::default() });
        protect(&mut self.metadata, PROTECTION);
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        keep_unwritten(target, (&mut self.spec, &old.spec), (&mut self.status, &old.status));
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let Some(spec) = &self.spec else { return };
        check_modes(spec.access_modes.as_deref(), errors);
        if spec.capacity.as_ref().is_none_or(|capacity| !capacity.contains_key("storage")) {
            errors.required(&SPEC.child("capacity"), "");
        }
        let policy = SPEC.child("persistentVolumeReclaimPolicy");
        let known = &["Delete", "Recycle", "Retain"];
        validation::required_word(&policy, spec.persistent_volume_reclaim_policy.as_ref(), known, errors);
        let mode = SPEC.child("volumeMode");
        validation::required_word(&mode, spec.volume_mode.as_ref(), &["Block", "Filesystem"], errors);
        if spec.local.is_some() && spec.node_affinity.is_none() {
            errors.required(&SPEC.child("nodeAffinity"), "Local volume requires node affinity");
        }
    }

    fn validate_update(&self, old: &Self, target: Target, errors: &mut FieldErrors) {
        let (Target::Main, Some(spec), Some(old)) = (target, &self.spec, &old.spec) else { return };
        if source(spec) != source(old) {
            errors.forbidden(
                &SPEC.child("persistentvolumesource"),
                "spec.persistentvolumesource is immutable after creation",
            );
        }
        if spec.volume_mode != old.volume_mode {
            let path = SPEC.child("volumeMode");
            errors.invalid(&path, Shown::json(&spec.volume_mode), "field is immutable");
        }
        if old.node_affinity.is_some() && spec.node_affinity != old.node_affinity {
            let path = SPEC.child("nodeAffinity");
            errors.invalid(&path, Shown::json(&spec.node_affinity), "field is immutable");
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::NAME,
            Column::text("Capacity", "How much fits."),
            Column::text("Access Modes", "Who may use it at once."),
            Column::text("Reclaim Policy", "What becomes of it after its claim."),
            Column::text("Status", "How far it is."),
            Column::text("Claim", "Whose it is."),
            Column::text("StorageClass", "Which kind of storage."),
            Column::text("VolumeAttributesClass", "Which kind of service."),
            Column::text("Reason", "Why it is so."),
            Column::AGE,
            Column::text("VolumeMode", "Files or blocks.").wide(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (self.spec.clone().unwrap_or_default(), self.status.as_ref());
        let claim = spec.claim_ref.map(|claim| {
            format!("{}/{}", claim.namespace.unwrap_or_default(), claim.name.unwrap_or_default())
        });
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(spec.capacity.as_ref().and_then(|all| Some(all.get("storage")?.0.as_str()))),
            Cell::from(access_modes(spec.access_modes.as_deref())),
            Cell::from(spec.persistent_volume_reclaim_policy.as_deref()),
            Cell::from(status.and_then(|status| status.phase.as_deref())),
            Cell::from(claim.unwrap_or_default()),
            Cell::from(spec.storage_class_name.as_deref()),
            Cell::from(spec.volume_attributes_class_name.as_deref().unwrap_or("<unset>")),
            Cell::from(status.and_then(|status| status.reason.as_deref())),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
            Cell::from(spec.volume_mode.as_deref().unwrap_or("<unset>")),
        ]
    }
}

/// The spec without what says nothing of where the data is.
fn source(spec: &PersistentVolumeSpec) -> PersistentVolumeSpec {
    PersistentVolumeSpec {
        access_modes: None,
        capacity: None,
        claim_ref: None,
        mount_options: None,
        node_affinity: None,
        persistent_volume_reclaim_policy: None,
        storage_class_name: None,
        volume_attributes_class_name: None,
        volume_mode: None,
        ..spec.clone()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_row, create};

    #[test]
    fn a_volume_is_checked_and_is_a_row() {
        check_invalid::<PersistentVolume>(
            "{metadata: {name: a}, spec: {persistentVolumeReclaimPolicy: Burn, local: {path: /a}}}",
            expect![[r#"
                spec.accessModes: Required value: at least 1 access mode is required
                spec.capacity: Required value
                spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn": supported values: "Delete", "Recycle", "Retain"
                spec.nodeAffinity: Required value: Local volume requires node affinity"#]],
        );
        let volume = "{metadata: {name: a}, spec: {capacity: {storage: 1024Mi}, accessModes: [ReadWriteOnce, ReadOnlyMany], \
                      hostPath: {path: /a}, claimRef: {namespace: default, name: data}}}";
        check_row::<PersistentVolume>(
            create::<PersistentVolume>(volume).unwrap().as_ref(),
            expect![[r#"
            Name: "a"
            Capacity: "1Gi"
            Access Modes: "RWO,ROX"
            Reclaim Policy: "Retain"
            Status: "Pending"
            Claim: "default/data"
            StorageClass: ""
            VolumeAttributesClass: "<unset>"
            Reason: ""
            Age: "0s"
            VolumeMode*: "Filesystem""#]],
        );
    }
}
