//! One pass over waiting pods: a node for each, or the reason why there is none.
//!
//! Pods that want the same share everything that does not depend on load, so a pass costs little more per pod than
//! looking at the room on each node once.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::node::Rejection;
use super::picture::Picture;
use super::score;
use super::wants::Wants;
use crate::cache::ObjectKey;

/// A pod without a node.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) key: ObjectKey,
    pub(super) pod: Arc<Pod>,
    pub(super) wants: Arc<Wants>,
}

/// What a pass says about one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It goes to this node.
    Bind(Arc<str>),
    /// No node can take it; the message says why, for each kind of reason.
    Refuse(Arc<str>),
}

/// Decides about the pods in the given order. A decided pod counts on its node for those after it. Of equally good nodes
/// the first from `start` on is taken.
pub(super) fn pass(picture: &mut Picture, pods: &[Candidate], start: usize) -> Vec<Decision> {
    let mut classes: Vec<Class> = Vec::new();
    let mut decisions = Vec::with_capacity(pods.len());
    for (number, pod) in pods.iter().enumerate() {
        let position = classes.iter().position(|class| class.wants == pod.wants).unwrap_or_else(|| {
            classes.push(Class::new(picture, pod.wants.clone()));
            classes.len() - 1
        });
        let class = &mut classes[position];
        let decision = match class.best(picture, start.wrapping_add(number)) {
            Some(node) => {
                picture.assume(&pod.key, &pod.pod, node, class.wants.clone());
                Decision::Bind(picture.nodes()[node].0.clone())
            }
            None => Decision::Refuse(class.refusal(picture)),
        };
        decisions.push(decision);
    }
    decisions
}

/// Pods that want the same.
struct Class {
    wants: Arc<Wants>,
    /// Nodes that suit such pods, with the part of their score that load does not change.
    suitable: Vec<(usize, f64)>,
    /// How many nodes do not suit them, by reason.
    unsuitable: BTreeMap<Rejection, usize>,
    /// Set once no node has room: for the rest of the pass none will.
    refusal: Option<Arc<str>>,
}

impl Class {
    fn new(picture: &Picture, wants: Arc<Wants>) -> Class {
        let mut nodes = Vec::new();
        let mut unsuitable = BTreeMap::new();
        for (slot, (name, node)) in picture.nodes().iter().enumerate().filter(|(_, (_, node))| node.exists())
        {
            match node.suits(name, &wants) {
                Ok(()) => nodes.push((slot, node.preference(name, &wants))),
                Err(reason) => *unsuitable.entry(reason).or_default() += 1,
            }
        }
        let preferences: Vec<(i64, i64)> = nodes.iter().map(|(_, preference)| *preference).collect();
        let scores = score::preferences(&preferences);
        let suitable = nodes.into_iter().zip(scores).map(|((slot, _), score)| (slot, score)).collect();
        Class { wants, suitable, unsuitable, refusal: None }
    }

    /// The slot of the best node with room.
    fn best(&self, picture: &Picture, start: usize) -> Option<usize> {
        if self.refusal.is_some() || self.suitable.is_empty() {
            return None;
        }
        let (before, after) = self.suitable.split_at(start % self.suitable.len());
        let from_start = || after.iter().chain(before);
        let node = |slot: usize| &picture.nodes()[slot].1;
        let most_siblings = match self.wants.owner {
            Some(_) => from_start().map(|(slot, _)| node(*slot).siblings(&self.wants)).max().unwrap_or(0),
            None => 0,
        };
        let mut best: Option<(f64, usize)> = None;
        for (slot, preference) in from_start().filter(|(slot, _)| node(*slot).has_room(&self.wants)) {
            let score = preference + score::load(node(*slot), &self.wants, most_siblings);
            if best.is_none_or(|(best, _)| score > best) {
                best = Some((score, *slot));
            }
        }
        best.map(|(_, slot)| slot)
    }

    /// The message for pods of this class that found no node.
    fn refusal(&mut self, picture: &Picture) -> Arc<str> {
        if let Some(refusal) = &self.refusal {
            return refusal.clone();
        }
        let mut reasons = self.unsuitable.clone();
        let mut helpless: usize = self.unsuitable.values().sum();
        for (slot, _) in &self.suitable {
            let node = &picture.nodes()[*slot].1;
            for reason in node.shortages(&self.wants) {
                *reasons.entry(reason).or_default() += 1;
            }
            helpless += usize::from(!node.is_large_enough(&self.wants));
        }
        let refusal: Arc<str> = message(picture.existing(), &reasons, helpless).into();
        self.refusal = Some(refusal.clone());
        refusal
    }
}

/// Kubernetes' words: how many nodes there are, how many fail for each reason, and that evicting others would not help.
fn message(nodes: usize, reasons: &BTreeMap<Rejection, usize>, helpless: usize) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let available = format!("0/{nodes} nodes are available");
    let mut reasons: Vec<String> =
        reasons.iter().map(|(reason, count)| format!("{count} {}", reason.words())).collect();
    reasons.sort();
    let victims = [
        (nodes.saturating_sub(helpless), "No preemption victims found for incoming pod"),
        (helpless, "Preemption is not helpful for scheduling"),
    ];
    let mut victims: Vec<String> = victims
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    victims.sort();
    format!("{available}: {}. preemption: {available}: {}.", reasons.join(", "), victims.join(", "))
}
