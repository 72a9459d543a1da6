//! ReplicationController: what ReplicaSets were before they had that name.
//!
//! Rules: `pkg/apis/core/v1/defaults.go`, `pkg/apis/core/validation` (ValidateReplicationController),
//! `pkg/registry/core/replicationcontroller`; columns: `pkg/printers/internalversion`.

use std::borrow::Cow;

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{
    ReplicationController, ReplicationControllerSpec, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::jiff::Timestamp;

use super::pod::default_template;
use crate::apps::scale;
use crate::apps::workload::{self, Counts};
use crate::field_error::FieldErrors;
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column};

/// The selector in the form that newer kinds have.
pub fn selector(spec: &ReplicationControllerSpec) -> LabelSelector {
    LabelSelector { match_labels: spec.selector.clone(), ..LabelSelector::default() }
}

impl Resource for ReplicationController {
    const SELECTABLE: &'static [&'static str] = &["status.replicas"];

    fn declaration() -> Declaration {
        let below = &[Subresource::SCALE, Subresource::STATUS];
        workload::declaration::<Self>("replicationcontroller", &["rc"], below)
    }

    /// Labels and selector are the template's labels where the author left them out.
    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        spec.template.iter_mut().for_each(default_template);
        let labels = spec.template.as_ref().and_then(|template| template.metadata.as_ref()?.labels.clone());
        if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
            if spec.selector.as_ref().is_none_or(|selector| selector.is_empty()) {
                spec.selector = Some(labels.clone());
            }
            if self.metadata.labels.as_ref().is_none_or(|own| own.is_empty()) {
                self.metadata.labels = Some(labels);
            }
        }
        self.status.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        self.status = Some(ReplicationControllerStatus::default());
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
        workload::selector_and_template(&selector(spec), spec.template.as_ref(), errors);
    }

    fn validate_update(&self, _old: &Self, target: Target, errors: &mut FieldErrors) {
        if let (Target::Status, Some(status)) = (target, &self.status) {
            let counts = Counts {
                replicas: status.replicas,
                parts: &[("fullyLabeledReplicas", status.fully_labeled_replicas)],
                ready: status.ready_replicas,
                available: status.available_replicas,
            };
            counts.validate(errors);
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
            spec.map(selector).as_ref(),
        )
    }

    fn field(&self, _label: &str) -> Cow<'_, str> {
        self.status.as_ref().map_or(0, |status| status.replicas).to_string().into()
    }

    fn scale(&self) -> Option<Scale> {
        let spec = self.spec.as_ref()?;
        let observed = self.status.as_ref().map_or(0, |status| status.replicas);
        Some(scale::of(&self.metadata, spec.replicas.unwrap_or(1), observed, &selector(spec)))
    }

    fn set_replicas(&mut self, replicas: i32) {
        self.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

#[cfg(test)]
mod tests;
