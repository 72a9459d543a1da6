//! CustomResourceDefinition: the declaration of a kind.
//!
//! Rules: `k8s.io/apiextensions-apiserver`: `pkg/registry/customresourcedefinition`,
//! `pkg/apis/apiextensions/v1/defaults.go`, `pkg/apis/apiextensions/validation`.

mod validate;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition, CustomResourceDefinitionCondition,
    CustomResourceDefinitionNames, CustomResourceDefinitionStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::cel;
use crate::defaults;
use crate::field_error::FieldErrors;
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column};

/// The finalizer that holds a definition until its objects are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Conversion without code: only `apiVersion` differs between the versions.
const NO_CONVERSION: &str = "None";

impl Resource for CustomResourceDefinition {
    fn declaration() -> Declaration {
        Declaration {
            has_generation: true,
            unconditional_update: false,
            categories: vec!["api-extensions".to_owned()],
            ..Declaration::of::<Self>("customresourcedefinition")
                .short_names(&["crd", "crds"])
                .subresources(&[Subresource::STATUS])
        }
    }

    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        defaults::text(&mut spec.names.singular, &spec.names.kind.to_lowercase());
        defaults::text(&mut spec.names.list_kind, &format!("{}List", spec.names.kind));
        let conversion = spec.conversion.get_or_insert_with(|| CustomResourceConversion {
            strategy: NO_CONVERSION.to_owned(),
            webhook: None,
        });
        if conversion.strategy.is_empty() {
            conversion.strategy = NO_CONVERSION.to_owned();
        }
        // Upstream leaves out what is false.
        spec.preserve_unknown_fields = spec.preserve_unknown_fields.filter(|keeps| *keeps);
    }

    fn prepare_create(&mut self) {
        self.status = Some(CustomResourceDefinitionStatus {
            accepted_names: Some(CustomResourceDefinitionNames::default()),
            conditions: Some(Vec::new()),
            ..CustomResourceDefinitionStatus::default()
        });
        self.note_storage_version();
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        if target == Target::Status {
            self.spec = old.spec.clone();
            let (meta, stored) = (&mut self.metadata, &old.metadata);
            meta.labels.clone_from(&stored.labels);
            meta.annotations.clone_from(&stored.annotations);
            meta.finalizers.clone_from(&stored.finalizers);
            meta.owner_references.clone_from(&stored.owner_references);
            return;
        }
        self.status.clone_from(&old.status);
        self.note_storage_version();
    }

    fn begin_deletion(&mut self) {
        let finalizers = self.metadata.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|known| known == CLEANUP_FINALIZER) {
            finalizers.push(CLEANUP_FINALIZER.to_owned());
        }
        let since = self.metadata.deletion_timestamp.clone();
        let conditions = self.status.get_or_insert_default().conditions.get_or_insert_default();
        set_condition(
            conditions,
            Condition {
                kind: "Terminating",
                holds: true,
                reason: "InstanceDeletionPending",
                message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            },
            since,
        );
    }

    fn holds_deletion(&self) -> bool {
        // Objects of the kind may be there: `begin_deletion` adds the finalizer that waits for them.
        self.metadata.deletion_timestamp.is_none()
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.spec != old.spec
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validate::definition(self, errors);
    }

    fn validate_update(&self, old: &Self, target: Target, errors: &mut FieldErrors) {
        validate::update(self, old, target, errors);
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.spec.conversion.as_ref().is_some_and(|own| own.strategy == "Webhook") {
            warnings.push(
                "spec.conversion: webhooks are not called yet: versions differ in their apiVersion only"
                    .to_owned(),
            );
        }
        let schemas =
            self.spec.versions.iter().filter_map(|own| own.schema.as_ref()?.open_api_v3_schema.as_ref());
        for (rule, function) in schemas.into_iter().flat_map(cel::not_evaluated) {
            warnings.push(format!(
                "x-kubernetes-validations: a rule is not evaluated, since the function {function} is not known here: {rule}"
            ));
        }
        warnings
    }

    fn columns() -> Vec<Column> {
        vec![Column::NAME, Column::text("Created At", "When the object was created.")]
    }

    fn cells(&self, _now: Timestamp) -> Vec<Cell> {
        let created = self.metadata.creation_timestamp.as_ref().map(|time| time.0.to_string());
        vec![Cell::from(self.metadata.name.as_deref()), Cell::from(created.as_deref())]
    }
}

/// What [`CustomResourceDefinition`]s are asked in several places.
pub(crate) trait Definition {
    /// Adds the storage version to those that objects may be stored in.
    fn note_storage_version(&mut self);
}

impl Definition for CustomResourceDefinition {
    fn note_storage_version(&mut self) {
        let storage = self.spec.versions.iter().filter(|version| version.storage);
        let stored = self.status.get_or_insert_default().stored_versions.get_or_insert_default();
        for version in storage {
            if !stored.contains(&version.name) {
                stored.push(version.name.clone());
            }
        }
    }
}

/// A condition of a definition's status.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition<'a> {
    pub(crate) kind: &'static str,
    pub(crate) holds: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: &'a str,
}

/// Sets a condition; its time moves with its status only.
pub(crate) fn set_condition(
    conditions: &mut Vec<CustomResourceDefinitionCondition>,
    condition: Condition<'_>,
    now: Option<Time>,
) {
    let status = if condition.holds { "True" } else { "False" };
    let position = conditions.iter().position(|known| known.type_ == condition.kind);
    let position = position.unwrap_or_else(|| {
        conditions.push(CustomResourceDefinitionCondition {
            type_: condition.kind.to_owned(),
            ..CustomResourceDefinitionCondition::default()
        });
        conditions.len() - 1
    });
    let known = &mut conditions[position];
    if known.status != status {
        status.clone_into(&mut known.status);
        known.last_transition_time = now;
    }
    known.reason = Some(condition.reason.to_owned());
    known.message = Some(condition.message.to_owned());
}
