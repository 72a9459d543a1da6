//! Which of several pods goes first when there are too many: the one that is missed least.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::controllers::facts;

/// Annotation by which a user says how much a pod would be missed; lower goes first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Sorts `pods` so that the first is to be deleted first: unassigned, pending, not ready, cheap by annotation, crowded
/// (with many of `siblings` on its node), ready for a shorter time, restarted more often, younger.
pub(crate) fn sort_for_deletion(pods: &mut [Arc<Pod>], siblings: &[Arc<Pod>]) {
    let mut crowd: HashMap<&str, usize> = HashMap::new();
    for node in siblings.iter().filter_map(|pod| facts::node_name(pod)) {
        *crowd.entry(node).or_default() += 1;
    }
    pods.sort_by_cached_key(|pod| Rank::of(pod, &crowd));
}

/// Compared field by field, in this order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_assigned: bool,
    phase: u8,
    is_ready: bool,
    cost: i32,
    crowd: Reverse<usize>,
    ready_since: Reverse<Option<Timestamp>>,
    restarts: Reverse<i32>,
    created: Youngest,
    name: String,
}

impl Rank {
    fn of(pod: &Pod, crowd: &HashMap<&str, usize>) -> Rank {
        let node = facts::node_name(pod);
        Rank {
            is_assigned: node.is_some(),
            phase: match facts::phase(pod) {
                "Pending" => 0,
                "Unknown" => 1,
                _ => 2,
            },
            is_ready: facts::is_ready(pod),
            cost: facts::annotation(&pod.metadata, DELETION_COST)
                .and_then(|cost| cost.parse().ok())
                .unwrap_or(0),
            crowd: Reverse(node.and_then(|node| crowd.get(node)).copied().unwrap_or(0)),
            ready_since: Reverse(facts::ready_since(pod).map(|time| time.0)),
            restarts: Reverse(facts::restarts(pod)),
            created: Youngest(pod.metadata.creation_timestamp.as_ref().map(|time| time.0)),
            name: facts::name(&pod.metadata).to_owned(),
        }
    }
}

/// Later times come first; a pod without one counts as the youngest.
#[derive(PartialEq, Eq)]
struct Youngest(Option<Timestamp>);

impl Ord for Youngest {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0, other.0) {
            (Some(a), Some(b)) => b.cmp(&a),
            (a, b) => a.is_some().cmp(&b.is_some()),
        }
    }
}

impl PartialOrd for Youngest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
