//! Affinity between pods: those that must or should be near others or apart from them, in both directions.

use std::sync::Arc;

use super::picture::Picture;
use super::refusal::Rejection;
use super::tallies::{Bond, Presence, Subject, bonds};
use super::terms::Query;
use super::topology::PerDomain;
use super::wants::Wants;

/// The rules between pods which want the same and those that are there.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    near: Option<Near>,
    /// Pods to be apart from, by domain, for each term.
    apart: Vec<(Query, PerDomain)>,
    /// Pods that keep such pods away, by domain, for each topology.
    kept_away: Vec<(Arc<str>, PerDomain)>,
    /// How much better or worse off such pods are, by domain, for each topology.
    pull: Vec<(Arc<str>, PerDomain)>,
}

/// Pods that must be near. One counts if it is meant by every term.
#[derive(Debug)]
struct Near {
    subject: Subject,
    terms: Vec<PerDomain>,
    /// Such a pod may be the first of them.
    means_itself: bool,
}

impl Neighbours {
    /// The rules for such pods.
    pub(super) fn new(picture: &mut Picture, wants: &Wants) -> Neighbours {
        let mut rules = Neighbours { near: near(picture, wants), ..Neighbours::default() };
        for term in &wants.apart {
            let mut counts = PerDomain::over(picture.domains(&term.topology));
            counts.add_all(picture.count(&Subject::all(vec![term.query.clone()])), 1);
            rules.apart.push((term.query.clone(), counts));
        }
        for (term, weight) in &wants.preferred {
            let domains = picture.domains(&term.topology);
            let counts = picture.count(&Subject::all(vec![term.query.clone()]));
            let pull = of_topology(&mut rules.pull, &term.topology, || PerDomain::over(domains));
            pull.add_all(counts, *weight);
        }
        let namespaces = picture.surroundings().namespaces();
        for carried in picture.tallies().carried() {
            let term = &carried.term;
            if !term.query.matches(&wants.namespace, &wants.labels, namespaces) {
                continue;
            }
            let domains = || PerDomain::over(picture.known_domains(&term.topology));
            match carried.bond {
                Bond::Apart => {
                    of_topology(&mut rules.kept_away, &term.topology, domains).add_all(&carried.counts, 1);
                }
                Bond::Weighs(weight) => {
                    of_topology(&mut rules.pull, &term.topology, domains).add_all(&carried.counts, weight);
                }
            }
        }
        rules
    }

    /// A pod came to a node (`number` is 1) or left it (-1).
    pub(super) fn shift(&mut self, picture: &Picture, own: &Wants, slot: usize, pod: &Wants, number: i64) {
        let namespaces = picture.surroundings().namespaces();
        let is_meant = |query: &Query| query.matches(&pod.namespace, &pod.labels, namespaces);
        if let Some(near) = &mut self.near
            && near.subject.holds(pod, Presence::Stays, namespaces)
        {
            near.terms.iter_mut().for_each(|counts| counts.add(slot, number));
        }
        for (_, counts) in self.apart.iter_mut().filter(|(query, _)| is_meant(query)) {
            counts.add(slot, number);
        }
        for (term, weight) in own.preferred.iter().filter(|(term, _)| is_meant(&term.query)) {
            let domains = || PerDomain::over(picture.known_domains(&term.topology));
            of_topology(&mut self.pull, &term.topology, domains).add(slot, number * weight);
        }
        for (bond, term) in bonds(pod) {
            if !term.query.matches(&own.namespace, &own.labels, namespaces) {
                continue;
            }
            let domains = || PerDomain::over(picture.known_domains(&term.topology));
            match bond {
                Bond::Apart => {
                    of_topology(&mut self.kept_away, &term.topology, domains).add(slot, number);
                }
                Bond::Weighs(weight) => {
                    of_topology(&mut self.pull, &term.topology, domains).add(slot, number * weight);
                }
            }
        }
    }

    /// Why a node cannot take such a pod.
    pub(super) fn obstacle(&self, slot: usize) -> Option<Rejection> {
        let any = |counts: &PerDomain| counts.at(slot).is_some_and(|count| count > 0);
        if self.near.as_ref().is_some_and(|near| !near.allows(slot)) {
            Some(Rejection::NotNear)
        } else if self.apart.iter().any(|(_, counts)| any(counts)) {
            Some(Rejection::NotApart)
        } else if self.kept_away.iter().any(|(_, counts)| any(counts)) {
            Some(Rejection::KeptAway)
        } else {
            None
        }
    }

    /// How much better or worse off such a pod is there than with nobody around.
    pub(super) fn pull(&self, slot: usize) -> i64 {
        self.pull.iter().filter_map(|(_, counts)| counts.at(slot)).sum()
    }

    /// True when it matters at all where other pods are.
    pub(super) fn has_rules(&self) -> bool {
        let has_obstacles = self.near.is_some() || !self.apart.is_empty() || !self.kept_away.is_empty();
        has_obstacles || self.has_wishes()
    }

    /// True when nodes differ in their score.
    pub(super) fn has_wishes(&self) -> bool {
        !self.pull.is_empty()
    }
}

fn near(picture: &mut Picture, wants: &Wants) -> Option<Near> {
    if wants.near.is_empty() {
        return None;
    }
    let subject = Subject::all(wants.near.iter().map(|term| term.query.clone()).collect());
    let means_itself = subject.holds(wants, Presence::Stays, picture.surroundings().namespaces());
    let mut terms = Vec::with_capacity(wants.near.len());
    for term in &wants.near {
        let mut counts = PerDomain::over(picture.domains(&term.topology));
        counts.add_all(picture.count(&subject), 1);
        terms.push(counts);
    }
    Some(Near { subject, terms, means_itself })
}

impl Near {
    fn allows(&self, slot: usize) -> bool {
        let counts: Option<Vec<i64>> = self.terms.iter().map(|counts| counts.at(slot)).collect();
        let Some(counts) = counts else { return false };
        let is_first = || self.means_itself && self.terms.iter().all(PerDomain::is_zero);
        counts.iter().all(|count| *count > 0) || is_first()
    }
}

fn of_topology<'a>(
    all: &'a mut Vec<(Arc<str>, PerDomain)>,
    topology: &Arc<str>,
    new: impl FnOnce() -> PerDomain,
) -> &'a mut PerDomain {
    let position = all.iter().position(|(known, _)| known == topology).unwrap_or_else(|| {
        all.push((topology.clone(), new()));
        all.len() - 1
    });
    &mut all[position].1
}
