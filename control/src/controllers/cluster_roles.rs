//! ClusterRoles that are made of others: they have the rules of all roles that their selectors match.

use isopod_spec::selector::Selector;
use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};

use super::outcome;
use super::runner::{Controller, Planned, Shell};
use crate::cache::{Change, ObjectKey, View};

/// Keeps the rules of aggregating roles.
#[derive(Debug, Default)]
pub(crate) struct ClusterRoles;

/// The rules of the parts, each once, in the order of the selectors and then of the parts' names; `None` when the
/// role is not made of others.
pub(crate) fn rules(role: &ClusterRole, all: &[&ClusterRole]) -> Option<Vec<PolicyRule>> {
    let aggregation = role.aggregation_rule.as_ref()?;
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in aggregation.cluster_role_selectors.iter().flatten() {
        let selector = Selector::of(Some(selector));
        let parts = all.iter().filter(|part| {
            part.metadata.name != role.metadata.name && selector.matches(part.metadata.labels.as_ref())
        });
        for rule in parts.flat_map(|part| part.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Some(rules)
}

impl Controller for ClusterRoles {
    const NAME: &'static str = "clusterrole-aggregation-controller";
    type Plan = Box<ClusterRole>;

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        if let Change::ClusterRole(_) = change {
            let whole = view.cluster_roles.iter().filter(|(_, role)| role.aggregation_rule.is_some());
            whole.for_each(|(key, _)| wake(key.clone()));
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, _now: Timestamp) -> Planned<Box<ClusterRole>> {
        let plan = view.cluster_roles.get(key).and_then(|role| {
            let all: Vec<&ClusterRole> = view.cluster_roles.iter().map(|(_, part)| &**part).collect();
            let rules = rules(role, &all)?;
            let differs = role.rules.as_deref().unwrap_or_default() != rules;
            differs.then(|| Box::new(ClusterRole { rules: Some(rules), ..ClusterRole::clone(role) }))
        });
        Planned { plan, again_after: None }
    }

    async fn apply(shell: Shell, role: Box<ClusterRole>) -> Result<(), Status> {
        match shell.objects.update(&*role).await {
            Err(status) if outcome::is_gone(&status) => Ok(()),
            updated => updated.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn role(whole: serde_json::Value) -> ClusterRole {
        serde_json::from_value(whole).expect("a role")
    }

    #[test]
    fn a_role_has_the_rules_of_its_parts_once_and_in_order() {
        let rule = |verb: &str| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]});
        let part = |name: &str, label: &str, rules: serde_json::Value| {
            role(json!({"metadata": {"name": name, "labels": {"to": label}}, "rules": rules}))
        };
        let whole =
            role(json!({"metadata": {"name": "whole", "labels": {"to": "x"}}, "rules": [rule("own")],
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "x"}}]}}));
        let all = [
            part("a", "x", json!([rule("get"), rule("list")])),
            part("b", "y", json!([rule("delete")])),
            part("c", "x", json!([rule("list"), rule("watch")])),
            whole.clone(),
        ];
        let all: Vec<&ClusterRole> = all.iter().collect();
        let made = rules(&whole, &all).expect("it aggregates");
        let verbs: Vec<&str> = made.iter().map(|rule| rule.verbs[0].as_str()).collect();
        assert_eq!(verbs, ["get", "list", "watch"]);
        assert_eq!(rules(all[0], &all), None);
        let settled = ClusterRole { rules: Some(made.clone()), ..whole };
        assert_eq!(rules(&settled, &all), Some(made), "a fixed point");
    }
}
