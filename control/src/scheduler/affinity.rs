//! Whether a node is one that a pod's selector or affinity names.

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};

use super::wants::Wants;
use crate::controllers::facts::StringMap;

/// True when the node has the labels that the pod insists on.
pub(super) fn admits(wants: &Wants, node: &str, labels: &StringMap) -> bool {
    let selected = wants.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = wants.node_affinity.as_ref();
    let required =
        affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|selector| is_any(selector, node, labels))
}

/// True when the node meets one of the terms.
pub(super) fn is_any(selector: &NodeSelector, node: &str, labels: &StringMap) -> bool {
    selector.node_selector_terms.iter().any(|term| holds(term, node, labels))
}

/// The sum of the weights of the preferences that the node meets.
pub(super) fn preference(wants: &Wants, node: &str, labels: &StringMap) -> i64 {
    let affinity = wants.node_affinity.as_ref();
    let preferred =
        affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
    let met = preferred.into_iter().flatten().filter(|term| holds(&term.preference, node, labels));
    met.map(|term| i64::from(term.weight)).sum()
}

/// A term without requirements matches nothing.
fn holds(term: &NodeSelectorTerm, node: &str, labels: &StringMap) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let has_any = !expressions.is_empty() || !fields.is_empty();
    let value_of = |key: &str| labels.get(key).map(String::as_str);
    let field_of = |key: &str| (key == "metadata.name").then_some(node);
    has_any
        && expressions.iter().all(|requirement| meets(requirement, value_of(&requirement.key)))
        && fields.iter().all(|requirement| meets(requirement, field_of(&requirement.key)))
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let listed = || requirement.values.as_deref().unwrap_or_default();
    let compared = || {
        let own: i64 = value?.parse().ok()?;
        let other: i64 = listed().first()?.parse().ok()?;
        Some(own.cmp(&other))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| listed().iter().any(|listed| listed == value)),
        "NotIn" => !value.is_some_and(|value| listed().iter().any(|listed| listed == value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared().is_some_and(std::cmp::Ordering::is_gt),
        "Lt" => compared().is_some_and(std::cmp::Ordering::is_lt),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{NodeAffinity, PreferredSchedulingTerm};

    fn requirement(key: &str, operator: &str, values: &[&str]) -> NodeSelectorRequirement {
        NodeSelectorRequirement {
            key: key.to_owned(),
            operator: operator.to_owned(),
            values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
        }
    }

    fn labels() -> StringMap {
        [("disk", "ssd"), ("cores", "8")].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn requirements_are_judged_by_their_operator() {
        for (requirement, expected) in [
            (requirement("disk", "In", &["hdd", "ssd"]), true),
            (requirement("disk", "NotIn", &["ssd"]), false),
            (requirement("zone", "NotIn", &["a"]), true),
            (requirement("disk", "Exists", &[]), true),
            (requirement("disk", "DoesNotExist", &[]), false),
            (requirement("cores", "Gt", &["4"]), true),
            (requirement("cores", "Lt", &["8"]), false),
            (requirement("disk", "Gt", &["4"]), false),
            (requirement("disk", "Near", &["ssd"]), false),
        ] {
            let term =
                NodeSelectorTerm { match_expressions: Some(vec![requirement.clone()]), match_fields: None };
            assert_eq!(holds(&term, "n1", &labels()), expected, "{requirement:?}");
        }
        let by_name = NodeSelectorTerm {
            match_expressions: None,
            match_fields: Some(vec![requirement("metadata.name", "In", &["n1"])]),
        };
        assert!(holds(&by_name, "n1", &labels()));
        assert!(!holds(&by_name, "n2", &labels()));
        assert!(!holds(&NodeSelectorTerm::default(), "n1", &labels()));
    }

    #[test]
    fn one_required_term_suffices_and_preferences_add_up() {
        let term = |key: &str| NodeSelectorTerm {
            match_expressions: Some(vec![requirement(key, "Exists", &[])]),
            match_fields: None,
        };
        let preferred = |key: &str, weight| PreferredSchedulingTerm { preference: term(key), weight };
        let mut wants = Wants {
            node_affinity: Some(NodeAffinity {
                required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                    node_selector_terms: vec![term("zone"), term("disk")],
                }),
                preferred_during_scheduling_ignored_during_execution: Some(vec![
                    preferred("disk", 10),
                    preferred("zone", 20),
                    preferred("cores", 5),
                ]),
            }),
            ..Wants::default()
        };
        assert!(admits(&wants, "n1", &labels()));
        assert_eq!(preference(&wants, "n1", &labels()), 15);
        wants.node_selector = [("disk".to_owned(), "hdd".to_owned())].into();
        assert!(!admits(&wants, "n1", &labels()));
    }
}
