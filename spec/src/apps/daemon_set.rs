//! DaemonSet: one pod on every node that suits.
//!
//! Rules: <https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/>, `pkg/apis/apps/v1/defaults.go`,
//! `pkg/apis/apps/validation`, `pkg/registry/apps/daemonset`; columns: `pkg/printers/internalversion`.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus, DaemonSetUpdateStrategy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use super::workload::{self, SPEC, STATUS};
use crate::core::pod::default_template;
use crate::defaults;
use crate::field_error::FieldErrors;
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column, age};
use crate::validation;

/// Annotation with the generation of the template. Some clients still read it.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

impl Resource for DaemonSet {
    fn declaration() -> Declaration {
        workload::declaration::<Self>("daemonset", &["ds"], &[Subresource::STATUS])
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.revision_history_limit.get_or_insert(10);
        default_strategy(spec.update_strategy.get_or_insert_default());
        default_template(&mut spec.template);
        self.status.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        self.status = Some(DaemonSetStatus::default());
        self.count_template(1);
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        workload::keep_unwritten(target, (&mut self.spec, &old.spec), (&mut self.status, &old.status));
        let template = |set: &Self| set.spec.as_ref().map(|spec| spec.template.clone());
        let count = old.template_generation();
        self.count_template(if template(self) == template(old) { count } else { count + 1 });
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.spec != old.spec
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let Some(spec) = &self.spec else { return };
        let fields = [
            ("minReadySeconds", spec.min_ready_seconds),
            ("revisionHistoryLimit", spec.revision_history_limit),
        ];
        workload::numbers(fields, errors);
        workload::selector_and_template(&spec.selector, Some(&spec.template), errors);
        if let Some(strategy) = &spec.update_strategy {
            validate_strategy(strategy, errors);
        }
    }

    fn validate_update(&self, old: &Self, target: Target, errors: &mut FieldErrors) {
        let selector = |set: &Self| set.spec.as_ref().map(|spec| spec.selector.clone());
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
            Column::integer("Desired", "How many nodes should run a pod."),
            Column::integer("Current", "How many of them have one."),
            Column::integer("Ready", "How many of those are ready."),
            Column::integer("Up-to-date", "How many are of the newest version."),
            Column::integer("Available", "How many serve."),
            Column::text("Node Selector", "Labels of the nodes."),
            Column::AGE,
        ])
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (self.spec.as_ref(), self.status.clone().unwrap_or_default());
        let pod = spec.and_then(|spec| spec.template.spec.as_ref());
        let nodes = pod.and_then(|pod| pod.node_selector.as_ref()).filter(|nodes| !nodes.is_empty());
        let nodes = nodes.map_or_else(
            || "<none>".to_owned(),
            |nodes| nodes.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","),
        );
        let own = vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(status.desired_number_scheduled),
            Cell::from(status.current_number_scheduled),
            Cell::from(status.number_ready),
            Cell::from(status.updated_number_scheduled.unwrap_or(0)),
            Cell::from(status.number_available.unwrap_or(0)),
            Cell::from(nodes),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ];
        workload::cells(own, spec.map(|spec| &spec.template), spec.map(|spec| &spec.selector))
    }
}

/// The generation of the template, which is kept as an annotation.
trait TemplateGeneration {
    fn template_generation(&self) -> i64;
    fn count_template(&mut self, count: i64);
}

impl TemplateGeneration for DaemonSet {
    fn template_generation(&self) -> i64 {
        let annotations = self.metadata.annotations.as_ref();
        annotations.and_then(|own| own.get(TEMPLATE_GENERATION)?.parse().ok()).unwrap_or(1)
    }

    fn count_template(&mut self, count: i64) {
        let annotations = self.metadata.annotations.get_or_insert_default();
        annotations.insert(TEMPLATE_GENERATION.to_owned(), count.to_string());
    }
}

fn default_strategy(strategy: &mut DaemonSetUpdateStrategy) {
    defaults::text(&mut strategy.type_, "RollingUpdate");
    if strategy.type_.as_deref() == Some("RollingUpdate") {
        let rolling = strategy.rolling_update.get_or_insert_default();
        rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
        rolling.max_surge.get_or_insert(IntOrString::Int(0));
    }
}

fn validate_strategy(strategy: &DaemonSetUpdateStrategy, errors: &mut FieldErrors) {
    let path = SPEC.child("updateStrategy");
    let known = &["OnDelete", "RollingUpdate"];
    validation::required_word(&path.child("type"), strategy.type_.as_ref(), known, errors);
    let (Some("RollingUpdate"), Some(rolling)) = (strategy.type_.as_deref(), &strategy.rolling_update) else {
        return;
    };
    let path = path.child("rollingUpdate");
    let (unavailable_path, surge_path) = (path.child("maxUnavailable"), path.child("maxSurge"));
    let zero = IntOrString::Int(0);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
    validation::nonnegative_or_percent(&unavailable_path, unavailable, errors);
    validation::nonnegative_or_percent(&surge_path, surge, errors);
    match (validation::count_or_percent(unavailable) > 0, validation::count_or_percent(surge) > 0) {
        (true, true) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            errors.invalid(&surge_path, validation::shown_port(surge), detail);
        }
        (false, false) => errors.required(&unavailable_path, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

fn validate_status(status: &DaemonSetStatus, errors: &mut FieldErrors) {
    for (field, value) in [
        ("currentNumberScheduled", Some(status.current_number_scheduled)),
        ("numberMisscheduled", Some(status.number_misscheduled)),
        ("desiredNumberScheduled", Some(status.desired_number_scheduled)),
        ("numberReady", Some(status.number_ready)),
        ("updatedNumberScheduled", status.updated_number_scheduled),
        ("numberAvailable", status.number_available),
        ("numberUnavailable", status.number_unavailable),
        ("collisionCount", status.collision_count),
    ] {
        validation::nonnegative(&STATUS.child(field), value.map(i64::from), errors);
    }
}

#[cfg(test)]
mod tests;
