//! Nodes that have fallen silent, and the taints that follow from a node's conditions.
//!
//! A node says that it lives by renewing its Lease or writing its status. When that happened is measured by this
//! member's clock, at the moment the change is seen: the clocks of nodes do not matter. Renewals are rare, to be cheap
//! where there are many nodes; that a node's process has ended is known much sooner, for the member that it was
//! connected to says so in the Lease (`membership::presence`).
//!
//! Pods have to leave a silent node only while there is another one that lives: when nobody is heard, the fault is more
//! likely with who listens.

pub(crate) mod shell;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus, Pod, Taint};

use super::facts;

/// After how long a silent node is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Silence after which a node's state is unknown. Nodes renew their Lease several times in this.
    pub grace: Duration,
    /// The same for a node whose connection has ended, and which has not connected again: long enough for an agent that
    /// is started anew.
    pub grace_disconnected: Duration,
}

impl Default for Config {
    fn default() -> Self {
        // As Kubernetes: five missed renewals of ten seconds each.
        Config { grace: Duration::from_secs(50), grace_disconnected: Duration::from_secs(2) }
    }
}

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that, being true, keep new pods away, and the taint for each.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];
/// How often a silent node is looked at again while no other one is heard.
const REFUGE_AGAIN: Duration = Duration::from_secs(2);
/// Conditions of which nothing is known any more when a node is silent.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What to write about a node, and when to look again if nothing changes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// The status, when the node's state has become unknown.
    pub(crate) status: Option<NodeStatus>,
    /// All taints of the node, when they differ.
    pub(crate) taints: Option<Vec<Taint>>,
    /// Pods of a silent node that still count as ready: nobody may be sent to them.
    pub(crate) unready: Vec<Arc<Pod>>,
    pub(crate) again_after: Option<Duration>,
}

impl Plan {
    /// True when there is nothing to write.
    pub(crate) fn is_met(&self) -> bool {
        self.status.is_none() && self.taints.is_none() && self.unready.is_empty()
    }
}

/// What is known of a node besides its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// It is given up in so long, when nothing is heard.
    Heard(Duration),
    /// It has been silent for too long.
    Silent(Refuge),
}

/// Whether the pods of a silent node have anywhere to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refuge {
    /// Another node is ready, and was heard lately.
    Somewhere,
    /// All are silent.
    Nowhere,
}

/// What follows for a node that runs `pods`.
pub(crate) fn plan(node: &Node, hearing: Hearing, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut status = node.status.clone().unwrap_or_default();
    match hearing {
        Hearing::Heard(left) => plan.again_after = Some(left),
        Hearing::Silent(refuge) => {
            if make_unknown(&mut status, now) {
                plan.status = Some(status.clone());
            }
            plan.unready = pods.iter().filter(|pod| facts::is_ready(pod)).cloned().collect();
            plan.again_after = (refuge == Refuge::Nowhere).then_some(REFUGE_AGAIN);
        }
    }
    let taints = taints(node, &status, hearing, now);
    let stored = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    plan.taints = (taints != stored).then_some(taints);
    plan
}

/// Makes the reported conditions `Unknown`; true when that changed something.
fn make_unknown(status: &mut NodeStatus, now: Timestamp) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    let mut changed = false;
    for kind in REPORTED {
        let (reason, message) = match conditions.iter().find(|condition| condition.type_ == kind) {
            Some(condition) if condition.status == "Unknown" => continue,
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        let last_heartbeat_time = conditions
            .iter()
            .find(|known| known.type_ == kind)
            .and_then(|known| known.last_heartbeat_time.clone());
        let condition = NodeCondition {
            type_: kind.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time,
            last_transition_time: Some(facts::stamp(now)),
        };
        match conditions.iter_mut().find(|known| known.type_ == kind) {
            Some(known) => *known = condition,
            None => conditions.push(condition),
        }
        changed = true;
    }
    changed
}

/// The taints that the node should have: those that follow from its conditions, and those that others gave it.
fn taints(node: &Node, status: &NodeStatus, hearing: Hearing, now: Timestamp) -> Vec<Taint> {
    let spec = node.spec.clone().unwrap_or_default();
    let given = spec.taints.as_deref().unwrap_or_default();
    let has = |key: &str, effect: &str| given.iter().any(|taint| taint.key == key && taint.effect == effect);
    let condition = |kind: &str| {
        let known = status.conditions.as_deref().unwrap_or_default();
        known.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.as_str())
    };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match condition("Ready") {
        Some("False") => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        Some("Unknown") => {
            wanted.push((UNREACHABLE, "NoSchedule"));
            let begins = hearing == Hearing::Silent(Refuge::Somewhere);
            if begins || has(UNREACHABLE, "NoExecute") {
                wanted.push((UNREACHABLE, "NoExecute"));
            }
        }
        _ => {}
    }
    let pressures = PRESSURES.iter().filter(|(kind, _)| condition(kind) == Some("True"));
    wanted.extend(pressures.map(|(_, taint)| (*taint, "NoSchedule")));
    if spec.unschedulable == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let mut taints = given.to_vec();
    taints.retain(|taint| !is_ours(taint) || wanted.contains(&(taint.key.as_str(), taint.effect.as_str())));
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            let time_added = Some(facts::stamp(now));
            taints.push(Taint { key: key.to_owned(), effect: effect.to_owned(), value: None, time_added });
        }
    }
    taints
}

/// True for a taint that only conditions give and take.
fn is_ours(taint: &Taint) -> bool {
    let key = taint.key.as_str();
    [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&key)
        || PRESSURES.iter().any(|(_, pressure)| *pressure == key)
}
