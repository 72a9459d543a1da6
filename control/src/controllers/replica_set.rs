//! ReplicaSets: as many pods of one template as wanted.
//!
//! [`plan`] is pure. ReplicationControllers are planned as the ReplicaSets they stand for ([`forms`]).

mod forms;
pub(crate) mod ranking;
pub(crate) mod shell;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use isopod_spec::resource::Resource;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::claim::{self, Claim};
use super::{facts, pods};

/// At most so many pods are created or deleted in one pass, so that one ReplicaSet does not hold up the others.
const PODS_PER_PASS: usize = 500;

/// What a plan is made from, besides the ReplicaSet.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// Pods of the namespace that the ReplicaSet controls, and those without controller.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// Active pods of sibling ReplicaSets (those with the same owner), this one's included: where they run matters
    /// for the choice of pods to delete.
    pub(crate) siblings: Vec<Arc<Pod>>,
}

/// One write that brings the cluster nearer to the ReplicaSet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Makes the ReplicaSet the controller of a matching pod that has none.
    Adopt { pod: Arc<Pod> },
    /// Gives up a pod that matches no more.
    Release { pod: Arc<Pod> },
    /// Creates so many pods of the template.
    Create { count: usize },
    /// Deletes a surplus pod.
    Delete { pod: Arc<Pod> },
}

/// What to write now, and when to look again if nothing changes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    /// The status to write, when it differs from the stored one.
    pub(crate) status: Option<ReplicaSetStatus>,
    pub(crate) again_after: Option<Duration>,
}

/// The next step towards `replica_set`.
pub(crate) fn plan(replica_set: &ReplicaSet, observed: Observed, now: Timestamp) -> Plan {
    let Some(spec) = &replica_set.spec else { return Plan::default() };
    let claim = claim::sort(&replica_set.metadata, &spec.selector, observed.pods);
    let mut actions = claim_actions(&claim);
    if !facts::is_terminating(&replica_set.metadata) {
        let active: Vec<_> =
            claim.owned.iter().chain(&claim.adopt).filter(|pod| facts::is_active(pod)).collect();
        actions.append(&mut resize(spec.replicas.unwrap_or(1), &active, &observed.siblings));
    }
    if !actions.is_empty() {
        // The pass that follows finds the pods as these actions leave them, and writes the counts once.
        return Plan { actions, ..Plan::default() };
    }
    let (status, again_after) = status::met(replica_set, &claim.owned, now);
    let status = (replica_set.status.as_ref() != Some(&status)).then_some(status);
    Plan { actions, status, again_after }
}

fn claim_actions(claim: &Claim<Pod>) -> Vec<Action> {
    let adopted =
        claim.adopt.iter().filter(|pod| facts::is_active(pod)).map(|pod| Action::Adopt { pod: pod.clone() });
    let released = claim.release.iter().map(|pod| Action::Release { pod: pod.clone() });
    adopted.chain(released).collect()
}

fn resize(wanted: i32, active: &[&Arc<Pod>], siblings: &[Arc<Pod>]) -> Vec<Action> {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if active.len() < wanted {
        return vec![Action::Create { count: (wanted - active.len()).min(PODS_PER_PASS) }];
    }
    let surplus = (active.len() - wanted).min(PODS_PER_PASS);
    if surplus == 0 {
        return Vec::new();
    }
    let mut pods: Vec<Arc<Pod>> = active.iter().map(|pod| (*pod).clone()).collect();
    if surplus < pods.len() {
        ranking::sort_for_deletion(&mut pods, siblings);
    }
    pods.into_iter().take(surplus).map(|pod| Action::Delete { pod }).collect()
}

/// A pod of the ReplicaSet's template for `owner`, which is the ReplicaSet or what it stands for.
pub(crate) fn new_pod<T: Resource>(replica_set: &ReplicaSet, owner: &T) -> Pod {
    let template = replica_set.spec.as_ref().and_then(|spec| spec.template.clone());
    pods::from_template(template.unwrap_or_default(), owner)
}
