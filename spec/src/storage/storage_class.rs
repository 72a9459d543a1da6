//! StorageClass: a name for a kind of storage.
//!
//! Rules: `pkg/apis/storage/v1/defaults.go`, `pkg/apis/storage/validation` (ValidateStorageClass); columns:
//! `pkg/printers/internalversion`.

use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::jiff::Timestamp;

use crate::field_error::{FieldErrors, Path, Shown};
use crate::resource::{Declaration, Resource, Target};
use crate::table::{Cell, Column, ColumnType, age};
use crate::{defaults, validation};

/// Annotation of the class of claims that name none.
pub const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

impl Resource for StorageClass {
    fn declaration() -> Declaration {
        Declaration {
            delete_returns_object: true,
            ..Declaration::of::<Self>("storageclass").short_names(&["sc"])
        }
    }

    fn set_defaults(&mut self) {
        defaults::text(&mut self.reclaim_policy, "Delete");
        defaults::text(&mut self.volume_binding_mode, "Immediate");
    }

    fn validate(&self, errors: &mut FieldErrors) {
        if self.provisioner.is_empty() {
            errors.required(&Path::new("provisioner"), "");
        }
        let policy = Path::new("reclaimPolicy");
        validation::required_word(&policy, self.reclaim_policy.as_ref(), &["Delete", "Retain"], errors);
        let mode = Path::new("volumeBindingMode");
        let known = &["Immediate", "WaitForFirstConsumer"];
        validation::required_word(&mode, self.volume_binding_mode.as_ref(), known, errors);
    }

    fn validate_update(&self, old: &Self, _target: Target, errors: &mut FieldErrors) {
        let detail = "updates to ";
        for (field, is_same) in [
            ("parameters", self.parameters == old.parameters),
            ("provisioner", self.provisioner == old.provisioner),
            ("reclaimPolicy", self.reclaim_policy == old.reclaim_policy),
        ] {
            if !is_same {
                errors.forbidden(&Path::new(field), &format!("{detail}{field} are forbidden."));
            }
        }
        if self.volume_binding_mode != old.volume_binding_mode {
            let shown = Shown::json(&self.volume_binding_mode);
            errors.invalid(&Path::new("volumeBindingMode"), shown, "field is immutable");
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::NAME,
            Column::text("Provisioner", "Who makes the volumes."),
            Column::text("ReclaimPolicy", "What becomes of them after their claims."),
            Column::text("VolumeBindingMode", "When they are made."),
            Column {
                cell_type: ColumnType::Boolean,
                ..Column::text("AllowVolumeExpansion", "Whether they may grow.")
            },
            Column::AGE,
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let annotation = self.metadata.annotations.as_ref().and_then(|own| own.get(DEFAULT_CLASS));
        let mark = if annotation.is_some_and(|value| value == "true") { " (default)" } else { "" };
        vec![
            Cell::from(format!("{}{mark}", self.metadata.name.as_deref().unwrap_or_default())),
            Cell::from(self.provisioner.as_str()),
            Cell::from(self.reclaim_policy.as_deref()),
            Cell::from(self.volume_binding_mode.as_deref()),
            Cell::Boolean(self.allow_volume_expansion.unwrap_or(false)),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_row, check_update, create};

    #[test]
    fn a_class_is_checked_and_is_a_row() {
        check_invalid::<StorageClass>(
            "{metadata: {name: a}, reclaimPolicy: Burn, volumeBindingMode: Soon}",
            expect![[r#"
                provisioner: Required value
                reclaimPolicy: Unsupported value: "Burn": supported values: "Delete", "Retain"
                volumeBindingMode: Unsupported value: "Soon": supported values: "Immediate", "WaitForFirstConsumer""#]],
        );
        let class = "{metadata: {name: fast, annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}, \
                     provisioner: example.com/fast}";
        check_row::<StorageClass>(
            create::<StorageClass>(class).unwrap().as_ref(),
            expect![[r#"
            Name: "fast (default)"
            Provisioner: "example.com/fast"
            ReclaimPolicy: "Delete"
            VolumeBindingMode: "Immediate"
            AllowVolumeExpansion: false
            Age: "0s""#]],
        );
        let other = class.replace("example.com/fast", "example.com/slow");
        check_update::<StorageClass>(
            class,
            &other,
            Target::Main,
            expect![[
                r#"StorageClass.storage.k8s.io "fast" is invalid: provisioner: Forbidden: updates to provisioner are forbidden."#
            ]],
        );
    }
}
