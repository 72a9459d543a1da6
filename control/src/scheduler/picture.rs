//! All nodes and what runs on them, kept up to date change by change.
//!
//! A pod counts on its node from the moment it is chosen (`assumed`), until it has ended or is gone.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use super::node::NodeState;
use super::wants::Wants;
use crate::cache::{Delta, ObjectKey};
use crate::controllers::facts;

/// The nodes, in no particular order.
#[derive(Debug, Default)]
pub(super) struct Picture {
    nodes: Vec<(Arc<str>, NodeState)>,
    index: HashMap<Arc<str>, usize>,
    placed: HashMap<ObjectKey, Placed>,
    existing: usize,
}

/// A pod that counts on a node.
#[derive(Debug)]
struct Placed {
    node: Arc<str>,
    uid: String,
    /// Moves when what the pod asks for may have changed.
    generation: Option<i64>,
    wants: Arc<Wants>,
    /// The binding is being written; the store does not show it yet.
    is_assumed: bool,
}

impl Picture {
    /// All nodes, those without a Node object included.
    pub(super) fn nodes(&self) -> &[(Arc<str>, NodeState)] {
        &self.nodes
    }

    /// The number of Node objects.
    pub(super) fn existing(&self) -> usize {
        self.existing
    }

    /// Takes over a change of a node; true when that can help a waiting pod.
    pub(super) fn observe_node(&mut self, change: &Delta<Node>) -> bool {
        let slot = self.slot(change.key.name());
        let (existed, matters) = {
            let state = &mut self.nodes[slot].1;
            (state.exists(), state.observe(change.new.as_deref()))
        };
        match (existed, change.new.is_some()) {
            (false, true) => self.existing += 1,
            (true, false) => self.existing -= 1,
            _ => {}
        }
        self.drop_if_gone(slot);
        matters && change.new.is_some()
    }

    /// Takes over a change of a pod; true when that freed room on a node.
    pub(super) fn observe_pod(&mut self, change: &Delta<Pod>) -> bool {
        let bound = change.new.as_deref().filter(|pod| !facts::is_finished(pod));
        let Some((pod, node)) = bound.and_then(|pod| Some((pod, facts::node_name(pod)?))) else {
            let is_awaited = bound.is_some_and(|pod| self.is_assumed(&change.key, facts::uid(&pod.metadata)));
            return !is_awaited && self.forget(&change.key);
        };
        let (uid, generation) = (facts::uid(&pod.metadata), pod.metadata.generation);
        if let Some(placed) = self.placed.get_mut(&change.key)
            && *placed.node == *node
            && placed.uid == uid
            && (placed.generation == generation || placed.is_assumed)
        {
            placed.is_assumed = false;
            placed.generation = generation;
            return false;
        }
        let freed = self.forget(&change.key);
        let slot = self.slot(node);
        let node = self.nodes[slot].0.clone();
        let wants = Arc::new(Wants::of(pod));
        self.place(&change.key, Placed { node, uid: uid.to_owned(), generation, wants, is_assumed: false });
        freed
    }

    /// Counts a pod on the node that was chosen for it.
    pub(super) fn assume(&mut self, key: &ObjectKey, pod: &Pod, node: usize, wants: Arc<Wants>) {
        let uid = facts::uid(&pod.metadata).to_owned();
        let (node, generation) = (self.nodes[node].0.clone(), pod.metadata.generation);
        self.forget(key);
        self.place(key, Placed { node, uid, generation, wants, is_assumed: true });
    }

    /// Takes an assumption back.
    pub(super) fn unassume(&mut self, key: &ObjectKey) {
        if self.placed.get(key).is_some_and(|placed| placed.is_assumed) {
            self.forget(key);
        }
    }

    fn is_assumed(&self, key: &ObjectKey, uid: &str) -> bool {
        self.placed.get(key).is_some_and(|placed| placed.is_assumed && placed.uid == uid)
    }

    fn place(&mut self, key: &ObjectKey, placed: Placed) {
        let slot = self.slot(&placed.node);
        self.nodes[slot].1.add(&placed.wants);
        self.placed.insert(key.clone(), placed);
    }

    /// True when the pod counted on a node.
    fn forget(&mut self, key: &ObjectKey) -> bool {
        let Some(placed) = self.placed.remove(key) else { return false };
        let slot = self.slot(&placed.node);
        self.nodes[slot].1.remove(&placed.wants);
        self.drop_if_gone(slot);
        true
    }

    fn slot(&mut self, name: &str) -> usize {
        if let Some(slot) = self.index.get(name) {
            return *slot;
        }
        let name: Arc<str> = Arc::from(name);
        self.index.insert(name.clone(), self.nodes.len());
        self.nodes.push((name, NodeState::default()));
        self.nodes.len() - 1
    }

    fn drop_if_gone(&mut self, slot: usize) {
        if !self.nodes[slot].1.is_gone() {
            return;
        }
        let (name, _) = self.nodes.swap_remove(slot);
        self.index.remove(&name);
        if let Some((moved, _)) = self.nodes.get(slot) {
            self.index.insert(moved.clone(), slot);
        }
    }
}
