//! One node as the scheduler sees it: what it has, and what the pods on it take.

use std::collections::HashMap;
use std::sync::Arc;

use isopod_spec::quantity::Amount;
use k8s_openapi::api::core::v1::{Node, Taint};

use super::resources::Resources;
use super::wants::{HostPort, Wants};
use super::{affinity, taints};
use crate::controllers::facts::StringMap;

/// Why a pod cannot go to a node. The words are Kubernetes', since users and tools know them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Rejection {
    Unschedulable,
    Tainted,
    NotSelected,
    PortsTaken,
    TooManyPods,
    Insufficient(String),
}

impl Rejection {
    /// The reason in an event.
    pub(super) fn words(&self) -> String {
        match self {
            Rejection::Unschedulable => "node(s) were unschedulable".to_owned(),
            Rejection::Tainted => "node(s) had untolerated taint(s)".to_owned(),
            Rejection::NotSelected => "node(s) didn't match Pod's node affinity/selector".to_owned(),
            Rejection::PortsTaken => "node(s) didn't have free ports for the requested pod ports".to_owned(),
            Rejection::TooManyPods => "Too many pods".to_owned(),
            Rejection::Insufficient(resource) => format!("Insufficient {resource}"),
        }
    }
}

/// A node and its load.
#[derive(Debug, Default, Clone)]
pub(super) struct NodeState {
    /// `None` while pods are bound to a node that does not exist (any more).
    facts: Option<Facts>,
    used: Resources,
    counted_cpu_milli: i64,
    counted_memory_bytes: i64,
    pods: i64,
    ports: Vec<HostPort>,
    of_owner: HashMap<Arc<str>, u32>,
}

/// What the Node object says.
#[derive(Debug, Clone, PartialEq)]
struct Facts {
    labels: StringMap,
    taints: Vec<Taint>,
    is_unschedulable: bool,
    allocatable: Resources,
    pods_max: i64,
}

impl NodeState {
    /// Takes over what the Node object says now; true when that can matter to a waiting pod.
    pub(super) fn observe(&mut self, node: Option<&Node>) -> bool {
        let facts = node.map(Facts::of);
        let changed = facts != self.facts;
        self.facts = facts;
        changed
    }

    /// True when there is such a node.
    pub(super) fn exists(&self) -> bool {
        self.facts.is_some()
    }

    /// True when neither a node nor pods are left.
    pub(super) fn is_gone(&self) -> bool {
        self.facts.is_none() && self.pods == 0
    }

    /// Counts a pod in.
    pub(super) fn add(&mut self, wants: &Wants) {
        self.pods += 1;
        self.used.add(&wants.request.stated);
        self.counted_cpu_milli += wants.request.counted_cpu_milli;
        self.counted_memory_bytes += wants.request.counted_memory_bytes;
        self.ports.extend(wants.ports.iter().cloned());
        if let Some(owner) = &wants.owner {
            *self.of_owner.entry(owner.clone()).or_default() += 1;
        }
    }

    /// Counts a pod out.
    pub(super) fn remove(&mut self, wants: &Wants) {
        self.pods -= 1;
        self.used.subtract(&wants.request.stated);
        self.counted_cpu_milli -= wants.request.counted_cpu_milli;
        self.counted_memory_bytes -= wants.request.counted_memory_bytes;
        for port in &wants.ports {
            if let Some(position) = self.ports.iter().position(|taken| taken == port) {
                self.ports.swap_remove(position);
            }
        }
        if let Some(owner) = &wants.owner
            && let Some(count) = self.of_owner.get_mut(owner)
        {
            *count -= 1;
            if *count == 0 {
                self.of_owner.remove(owner);
            }
        }
    }

    /// Whether the node suits such pods at all, whatever runs on it.
    pub(super) fn suits(&self, name: &str, wants: &Wants) -> Result<(), Rejection> {
        let Some(facts) = &self.facts else { return Err(Rejection::Unschedulable) };
        let cordon = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        if facts.is_unschedulable && !taints::is_tolerated(&cordon, &wants.tolerations) {
            return Err(Rejection::Unschedulable);
        }
        let mut repelling = facts.taints.iter().filter(|taint| taints::repels(taint));
        if repelling.any(|taint| !taints::is_tolerated(taint, &wants.tolerations)) {
            return Err(Rejection::Tainted);
        }
        if !affinity::admits(wants, name, &facts.labels) {
            return Err(Rejection::NotSelected);
        }
        Ok(())
    }

    /// True when there is room for the pod now. [`NodeState::shortages`] says what is missing.
    pub(super) fn has_room(&self, wants: &Wants) -> bool {
        let Some(facts) = &self.facts else { return false };
        let (free, asked) = (&facts.allocatable, &wants.request.stated);
        let fits = |asked: i64, used: i64, all: i64| asked == 0 || asked + used <= all;
        self.pods < facts.pods_max
            && fits(asked.cpu_milli, self.used.cpu_milli, free.cpu_milli)
            && fits(asked.memory_bytes, self.used.memory_bytes, free.memory_bytes)
            && fits(asked.storage_bytes, self.used.storage_bytes, free.storage_bytes)
            && (wants.ports.is_empty() || !self.has_port_taken(wants))
            && (asked.other.is_empty() || self.missing_other(facts, wants).next().is_none())
    }

    /// Why there is no room: every reason.
    pub(super) fn shortages(&self, wants: &Wants) -> Vec<Rejection> {
        let Some(facts) = &self.facts else { return vec![Rejection::Unschedulable] };
        if self.has_port_taken(wants) {
            return vec![Rejection::PortsTaken];
        }
        let (all, asked) = (&facts.allocatable, &wants.request.stated);
        let mut reasons = Vec::new();
        if self.pods >= facts.pods_max {
            reasons.push(Rejection::TooManyPods);
        }
        for (name, asked, used, all) in [
            ("cpu", asked.cpu_milli, self.used.cpu_milli, all.cpu_milli),
            ("memory", asked.memory_bytes, self.used.memory_bytes, all.memory_bytes),
            ("ephemeral-storage", asked.storage_bytes, self.used.storage_bytes, all.storage_bytes),
        ] {
            if asked > 0 && asked + used > all {
                reasons.push(Rejection::Insufficient(name.to_owned()));
            }
        }
        reasons.extend(self.missing_other(facts, wants).map(|name| Rejection::Insufficient(name.clone())));
        reasons
    }

    /// True when the pod would fit if nothing else ran here.
    pub(super) fn is_large_enough(&self, wants: &Wants) -> bool {
        let Some(facts) = &self.facts else { return false };
        let empty = NodeState { facts: Some(facts.clone()), ..NodeState::default() };
        empty.has_room(wants)
    }

    fn has_port_taken(&self, wants: &Wants) -> bool {
        wants.ports.iter().any(|port| self.ports.iter().any(|taken| taken.collides(port)))
    }

    fn missing_other<'a>(&'a self, facts: &'a Facts, wants: &'a Wants) -> impl Iterator<Item = &'a String> {
        let asked = wants.request.stated.other.iter().filter(|(_, asked)| **asked > 0);
        let amount = |amounts: &Resources, name: &String| amounts.other.get(name).copied().unwrap_or(0);
        asked
            .filter(move |(name, asked)| {
                **asked + amount(&self.used, name) > amount(&facts.allocatable, name)
            })
            .map(|(name, _)| name)
    }

    /// How many pods of the same owner run here.
    pub(super) fn siblings(&self, wants: &Wants) -> u32 {
        wants.owner.as_ref().and_then(|owner| self.of_owner.get(owner)).copied().unwrap_or(0)
    }

    /// What the pod's preferences say of the node: the weight of its affinity, and the taints that discourage it.
    pub(super) fn preference(&self, name: &str, wants: &Wants) -> (i64, i64) {
        let Some(facts) = &self.facts else { return (0, 0) };
        let discouraging = taints::discouraging(&facts.taints, &wants.tolerations);
        (affinity::preference(wants, name, &facts.labels), discouraging)
    }

    /// The share of cpu and memory that is taken once the pod is here, each from 0 to 1.
    pub(super) fn load_with(&self, wants: &Wants) -> (f64, f64) {
        let Some(facts) = &self.facts else { return (1.0, 1.0) };
        #[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^52")]
        let share = |used: i64, all: i64| if all <= 0 { 1.0 } else { (used as f64 / all as f64).min(1.0) };
        let cpu = self.counted_cpu_milli + wants.request.counted_cpu_milli;
        let memory = self.counted_memory_bytes + wants.request.counted_memory_bytes;
        (share(cpu, facts.allocatable.cpu_milli), share(memory, facts.allocatable.memory_bytes))
    }
}

impl Facts {
    fn of(node: &Node) -> Facts {
        let spec = node.spec.clone().unwrap_or_default();
        let status = node.status.as_ref();
        let allocatable = status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref()));
        let pods = allocatable.and_then(|amounts| amounts.get("pods"));
        Facts {
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.taints.unwrap_or_default(),
            is_unschedulable: spec.unschedulable == Some(true),
            allocatable: Resources::of(allocatable),
            pods_max: pods.and_then(|pods| Amount::parse(&pods.0).ok()).map_or(0, Amount::value),
        }
    }
}
