//! Pods that want the same: what was found out for one of them in a pass holds for the others.
//!
//! What does not depend on load is worked out once per pass, the rest again for the nodes that changed only.

use std::sync::Arc;

use super::neighbours::Neighbours;
use super::node::NodeState;
use super::picture::Picture;
use super::refusal::{Obstacles, Refusal, Rejection};
use super::score::{self, Raw, Scale};
use super::spreading::Spreading;
use super::tallies::Presence;
use super::volumes::Needs;
use super::wants::Wants;

/// Something that a pass decided, which changes what other pods find.
#[derive(Debug, Clone)]
pub(super) struct Move {
    pub(super) slot: usize,
    /// The pod that came; without one there is only more or less room than before.
    pub(super) pod: Option<Arc<Wants>>,
}

/// A class of pods, in one pass.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) wants: Arc<Wants>,
    /// Nodes that suit such pods, by slot.
    entries: Vec<Entry>,
    /// The nodes that do not.
    unsuitable: Obstacles,
    unsuitable_count: usize,
    neighbours: Neighbours,
    spreading: Spreading,
    needs: Needs,
    /// A pod took a claim meanwhile that only one may use.
    is_shut_out: bool,
    /// How many of the pass's moves are taken into account.
    seen: usize,
    /// What was told to the last pod that found no node, and after how many moves.
    refused: Option<(usize, Refusal)>,
}

#[derive(Debug)]
struct Entry {
    slot: usize,
    affinity: i64,
    taints: i64,
    images: f64,
    /// The score of its load; `None` while there is no room.
    load: Option<f64>,
    /// `None` while it cannot take such a pod.
    raw: Option<Raw>,
}

impl Class {
    /// The class of pods that want this.
    pub(super) fn new(picture: &mut Picture, wants: Arc<Wants>, seen: usize) -> Class {
        let (mut entries, mut unsuitable_count) = (Vec::new(), 0);
        let mut unsuitable = Obstacles::among(picture.existing());
        let (needs, hopeless) = match picture.needs(&wants) {
            Ok(needs) => (needs, None),
            Err(reason) => (Needs::default(), Some(reason)),
        };
        for (slot, node) in picture.nodes().iter().enumerate().filter(|(_, node)| node.exists()) {
            let suits = hopeless.clone().map_or_else(|| node.suits(&wants), Err);
            match suits.and_then(|()| needs.met_by(node)) {
                Ok(()) => entries.push(Entry::of(picture, slot, node, &wants)),
                Err(reason) => {
                    unsuitable.add(&[reason]);
                    unsuitable_count += 1;
                }
            }
        }
        let suitable: Vec<usize> = entries.iter().map(|entry| entry.slot).collect();
        let neighbours = Neighbours::new(picture, &wants);
        let spreading = Spreading::new(picture, &wants, &suitable);
        let mut class = Class {
            wants,
            entries,
            unsuitable,
            unsuitable_count,
            neighbours,
            spreading,
            needs,
            is_shut_out: false,
            seen,
            refused: None,
        };
        class.weigh_all();
        class
    }

    /// Takes the moves of the pass into account that came since the last time.
    pub(super) fn follow(&mut self, picture: &Picture, moves: &[Move]) {
        let new = moves.get(self.seen..).unwrap_or_default();
        self.seen = moves.len();
        for Move { slot, pod } in new {
            if let Some(pod) = pod {
                self.is_shut_out |= self.needs.taken_by(&self.wants, pod);
                self.neighbours.shift(picture, &self.wants, *slot, pod, 1);
                self.spreading.shift(picture, *slot, pod, Presence::Stays, 1);
            }
            if let Ok(position) = self.entries.binary_search_by_key(slot, |entry| entry.slot) {
                self.entries[position].load = load(&picture.nodes()[*slot], &self.wants);
                self.entries[position].raw = self.raw(&self.entries[position]);
            }
        }
        // One pod changes whole domains.
        let has_rules = self.neighbours.has_rules() || self.spreading.has_rules() || self.is_shut_out;
        if !new.is_empty() && has_rules {
            self.weigh_all();
        }
    }

    fn weigh_all(&mut self) {
        let raws: Vec<Option<Raw>> = self.entries.iter().map(|entry| self.raw(entry)).collect();
        for (entry, raw) in self.entries.iter_mut().zip(raws) {
            entry.raw = raw;
        }
    }

    /// The slot of the best node that can take such a pod; of equally good ones the first from `start` on.
    pub(super) fn best(&self, start: usize) -> Option<usize> {
        if self.entries.is_empty() {
            return None;
        }
        let scale = Scale::of(self.entries.iter().filter_map(|entry| entry.raw.as_ref()));
        let (before, after) = self.entries.split_at(start % self.entries.len());
        let mut best: Option<(f64, usize)> = None;
        for entry in after.iter().chain(before) {
            let Some(raw) = &entry.raw else { continue };
            let score = scale.score(raw);
            if best.is_none_or(|(best, _)| score > best) {
                best = Some((score, entry.slot));
            }
        }
        best.map(|(_, slot)| slot)
    }

    /// True when this node can take such a pod.
    pub(super) fn allows(&self, slot: usize) -> bool {
        let position = self.entries.binary_search_by_key(&slot, |entry| entry.slot);
        position.is_ok_and(|position| self.entries[position].raw.is_some())
    }

    /// `None` for a node that cannot take the pod.
    fn raw(&self, entry: &Entry) -> Option<Raw> {
        let (slot, load) = (entry.slot, entry.load?);
        let is_kept_out = self.spreading.obstacle(slot).is_some() || self.neighbours.obstacle(slot).is_some();
        if is_kept_out || self.is_shut_out {
            return None;
        }
        Some(Raw {
            alone: load + entry.images,
            affinity: entry.affinity,
            taints: entry.taints,
            pull: if self.neighbours.has_wishes() { self.neighbours.pull(slot) } else { 0 },
            crowding: if self.spreading.has_wishes() { self.spreading.crowding(slot) } else { Some(0.0) },
        })
    }

    /// The slots of the nodes that suit such pods.
    pub(super) fn slots(&self) -> Vec<usize> {
        self.entries.iter().map(|entry| entry.slot).collect()
    }

    /// How many nodes do not suit them.
    pub(super) fn unsuitable_count(&self) -> usize {
        self.unsuitable_count
    }

    /// What stands in the way on a node that suits: all that is missing, or the first other thing.
    pub(super) fn obstacles(&self, picture: &Picture, slot: usize) -> Vec<Rejection> {
        let missing = picture.nodes()[slot].shortages(&self.wants);
        if !missing.is_empty() {
            return missing;
        }
        let rule = self.spreading.obstacle(slot).or_else(|| self.neighbours.obstacle(slot));
        let rule = rule.or(self.is_shut_out.then_some(Rejection::ClaimInUse));
        rule.into_iter().collect()
    }

    /// What stands in the way on all nodes.
    pub(super) fn all_obstacles(&self, picture: &Picture) -> Obstacles {
        let mut all = self.unsuitable.clone();
        for entry in &self.entries {
            all.add(&self.obstacles(picture, entry.slot));
        }
        all
    }

    /// What the last pod was told, if nothing has moved since.
    pub(super) fn known_refusal(&self, moves: usize) -> Option<Refusal> {
        self.refused.as_ref().filter(|(then, _)| *then == moves).map(|(_, refusal)| refusal.clone())
    }

    /// Keeps what a pod was told.
    pub(super) fn keep_refusal(&mut self, moves: usize, refusal: &Refusal) {
        self.refused = Some((moves, refusal.clone()));
    }

    /// As if a pod had left the node. [`Class::put_back`] undoes it.
    pub(super) fn take_away(&mut self, picture: &mut Picture, slot: usize, pod: &Wants, presence: Presence) {
        picture.node_mut(slot).remove(pod);
        self.shift(picture, slot, pod, presence, -1);
    }

    /// As if a pod had come back to the node.
    pub(super) fn put_back(&mut self, picture: &mut Picture, slot: usize, pod: &Wants, presence: Presence) {
        picture.node_mut(slot).add(pod);
        self.shift(picture, slot, pod, presence, 1);
    }

    fn shift(&mut self, picture: &Picture, slot: usize, pod: &Wants, presence: Presence, number: i64) {
        self.neighbours.shift(picture, &self.wants, slot, pod, number);
        self.spreading.shift(picture, slot, pod, presence, number);
    }
}

impl Entry {
    fn of(picture: &Picture, slot: usize, node: &NodeState, wants: &Wants) -> Entry {
        let (affinity, taints) = node.preference(wants);
        #[expect(clippy::cast_precision_loss, reason = "sizes and counts are far below 2^52")]
        let found = wants.images.iter().filter_map(|image| {
            let share = picture.nodes_with(image) as f64 / picture.existing().max(1) as f64;
            Some((node.image_bytes(image)? as f64, share))
        });
        let images = score::images(found, wants.images.len());
        Entry { slot, affinity, taints, images, load: load(node, wants), raw: None }
    }
}

fn load(node: &NodeState, wants: &Wants) -> Option<f64> {
    node.has_room(wants).then(|| score::load(node, wants))
}
