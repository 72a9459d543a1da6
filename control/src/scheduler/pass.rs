//! One pass over waiting pods: a node for each, or the reason why there is none.
//!
//! Pods that want the same share what does not depend on load ([`Class`]), so a pass costs little more per pod than
//! comparing the nodes once. Pure: the same picture and pods give the same decisions.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::class::{Class, Move};
use super::picture::Picture;
use super::preemption::{self, Plan, Victim};
use super::refusal::{self, Hopes, Refusal};
use super::tallies::Presence;
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
#[derive(Debug, Clone)]
pub(super) enum Decision {
    /// It goes to this node.
    Bind(Arc<str>),
    /// No node can take it; `kept` is the node on which room is kept for it.
    Refuse { refusal: Refusal, kept: Option<Arc<str>> },
    /// It waits for others to leave this node.
    Preempt { node: Arc<str>, victims: Vec<Victim>, refusal: Refusal },
}

/// Decides about the pods in the given order. A decided pod counts on its node for those after it. Of equally good nodes
/// the first from `start` on is taken.
pub(super) fn pass(picture: &mut Picture, pods: &[Candidate], start: usize) -> Vec<Decision> {
    picture.thin_out();
    let mut pass = Pass { picture, classes: Vec::new(), moves: Vec::new() };
    let decide = |(number, pod)| pass.decide(pod, start.wrapping_add(number));
    pods.iter().enumerate().map(decide).collect()
}

struct Pass<'a> {
    picture: &'a mut Picture,
    /// The class of the last pod comes last.
    classes: Vec<Class>,
    moves: Vec<Move>,
}

impl Pass<'_> {
    fn decide(&mut self, pod: &Candidate, start: usize) -> Decision {
        let kept = self.picture.unreserve(&pod.key);
        self.moves.extend(kept.map(|slot| Move { slot, pod: None }));
        let mut class = self.class(pod);
        let own = kept.filter(|slot| class.allows(*slot));
        let mut found = own.or_else(|| class.best(start));
        if found.is_none() && self.picture.unreserve_below(pod.wants.priority) {
            self.classes.clear();
            class = self.class(pod);
            found = class.best(start);
        }
        match found {
            Some(slot) => {
                self.picture.assume(&pod.key, &pod.pod, slot, class.wants.clone());
                self.moves.push(Move { slot, pod: Some(class.wants.clone()) });
                self.classes.push(class);
                Decision::Bind(self.picture.nodes()[slot].name.clone())
            }
            None => self.refuse(pod, class, kept),
        }
    }

    /// The class of a pod, taken out of the known ones, and up to date.
    fn class(&mut self, pod: &Candidate) -> Class {
        let is_same = |class: &Class| Arc::ptr_eq(&class.wants, &pod.wants) || class.wants == pod.wants;
        match self.classes.iter().rposition(is_same) {
            Some(position) => {
                let mut class = self.classes.swap_remove(position);
                class.follow(self.picture, &self.moves);
                class
            }
            None => Class::new(self.picture, pod.wants.clone(), self.moves.len()),
        }
    }

    fn refuse(&mut self, pod: &Candidate, mut class: Class, kept: Option<usize>) -> Decision {
        if let Some(slot) = kept.filter(|slot| self.is_emptying(*slot, pod.wants.priority)) {
            let why = "not eligible due to a terminating pod on the nominated node.";
            let refusal = self.told(&class, why);
            self.keep_room(pod, slot);
            self.classes.push(class);
            return Decision::Refuse { refusal, kept: Some(self.picture.nodes()[slot].name.clone()) };
        }
        if let Some(refusal) = class.known_refusal(self.moves.len()) {
            self.classes.push(class);
            return Decision::Refuse { refusal, kept: None };
        }
        let refusal = if self.picture.existing() == 0 {
            self.told(&class, "")
        } else if pod.wants.is_patient {
            self.told(&class, "not eligible due to preemptionPolicy=Never.")
        } else {
            match preemption::find(self.picture, &mut class) {
                Ok(plan) => return self.preempt(pod, &class, plan),
                Err(reasons) => {
                    let why = refusal::listed(self.picture.existing(), &reasons);
                    self.told(&class, &why)
                }
            }
        };
        class.keep_refusal(self.moves.len(), &refusal);
        self.classes.push(class);
        Decision::Refuse { refusal, kept: None }
    }

    fn preempt(&mut self, pod: &Candidate, class: &Class, plan: Plan) -> Decision {
        let refusal = Refusal { hopes: Hopes::ANY, ..self.told(class, "") };
        for victim in &plan.victims {
            self.picture.expect_to_leave(&victim.key);
        }
        self.keep_room(pod, plan.slot);
        // What the others counted on has changed.
        self.classes.clear();
        let node = self.picture.nodes()[plan.slot].name.clone();
        Decision::Preempt { node, victims: plan.victims, refusal }
    }

    fn keep_room(&mut self, pod: &Candidate, slot: usize) {
        self.picture.reserve(&pod.key, slot, pod.wants.clone());
        self.moves.push(Move { slot, pod: None });
    }

    /// True when pods of a lower priority are leaving the node.
    fn is_emptying(&self, slot: usize, priority: i32) -> bool {
        let mut pods = self.picture.pods_on(slot);
        pods.any(|(_, placed)| placed.presence == Presence::Leaves && placed.wants.priority < priority)
    }

    /// Why there is no node, and why nobody makes room.
    fn told(&self, class: &Class, preemption: &str) -> Refusal {
        let obstacles = class.all_obstacles(self.picture);
        let mut message = obstacles.message();
        if !preemption.is_empty() {
            message.push_str(" preemption: ");
            message.push_str(preemption);
        }
        Refusal { message: message.into(), hopes: obstacles.hopes() }
    }
}
