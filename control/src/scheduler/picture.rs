//! All nodes and what runs on them, kept up to date change by change.
//!
//! A pod counts on its node from the moment it is chosen (`assumed`), until it has ended or is gone. A pod that waits for
//! others to leave has its room reserved meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use super::node::NodeState;
use super::refusal::Hopes;
use super::refusal::Rejection;
use super::surroundings::Surroundings;
use super::tallies::{BySlot, Presence, Subject, Tallies};
use super::topology::{Domains, Topologies};
use super::volumes::{Needs, Volumes};
use super::wants::{Recent, Wants};
use crate::cache::{Change, Delta, ObjectKey};
use crate::controllers::facts;

/// The nodes, each at its slot for as long as it or a pod of it exists.
#[derive(Debug, Default)]
pub(super) struct Picture {
    nodes: Vec<NodeState>,
    index: HashMap<Arc<str>, usize>,
    free: Vec<usize>,
    existing: usize,
    placed: HashMap<ObjectKey, Placed>,
    /// How many pods there are of each priority.
    priorities: BTreeMap<i32, usize>,
    reserved: BTreeMap<ObjectKey, Reservation>,
    /// How many nodes have each image.
    images: HashMap<String, usize>,
    topologies: Topologies,
    tallies: Tallies,
    surroundings: Surroundings,
    volumes: Volumes,
    /// How many placed pods use a claim.
    users: HashMap<ObjectKey, usize>,
    recent: Recent,
}

/// A pod that counts on a node.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) pod: Arc<Pod>,
    pub(super) wants: Arc<Wants>,
    slot: usize,
    /// The binding is being written; the store does not show it yet.
    is_assumed: bool,
    pub(super) presence: Presence,
    /// It was decided that it has to leave; the store may not show it yet.
    is_doomed: bool,
}

/// Room that is kept for a pod.
#[derive(Debug)]
struct Reservation {
    slot: usize,
    wants: Arc<Wants>,
    /// The store shows it.
    is_written: bool,
}

impl Picture {
    /// All nodes by slot, those without a Node object included.
    pub(super) fn nodes(&self) -> &[NodeState] {
        &self.nodes
    }

    /// A node, to try something that is taken back.
    pub(super) fn node_mut(&mut self, slot: usize) -> &mut NodeState {
        &mut self.nodes[slot]
    }

    /// The number of Node objects.
    pub(super) fn existing(&self) -> usize {
        self.existing
    }

    /// What else matters.
    pub(super) fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// How many nodes have the image.
    pub(super) fn nodes_with(&self, image: &str) -> usize {
        self.images.get(image).copied().unwrap_or(0)
    }

    /// The pods on a node, in the order of their keys.
    pub(super) fn pods_on(&self, slot: usize) -> impl Iterator<Item = (&ObjectKey, &Placed)> {
        self.nodes[slot].pods.iter().filter_map(|key| Some((key, self.placed.get(key)?)))
    }

    /// True when some pod has a lower priority.
    pub(super) fn has_below(&self, priority: i32) -> bool {
        self.priorities.range(..priority).next().is_some()
    }

    /// The domains of a topology.
    pub(super) fn domains(&mut self, topology: &Arc<str>) -> Domains {
        self.topologies.prepare(topology, &self.nodes);
        self.topologies.get(topology)
    }

    /// The domains of a topology that a placed pod names.
    pub(super) fn known_domains(&self, topology: &str) -> Domains {
        self.topologies.get(topology)
    }

    /// How many such pods each node has.
    pub(super) fn count(&mut self, subject: &Subject) -> &BySlot {
        let pods = self.placed.values().map(|placed| (placed.slot, &*placed.wants, placed.presence));
        self.tallies.of(subject, pods, self.surroundings.namespaces())
    }

    /// All counts.
    pub(super) fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// Forgets counts that are not asked for any more.
    pub(super) fn thin_out(&mut self) {
        self.tallies.thin_out();
    }

    /// Takes over a change of something else; true when it can help a waiting pod.
    pub(super) fn observe_other(&mut self, change: &Change) -> bool {
        let has_relabelled = self.surroundings.observe(change);
        if has_relabelled {
            self.tallies.forget_by_namespace();
        }
        has_relabelled
    }

    /// Takes over a change of a claim, a volume or a class; true when it is one.
    pub(super) fn observe_volumes(&mut self, change: &Change) -> bool {
        self.volumes.observe(change)
    }

    /// What the claims of such pods ask of a node.
    pub(super) fn needs(&self, wants: &Wants) -> Result<Needs, Rejection> {
        self.volumes.needs(wants, |claim| self.users.contains_key(claim))
    }

    fn count_users(&mut self, wants: &Wants, count: fn(&mut usize)) {
        for claim in &wants.claims {
            let key = ObjectKey::new(&wants.namespace, &claim.name);
            let users = self.users.entry(key.clone()).or_default();
            count(users);
            if *users == 0 {
                self.users.remove(&key);
            }
        }
    }

    /// Takes over a change of a node; true when that can help a waiting pod.
    pub(super) fn observe_node(&mut self, change: &Delta<Node>) -> bool {
        let slot = self.slot(change.key.name());
        self.count_images(slot, |count| *count = count.saturating_sub(1));
        let existed = self.nodes[slot].exists();
        let matters = self.nodes[slot].observe(change.new.as_deref());
        self.count_images(slot, |count| *count += 1);
        self.images.retain(|_, count| *count > 0);
        match (existed, change.new.is_some()) {
            (false, true) => self.existing += 1,
            (true, false) => self.existing -= 1,
            _ => {}
        }
        self.topologies.observe(slot, &self.nodes[slot]);
        self.drop_if_gone(slot);
        matters && change.new.is_some()
    }

    fn count_images(&mut self, slot: usize, count: fn(&mut usize)) {
        for (image, _) in self.nodes[slot].images() {
            count(self.images.entry(image.clone()).or_default());
        }
    }

    /// Takes over a change of a pod; returns whom that can help.
    pub(super) fn observe_pod(&mut self, change: &Delta<Pod>) -> Hopes {
        let living = change.new.as_ref().filter(|pod| !facts::is_finished(pod));
        let Some((pod, node)) = living.and_then(|pod| Some((pod, facts::node_name(pod)?))) else {
            let is_awaited = living.is_some_and(|pod| self.is_assumed(&change.key, pod));
            if is_awaited {
                return Hopes::default();
            }
            self.observe_nomination(&change.key, living);
            return Hopes { pods_leave: self.forget(&change.key), ..Hopes::default() };
        };
        self.unreserve(&change.key);
        let (mut presence, mut is_doomed) = (Presence::of(pod), false);
        if let Some(placed) = self.placed.get_mut(&change.key)
            && *self.nodes[placed.slot].name == *node
            && placed.pod.metadata.uid == pod.metadata.uid
        {
            let was_assumed = std::mem::take(&mut placed.is_assumed);
            is_doomed = placed.is_doomed;
            if is_doomed {
                presence = Presence::Leaves;
            }
            if (was_assumed || asks_the_same(&placed.pod, pod)) && placed.presence == presence {
                placed.pod = pod.clone();
                return Hopes { pods_come: was_assumed, ..Hopes::default() };
            }
        }
        let was_there = self.forget(&change.key);
        let (slot, wants) = (self.slot(node), self.recent.of(pod));
        let pod = pod.clone();
        self.place(&change.key, Placed { pod, wants, slot, is_assumed: false, presence, is_doomed });
        Hopes { pods_leave: was_there, pods_come: true, ..Hopes::default() }
    }

    /// Keeps what the pod's status says about room that is reserved for it.
    fn observe_nomination(&mut self, key: &ObjectKey, pod: Option<&Arc<Pod>>) {
        let nominated = pod.and_then(|pod| pod.status.as_ref()?.nominated_node_name.as_deref());
        let nominated = nominated.filter(|node| !node.is_empty());
        if let (Some(_), Some(known)) = (pod, self.reserved.get_mut(key)) {
            let is_here = |node: &str| *self.nodes[known.slot].name == *node;
            if nominated.is_some_and(is_here) {
                known.is_written = true;
                return;
            }
            if nominated.is_none() && !known.is_written {
                // What was decided a moment ago is not written yet.
                return;
            }
        }
        self.unreserve(key);
        if let (Some(pod), Some(node)) = (pod, nominated) {
            let (slot, wants) = (self.slot(node), self.recent.of(pod));
            self.keep_room(key, Reservation { slot, wants, is_written: true });
        }
    }

    /// Counts a pod on the node that was chosen for it.
    pub(super) fn assume(&mut self, key: &ObjectKey, pod: &Arc<Pod>, slot: usize, wants: Arc<Wants>) {
        // Its old place may have been the last thing that kept a slot; the chosen one has a node.
        self.forget(key);
        let (pod, presence) = (pod.clone(), Presence::Stays);
        self.place(key, Placed { pod, wants, slot, is_assumed: true, presence, is_doomed: false });
    }

    /// Takes back what could not be written.
    pub(super) fn unassume(&mut self, key: &ObjectKey) {
        if self.placed.get(key).is_some_and(|placed| placed.is_assumed) {
            self.forget(key);
        }
        if self.reserved.get(key).is_some_and(|reservation| !reservation.is_written) {
            self.unreserve(key);
        }
    }

    /// The pod will be gone soon, as was decided.
    pub(super) fn expect_to_leave(&mut self, key: &ObjectKey) {
        self.replace(key, |placed| (placed.presence, placed.is_doomed) = (Presence::Leaves, true));
    }

    /// The pod does not have to leave after all.
    pub(super) fn spare(&mut self, key: &ObjectKey) {
        self.replace(key, |placed| {
            placed.is_doomed = false;
            placed.presence = Presence::of(&placed.pod);
        });
    }

    fn replace(&mut self, key: &ObjectKey, change: impl FnOnce(&mut Placed)) {
        let Some(mut placed) = self.placed.get(key).cloned() else { return };
        self.take_out(key);
        change(&mut placed);
        self.place(key, placed);
    }

    /// Keeps room on a node.
    pub(super) fn reserve(&mut self, key: &ObjectKey, slot: usize, wants: Arc<Wants>) {
        self.unreserve(key);
        self.keep_room(key, Reservation { slot, wants, is_written: false });
    }

    fn keep_room(&mut self, key: &ObjectKey, reservation: Reservation) {
        self.nodes[reservation.slot].add(&reservation.wants);
        self.reserved.insert(key.clone(), reservation);
    }

    /// Keeps no room any more; returns the slot where it was kept.
    pub(super) fn unreserve(&mut self, key: &ObjectKey) -> Option<usize> {
        let Reservation { slot, wants, .. } = self.reserved.remove(key)?;
        self.nodes[slot].remove(&wants);
        self.drop_if_gone(slot);
        Some(slot)
    }

    /// Gives up what is reserved for pods of a lower priority; true when there was any.
    pub(super) fn unreserve_below(&mut self, priority: i32) -> bool {
        let lower = self.reserved.iter().filter(|(_, reservation)| reservation.wants.priority < priority);
        let lower: Vec<ObjectKey> = lower.map(|(key, _)| key.clone()).collect();
        for key in &lower {
            self.unreserve(key);
        }
        !lower.is_empty()
    }

    fn is_assumed(&self, key: &ObjectKey, pod: &Pod) -> bool {
        let placed = self.placed.get(key);
        placed.is_some_and(|placed| placed.is_assumed && placed.pod.metadata.uid == pod.metadata.uid)
    }

    fn place(&mut self, key: &ObjectKey, placed: Placed) {
        let wants = &placed.wants;
        for topology in wants.topologies() {
            self.topologies.prepare(topology, &self.nodes);
        }
        self.nodes[placed.slot].add(wants);
        self.nodes[placed.slot].pods.insert(key.clone());
        *self.priorities.entry(wants.priority).or_default() += 1;
        self.tallies.add(placed.slot, wants, placed.presence, self.surroundings.namespaces());
        self.count_users(&placed.wants, |users| *users += 1);
        self.placed.insert(key.clone(), placed);
    }

    /// True when the pod counted on a node.
    fn forget(&mut self, key: &ObjectKey) -> bool {
        let slot = self.take_out(key);
        slot.into_iter().for_each(|slot| self.drop_if_gone(slot));
        slot.is_some()
    }

    fn take_out(&mut self, key: &ObjectKey) -> Option<usize> {
        let Placed { slot, wants, presence, .. } = self.placed.remove(key)?;
        self.nodes[slot].remove(&wants);
        self.nodes[slot].pods.remove(key);
        if let Some(count) = self.priorities.get_mut(&wants.priority) {
            *count -= 1;
            if *count == 0 {
                self.priorities.remove(&wants.priority);
            }
        }
        self.tallies.remove(slot, &wants, presence, self.surroundings.namespaces());
        self.count_users(&wants, |users| *users = users.saturating_sub(1));
        Some(slot)
    }

    fn slot(&mut self, name: &str) -> usize {
        if let Some(slot) = self.index.get(name) {
            return *slot;
        }
        let name: Arc<str> = Arc::from(name);
        let node = NodeState::new(name.clone());
        let slot = self.free.pop().unwrap_or(self.nodes.len());
        if slot == self.nodes.len() {
            self.nodes.push(node);
        } else {
            self.nodes[slot] = node;
        }
        self.index.insert(name, slot);
        slot
    }

    fn drop_if_gone(&mut self, slot: usize) {
        let node = &self.nodes[slot];
        if node.is_gone() && self.index.remove(&node.name).is_some() {
            self.free.push(slot);
        }
    }
}

/// True when what was worked out about the old pod holds for the new one.
fn asks_the_same(old: &Pod, new: &Pod) -> bool {
    old.metadata.generation == new.metadata.generation && old.metadata.labels == new.metadata.labels
}
