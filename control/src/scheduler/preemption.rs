//! Preemption: which pods of lower priority would have to leave which node so that a pod finds room there.
//!
//! On each node all of them leave first, then as many as possible come back, the most important first, and those whose
//! disruption budget allows nothing more before the others. Of the nodes the one that loses least is taken.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::class::Class;
use super::picture::{Picture, Placed};
use super::refusal::Rejection;
use super::tallies::Presence;
use crate::cache::ObjectKey;

/// Nodes on which it is tried: a tenth of all, but not fewer than this while there are more.
const TRIED_MIN: usize = 100;
const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// Who leaves, and where.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) slot: usize,
    /// None when enough pods are on their way out already.
    pub(super) victims: Vec<Victim>,
}

/// A pod that has to leave.
#[derive(Debug, Clone)]
pub(super) struct Victim {
    pub(super) key: ObjectKey,
    pub(super) pod: Arc<Pod>,
}

/// What a node loses; the least is taken: budgets violated, the highest priority, all priorities, pods, and then the
/// node whose most important victim started last.
type Loss = (usize, i32, i64, usize, Reverse<Option<Timestamp>>);

/// Finds the node that loses least, or says how many nodes there are for each reason that there is none.
pub(super) fn find(picture: &mut Picture, class: &mut Class) -> Result<Plan, BTreeMap<String, usize>> {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut count = |words: &str, number: usize| {
        if number > 0 {
            *reasons.entry(words.to_owned()).or_default() += number;
        }
    };
    count(NOT_HELPFUL, class.unsuitable_count());
    let mut left = TRIED_MIN.max(picture.existing() / 10);
    let mut best: Option<(Loss, Plan)> = None;
    for slot in class.slots() {
        if !class.obstacles(picture, slot).iter().all(Rejection::is_resolvable) {
            count(NOT_HELPFUL, 1);
            continue;
        }
        match victims(picture, class, slot) {
            Ok((loss, victims)) => {
                if best.as_ref().is_none_or(|(least, _)| loss < *least) {
                    best = Some((loss, Plan { slot, victims }));
                }
                left -= 1;
                if left == 0 {
                    break;
                }
            }
            Err(words) => words.iter().for_each(|words| count(words, 1)),
        }
    }
    best.map(|(_, plan)| plan).ok_or(reasons)
}

/// The pods that have to leave this node, or why that would not help.
fn victims(
    picture: &mut Picture,
    class: &mut Class,
    slot: usize,
) -> Result<(Loss, Vec<Victim>), Vec<String>> {
    let priority = class.wants.priority;
    if !picture.has_below(priority) {
        return Err(vec![NO_VICTIMS.to_owned()]);
    }
    let lower = picture.pods_on(slot).filter(|(_, placed)| placed.wants.priority < priority);
    let mut lower: Vec<(ObjectKey, Placed)> =
        lower.map(|(key, placed)| (key.clone(), placed.clone())).collect();
    if lower.is_empty() {
        return Err(vec![NO_VICTIMS.to_owned()]);
    }
    lower.sort_by_key(|(key, placed)| (Reverse(placed.wants.priority), started(&placed.pod), key.clone()));
    for (_, placed) in &lower {
        class.take_away(picture, slot, &placed.wants, placed.presence);
    }
    let obstacles = class.obstacles(picture, slot);
    let chosen =
        if obstacles.is_empty() { choose(picture, class, slot, &lower) } else { Chosen::none_of(&lower) };
    for (_, placed) in lower.iter().zip(&chosen.stays).filter(|(_, stays)| !**stays).map(|(pod, _)| pod) {
        class.put_back(picture, slot, &placed.wants, placed.presence);
    }
    if !obstacles.is_empty() {
        return Err(obstacles.iter().map(Rejection::words).collect());
    }
    let leaving = lower.into_iter().zip(chosen.stays).filter(|(_, stays)| !stays).map(|(pod, _)| pod);
    let leaving: Vec<(ObjectKey, Placed)> =
        leaving.filter(|(_, placed)| placed.presence == Presence::Stays).collect();
    let loss = loss(chosen.violations, &leaving);
    Ok((loss, leaving.into_iter().map(|(key, placed)| Victim { key, pod: placed.pod }).collect()))
}

/// Which pods can stay, and how many budgets those violate that cannot.
struct Chosen {
    stays: Vec<bool>,
    violations: usize,
}

impl Chosen {
    fn none_of(pods: &[(ObjectKey, Placed)]) -> Chosen {
        Chosen { stays: vec![false; pods.len()], violations: 0 }
    }
}

/// Lets as many pods come back as there is room for besides the new one. They are in the order of their importance.
fn choose(picture: &mut Picture, class: &mut Class, slot: usize, lower: &[(ObjectKey, Placed)]) -> Chosen {
    let pods: Vec<Arc<Pod>> = lower.iter().map(|(_, placed)| placed.pod.clone()).collect();
    let violates = picture.surroundings().violations(&pods);
    let mut chosen = Chosen::none_of(lower);
    let order =
        |wanted: bool| (0..lower.len()).filter(|index| violates[*index] == wanted).collect::<Vec<_>>();
    for index in order(true).into_iter().chain(order(false)) {
        let placed = &lower[index].1;
        if placed.presence == Presence::Leaves {
            continue;
        }
        class.put_back(picture, slot, &placed.wants, placed.presence);
        if class.obstacles(picture, slot).is_empty() {
            chosen.stays[index] = true;
        } else {
            class.take_away(picture, slot, &placed.wants, placed.presence);
            chosen.violations += usize::from(violates[index]);
        }
    }
    chosen
}

fn loss(violations: usize, leaving: &[(ObjectKey, Placed)]) -> Loss {
    let highest = leaving.iter().map(|(_, placed)| placed.wants.priority).max().unwrap_or(i32::MIN);
    // Each counts more than nothing, whatever its priority.
    let weight = |placed: &Placed| i64::from(placed.wants.priority) - i64::from(i32::MIN) + 1;
    let sum = leaving.iter().map(|(_, placed)| weight(placed)).sum();
    let most_important = leaving.iter().filter(|(_, placed)| placed.wants.priority == highest);
    let earliest = most_important.filter_map(|(_, placed)| started(&placed.pod)).min();
    (violations, highest, sum, leaving.len(), Reverse(earliest))
}

/// When the pod started, or, before its node says so, was made.
fn started(pod: &Pod) -> Option<Timestamp> {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    started.or(pod.metadata.creation_timestamp.as_ref()).map(|time| time.0)
}
