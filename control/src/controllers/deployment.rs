//! Deployments: one ReplicaSet per version of the pod template, and the way from the old version to the new.
//!
//! [`plan`] is pure and makes one step of a rollout at a time: the next step is planned from what that one did.
//! Words of conditions, reasons and annotations are Kubernetes', since clients wait for them.

mod limits;
pub(crate) mod revision;
mod rollout;
mod scaling;
pub(crate) mod shell;
mod status;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};

use self::rollout::Rollout;
use self::status::Pass;
use super::claim::{self, Claim};
use super::facts;

/// What a plan is made from, besides the Deployment.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// ReplicaSets of the namespace that the Deployment controls, and those without controller.
    pub(crate) replica_sets: Vec<Arc<ReplicaSet>>,
    /// For each ReplicaSet (by uid), how many of its pods still run or may.
    pub(crate) unfinished_pods: HashMap<String, usize>,
}

/// One write that brings the cluster nearer to the Deployment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Makes the Deployment the controller of a matching ReplicaSet that has none.
    Adopt { replica_set: Arc<ReplicaSet> },
    /// Gives up a ReplicaSet that matches no more.
    Release { replica_set: Arc<ReplicaSet> },
    /// Creates the ReplicaSet of the current template.
    Create { replica_set: Box<ReplicaSet> },
    /// Writes a ReplicaSet's annotations or size.
    Update { replica_set: Box<ReplicaSet>, resize: Option<Resize> },
    /// Deletes an empty ReplicaSet that nobody will roll back to.
    Delete { replica_set: Arc<ReplicaSet> },
    /// Notes the number of the current rollout on the Deployment.
    SetRevision { revision: String },
}

/// A change of a ReplicaSet's wanted pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resize {
    pub(crate) from: i32,
    pub(crate) to: i32,
}

/// What to write now, and when to look again if nothing changes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    /// The status to write, when it differs from the stored one.
    pub(crate) status: Option<DeploymentStatus>,
    pub(crate) again_after: Option<Duration>,
}

/// The next step towards `deployment`.
pub(crate) fn plan(deployment: &Deployment, observed: Observed, now: Timestamp) -> Plan {
    let Some(spec) = &deployment.spec else { return Plan::default() };
    let claim = claim::sort(&deployment.metadata, &spec.selector, observed.replica_sets);
    if !claim.is_settled() {
        return Plan { actions: claim_actions(claim), ..Plan::default() };
    }
    let mut rollout = Rollout::new(deployment, claim.owned);
    let pass = if facts::is_terminating(&deployment.metadata) {
        Pass::Hold
    } else {
        advance(&mut rollout, &observed.unfinished_pods)
    };
    let (status, again_after) = status::status(&rollout, pass, now);
    let status = (deployment.status.as_ref() != Some(&status)).then_some(status);
    let revision = revision_to_note(&rollout);
    let mut actions = rollout.into_actions();
    actions.extend(revision.map(|revision| Action::SetRevision { revision }));
    Plan { actions, status, again_after }
}

fn claim_actions(claim: Claim<ReplicaSet>) -> Vec<Action> {
    let adopted = claim.adopt.into_iter().map(|replica_set| Action::Adopt { replica_set });
    let released = claim.release.into_iter().map(|replica_set| Action::Release { replica_set });
    adopted.chain(released).collect()
}

/// Makes one step; tells whether it was one of the rollout.
fn advance(rollout: &mut Rollout, unfinished_pods: &HashMap<String, usize>) -> Pass {
    let paused = status::is_paused(rollout.deployment);
    rollout.refresh_new();
    // `Recreate` sizes its one ReplicaSet in any case.
    if paused || (rollout.limits.rolling && rollout.was_scaled()) {
        rollout.scale();
        if paused {
            rollout.expire_history();
        }
        return Pass::Hold;
    }
    if rollout.limits.rolling {
        rollout.roll();
    } else {
        let old = rollout.old.iter().filter_map(|set| set.stored().metadata.uid.as_ref());
        let unfinished = old.filter_map(|uid| unfinished_pods.get(uid)).sum();
        rollout.recreate(unfinished);
    }
    if status::is_complete(&status::counts(rollout, &DeploymentStatus::default()), &rollout.limits) {
        rollout.expire_history();
    }
    Pass::Rollout
}

/// The new ReplicaSet's number, when the Deployment does not show it yet.
fn revision_to_note(rollout: &Rollout) -> Option<String> {
    if facts::is_terminating(&rollout.deployment.metadata)
        || rollout.new.is_none() && rollout.created.is_none()
    {
        return None;
    }
    let number = rollout.new_revision();
    (number != revision::revision(&rollout.deployment.metadata)).then(|| number.to_string())
}
