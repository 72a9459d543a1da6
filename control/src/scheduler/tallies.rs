//! How many pods there are on each node that a rule asks for, kept up to date pod by pod: a rule is not looked up
//! among all pods each time that it is applied.

use k8s_openapi::api::core::v1::Pod;

use super::terms::{Namespaces, Query, Term};
use super::wants::Wants;
use crate::controllers::facts;

/// Numbers by the slot of a node.
pub(super) type BySlot = Vec<u32>;

/// More groups than this are thinned out: only those that were asked for lately are kept.
const GROUPS_MAX: usize = 1024;

/// Which pods are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    /// Those that all of these mean.
    pub(super) queries: Vec<Query>,
    /// Whether those count that are on their way out.
    pub(super) leaving: Leaving,
}

/// Whether a pod is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is not.
    Stays,
    /// It is.
    Leaves,
}

impl Presence {
    /// As the pod says.
    pub(super) fn of(pod: &Pod) -> Presence {
        if facts::is_terminating(&pod.metadata) { Presence::Leaves } else { Presence::Stays }
    }
}

/// Whether pods count that are on their way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// They do.
    Counts,
    /// They do not.
    IsLeftOut,
}

impl Subject {
    /// The pods of a term of affinity.
    pub(super) fn all(queries: Vec<Query>) -> Subject {
        Subject { queries, leaving: Leaving::Counts }
    }

    /// The pods that are spread.
    pub(super) fn staying(query: Query) -> Subject {
        Subject { queries: vec![query], leaving: Leaving::IsLeftOut }
    }

    /// True when such a pod is counted.
    pub(super) fn holds(&self, pod: &Wants, presence: Presence, namespaces: &Namespaces) -> bool {
        !(presence == Presence::Leaves && self.leaving == Leaving::IsLeftOut)
            && self.queries.iter().all(|query| query.matches(&pod.namespace, &pod.labels, namespaces))
    }
}

/// What a pod that is there says about pods that are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bond {
    /// They must not come into the same domain.
    Apart,
    /// They are better or worse off there.
    Weighs(i64),
}

/// What the required affinity of a pod that is there weighs for a pod that it wants near: Kubernetes' default.
const REQUIRED_WEIGHT: i64 = 1;

/// The bonds of a pod.
pub(super) fn bonds(wants: &Wants) -> impl Iterator<Item = (Bond, &Term)> {
    let apart = wants.apart.iter().map(|term| (Bond::Apart, term));
    let near = wants.near.iter().map(|term| (Bond::Weighs(REQUIRED_WEIGHT), term));
    apart.chain(near).chain(wants.preferred.iter().map(|(term, weight)| (Bond::Weighs(*weight), term)))
}

#[derive(Debug)]
struct Group {
    subject: Subject,
    counts: BySlot,
    was_asked: bool,
}

/// A rule of pods that are there, and how many of each node have it.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) bond: Bond,
    pub(super) term: Term,
    pub(super) counts: BySlot,
    pods: usize,
}

/// All counts.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    groups: Vec<Group>,
    carried: Vec<Carried>,
}

impl Tallies {
    /// Counts a pod in.
    pub(super) fn add(&mut self, slot: usize, pod: &Wants, presence: Presence, namespaces: &Namespaces) {
        for group in self.groups.iter_mut().filter(|group| group.subject.holds(pod, presence, namespaces)) {
            *at(&mut group.counts, slot) += 1;
        }
        for (bond, term) in bonds(pod) {
            let known = self.carried.iter().position(|known| known.bond == bond && known.term == *term);
            let position = known.unwrap_or_else(|| {
                self.carried.push(Carried { bond, term: term.clone(), counts: Vec::new(), pods: 0 });
                self.carried.len() - 1
            });
            let carried = &mut self.carried[position];
            carried.pods += 1;
            *at(&mut carried.counts, slot) += 1;
        }
    }

    /// Counts a pod out that was counted in.
    pub(super) fn remove(&mut self, slot: usize, pod: &Wants, presence: Presence, namespaces: &Namespaces) {
        for group in self.groups.iter_mut().filter(|group| group.subject.holds(pod, presence, namespaces)) {
            *at(&mut group.counts, slot) -= 1;
        }
        for (bond, term) in bonds(pod) {
            let known = self.carried.iter().position(|known| known.bond == bond && known.term == *term);
            let Some(position) = known else { continue };
            let carried = &mut self.carried[position];
            carried.pods -= 1;
            *at(&mut carried.counts, slot) -= 1;
            if carried.pods == 0 {
                self.carried.swap_remove(position);
            }
        }
    }

    /// How many such pods each node has. They are counted among `pods` when nobody asked before.
    pub(super) fn of<'a>(
        &mut self,
        subject: &Subject,
        pods: impl Iterator<Item = (usize, &'a Wants, Presence)>,
        namespaces: &Namespaces,
    ) -> &BySlot {
        let known = self.groups.iter().position(|group| group.subject == *subject);
        let position = known.unwrap_or_else(|| {
            let mut counts = BySlot::new();
            for (slot, _, _) in pods.filter(|(_, pod, presence)| subject.holds(pod, *presence, namespaces)) {
                *at(&mut counts, slot) += 1;
            }
            self.groups.push(Group { subject: subject.clone(), counts, was_asked: false });
            self.groups.len() - 1
        });
        let group = &mut self.groups[position];
        group.was_asked = true;
        &group.counts
    }

    /// The rules of pods that are there.
    pub(super) fn carried(&self) -> &[Carried] {
        &self.carried
    }

    /// Forgets what nobody asked for since the last time that there was too much.
    pub(super) fn thin_out(&mut self) {
        if self.groups.len() > GROUPS_MAX {
            self.groups.retain_mut(|group| std::mem::take(&mut group.was_asked));
        }
    }

    /// Forgets counts for which the labels of namespaces matter: these changed.
    pub(super) fn forget_by_namespace(&mut self) {
        self.groups.retain(|group| !group.subject.queries.iter().any(Query::asks_namespaces));
    }
}

fn at(counts: &mut BySlot, slot: usize) -> &mut u32 {
    if counts.len() <= slot {
        counts.resize(slot + 1, 0);
    }
    &mut counts[slot]
}
