//! PodDisruptionBudget: how many of some pods may be missing on purpose.
//!
//! Rules: <https://kubernetes.io/docs/tasks/run-application/configure-pdb/>, `pkg/apis/policy/validation`,
//! `pkg/registry/policy/poddisruptionbudget`; columns: `pkg/printers/internalversion`.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use crate::apps::workload::{SPEC, STATUS, keep_unwritten};
use crate::field_error::{FieldErrors, Path, Shown};
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column, age};
use crate::{selector, validation};

impl Resource for PodDisruptionBudget {
    fn declaration() -> Declaration {
        Declaration {
            has_generation: true,
            unconditional_update: false,
            ..Declaration::of::<Self>("poddisruptionbudget")
                .short_names(&["pdb"])
                .subresources(&[Subresource::STATUS])
        }
    }

    fn set_defaults(&mut self) {
        self.spec.get_or_insert_default();
        self.status.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        self.status = Some(PodDisruptionBudgetStatus::default());
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        keep_unwritten(target, (&mut self.spec, &old.spec), (&mut self.status, &old.status));
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.spec != old.spec
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let Some(spec) = &self.spec else { return };
        if spec.min_available.is_some() && spec.max_unavailable.is_some() {
            errors.invalid(&SPEC, Shown::json(spec), "minAvailable and maxUnavailable cannot be both set");
        }
        for (field, value) in
            [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)]
        {
            if let Some(value) = value {
                amount(value, &SPEC.child(field), errors);
            }
        }
        if let Some(chosen) = &spec.selector {
            selector::validate(chosen, &SPEC.child("selector"), errors);
        }
        let policy = SPEC.child("unhealthyPodEvictionPolicy");
        let known = &["AlwaysAllow", "IfHealthyBudget"];
        validation::optional_word(&policy, spec.unhealthy_pod_eviction_policy.as_ref(), known, errors);
    }

    fn validate_update(&self, _old: &Self, target: Target, errors: &mut FieldErrors) {
        let (Target::Status, Some(status)) = (target, &self.status) else { return };
        for (field, value) in [
            ("disruptionsAllowed", status.disruptions_allowed),
            ("currentHealthy", status.current_healthy),
            ("desiredHealthy", status.desired_healthy),
            ("expectedPods", status.expected_pods),
        ] {
            validation::nonnegative(&STATUS.child(field), value.map(i64::from), errors);
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::NAME,
            Column::text("Min Available", "How many must stay."),
            Column::text("Max Unavailable", "How many may be missing."),
            Column::integer("Allowed Disruptions", "How many more may be evicted now."),
            Column::AGE,
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let spec = self.spec.as_ref();
        let shown = |value: Option<&IntOrString>| match value {
            None => "N/A".to_owned(),
            Some(IntOrString::Int(number)) => number.to_string(),
            Some(IntOrString::String(text)) => text.clone(),
        };
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(shown(spec.and_then(|spec| spec.min_available.as_ref()))),
            Cell::from(shown(spec.and_then(|spec| spec.max_unavailable.as_ref()))),
            Cell::from(self.status.as_ref().and_then(|status| status.disruptions_allowed).unwrap_or(0)),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }
}

fn amount(value: &IntOrString, path: &Path<'_>, errors: &mut FieldErrors) {
    validation::nonnegative_or_percent(path, value, errors);
    if let IntOrString::String(text) = value
        && validation::percent(text).is_some_and(|percent| percent > 100)
    {
        errors.invalid(path, text, "must not be greater than 100%");
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_row, create, update};

    const BUDGET: &str =
        "{metadata: {name: web}, spec: {minAvailable: 50%, selector: {matchLabels: {app: web}}}}";

    #[test]
    fn broken_budgets_are_told_what_is_wrong() {
        check_invalid::<PodDisruptionBudget>(
            "{metadata: {name: web}, spec: {minAvailable: -1, maxUnavailable: 101%, \
             unhealthyPodEvictionPolicy: Never, selector: {matchExpressions: [{key: a, operator: In}]}}}",
            expect![[r#"
                spec: Invalid value: {"maxUnavailable":"101%","minAvailable":-1,"selector":{"matchExpressions":[{"key":"a","operator":"In"}]},"unhealthyPodEvictionPolicy":"Never"}: minAvailable and maxUnavailable cannot be both set
                spec.minAvailable: Invalid value: -1: must be greater than or equal to 0
                spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%
                spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'
                spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget""#]],
        );
    }

    #[test]
    fn a_budget_is_a_row_and_an_update_names_the_version_it_is_of() {
        check_row::<PodDisruptionBudget>(
            create::<PodDisruptionBudget>(BUDGET).unwrap().as_ref(),
            expect![[r#"
                Name: "web"
                Min Available: "50%"
                Max Unavailable: "N/A"
                Allowed Disruptions: 0
                Age: "0s""#]],
        );
        let blind = update::<PodDisruptionBudget>(BUDGET, BUDGET, Target::Main).unwrap_err();
        assert!(blind.message.contains("must be specified for an update"), "{}", blind.message);
    }
}
