//! Deployment: pods alike, brought from one version to the next without a gap.
//!
//! Rules: <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/>, `pkg/apis/apps/v1/defaults.go`,
//! `pkg/apis/apps/validation`, `pkg/registry/apps/deployment`; columns: `pkg/printers/internalversion`.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use super::scale;
use super::workload::{self, Counts, SPEC, STATUS};
use crate::core::pod::default_template;
use crate::defaults;
use crate::field_error::{FieldErrors, Path};
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column, age};
use crate::validation;

/// How much of a Deployment may be missing, and how much too many, while it rolls.
const QUARTER: &str = "25%";

impl Resource for Deployment {
    fn declaration() -> Declaration {
        workload::declaration::<Self>("deployment", &["deploy"], &[Subresource::SCALE, Subresource::STATUS])
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
        default_strategy(spec.strategy.get_or_insert_default());
        default_template(&mut spec.template);
        self.status.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        self.status = Some(DeploymentStatus::default());
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        if target == Target::Status {
            self.metadata.labels.clone_from(&old.metadata.labels);
        }
        workload::keep_unwritten(target, (&mut self.spec, &old.spec), (&mut self.status, &old.status));
    }

    /// Annotations count as well: they are copied to the replica sets.
    fn generation_moves(&self, old: &Self) -> bool {
        self.spec != old.spec || self.metadata.annotations != old.metadata.annotations
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let Some(spec) = &self.spec else { return };
        let fields = [
            ("replicas", spec.replicas),
            ("minReadySeconds", spec.min_ready_seconds),
            ("revisionHistoryLimit", spec.revision_history_limit),
            ("progressDeadlineSeconds", spec.progress_deadline_seconds),
        ];
        workload::numbers(fields, errors);
        workload::selector_and_template(&spec.selector, Some(&spec.template), errors);
        if let Some(strategy) = &spec.strategy {
            validate_strategy(strategy, &SPEC.child("strategy"), errors);
        }
        validate_deadline(spec, errors);
    }

    fn validate_update(&self, old: &Self, target: Target, errors: &mut FieldErrors) {
        let selector = |object: &'_ Self| object.spec.as_ref().map(|spec| spec.selector.clone());
        workload::selector_stays(target, selector(self).as_ref(), selector(old).as_ref(), errors);
        if let (Target::Status, Some(status)) = (target, &self.status) {
            validate_status(status, errors);
        }
    }

    fn warnings(&self) -> Vec<String> {
        workload::warnings(self.spec.as_ref().map(|spec| &spec.template))
    }

    fn columns() -> Vec<Column> {
        workload::columns(vec![
            Column::NAME,
            Column::text("Ready", "Ready pods of all pods."),
            Column::integer("Up-to-date", "How many pods are of the newest version."),
            Column::integer("Available", "How many pods serve."),
            Column::AGE,
        ])
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (self.spec.as_ref(), self.status.as_ref());
        let count = |of: fn(&DeploymentStatus) -> Option<i32>| status.and_then(of).unwrap_or(0);
        let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(0);
        let cells = vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(format!("{}/{wanted}", count(|status| status.ready_replicas))),
            Cell::from(count(|status| status.updated_replicas)),
            Cell::from(count(|status| status.available_replicas)),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ];
        workload::cells(cells, spec.map(|spec| &spec.template), spec.map(|spec| &spec.selector))
    }

    fn scale(&self) -> Option<Scale> {
        let spec = self.spec.as_ref()?;
        let observed = self.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
        Some(scale::of(&self.metadata, spec.replicas.unwrap_or(1), observed, &spec.selector))
    }

    fn set_replicas(&mut self, replicas: i32) {
        self.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

fn default_strategy(strategy: &mut DeploymentStrategy) {
    defaults::text(&mut strategy.type_, "RollingUpdate");
    if strategy.type_.as_deref() == Some("RollingUpdate") {
        let rolling: &mut RollingUpdateDeployment = strategy.rolling_update.get_or_insert_default();
        rolling.max_unavailable.get_or_insert_with(|| IntOrString::String(QUARTER.to_owned()));
        rolling.max_surge.get_or_insert_with(|| IntOrString::String(QUARTER.to_owned()));
    }
}

fn validate_strategy(strategy: &DeploymentStrategy, path: &Path<'_>, errors: &mut FieldErrors) {
    let known: &[&str] = &["Recreate", "RollingUpdate"];
    validation::required_word(&path.child("type"), strategy.type_.as_ref(), known, errors);
    let path = path.child("rollingUpdate");
    match (strategy.type_.as_deref(), &strategy.rolling_update) {
        (Some("Recreate"), Some(_)) => {
            errors.forbidden(&path, "may not be specified when strategy `type` is 'Recreate'");
        }
        (Some("RollingUpdate"), Some(rolling)) => validate_rolling(rolling, &path, errors),
        _ => {}
    }
}

fn validate_rolling(rolling: &RollingUpdateDeployment, path: &Path<'_>, errors: &mut FieldErrors) {
    let (unavailable_path, surge_path) = (path.child("maxUnavailable"), path.child("maxSurge"));
    let zero = IntOrString::Int(0);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
    validation::nonnegative_or_percent(&unavailable_path, unavailable, errors);
    validation::nonnegative_or_percent(&surge_path, surge, errors);
    if validation::count_or_percent(unavailable) == 0 && validation::count_or_percent(surge) == 0 {
        // Nothing could ever be replaced.
        let shown = validation::shown_port(unavailable);
        errors.invalid(&unavailable_path, shown, "may not be 0 when `maxSurge` is 0");
    }
    if let IntOrString::String(text) = unavailable
        && validation::percent(text).is_some_and(|percent| percent > 100)
    {
        errors.invalid(&unavailable_path, text, "must not be greater than 100%");
    }
}

fn validate_deadline(spec: &DeploymentSpec, errors: &mut FieldErrors) {
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    if let Some(seconds) = spec.progress_deadline_seconds.filter(|seconds| *seconds <= min_ready) {
        let path = SPEC.child("progressDeadlineSeconds");
        errors.invalid(&path, seconds, "must be greater than minReadySeconds");
    }
}

fn validate_status(status: &DeploymentStatus, errors: &mut FieldErrors) {
    let counts = Counts {
        replicas: status.replicas.unwrap_or(0),
        parts: &[("updatedReplicas", status.updated_replicas)],
        ready: status.ready_replicas,
        available: status.available_replicas,
    };
    counts.validate(errors);
    for (field, value) in
        [("unavailableReplicas", status.unavailable_replicas), ("collisionCount", status.collision_count)]
    {
        validation::nonnegative(&STATUS.child(field), value.map(i64::from), errors);
    }
}

#[cfg(test)]
mod tests;
