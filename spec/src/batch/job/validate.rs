//! What a Job must look like.

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
};

use super::{UID_LABEL, is_indexed};
use crate::apps::workload::{self, SPEC};
use crate::core::pod::validate_template;
use crate::field_error::{FieldErrors, Path, Shown};
use crate::{selector, validation};

/// An Indexed Job runs no more pods at once, so that its status stays small.
const INDEXED_PARALLELISM_MAX: i32 = 100_000;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// Checks the spec of a Job, or of the Jobs that a CronJob makes.
pub(in crate::batch) fn spec(spec: &JobSpec, path: &Path<'_>, errors: &mut FieldErrors) {
    for (field, value) in [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
    ] {
        validation::nonnegative(&path.child(field), value, errors);
    }
    let mode = path.child("completionMode");
    validation::optional_word(&mode, spec.completion_mode.as_ref(), &["NonIndexed", "Indexed"], errors);
    let replacement = path.child("podReplacementPolicy");
    let known: &[&str] =
        if spec.pod_failure_policy.is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    validation::optional_word(&replacement, spec.pod_replacement_policy.as_ref(), known, errors);
    if is_indexed(spec) {
        indexed(spec, path, errors);
    }
    template(spec, path, errors);
    if let Some(policy) = &spec.pod_failure_policy {
        failure_policy(policy, spec, &path.child("podFailurePolicy"), errors);
    }
}

fn indexed(spec: &JobSpec, path: &Path<'_>, errors: &mut FieldErrors) {
    if spec.completions.is_none() {
        errors.required(&path.child("completions"), "when completion mode is Indexed");
    }
    if let Some(parallelism) = spec.parallelism.filter(|count| *count > INDEXED_PARALLELISM_MAX) {
        let detail = format!(
            "must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed"
        );
        errors.invalid(&path.child("parallelism"), parallelism, &detail);
    }
}

fn template(spec: &JobSpec, path: &Path<'_>, errors: &mut FieldErrors) {
    let template = path.child("template");
    validate_template(&spec.template, &template, errors);
    let policy = spec.template.spec.as_ref().and_then(|pod| pod.restart_policy.as_ref());
    let pod = template.child("spec");
    let at = pod.child("restartPolicy");
    match policy.map(String::as_str).unwrap_or_default() {
        "OnFailure" | "Never" => {}
        "" | "Always" => errors.required(&at, r#"valid values: "OnFailure", "Never""#),
        other => errors.not_supported(&at, other, &["OnFailure", "Never"]),
    }
}

/// The selector is the server's own, unless the author says that it is not.
pub(super) fn selector(spec: &JobSpec, errors: &mut FieldErrors) {
    let path = SPEC.child("selector");
    let Some(chosen) = &spec.selector else { return errors.required(&path, "") };
    selector::validate(chosen, &path, errors);
    if spec.manual_selector != Some(true) {
        let labels = chosen.match_labels.iter().flatten();
        let is_own = labels.clone().count() == 1
            && labels.clone().all(|(key, _)| key == UID_LABEL || key == "controller-uid")
            && chosen.match_expressions.as_ref().is_none_or(|more| more.is_empty());
        if !is_own {
            errors.invalid(&path, Shown::json(chosen), "`selector` not auto-generated");
        }
    }
    workload::fits(chosen, &spec.template, &SPEC.child("template"), errors);
}

fn failure_policy(policy: &PodFailurePolicy, spec: &JobSpec, path: &Path<'_>, errors: &mut FieldErrors) {
    let restarts = spec.template.spec.as_ref().and_then(|pod| pod.restart_policy.as_deref());
    if restarts != Some("Never") {
        let detail = r#"only "Never" is supported when podFailurePolicy is specified"#;
        errors.invalid(path, restarts.unwrap_or_default(), detail);
    }
    let rules = path.child("rules");
    if policy.rules.len() > RULES_MAX {
        errors.too_many(&rules, policy.rules.len(), RULES_MAX);
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        failure_rule(rule, spec, &rules.index(index), errors);
    }
}

fn failure_rule(rule: &PodFailurePolicyRule, spec: &JobSpec, path: &Path<'_>, errors: &mut FieldErrors) {
    let known = &["Count", "FailJob", "Ignore"];
    validation::required_word(&path.child("action"), Some(&rule.action), known, errors);
    let conditions = rule.on_pod_conditions.as_deref().unwrap_or_default();
    match (&rule.on_exit_codes, conditions) {
        (None, []) => {
            errors.invalid(
                path,
                Shown::json(rule),
                "specifying one of OnExitCodes and OnPodConditions is required",
            );
        }
        (Some(_), [_, ..]) => {
            let detail = "specifying both OnExitCodes and OnPodConditions is not supported";
            errors.invalid(path, Shown::json(rule), detail);
        }
        (Some(codes), []) => exit_codes(codes, spec, &path.child("onExitCodes"), errors),
        (None, _) => {
            let list = path.child("onPodConditions");
            for (index, pattern) in conditions.iter().enumerate() {
                let words = &["False", "True", "Unknown"];
                let at = list.index(index);
                validation::required_word(&at.child("status"), pattern.status.as_ref(), words, errors);
                validation::syntax(
                    &at.child("type"),
                    &pattern.type_,
                    crate::meta::qualified_name_faults,
                    errors,
                );
            }
        }
    }
}

fn exit_codes(
    codes: &PodFailurePolicyOnExitCodesRequirement,
    spec: &JobSpec,
    path: &Path<'_>,
    errors: &mut FieldErrors,
) {
    validation::required_word(&path.child("operator"), Some(&codes.operator), &["In", "NotIn"], errors);
    let values = path.child("values");
    match codes.values.len() {
        0 => errors.invalid(&values, Shown::json(&codes.values), "at least one value is required"),
        count if count > EXIT_CODES_MAX => errors.too_many(&values, count, EXIT_CODES_MAX),
        _ => {}
    }
    for (index, code) in codes.values.iter().enumerate() {
        let at = values.index(index);
        if codes.operator == "In" && *code == 0 {
            errors.invalid(&at, *code, "must not be 0 for the In operator");
        }
        if codes.values[..index].contains(code) {
            errors.duplicate(&at, *code);
        }
    }
    let Some(name) = &codes.container_name else { return };
    let pod = spec.template.spec.as_ref();
    let containers =
        pod.into_iter().flat_map(|pod| pod.containers.iter().chain(pod.init_containers.iter().flatten()));
    if !containers.into_iter().any(|container| container.name == *name) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&path.child("containerName"), name, detail);
    }
}
