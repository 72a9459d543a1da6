//! Which domain of a topology each node is in: nodes with the same value of a label are one domain.

use std::collections::HashMap;
use std::sync::Arc;

use super::node::NodeState;

/// The domain of a node, by its slot.
pub(super) type Domains = Arc<Vec<Option<usize>>>;

/// All topologies that rules of pods have named.
#[derive(Debug, Default)]
pub(super) struct Topologies(Vec<Topology>);

#[derive(Debug)]
struct Topology {
    key: Arc<str>,
    domains: Domains,
    /// The number of each domain, by the value of the label. Numbers are not used again.
    numbers: HashMap<String, usize>,
}

impl Topologies {
    /// The domains of a topology that was [prepared](Topologies::prepare).
    pub(super) fn get(&self, key: &str) -> Domains {
        let known = self.0.iter().find(|topology| *topology.key == *key);
        known.map(|topology| topology.domains.clone()).unwrap_or_default()
    }

    /// Works out the domains of a topology, if that was not done before.
    pub(super) fn prepare(&mut self, key: &Arc<str>, nodes: &[NodeState]) {
        if self.0.iter().any(|topology| topology.key == *key) {
            return;
        }
        let mut topology =
            Topology { key: key.clone(), domains: Domains::default(), numbers: HashMap::new() };
        for (slot, node) in nodes.iter().enumerate() {
            topology.observe(slot, node);
        }
        self.0.push(topology);
    }

    /// Takes over the labels of a node.
    pub(super) fn observe(&mut self, slot: usize, node: &NodeState) {
        self.0.iter_mut().for_each(|topology| topology.observe(slot, node));
    }
}

impl Topology {
    fn observe(&mut self, slot: usize, node: &NodeState) {
        let next = self.numbers.len();
        let number = node.label(&self.key).map(|value| *self.numbers.entry(value.to_owned()).or_insert(next));
        if self.domains.get(slot).copied().flatten() == number && slot < self.domains.len() {
            return;
        }
        let domains = Arc::make_mut(&mut self.domains);
        if domains.len() <= slot {
            domains.resize(slot + 1, None);
        }
        domains[slot] = number;
    }
}

/// Numbers by domain of one topology.
#[derive(Debug, Clone, Default)]
pub(super) struct PerDomain {
    domains: Domains,
    numbers: Vec<i64>,
}

impl PerDomain {
    /// Zero everywhere.
    pub(super) fn over(domains: Domains) -> PerDomain {
        PerDomain { domains, numbers: Vec::new() }
    }

    /// Adds to the domain of a node, if it has one.
    pub(super) fn add(&mut self, slot: usize, number: i64) {
        let Some(domain) = self.domain(slot) else { return };
        if self.numbers.len() <= domain {
            self.numbers.resize(domain + 1, 0);
        }
        self.numbers[domain] += number;
    }

    /// Adds numbers of nodes, each by its slot.
    pub(super) fn add_all(&mut self, by_slot: &[u32], weight: i64) {
        for (slot, number) in by_slot.iter().enumerate().filter(|(_, number)| **number > 0) {
            self.add(slot, i64::from(*number) * weight);
        }
    }

    /// The number of the domain of a node; `None` for a node outside the topology.
    pub(super) fn at(&self, slot: usize) -> Option<i64> {
        self.domain(slot).map(|domain| self.numbers.get(domain).copied().unwrap_or(0))
    }

    /// The domain of a node.
    pub(super) fn domain(&self, slot: usize) -> Option<usize> {
        self.domains.get(slot).copied().flatten()
    }

    /// The number of one domain.
    pub(super) fn of(&self, domain: usize) -> i64 {
        self.numbers.get(domain).copied().unwrap_or(0)
    }

    /// True when all are zero.
    pub(super) fn is_zero(&self) -> bool {
        self.numbers.iter().all(|number| *number == 0)
    }
}
