//! ReplicaSet: a number of pods alike.
//!
//! Rules: `pkg/apis/apps/validation`, `pkg/registry/apps/replicaset`; columns: `pkg/printers/internalversion`.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::jiff::Timestamp;

use super::scale;
use super::workload::{self, Counts};
use crate::core::pod::default_template;
use crate::field_error::FieldErrors;
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column};

impl Resource for ReplicaSet {
    fn declaration() -> Declaration {
        workload::declaration::<Self>("replicaset", &["rs"], &[Subresource::SCALE, Subresource::STATUS])
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
        workload::keep_unwritten(target, (&mut self.spec, &old.spec), (&mut self.status, &old.status));
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.spec != old.spec
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let Some(spec) = &self.spec else { return };
        workload::numbers([("replicas", spec.replicas), ("minReadySeconds", spec.min_ready_seconds)], errors);
        workload::selector_and_template(&spec.selector, spec.template.as_ref(), errors);
    }

    fn validate_update(&self, old: &Self, target: Target, errors: &mut FieldErrors) {
        let selector = |object: &'_ Self| object.spec.as_ref().map(|spec| spec.selector.clone());
        workload::selector_stays(target, selector(self).as_ref(), selector(old).as_ref(), errors);
        if let (Target::Status, Some(status)) = (target, &self.status) {
            validate_status(status, errors);
        }
    }

    fn warnings(&self) -> Vec<String> {
        workload::warnings(self.spec.as_ref().and_then(|spec| spec.template.as_ref()))
    }

    fn columns() -> Vec<Column> {
        workload::replica_columns()
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (self.spec.as_ref(), self.status.as_ref());
        let counts = [
            spec.and_then(|spec| spec.replicas),
            status.map(|status| status.replicas),
            status.and_then(|status| status.ready_replicas),
        ];
        workload::cells(
            workload::replica_cells(&self.metadata, counts, now),
            spec.and_then(|spec| spec.template.as_ref()),
            spec.map(|spec| &spec.selector),
        )
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
    let counts = Counts {
        replicas: status.replicas,
        parts: &[("fullyLabeledReplicas", status.fully_labeled_replicas)],
        ready: status.ready_replicas,
        available: status.available_replicas,
    };
    counts.validate(errors);
}

#[cfg(test)]
mod tests;
