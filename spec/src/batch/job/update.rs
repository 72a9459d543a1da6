//! What may change in a Job that exists.
//!
//! Follows `pkg/apis/batch/validation` (ValidateJobUpdate).

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};

use super::is_indexed;
use crate::apps::workload::{SPEC, STATUS};
use crate::field_error::FieldErrors;
use crate::resource::Target;
use crate::{meta, validation};

/// Checks the step from `old` to `new`.
pub(super) fn step(new: &Job, old: &Job, target: Target, errors: &mut FieldErrors) {
    match (target, &new.spec, &old.spec, &new.status) {
        (Target::Main, Some(spec), Some(old_spec), _) => main(spec, old_spec, old, errors),
        (Target::Status, _, _, Some(status)) => counts(status, errors),
        _ => {}
    }
}

fn main(new: &JobSpec, old: &JobSpec, stored: &Job, errors: &mut FieldErrors) {
    let path = SPEC;
    // An Indexed Job may grow and shrink: as many pods at once as there are numbers.
    let resizes = is_indexed(new) && new.completions.is_some() && new.completions == new.parallelism;
    if !resizes {
        meta::immutable(&path.child("completions"), &new.completions, &old.completions, errors);
    }
    meta::immutable(&path.child("selector"), &new.selector, &old.selector, errors);
    meta::immutable(&path.child("completionMode"), &new.completion_mode, &old.completion_mode, errors);
    meta::immutable(
        &path.child("podFailurePolicy"),
        &new.pod_failure_policy,
        &old.pod_failure_policy,
        errors,
    );
    let per_index = (&new.backoff_limit_per_index, &old.backoff_limit_per_index);
    meta::immutable(&path.child("backoffLimitPerIndex"), per_index.0, per_index.1, errors);
    meta::immutable(&path.child("managedBy"), &new.managed_by, &old.managed_by, errors);
    meta::immutable(&path.child("successPolicy"), &new.success_policy, &old.success_policy, errors);
    let started = stored.status.as_ref().is_some_and(|status| status.start_time.is_some());
    let waits = old.suspend == Some(true) && !started;
    if waits {
        let images = |spec: &JobSpec| {
            let pod = spec.template.spec.clone().unwrap_or_default();
            pod.containers.iter().map(|container| container.image.clone()).collect::<Vec<_>>()
        };
        // Who queues Jobs may still say where they run.
        meta::immutable(&path.child("template"), &images(new), &images(old), errors);
    } else {
        meta::immutable(&path.child("template"), &new.template, &old.template, errors);
    }
}

fn counts(status: &JobStatus, errors: &mut FieldErrors) {
    for (field, value) in [
        ("active", status.active),
        ("succeeded", status.succeeded),
        ("failed", status.failed),
        ("ready", status.ready),
        ("terminating", status.terminating),
    ] {
        validation::nonnegative(&STATUS.child(field), value.map(i64::from), errors);
    }
}
