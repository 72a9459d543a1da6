//! Which nodes a DaemonSet's pod may run on, and the pod that is made for one.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, Toleration,
};

use super::pods;
use crate::controllers::facts;
use crate::controllers::revisions::REVISION_LABEL;
use crate::scheduler;
use crate::scheduler::taints::is_tolerated;

/// What a node is to the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It should run a pod.
    Suits,
    /// It gets no new pod, and keeps one that runs.
    Repels,
    /// It should run none.
    Refuses,
}

/// Troubles of a node that a pod which belongs on every node lives with, by taint and effect.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// The field by which a pod names its node before it is bound.
const NAME_FIELD: &str = "metadata.name";

/// Judges a node; `model` is a pod of the set, made for no node.
pub(super) fn fit(spec: &DaemonSetSpec, model: &Pod, node: &Node) -> Fit {
    let mut asked = Pod { spec: spec.template.spec.clone(), ..Pod::default() };
    let named = asked.spec.as_mut().and_then(|spec| spec.node_name.take()).filter(|name| !name.is_empty());
    if named.is_some_and(|name| name != facts::name(&node.metadata)) || !scheduler::is_selected(&asked, node)
    {
        return Fit::Refuses;
    }
    let tolerations = model.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let untolerated =
        |effect| taints.iter().any(|own| own.effect == effect && !is_tolerated(own, tolerations));
    match (untolerated("NoExecute"), untolerated("NoSchedule")) {
        (true, _) => Fit::Refuses,
        (false, true) => Fit::Repels,
        (false, false) => Fit::Suits,
    }
}

/// The pod of the set for a node.
pub(super) fn new_pod(set: &DaemonSet, spec: &DaemonSetSpec, node: &str, hash: &str) -> Pod {
    let mut pod = pods::from_template(spec.template.clone(), set);
    pod.metadata.labels.get_or_insert_default().insert(REVISION_LABEL.to_owned(), hash.to_owned());
    let own = pod.spec.get_or_insert_default();
    // The node was judged by what the template asks for; the name says it all from here on.
    let requirement = NodeSelectorRequirement {
        key: NAME_FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![requirement]), match_expressions: None };
    let affinity = own.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
    let uses_host = own.host_network == Some(true);
    let tolerations = own.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.into_iter().chain(uses_host.then_some(NETWORK)) {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    pod
}

/// The node that a pod is bound to, or made for.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    facts::node_name(pod).or_else(|| {
        let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
        let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
        let mut named = fields.filter(|field| field.key == NAME_FIELD && field.operator == "In");
        named.find_map(|field| field.values.as_ref()?.first()).map(String::as_str)
    })
}
