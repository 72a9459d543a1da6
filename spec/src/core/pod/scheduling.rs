//! What a pod says about where it may run.
//!
//! Follows `pkg/apis/core/validation` (validateAffinity, ValidateTolerations, validateTopologySpreadConstraints).

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, PodCondition,
    PodSpec, Toleration, TopologySpreadConstraint, WeightedPodAffinityTerm,
};

use crate::core::node::TAINT_EFFECTS;
use crate::field_error::{FieldErrors, Path, Shown};
use crate::{meta, selector, validation};

/// The condition of a pod that is held back by its gates.
pub(super) fn gated_condition() -> PodCondition {
    PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("SchedulingGated".to_owned()),
        message: Some("Scheduling is blocked due to non-empty scheduling gates".to_owned()),
        ..PodCondition::default()
    }
}

/// Checks everything the scheduler reads.
pub(super) fn all(spec: &PodSpec, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(wishes) = &spec.affinity {
        affinity(wishes, &path.child("affinity"), errors);
    }
    let tolerations = path.child("tolerations");
    for (index, item) in spec.tolerations.iter().flatten().enumerate() {
        toleration(item, &tolerations.index(index), errors);
    }
    spread(spec.topology_spread_constraints.as_deref().unwrap_or_default(), path, errors);
    let gates = spec.scheduling_gates.as_deref().unwrap_or_default();
    let list = path.child("schedulingGates");
    for (index, gate) in gates.iter().enumerate() {
        validation::syntax(&list.index(index), &gate.name, meta::qualified_name_faults, errors);
        if gates[..index].iter().any(|other| other.name == gate.name) {
            errors.duplicate(&list.index(index), &gate.name);
        }
    }
    let bound = spec.node_name.as_ref().is_some_and(|name| !name.is_empty());
    if bound && !gates.is_empty() {
        errors
            .forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    let list = path.child("readinessGates");
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let path = list.index(index);
        let path = path.child("conditionType");
        validation::syntax(&path, &gate.condition_type, meta::qualified_name_faults, errors);
    }
}

fn affinity(affinity: &Affinity, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(node) = &affinity.node_affinity {
        node_affinity(node, &path.child("nodeAffinity"), errors);
    }
    let near = affinity.pod_affinity.as_ref().map(|affinity| {
        let required = affinity.required_during_scheduling_ignored_during_execution.as_deref();
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution.as_deref();
        ("podAffinity", required, preferred)
    });
    let apart = affinity.pod_anti_affinity.as_ref().map(|affinity| {
        let required = affinity.required_during_scheduling_ignored_during_execution.as_deref();
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution.as_deref();
        ("podAntiAffinity", required, preferred)
    });
    for (field, required, preferred) in near.into_iter().chain(apart) {
        let path = path.child(field);
        pod_terms(required.unwrap_or_default(), preferred.unwrap_or_default(), &path, errors);
    }
}

fn node_affinity(affinity: &NodeAffinity, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(required) = &affinity.required_during_scheduling_ignored_during_execution {
        let path = path.child("requiredDuringSchedulingIgnoredDuringExecution");
        let list = path.child("nodeSelectorTerms");
        if required.node_selector_terms.is_empty() {
            errors.required(&list, "must have at least one node selector term");
        }
        for (index, term) in required.node_selector_terms.iter().enumerate() {
            node_term(term, &list.index(index), errors);
        }
    }
    let list = path.child("preferredDuringSchedulingIgnoredDuringExecution");
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    for (index, term) in preferred.enumerate() {
        let path = list.index(index);
        weight(term.weight, &path, errors);
        node_term(&term.preference, &path.child("preference"), errors);
    }
}

fn weight(weight: i32, path: &Path<'_>, errors: &mut FieldErrors) {
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

fn node_term(term: &NodeSelectorTerm, path: &Path<'_>, errors: &mut FieldErrors) {
    let list = path.child("matchExpressions");
    for (index, requirement) in term.match_expressions.iter().flatten().enumerate() {
        let path = list.index(index);
        node_requirement(requirement, &path, errors);
        validation::syntax(&path.child("key"), &requirement.key, meta::qualified_name_faults, errors);
    }
    let list = path.child("matchFields");
    for (index, requirement) in term.match_fields.iter().flatten().enumerate() {
        let path = list.index(index);
        node_requirement(requirement, &path, errors);
        if requirement.key != "metadata.name" {
            errors.invalid(&path.child("key"), &requirement.key, "not a valid field selector key");
        }
    }
}

fn node_requirement(requirement: &NodeSelectorRequirement, path: &Path<'_>, errors: &mut FieldErrors) {
    let values = requirement.values.as_deref().unwrap_or_default();
    let values_path = path.child("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&values_path, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(&values_path, detail);
        }
        "Gt" | "Lt" if values.len() != 1 => {
            let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.required(&values_path, detail);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        unknown => errors.invalid(&path.child("operator"), unknown, "not a valid selector operator"),
    }
}

fn pod_terms(
    required: &[PodAffinityTerm],
    preferred: &[WeightedPodAffinityTerm],
    path: &Path<'_>,
    errors: &mut FieldErrors,
) {
    let list = path.child("requiredDuringSchedulingIgnoredDuringExecution");
    for (index, term) in required.iter().enumerate() {
        pod_term(term, &list.index(index), errors);
    }
    let list = path.child("preferredDuringSchedulingIgnoredDuringExecution");
    for (index, term) in preferred.iter().enumerate() {
        let path = list.index(index);
        weight(term.weight, &path, errors);
        pod_term(&term.pod_affinity_term, &path.child("podAffinityTerm"), errors);
    }
}

fn pod_term(term: &PodAffinityTerm, path: &Path<'_>, errors: &mut FieldErrors) {
    let pods = term.label_selector.as_ref().map(|selector| ("labelSelector", selector));
    let namespaces = term.namespace_selector.as_ref().map(|selector| ("namespaceSelector", selector));
    for (field, chosen) in pods.into_iter().chain(namespaces) {
        selector::validate(chosen, &path.child(field), errors);
    }
    let list = path.child("namespaces");
    for (index, name) in term.namespaces.iter().flatten().enumerate() {
        validation::syntax(&list.index(index), name, meta::dns_1123_label_faults, errors);
    }
    topology_key(&term.topology_key, path, errors);
    let same = term.match_label_keys.as_deref().unwrap_or_default();
    let other = term.mismatch_label_keys.as_deref().unwrap_or_default();
    let has_selector = term.label_selector.is_some();
    for (field, keys) in [("matchLabelKeys", same), ("mismatchLabelKeys", other)] {
        label_keys(keys, has_selector, &path.child(field), errors);
    }
    let list = path.child("matchLabelKeys");
    for (index, key) in same.iter().enumerate().filter(|(_, key)| other.contains(key)) {
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.invalid(&list.index(index), key, detail);
    }
}

fn label_keys(keys: &[String], has_selector: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    if !keys.is_empty() && !has_selector {
        errors.forbidden(path, "must not be specified when labelSelector is not set");
    }
    for (index, key) in keys.iter().enumerate() {
        validation::syntax(&path.index(index), key, meta::qualified_name_faults, errors);
    }
}

fn topology_key(key: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child("topologyKey");
    match key {
        "" => errors.required(&path, "can not be empty"),
        key => validation::syntax(&path, key, meta::qualified_name_faults, errors),
    }
}

fn toleration(toleration: &Toleration, path: &Path<'_>, errors: &mut FieldErrors) {
    let key = toleration.key.as_deref().unwrap_or_default();
    let operator = toleration.operator.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let value = toleration.value.as_deref().unwrap_or_default();
    if !key.is_empty() {
        validation::syntax(&path.child("key"), key, meta::qualified_name_faults, errors);
    } else if operator != "Exists" {
        let detail =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.invalid(&path.child("operator"), operator, detail);
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.invalid(&path.child("effect"), effect, detail);
    }
    match operator {
        "" | "Equal" => {
            if !value.is_empty() {
                validation::syntax(&path.child("operator"), value, meta::label_value_faults, errors);
            }
        }
        "Exists" if !value.is_empty() => {
            let detail = "value must be empty when `operator` is 'Exists'";
            errors.invalid(&path.child("operator"), Shown::json(toleration), detail);
        }
        "Exists" => {}
        unknown => errors.not_supported(&path.child("operator"), unknown, &["Equal", "Exists"]),
    }
    validation::optional_word(&path.child("effect"), toleration.effect.as_ref(), TAINT_EFFECTS, errors);
}

fn spread(constraints: &[TopologySpreadConstraint], path: &Path<'_>, errors: &mut FieldErrors) {
    let list = path.child("topologySpreadConstraints");
    for (index, constraint) in constraints.iter().enumerate() {
        let path = list.index(index);
        if constraint.max_skew <= 0 {
            errors.invalid(&path.child("maxSkew"), constraint.max_skew, "must be greater than zero");
        }
        topology_key(&constraint.topology_key, &path, errors);
        let known: &[&str] = &["DoNotSchedule", "ScheduleAnyway"];
        let action = &constraint.when_unsatisfiable;
        if !known.contains(&action.as_str()) {
            errors.not_supported(&path.child("whenUnsatisfiable"), action, known);
        }
        let same = |other: &TopologySpreadConstraint| {
            other.topology_key == constraint.topology_key && other.when_unsatisfiable == *action
        };
        if constraints[..index].iter().any(same) {
            let pair = format!("{{{}, {action}}}", constraint.topology_key);
            errors.duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), &pair);
        }
        inclusion(constraint, &path, errors);
        spread_keys(constraint, &path.child("matchLabelKeys"), errors);
        if let Some(chosen) = &constraint.label_selector {
            selector::validate(chosen, &path.child("labelSelector"), errors);
        }
    }
}

/// Which nodes and domains a constraint compares.
fn inclusion(constraint: &TopologySpreadConstraint, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(domains) = constraint.min_domains {
        let path = path.child("minDomains");
        if domains <= 0 {
            errors.invalid(&path, domains, "must be greater than zero");
        }
        let action = &constraint.when_unsatisfiable;
        if action != "DoNotSchedule" {
            let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            errors.invalid(&path, domains, &detail);
        }
    }
    for (field, policy) in [
        ("nodeAffinityPolicy", &constraint.node_affinity_policy),
        ("nodeTaintsPolicy", &constraint.node_taints_policy),
    ] {
        validation::optional_word(&path.child(field), policy.as_ref(), &["Honor", "Ignore"], errors);
    }
}

fn spread_keys(constraint: &TopologySpreadConstraint, path: &Path<'_>, errors: &mut FieldErrors) {
    let keys = constraint.match_label_keys.as_deref().unwrap_or_default();
    label_keys(keys, constraint.label_selector.is_some(), path, errors);
    let Some(selector) = &constraint.label_selector else { return };
    let is_selected = |key: &String| {
        selector.match_labels.iter().flatten().any(|(known, _)| known == key)
            || selector.match_expressions.iter().flatten().any(|expression| expression.key == *key)
    };
    for (index, key) in keys.iter().enumerate().filter(|(_, key)| is_selected(key)) {
        errors.invalid(&path.index(index), key, "exists in both matchLabelKeys and labelSelector");
    }
}
