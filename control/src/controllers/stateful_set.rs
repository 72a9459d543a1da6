//! StatefulSets: pods that keep their names, made, replaced and deleted in order.
//!
//! [`plan`] is pure: one step at a time for an ordered set, all at once for a parallel one. Pods are numbered; one is only
//! replaced under the same name, and only when it is gone, so that there are never two of a name.

mod claims;
mod members;
pub(crate) mod shell;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use self::members::{Health, Members};
use super::revisions::{self, History};
use super::{claim, facts};

/// One write that brings the cluster nearer to the StatefulSet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Makes the set the controller of a pod of its own that has none.
    Adopt { pod: Arc<Pod> },
    /// Gives up a pod that matches no more.
    Release { pod: Arc<Pod> },
    /// Brings the history of templates up to date.
    Revise(revisions::Change),
    /// Creates pods, in order.
    Create { pods: Vec<Pod> },
    /// Deletes pods.
    Delete { pods: Vec<Arc<Pod>> },
    /// Makes the claims of pods that come next.
    Claim { claims: Vec<PersistentVolumeClaim> },
    /// Gives claims another owner.
    Reown { claims: Vec<PersistentVolumeClaim> },
}

/// What to write now, and when to look again if nothing changes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    /// The status to write, when it differs from the stored one.
    pub(crate) status: Option<StatefulSetStatus>,
    pub(crate) again_after: Option<Duration>,
}

/// What a plan is made from, besides the StatefulSet.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// Pods of the namespace that the set controls, and those without controller.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// The revisions that it controls.
    pub(crate) revisions: Vec<Arc<ControllerRevision>>,
    /// The claims of the namespace, if the set has any.
    pub(crate) claims: Vec<Arc<PersistentVolumeClaim>>,
}

/// The templates that pods are to have.
struct Versions {
    current: Version,
    update: Version,
}

/// A template and the name of its revision.
struct Version {
    name: String,
    template: k8s_openapi::api::core::v1::PodTemplateSpec,
}

/// The next step towards `set`.
pub(crate) fn plan(set: &StatefulSet, observed: Observed, now: Timestamp) -> Plan {
    let Some(spec) = &set.spec else { return Plan::default() };
    let claim = claim::sort(&set.metadata, &spec.selector, observed.pods);
    let adopted = claim.adopt.into_iter().filter(|pod| members::ordinal(set, pod).is_some());
    let adopted = adopted.map(|pod| Action::Adopt { pod });
    let actions: Vec<Action> =
        adopted.chain(claim.release.into_iter().map(|pod| Action::Release { pod })).collect();
    if !actions.is_empty() {
        return Plan { actions, ..Plan::default() };
    }
    let is_leaving = facts::is_terminating(&set.metadata);
    let history = History::of(set, &spec.template, &observed.revisions);
    if let Some(change) = history.change.filter(|_| !is_leaving) {
        return Plan { actions: vec![Action::Revise(change)], ..Plan::default() };
    }
    let versions = versions(set, spec, history.name, &observed.revisions);
    let members = Members::of(set, spec, claim.owned, now);
    let mut actions = if is_leaving { Vec::new() } else { step(set, spec, &members, &versions) };
    if !is_leaving {
        with_claims(set, &members, &observed.claims, &mut actions);
    }
    let status = status::of(set, &members, &versions);
    if actions.is_empty() && !is_leaving {
        actions = forget(spec, &members, &status, &observed.revisions);
    }
    let status = (actions.is_empty() && set.status.as_ref() != Some(&status)).then_some(status);
    Plan { actions, status, again_after: members.again_after }
}

/// Claims come before the pods that use them, and change hands before pods go.
fn with_claims(
    set: &StatefulSet,
    members: &Members,
    known: &[Arc<PersistentVolumeClaim>],
    actions: &mut Vec<Action>,
) {
    let created = actions.iter().find_map(|action| match action {
        Action::Create { pods } => Some(pods.as_slice()),
        _ => None,
    });
    let changes = claims::changes(set, members, created.unwrap_or_default(), known);
    if !changes.create.is_empty() {
        actions.insert(0, Action::Claim { claims: changes.create });
    }
    if !changes.update.is_empty() {
        actions.insert(0, Action::Reown { claims: changes.update });
    }
}

fn versions(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    update: String,
    owned: &[Arc<ControllerRevision>],
) -> Versions {
    let update = Version { name: update, template: spec.template.clone() };
    let current = set.status.as_ref().and_then(|status| status.current_revision.clone());
    let current = current.and_then(|name| {
        let revision = owned.iter().find(|own| own.metadata.name.as_ref() == Some(&name))?;
        Some(Version { template: revisions::template(revision)?, name })
    });
    // A revision that somebody deleted cannot be made any more: the new one takes its place.
    let current =
        current.unwrap_or_else(|| Version { name: update.name.clone(), template: update.template.clone() });
    Versions { current, update }
}

/// Creates what is missing, then deletes what is too much, then replaces what is old. An ordered set takes one step, and
/// none while a pod before it is not well.
fn step(set: &StatefulSet, spec: &StatefulSetSpec, members: &Members, versions: &Versions) -> Vec<Action> {
    let is_ordered = spec.pod_management_policy.as_deref() != Some("Parallel");
    let (mut created, mut deleted) = (Vec::new(), Vec::new());
    for slot in &members.slots {
        match &slot.pod {
            None => created.push(members::new_pod(set, slot.ordinal, versions.for_new(spec, slot.index))),
            // It is done, and comes again under its name.
            Some(pod) if slot.health == Health::Ended => deleted.push(pod.clone()),
            Some(_) => {}
        }
        let has_step = !created.is_empty() || !deleted.is_empty();
        if is_ordered && (has_step || slot.health != Health::Well) {
            return actions(created, deleted);
        }
    }
    for pod in &members.surplus {
        if !facts::is_terminating(&pod.metadata) {
            deleted.push(pod.clone());
        }
        if is_ordered {
            return actions(created, deleted);
        }
    }
    if created.is_empty() && deleted.is_empty() {
        deleted = outdated(spec, members, &versions.update.name);
    }
    actions(created, deleted)
}

fn actions(created: Vec<Pod>, deleted: Vec<Arc<Pod>>) -> Vec<Action> {
    let mut actions = Vec::new();
    if !deleted.is_empty() {
        actions.push(Action::Delete { pods: deleted });
    }
    if !created.is_empty() {
        actions.push(Action::Create { pods: created });
    }
    actions
}

/// The pods to replace next, from the highest number down to the partition, as many as may be missing at once.
fn outdated(spec: &StatefulSetSpec, members: &Members, update: &str) -> Vec<Arc<Pod>> {
    let Some(partition) = partition(spec) else { return Vec::new() };
    let rolling = spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let most = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let mut left = most.map_or(1, |most| facts::part_of(most, members.slots.len()).max(1));
    let mut outdated = Vec::new();
    for slot in members.slots.iter().skip(partition).rev() {
        let Some(pod) = slot.pod.as_ref().filter(|_| left > 0) else { break };
        let is_old = facts::label(&pod.metadata, revisions::REVISION_LABEL) != Some(update);
        if is_old && !facts::is_terminating(&pod.metadata) {
            outdated.push(pod.clone());
            left -= 1;
        } else if slot.health != Health::Well {
            left -= 1;
        }
    }
    outdated
}

/// The lowest place that a rollout may touch; `None` when pods are only replaced by whoever deletes them.
fn partition(spec: &StatefulSetSpec) -> Option<usize> {
    let strategy = spec.update_strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return None;
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    Some(usize::try_from(rolling.and_then(|rolling| rolling.partition).unwrap_or(0)).unwrap_or(0))
}

impl Versions {
    /// What a new pod in this place is made from: below the partition, what it was before.
    fn for_new(&self, spec: &StatefulSetSpec, index: usize) -> &Version {
        if partition(spec).is_some_and(|partition| index < partition) { &self.current } else { &self.update }
    }
}

/// Revisions that neither the set nor a pod has any more, beyond those to be remembered.
fn forget(
    spec: &StatefulSetSpec,
    members: &Members,
    status: &StatefulSetStatus,
    owned: &[Arc<ControllerRevision>],
) -> Vec<Action> {
    let of_pods = members.all().filter_map(|pod| facts::label(&pod.metadata, revisions::REVISION_LABEL));
    let used = of_pods.chain(status.current_revision.as_deref()).chain(status.update_revision.as_deref());
    let surplus = revisions::surplus(owned, &used.collect(), spec.revision_history_limit);
    surplus.into_iter().map(Action::Revise).collect()
}
