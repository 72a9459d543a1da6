//! Job: pods that run until enough of them have succeeded.
//!
//! Rules: <https://kubernetes.io/docs/concepts/workloads/controllers/job/>, `pkg/apis/batch/v1/defaults.go`,
//! `pkg/apis/batch/validation`, `pkg/registry/batch/job`; columns: `pkg/printers/internalversion`.

use std::borrow::Cow;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use crate::apps::workload::{self, SPEC};
use crate::core::pod::default_template;
use crate::defaults;
use crate::field_error::FieldErrors;
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column};

mod table;
mod update;
mod validate;

pub(super) use validate::spec as validate_spec;

/// Label of a Job's pods: the Job's name.
pub const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
/// Label of a Job's pods: the Job's uid. The selector that the server makes asks for it.
pub const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
/// The same labels as they were called before.
const OLD_LABELS: [&str; 2] = ["job-name", "controller-uid"];

/// Who runs Jobs that name nobody.
pub const OWN_CONTROLLER: &str = "kubernetes.io/job-controller";

/// True when each pod of the Job has a number and each number has to succeed once.
pub fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// True when the condition of this type is there and holds.
pub fn holds(job: &Job, condition: &str) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default().iter().any(|own| own.type_ == condition && own.status == "True")
}

impl Resource for Job {
    const SELECTABLE: &'static [&'static str] = &["status.successful"];

    fn declaration() -> Declaration {
        workload::declaration::<Self>("job", &[], &[Subresource::STATUS])
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        default_spec(spec);
        let labels = spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone());
        if self.metadata.labels.as_ref().is_none_or(|own| own.is_empty()) {
            self.metadata.labels = labels.filter(|labels| !labels.is_empty());
        }
        self.status.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        self.status = Some(JobStatus::default());
        if let Some(spec) = &mut self.spec
            && spec.manual_selector != Some(true)
        {
            select_own_pods(spec, &self.metadata);
        }
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        workload::keep_unwritten(target, (&mut self.spec, &old.spec), (&mut self.status, &old.status));
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.spec != old.spec
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let Some(spec) = &self.spec else { return };
        validate::spec(spec, &SPEC, errors);
        validate::selector(spec, errors);
    }

    fn validate_update(&self, old: &Self, target: Target, errors: &mut FieldErrors) {
        update::step(self, old, target, errors);
    }

    fn warnings(&self) -> Vec<String> {
        let Some(spec) = &self.spec else { return Vec::new() };
        let mut warnings = workload::warnings(Some(&spec.template));
        for (field, is_set) in [
            ("backoffLimitPerIndex", spec.backoff_limit_per_index.is_some()),
            ("maxFailedIndexes", spec.max_failed_indexes.is_some()),
            ("successPolicy", spec.success_policy.is_some()),
        ] {
            if is_set {
                warnings.push(format!("spec.{field}: stored, but has no effect yet"));
            }
        }
        warnings
    }

    fn columns() -> Vec<Column> {
        table::columns()
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        table::cells(self, now)
    }

    fn field(&self, _label: &str) -> Cow<'_, str> {
        let succeeded = self.status.as_ref().and_then(|status| status.succeeded);
        succeeded.unwrap_or(0).to_string().into()
    }
}

/// Fills the spec of a Job, or of the Jobs that a CronJob makes.
pub(super) fn default_spec(spec: &mut JobSpec) {
    if spec.completions.is_none() && spec.parallelism.is_none() {
        spec.completions = Some(1);
    }
    spec.parallelism.get_or_insert(1);
    spec.backoff_limit.get_or_insert(6);
    spec.suspend.get_or_insert(false);
    defaults::text(&mut spec.completion_mode, "NonIndexed");
    let replaced = if spec.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
    defaults::text(&mut spec.pod_replacement_policy, replaced);
    for rule in spec.pod_failure_policy.iter_mut().flat_map(|policy| policy.rules.iter_mut()) {
        for pattern in rule.on_pod_conditions.iter_mut().flatten() {
            defaults::text(&mut pattern.status, "True");
        }
    }
    default_template(&mut spec.template);
}

/// Gives the template labels that no other Job has, and asks for them.
fn select_own_pods(spec: &mut JobSpec, meta: &ObjectMeta) {
    let (name, uid) = (meta.name.clone().unwrap_or_default(), meta.uid.clone().unwrap_or_default());
    let labels = spec.template.metadata.get_or_insert_default().labels.get_or_insert_default();
    for (label, value) in
        [(NAME_LABEL, &name), (UID_LABEL, &uid), (OLD_LABELS[0], &name), (OLD_LABELS[1], &uid)]
    {
        labels.insert(label.to_owned(), value.clone());
    }
    // A selector that the author gave stays, and is refused.
    let selector = spec.selector.get_or_insert_default();
    if *selector == LabelSelector::default() {
        selector.match_labels = Some([(UID_LABEL.to_owned(), uid)].into());
    }
}

#[cfg(test)]
mod tests;
