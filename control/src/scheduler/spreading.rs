//! Spreading: that the pods of a selector are even over the domains of a topology, as a filter and as a score.

use std::collections::BTreeSet;

use super::node::NodeState;
use super::picture::Picture;
use super::refusal::Rejection;
use super::tallies::{Presence, Subject};
use super::terms::{Force, Inclusion, Spread, Term};
use super::topology::PerDomain;
use super::wants::Wants;

/// Domains when there are none to compare with.
const NO_DOMAIN: i64 = i32::MAX as i64;

/// The rules of spreading that hold for pods which want the same.
#[derive(Debug, Default)]
pub(super) struct Spreading {
    must: Vec<Rule>,
    should: Vec<Rule>,
    /// Nodes outside of a topology that the author named are the worst.
    needs_all: bool,
}

#[derive(Debug)]
struct Rule {
    subject: Subject,
    max_skew: i64,
    min_domains: i64,
    /// 1 when the pod is one of those that it is spread with.
    own: i64,
    /// Pods by domain, on nodes that are compared.
    counts: PerDomain,
    is_compared: Vec<bool>,
    domains: BTreeSet<usize>,
    least: i64,
    /// How much a pod weighs in the score: more where there are more domains.
    weight: f64,
}

impl Spreading {
    /// The rules for such pods, of which `suitable` says which nodes suit them.
    pub(super) fn new(picture: &mut Picture, wants: &Wants, suitable: &[usize]) -> Spreading {
        let needs_all = !wants.spread.is_empty();
        let usual;
        let spread = if needs_all {
            &wants.spread
        } else {
            usual = picture.surroundings().usual_spread(wants);
            &usual
        };
        let of =
            |force: Force| -> Vec<&Spread> { spread.iter().filter(|spread| spread.force == force).collect() };
        let (must, should) = (of(Force::Must), of(Force::Should));
        let mut rules = |spreads: &[&Spread], needs_all: bool| -> Vec<Rule> {
            let topologies: Vec<&Term> =
                spreads.iter().map(|spread| &spread.term).filter(|_| needs_all).collect();
            spreads.iter().map(|spread| Rule::new(picture, wants, spread, &topologies)).collect()
        };
        let (must, mut should) = (rules(&must, true), rules(&should, needs_all));
        weigh(&mut should, suitable, needs_all);
        Spreading { must, should, needs_all }
    }

    /// A pod came to a node (`number` is 1) or left it (-1).
    pub(super) fn shift(
        &mut self,
        picture: &Picture,
        slot: usize,
        pod: &Wants,
        presence: Presence,
        number: i64,
    ) {
        for rule in self.must.iter_mut().chain(&mut self.should) {
            let is_compared = rule.is_compared.get(slot).copied().unwrap_or(false);
            if is_compared && rule.subject.holds(pod, presence, picture.surroundings().namespaces()) {
                rule.counts.add(slot, number);
                rule.find_least();
            }
        }
    }

    /// Why a node cannot take such a pod.
    pub(super) fn obstacle(&self, slot: usize) -> Option<Rejection> {
        self.must.iter().find_map(|rule| match rule.counts.at(slot) {
            None => Some(Rejection::OutsideTopology),
            Some(count) if count + rule.own - rule.least > rule.max_skew => Some(Rejection::Skewed),
            Some(_) => None,
        })
    }

    /// True when it matters at all where other pods are.
    pub(super) fn has_rules(&self) -> bool {
        !self.must.is_empty() || self.has_wishes()
    }

    /// True when nodes differ in their score.
    pub(super) fn has_wishes(&self) -> bool {
        !self.should.is_empty()
    }

    /// How crowded the domains of a node are; `None` for one that is outside of a topology.
    pub(super) fn crowding(&self, slot: usize) -> Option<f64> {
        let mut sum = 0.0;
        for rule in &self.should {
            match rule.counts.at(slot) {
                Some(count) => sum += crowding(count, rule.weight, rule.max_skew),
                None if self.needs_all => return None,
                None => {}
            }
        }
        Some(sum)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of pods are far below 2^52")]
fn crowding(count: i64, weight: f64, max_skew: i64) -> f64 {
    count as f64 * weight + (max_skew - 1) as f64
}

/// Kubernetes' weight of a topology: the logarithm of its domains, so that large ones are not outweighed.
fn weigh(rules: &mut [Rule], suitable: &[usize], needs_all: bool) {
    let is_outside = |slot: &usize| rules.iter().any(|rule| rule.counts.domain(*slot).is_none());
    let inside: Vec<usize> =
        suitable.iter().copied().filter(|slot| !(needs_all && is_outside(slot))).collect();
    for rule in rules {
        let domains: BTreeSet<usize> = inside.iter().filter_map(|slot| rule.counts.domain(*slot)).collect();
        #[expect(clippy::cast_precision_loss, reason = "numbers of domains are far below 2^52")]
        let size = domains.len() as f64;
        rule.weight = (size + 2.0).ln();
    }
}

impl Rule {
    fn new(picture: &mut Picture, wants: &Wants, spread: &Spread, topologies: &[&Term]) -> Rule {
        let query = &spread.term.query;
        let namespaces = picture.surroundings().namespaces();
        let own = i64::from(query.matches(&wants.namespace, &wants.labels, namespaces));
        let subject = Subject::staying(query.clone());
        let mut counts = PerDomain::over(picture.domains(&spread.term.topology));
        let is_inside = |node: &NodeState| topologies.iter().all(|term| node.label(&term.topology).is_some());
        let compares = |node: &NodeState| {
            node.exists()
                && is_inside(node)
                && (spread.affinity == Inclusion::Ignore || node.is_selected(wants))
                && (spread.taints == Inclusion::Ignore || node.is_tolerated(wants))
        };
        let is_compared: Vec<bool> = picture.nodes().iter().map(compares).collect();
        let compared = is_compared.iter().enumerate().filter(|(_, is_compared)| **is_compared);
        let domains = compared.filter_map(|(slot, _)| counts.domain(slot)).collect();
        for (slot, count) in picture.count(&subject).iter().enumerate() {
            if *count > 0 && is_compared.get(slot) == Some(&true) {
                counts.add(slot, i64::from(*count));
            }
        }
        let (max_skew, min_domains) = (spread.max_skew, spread.min_domains);
        let mut rule =
            Rule { subject, max_skew, min_domains, own, counts, is_compared, domains, least: 0, weight: 0.0 };
        rule.find_least();
        rule
    }

    fn find_least(&mut self) {
        let least = self.domains.iter().map(|domain| self.counts.of(*domain)).min();
        let has_few = i64::try_from(self.domains.len()).unwrap_or(i64::MAX) < self.min_domains;
        self.least = if has_few { 0 } else { least.unwrap_or(NO_DOMAIN) };
    }
}
