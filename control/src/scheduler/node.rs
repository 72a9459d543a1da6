//! One node as the scheduler sees it: what it has, and what the pods on it take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isopod_spec::quantity::Amount;
use k8s_openapi::api::core::v1::{Node, Taint};

use super::refusal::Rejection;
use super::resources::Resources;
use super::wants::{HostPort, Wants};
use super::{affinity, taints};
use crate::cache::ObjectKey;
use crate::controllers::facts::{self, StringMap};
use crate::controllers::volumes;

/// The taint of a cordoned node.
const CORDON: &str = "node.kubernetes.io/unschedulable";

/// A node and its load.
#[derive(Debug, Clone)]
pub(super) struct NodeState {
    pub(super) name: Arc<str>,
    /// `None` while pods are bound to a node that does not exist (any more).
    facts: Option<Facts>,
    load: Load,
    /// The pods that are counted here.
    pub(super) pods: BTreeSet<ObjectKey>,
}

/// What the Node object says.
#[derive(Debug, Clone, PartialEq)]
struct Facts {
    labels: StringMap,
    taints: Vec<Taint>,
    is_unschedulable: bool,
    allocatable: Resources,
    pods_max: i64,
    /// It has a folder for volumes.
    makes_volumes: bool,
    /// Sizes of the images that it has, by each of their names.
    images: BTreeMap<String, i64>,
}

/// What pods take.
#[derive(Debug, Clone, Default)]
struct Load {
    used: Resources,
    counted_cpu_milli: i64,
    counted_memory_bytes: i64,
    pods: i64,
    ports: Vec<HostPort>,
}

/// Shares of cpu and memory that are taken, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shares {
    pub(super) cpu: f64,
    pub(super) memory: f64,
}

impl NodeState {
    /// A node of which only the name is known.
    pub(super) fn new(name: Arc<str>) -> NodeState {
        NodeState { name, facts: None, load: Load::default(), pods: BTreeSet::new() }
    }

    /// Takes over what the Node object says now; true when that can matter to a waiting pod.
    pub(super) fn observe(&mut self, node: Option<&Node>) -> bool {
        let mut facts = node.map(Facts::of);
        if let (Some(new), Some(old)) = (&mut facts, &mut self.facts) {
            // Images only make a node better or worse.
            std::mem::swap(&mut old.images, &mut new.images);
            let changed = old != new;
            std::mem::swap(&mut old.images, &mut new.images);
            self.facts = facts;
            return changed;
        }
        let changed = facts.is_some() != self.facts.is_some();
        self.facts = facts;
        changed
    }

    /// True when there is such a node.
    pub(super) fn exists(&self) -> bool {
        self.facts.is_some()
    }

    /// True when neither a node nor pods are left.
    pub(super) fn is_gone(&self) -> bool {
        self.facts.is_none() && self.load.pods == 0
    }

    /// The value of a label.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.facts.as_ref()?.labels.get(key).map(String::as_str)
    }

    /// The images that it has, with their sizes in bytes.
    pub(super) fn images(&self) -> impl Iterator<Item = (&String, i64)> {
        self.facts.iter().flat_map(|facts| &facts.images).map(|(name, size)| (name, *size))
    }

    /// The size of an image that it has.
    pub(super) fn image_bytes(&self, image: &str) -> Option<i64> {
        self.facts.as_ref()?.images.get(image).copied()
    }

    /// Counts what a pod takes.
    pub(super) fn add(&mut self, wants: &Wants) {
        let load = &mut self.load;
        load.pods += 1;
        load.used.add(&wants.request.stated);
        load.counted_cpu_milli += wants.request.counted_cpu_milli;
        load.counted_memory_bytes += wants.request.counted_memory_bytes;
        load.ports.extend(wants.ports.iter().cloned());
    }

    /// The opposite of [`NodeState::add`].
    pub(super) fn remove(&mut self, wants: &Wants) {
        let load = &mut self.load;
        load.pods -= 1;
        load.used.subtract(&wants.request.stated);
        load.counted_cpu_milli -= wants.request.counted_cpu_milli;
        load.counted_memory_bytes -= wants.request.counted_memory_bytes;
        for port in &wants.ports {
            if let Some(position) = load.ports.iter().position(|taken| taken == port) {
                load.ports.swap_remove(position);
            }
        }
    }

    /// Whether the node suits such pods at all, whatever runs on it.
    pub(super) fn suits(&self, wants: &Wants) -> Result<(), Rejection> {
        let Some(facts) = &self.facts else { return Err(Rejection::Unschedulable) };
        if facts.is_unschedulable && !tolerates_cordon(wants) {
            return Err(Rejection::Unschedulable);
        }
        if !self.is_tolerated(wants) {
            return Err(Rejection::Tainted);
        }
        if !self.is_selected(wants) {
            return Err(Rejection::NotSelected);
        }
        Ok(())
    }

    /// True when such pods tolerate its taints.
    pub(super) fn is_tolerated(&self, wants: &Wants) -> bool {
        let taints = self.facts.as_ref().map(|facts| facts.taints.as_slice()).unwrap_or_default();
        let mut repelling = taints.iter().filter(|taint| taints::repels(taint));
        repelling.all(|taint| taints::is_tolerated(taint, &wants.tolerations))
    }

    /// True when it is one of the nodes that such pods insist on.
    pub(super) fn is_selected(&self, wants: &Wants) -> bool {
        self.facts.as_ref().is_some_and(|facts| affinity::admits(wants, &self.name, &facts.labels))
    }

    /// Its labels, if there is such a node.
    pub(super) fn labels(&self) -> Option<&StringMap> {
        self.facts.as_ref().map(|facts| &facts.labels)
    }

    /// True when it makes volumes for claims.
    pub(super) fn makes_volumes(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.makes_volumes)
    }

    /// True when there is room for the pod now. [`NodeState::shortages`] says what is missing.
    pub(super) fn has_room(&self, wants: &Wants) -> bool {
        let Some(facts) = &self.facts else { return false };
        let (all, asked, used) = (&facts.allocatable, &wants.request.stated, &self.load.used);
        let fits = |asked: i64, used: i64, all: i64| asked == 0 || asked + used <= all;
        self.load.pods < facts.pods_max
            && fits(asked.cpu_milli, used.cpu_milli, all.cpu_milli)
            && fits(asked.memory_bytes, used.memory_bytes, all.memory_bytes)
            && fits(asked.storage_bytes, used.storage_bytes, all.storage_bytes)
            && (wants.ports.is_empty() || !self.has_port_taken(wants))
            && asked.other.iter().all(|(name, asked)| fits(*asked, used.of_other(name), all.of_other(name)))
    }

    /// Why there is no room: every reason.
    pub(super) fn shortages(&self, wants: &Wants) -> Vec<Rejection> {
        let Some(facts) = &self.facts else { return vec![Rejection::Unschedulable] };
        if self.has_port_taken(wants) {
            return vec![Rejection::PortsTaken];
        }
        let (all, asked, used) = (&facts.allocatable, &wants.request.stated, &self.load.used);
        let mut reasons = Vec::new();
        if self.load.pods >= facts.pods_max {
            reasons.push(Rejection::TooManyPods);
        }
        let mut compare = |name: &str, asked: i64, used: i64, all: i64| {
            if asked > 0 && asked > all {
                reasons.push(Rejection::NeverEnough(name.to_owned()));
            } else if asked > 0 && asked + used > all {
                reasons.push(Rejection::Insufficient(name.to_owned()));
            }
        };
        compare("cpu", asked.cpu_milli, used.cpu_milli, all.cpu_milli);
        compare("memory", asked.memory_bytes, used.memory_bytes, all.memory_bytes);
        compare("ephemeral-storage", asked.storage_bytes, used.storage_bytes, all.storage_bytes);
        for (name, asked) in &asked.other {
            compare(name, *asked, used.of_other(name), all.of_other(name));
        }
        reasons
    }

    fn has_port_taken(&self, wants: &Wants) -> bool {
        wants.ports.iter().any(|port| self.load.ports.iter().any(|taken| taken.collides(port)))
    }

    /// The weight of the pod's node preferences that it meets, and the number of taints that discourage the pod.
    pub(super) fn preference(&self, wants: &Wants) -> (i64, i64) {
        let Some(facts) = &self.facts else { return (0, 0) };
        let discouraging = taints::discouraging(&facts.taints, &wants.tolerations);
        (affinity::preference(wants, &self.name, &facts.labels), discouraging)
    }

    /// What is taken once the pod is here, with a default for containers that do not say what they take.
    pub(super) fn counted_with(&self, wants: &Wants) -> Shares {
        let cpu = self.load.counted_cpu_milli + wants.request.counted_cpu_milli;
        self.shares(cpu, self.load.counted_memory_bytes + wants.request.counted_memory_bytes)
    }

    /// What is taken once the pod is here, as stated.
    pub(super) fn stated_with(&self, wants: &Wants) -> Shares {
        let (used, asked) = (&self.load.used, &wants.request.stated);
        self.shares(used.cpu_milli + asked.cpu_milli, used.memory_bytes + asked.memory_bytes)
    }

    fn shares(&self, cpu_milli: i64, memory_bytes: i64) -> Shares {
        let Some(facts) = &self.facts else { return Shares { cpu: 1.0, memory: 1.0 } };
        #[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^52")]
        let share = |used: i64, all: i64| if all <= 0 { 1.0 } else { (used as f64 / all as f64).min(1.0) };
        let (cpu, memory) = (facts.allocatable.cpu_milli, facts.allocatable.memory_bytes);
        Shares { cpu: share(cpu_milli, cpu), memory: share(memory_bytes, memory) }
    }
}

fn tolerates_cordon(wants: &Wants) -> bool {
    let cordon = Taint { key: CORDON.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    taints::is_tolerated(&cordon, &wants.tolerations)
}

impl Facts {
    fn of(node: &Node) -> Facts {
        let spec = node.spec.as_ref();
        let status = node.status.as_ref();
        let allocatable = status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref()));
        let pods = allocatable.and_then(|amounts| amounts.get("pods"));
        let images = status.and_then(|status| status.images.as_ref()).into_iter().flatten();
        let named = images.flat_map(|image| {
            let size = image.size_bytes.unwrap_or(0);
            image.names.iter().flatten().map(move |name| (name.clone(), size))
        });
        Facts {
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.and_then(|spec| spec.taints.clone()).unwrap_or_default(),
            is_unschedulable: spec.is_some_and(|spec| spec.unschedulable == Some(true)),
            allocatable: Resources::of(allocatable),
            pods_max: pods.and_then(|pods| Amount::parse(&pods.0).ok()).map_or(0, Amount::value),
            makes_volumes: facts::annotation(&node.metadata, volumes::FOLDER).is_some(),
            images: named.collect(),
        }
    }
}
