//! Which pods a rule of a pod is about: by namespace and labels, and within which part of the cluster.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use isopod_spec::selector::Selector;
use k8s_openapi::api::core::v1::{PodAffinityTerm, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::controllers::facts::StringMap;

/// The labels of each namespace.
pub(super) type Namespaces = HashMap<String, StringMap>;

/// Pods by the namespace they are in and the labels they have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    namespaces: BTreeSet<String>,
    /// Namespaces with such labels are looked at as well.
    selected: Option<Selector>,
    selector: Selector,
}

impl Query {
    /// Pods of one namespace.
    pub(super) fn within(namespace: &str, selector: Selector) -> Query {
        Query { namespaces: [namespace.to_owned()].into(), selected: None, selector }
    }

    fn of(term: &PodAffinityTerm, namespace: &str, labels: &StringMap) -> Query {
        let same = term.match_label_keys.as_deref().unwrap_or_default();
        let other = term.mismatch_label_keys.as_deref().unwrap_or_default();
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        Query {
            namespaces,
            selected: term.namespace_selector.as_ref().map(|chosen| Selector::of(Some(chosen))),
            selector: narrowed(term.label_selector.as_ref(), labels, same, other),
        }
    }

    /// True when a pod of this namespace with these labels is meant.
    pub(super) fn matches(&self, namespace: &str, labels: &StringMap, namespaces: &Namespaces) -> bool {
        let is_selected = || {
            let selected = self.selected.as_ref();
            selected.is_some_and(|selected| selected.matches(namespaces.get(namespace)))
        };
        (self.namespaces.contains(namespace) || is_selected()) && self.selector.matches(Some(labels))
    }

    /// True when the labels of namespaces decide.
    pub(super) fn asks_namespaces(&self) -> bool {
        self.selected.is_some()
    }
}

/// Pods in the same domain of a topology: on nodes that have the same value of this label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) query: Query,
    /// The label of nodes.
    pub(super) topology: Arc<str>,
}

impl Term {
    /// The term of a pod in this namespace with these labels.
    pub(super) fn of(term: &PodAffinityTerm, namespace: &str, labels: &StringMap) -> Term {
        Term { query: Query::of(term, namespace, labels), topology: term.topology_key.as_str().into() }
    }
}

/// Whether a rule about spreading must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Force {
    /// `DoNotSchedule`.
    Must,
    /// `ScheduleAnyway`.
    Should,
}

/// Whether nodes that the pod cannot go to are left out where domains are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inclusion {
    /// They are left out.
    Honor,
    /// They are counted too.
    Ignore,
}

impl Inclusion {
    fn of(policy: Option<&str>, default: Inclusion) -> Inclusion {
        match policy {
            Some("Honor") => Inclusion::Honor,
            Some("Ignore") => Inclusion::Ignore,
            _ => default,
        }
    }
}

/// That the matching pods are spread over the domains of a topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spread {
    pub(super) term: Term,
    pub(super) force: Force,
    pub(super) max_skew: i64,
    /// With fewer domains than this, each counts as if another one were empty.
    pub(super) min_domains: i64,
    pub(super) affinity: Inclusion,
    pub(super) taints: Inclusion,
}

impl Spread {
    /// The constraint of a pod in this namespace with these labels.
    pub(super) fn of(constraint: &TopologySpreadConstraint, namespace: &str, labels: &StringMap) -> Spread {
        let same = constraint.match_label_keys.as_deref().unwrap_or_default();
        let selector = narrowed(constraint.label_selector.as_ref(), labels, same, &[]);
        let is_hard = constraint.when_unsatisfiable == "DoNotSchedule";
        Spread {
            force: if is_hard { Force::Must } else { Force::Should },
            max_skew: constraint.max_skew.into(),
            min_domains: constraint.min_domains.unwrap_or(1).into(),
            affinity: Inclusion::of(constraint.node_affinity_policy.as_deref(), Inclusion::Honor),
            taints: Inclusion::of(constraint.node_taints_policy.as_deref(), Inclusion::Ignore),
            ..Spread::usual(Query::within(namespace, selector), &constraint.topology_key, 1)
        }
    }

    /// As pods are spread whose author says nothing about it.
    pub(super) fn usual(query: Query, topology: &str, max_skew: i64) -> Spread {
        Spread {
            term: Term { query, topology: topology.into() },
            force: Force::Should,
            max_skew,
            min_domains: 1,
            affinity: Inclusion::Honor,
            taints: Inclusion::Ignore,
        }
    }
}

/// The selector for pods that, besides, have the same value of some labels as this one, and another one of others. A
/// label that this one does not have narrows nothing.
fn narrowed(
    selector: Option<&LabelSelector>,
    labels: &StringMap,
    same: &[String],
    other: &[String],
) -> Selector {
    let Some(selector) = selector else { return Selector::nothing() };
    let mut selector = selector.clone();
    let same = same.iter().map(|key| (key, "In"));
    for (key, operator) in same.chain(other.iter().map(|key| (key, "NotIn"))) {
        let Some(value) = labels.get(key) else { continue };
        selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.to_owned(),
            values: Some(vec![value.clone()]),
        });
    }
    Selector::of(Some(&selector))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> StringMap {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn selector(pairs: &[(&str, &str)]) -> Option<LabelSelector> {
        Some(LabelSelector { match_labels: Some(labels(pairs)), ..LabelSelector::default() })
    }

    #[test]
    fn a_term_looks_at_its_own_namespace_unless_it_names_others() {
        let namespaces: Namespaces = [("a", "x"), ("b", "y"), ("c", "y")]
            .map(|(name, team)| (name.to_owned(), labels(&[("team", team)])))
            .into();
        let listed = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        for (names, selected, expected) in [
            (None, None, vec!["a"]),
            (listed(&["b"]), None, vec!["b"]),
            (None, selector(&[("team", "y")]), vec!["b", "c"]),
            (listed(&["a"]), selector(&[("team", "y")]), vec!["a", "b", "c"]),
            (None, selector(&[]), vec!["a", "b", "c"]),
        ] {
            let term = PodAffinityTerm {
                label_selector: selector(&[]),
                namespaces: names,
                namespace_selector: selected,
                ..PodAffinityTerm::default()
            };
            let query = Query::of(&term, "a", &StringMap::new());
            let looked_at =
                ["a", "b", "c"].into_iter().filter(|name| query.matches(name, &labels(&[]), &namespaces));
            assert_eq!(looked_at.collect::<Vec<_>>(), expected, "{term:?}");
        }
    }

    #[test]
    fn label_keys_narrow_a_term_to_pods_of_the_same_or_another_value() {
        let term = |same: &str, other: &str| PodAffinityTerm {
            label_selector: selector(&[("app", "web")]),
            match_label_keys: Some(vec![same.to_owned()]),
            mismatch_label_keys: Some(vec![other.to_owned()]),
            ..PodAffinityTerm::default()
        };
        let own = labels(&[("hash", "1"), ("tenant", "t")]);
        for (same, other, labels, expected) in [
            ("hash", "none", labels(&[("app", "web"), ("hash", "1")]), true),
            ("hash", "none", labels(&[("app", "web"), ("hash", "2")]), false),
            ("none", "none", labels(&[("app", "web"), ("hash", "2")]), true),
            ("none", "tenant", labels(&[("app", "web"), ("tenant", "t")]), false),
            ("none", "tenant", labels(&[("app", "web"), ("tenant", "u")]), true),
            ("none", "none", labels(&[("app", "db")]), false),
        ] {
            let query = Query::of(&term(same, other), "ns", &own);
            assert_eq!(
                query.matches("ns", &labels, &Namespaces::new()),
                expected,
                "{same} {other} {labels:?}"
            );
        }
        let without = PodAffinityTerm { label_selector: None, ..term("hash", "none") };
        assert!(!Query::of(&without, "ns", &own).matches("ns", &own, &Namespaces::new()));
    }
}
