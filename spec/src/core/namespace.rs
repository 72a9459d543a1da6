//! Namespace: a scope for names.
//!
//! Rules: `pkg/registry/core/namespace` (strategies), `pkg/apis/core/v1/defaults.go`.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Namespace, NamespaceSpec, NamespaceStatus};
use k8s_openapi::jiff::Timestamp;

use crate::field_error::{FieldErrors, Path};
use crate::meta;
use crate::resource::{Declaration, NameRule, Resource, Subresource, Target};
use crate::table::{Cell, Column, age};

/// The finalizer in `spec.finalizers` that holds a namespace until its content is gone.
pub const FINALIZER: &str = "kubernetes";

/// The label by which selectors find a namespace by name.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Resource for Namespace {
    const SELECTABLE: &'static [&'static str] = &["status.phase"];

    fn declaration() -> Declaration {
        Declaration {
            name_rule: NameRule::Dns1123Label,
            delete_returns_object: true,
            verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
            ..Declaration::of::<Self>("namespace")
                .short_names(&["ns"])
                .subresources(&[Subresource::FINALIZE, Subresource::STATUS])
        }
    }

    fn set_defaults(&mut self) {
        if let Some(name) = self.metadata.name.clone().filter(|name| !name.is_empty()) {
            self.metadata.labels.get_or_insert_default().insert(NAME_LABEL.to_owned(), name);
        }
        let status = self.status.get_or_insert_default();
        if status.phase.as_deref().unwrap_or_default().is_empty() {
            status.phase = Some("Active".to_owned());
        }
    }

    fn prepare_create(&mut self) {
        self.status =
            Some(NamespaceStatus { phase: Some("Active".to_owned()), ..NamespaceStatus::default() });
        let spec = self.spec.get_or_insert_default();
        let finalizers = spec.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        match target {
            Target::Status => self.spec.clone_from(&old.spec),
            Target::Finalize => {
                let finalizers = self.spec.take().and_then(|spec| spec.finalizers);
                *self = Namespace { spec: Some(NamespaceSpec { finalizers }), ..old.clone() };
            }
            _ => {
                self.spec.clone_from(&old.spec);
                self.status.clone_from(&old.status);
            }
        }
    }

    fn begin_deletion(&mut self) {
        self.status.get_or_insert_default().phase = Some("Terminating".to_owned());
    }

    fn holds_deletion(&self) -> bool {
        let finalizers = self.spec.as_ref().and_then(|spec| spec.finalizers.as_deref());
        finalizers.is_some_and(|own| !own.is_empty())
    }

    fn validate_update(&self, old: &Self, target: Target, errors: &mut FieldErrors) {
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let terminating = self.metadata.deletion_timestamp.is_some();
        if target == Target::Status && phase != if terminating { "Terminating" } else { "Active" } {
            let detail = match terminating {
                true => "may only be 'Terminating' if `deletionTimestamp` is not empty",
                false => "may only be 'Active' if `deletionTimestamp` is empty",
            };
            errors.invalid(&Path::new("status").child("Phase"), phase, detail);
        }
        let finalizers = self.spec.as_ref().and_then(|spec| spec.finalizers.as_deref()).unwrap_or_default();
        if self.spec != old.spec {
            for (index, finalizer) in finalizers.iter().enumerate() {
                let (spec, path) = (Path::new("spec"), "finalizers");
                for fault in meta::qualified_name_faults(finalizer) {
                    errors.invalid(&spec.child(path).index(index), finalizer, &fault);
                }
            }
        }
    }

    fn columns() -> Vec<Column> {
        vec![Column::NAME, Column::text("Status", "The phase of the namespace's life."), Column::AGE]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(self.status.as_ref().and_then(|status| status.phase.as_deref())),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }

    fn field(&self, _label: &str) -> Cow<'_, str> {
        self.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests;
