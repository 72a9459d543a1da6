//! ReplicaSet: a number of pods alike.
//!
//! Rules: `pkg/apis/apps/validation`, `pkg/registry/apps/replicaset`; columns: `pkg/printers/internalversion`.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::jiff::Timestamp;

use super::scale;
use super::workload::{self, SPEC};
use crate::core::pod::default_template;
use crate::field_error::{FieldErrors, Path};
use crate::meta;
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column, age};
use crate::validation;

impl Resource for ReplicaSet {
    fn declaration() -> Declaration {
        Declaration {
            has_generation: true,
            ..Declaration::of::<Self>("replicaset")
                .short_names(&["rs"])
                .in_category_all()
                .subresources(&[Subresource::SCALE, Subresource::STATUS])
        }
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        spec.template.iter_mut().for_each(default_template);
        self.status.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        self.status = Some(ReplicaSetStatus::default());
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        match target {
            Target::Status => self.spec.clone_from(&old.spec),
            _ => self.status.clone_from(&old.status),
        }
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.spec != old.spec
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let Some(spec) = &self.spec else { return };
        validation::nonnegative(&SPEC.child("replicas"), spec.replicas.map(i64::from), errors);
        let seconds = spec.min_ready_seconds.map(i64::from);
        validation::nonnegative(&SPEC.child("minReadySeconds"), seconds, errors);
        workload::selector_and_template(&spec.selector, spec.template.as_ref(), errors);
    }

    fn validate_update(&self, old: &Self, target: Target, errors: &mut FieldErrors) {
        match (target, &self.spec, &old.spec, &self.status) {
            (Target::Main, Some(spec), Some(old), _) => {
                meta::immutable(&SPEC.child("selector"), &spec.selector, &old.selector, errors);
            }
            (Target::Status, _, _, Some(status)) => validate_status(status, errors),
            _ => {}
        }
    }

    fn warnings(&self) -> Vec<String> {
        let template = self.spec.as_ref().and_then(|spec| spec.template.as_ref());
        template.map(workload::warnings).unwrap_or_default()
    }

    fn columns() -> Vec<Column> {
        let mut columns = vec![
            Column::NAME,
            Column::integer("Desired", "How many pods there should be."),
            Column::integer("Current", "How many there are."),
            Column::integer("Ready", "How many of them are ready."),
            Column::AGE,
        ];
        columns.extend(workload::wide_columns());
        columns
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (self.spec.as_ref(), self.status.as_ref());
        let mut cells = vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(spec.and_then(|spec| spec.replicas).unwrap_or(0)),
            Cell::from(status.map_or(0, |status| status.replicas)),
            Cell::from(status.and_then(|status| status.ready_replicas).unwrap_or(0)),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ];
        let template = spec.and_then(|spec| spec.template.as_ref());
        cells.extend(workload::wide_cells(template, spec.map(|spec| &spec.selector)));
        cells
    }

    fn scale(&self) -> Option<Scale> {
        let spec = self.spec.as_ref()?;
        let observed = self.status.as_ref().map_or(0, |status| status.replicas);
        Some(scale::of(&self.metadata, spec.replicas.unwrap_or(1), observed, &spec.selector))
    }

    fn set_replicas(&mut self, replicas: i32) {
        self.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

fn validate_status(status: &ReplicaSetStatus, errors: &mut FieldErrors) {
    let path = Path::new("status");
    let number = |value: Option<i32>| value.unwrap_or(0);
    let (ready, available) = (number(status.ready_replicas), number(status.available_replicas));
    for (field, value) in [
        ("replicas", status.replicas),
        ("fullyLabeledReplicas", number(status.fully_labeled_replicas)),
        ("readyReplicas", ready),
        ("availableReplicas", available),
    ] {
        validation::nonnegative(&path.child(field), Some(value.into()), errors);
        if value > status.replicas {
            errors.invalid(&path.child(field), value, "cannot be greater than status.replicas");
        }
    }
    if available > ready {
        let detail = "cannot be greater than readyReplicas";
        errors.invalid(&path.child("availableReplicas"), available, detail);
    }
}

#[cfg(test)]
mod tests;
