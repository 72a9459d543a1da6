//! What a pod wants of a node and of the pods around it, worked out once per pod.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Affinity, NodeAffinity, Pod, PodSpec, Toleration};

use super::resources::Request;
use super::terms::{Spread, Term};
use super::volumes::{self, ClaimName};
use crate::controllers::facts::{self, StringMap};

/// A port of the host that a container wants for itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct HostPort {
    pub(super) protocol: String,
    /// Empty for all addresses.
    pub(super) address: String,
    pub(super) port: i32,
}

impl HostPort {
    /// True when both cannot be had on one node.
    pub(super) fn collides(&self, other: &HostPort) -> bool {
        let same_address =
            self.address.is_empty() || other.address.is_empty() || self.address == other.address;
        self.port == other.port && self.protocol == other.protocol && same_address
    }
}

/// Pods of one template want the same, so verdicts are shared between them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Wants {
    /// The uid of the pod's controller.
    pub(super) owner: Option<Arc<str>>,
    pub(super) namespace: Arc<str>,
    pub(super) labels: StringMap,
    pub(super) priority: i32,
    /// Never takes the place of another pod.
    pub(super) is_patient: bool,
    pub(super) request: Request,
    pub(super) ports: BTreeSet<HostPort>,
    pub(super) node_selector: StringMap,
    pub(super) node_affinity: Option<NodeAffinity>,
    pub(super) tolerations: Vec<Toleration>,
    pub(super) images: Vec<String>,
    pub(super) claims: Vec<ClaimName>,
    pub(super) spread: Vec<Spread>,
    /// Pods that must be in the same domain.
    pub(super) near: Vec<Term>,
    /// Pods that must not be in the same domain.
    pub(super) apart: Vec<Term>,
    /// Pods that should be in the same domain, or, with a negative weight, should not.
    pub(super) preferred: Vec<(Term, i64)>,
}

impl Wants {
    /// What the pod says.
    pub(super) fn of(pod: &Pod) -> Wants {
        let namespace: Arc<str> = facts::namespace(&pod.metadata).into();
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let owner = facts::controller_of(&pod.metadata).map(|owner| Arc::from(owner.uid.as_str()));
        let Some(spec) = &pod.spec else { return Wants { owner, namespace, labels, ..Wants::default() } };
        let affinity = spec.affinity.as_ref();
        let spread = spec.topology_spread_constraints.iter().flatten();
        let mut wants = Wants {
            priority: spec.priority.unwrap_or(0),
            is_patient: spec.preemption_policy.as_deref() == Some("Never"),
            request: Request::of(pod),
            ports: host_ports(spec),
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            node_affinity: affinity.and_then(|affinity| affinity.node_affinity.clone()),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            images: images(spec),
            claims: volumes::claims_of(pod),
            spread: spread.map(|constraint| Spread::of(constraint, &namespace, &labels)).collect(),
            owner,
            namespace,
            labels,
            ..Wants::default()
        };
        if let Some(affinity) = affinity {
            wants.add_terms(affinity);
        }
        wants
    }

    fn add_terms(&mut self, affinity: &Affinity) {
        let (near, apart) = (affinity.pod_affinity.as_ref(), affinity.pod_anti_affinity.as_ref());
        let term = |term: &_| Term::of(term, &self.namespace, &self.labels);
        let required =
            near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_ref());
        let must_near = required.into_iter().flatten().map(term).collect();
        let required =
            apart.and_then(|apart| apart.required_during_scheduling_ignored_during_execution.as_ref());
        let must_apart = required.into_iter().flatten().map(term).collect();
        let wished = near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_ref());
        let wished = wished.into_iter().flatten().map(|wish| (wish, i64::from(wish.weight)));
        let shunned =
            apart.and_then(|apart| apart.preferred_during_scheduling_ignored_during_execution.as_ref());
        let shunned = shunned.into_iter().flatten().map(|wish| (wish, -i64::from(wish.weight)));
        let preferred =
            wished.chain(shunned).map(|(wish, weight)| (term(&wish.pod_affinity_term), weight)).collect();
        (self.near, self.apart, self.preferred) = (must_near, must_apart, preferred);
    }

    /// Every topology that its rules name.
    pub(super) fn topologies(&self) -> impl Iterator<Item = &Arc<str>> {
        let terms = self.near.iter().chain(&self.apart).chain(self.preferred.iter().map(|(term, _)| term));
        terms.chain(self.spread.iter().map(|spread| &spread.term)).map(|term| &term.topology)
    }
}

fn host_ports(spec: &PodSpec) -> BTreeSet<HostPort> {
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    let wanted = ports.filter_map(|port| {
        Some(HostPort {
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            address: port
                .host_ip
                .clone()
                .filter(|address| address != "0.0.0.0" && address != "::")
                .unwrap_or_default(),
            port: port.host_port.filter(|port| *port > 0)?,
        })
    });
    wanted.collect()
}

/// The images of the containers, each with a tag, as nodes name those that they have.
fn images(spec: &PodSpec) -> Vec<String> {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let named = containers.filter_map(|container| container.image.as_deref());
    named.map(with_tag).collect()
}

fn with_tag(image: &str) -> String {
    let last = image.rsplit_once('/').map_or(image, |(_, last)| last);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// Wants that were worked out a moment ago. Most pods come in crowds that want the same: they share one copy.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Arc<Wants>>);

/// How many are kept.
const RECENT_MAX: usize = 32;

impl Recent {
    /// What the pod wants, shared if a recent one wanted the same.
    pub(super) fn of(&mut self, pod: &Pod) -> Arc<Wants> {
        let wants = Wants::of(pod);
        if let Some(known) = self.0.iter().find(|known| ***known == wants) {
            return known.clone();
        }
        let wants = Arc::new(wants);
        self.0.truncate(RECENT_MAX - 1);
        self.0.push_front(wants.clone());
        wants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_as_nodes_name_them() {
        for (given, expected) in [
            ("web", "web:latest"),
            ("registry.local:5000/web", "registry.local:5000/web:latest"),
            ("registry.local/web:v1", "registry.local/web:v1"),
            ("web@sha256:00", "web@sha256:00"),
        ] {
            assert_eq!(with_tag(given), expected);
        }
    }

    #[test]
    fn pods_that_want_the_same_share_it() {
        let mut recent = Recent::default();
        let (plain, mut other) = (Pod::default(), Pod::default());
        other.metadata.namespace = Some("ns".into());
        let first = recent.of(&plain);
        assert!(Arc::ptr_eq(&first, &recent.of(&plain)));
        assert!(!Arc::ptr_eq(&first, &recent.of(&other)));
    }
}
