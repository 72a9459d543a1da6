//! A Deployment's status: counts of its ReplicaSets, and the conditions that say how the rollout stands.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};

use super::limits::Limits;
use super::rollout::{Draft, Rollout};
use crate::controllers::facts::{self, some_count};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Why `Progressing` has its value. The words are Kubernetes'; clients wait for some of them.
pub(super) mod reason {
    pub(super) const CREATED: &str = "NewReplicaSetCreated";
    pub(super) const FOUND: &str = "FoundNewReplicaSet";
    pub(super) const UPDATED: &str = "ReplicaSetUpdated";
    pub(super) const DONE: &str = "NewReplicaSetAvailable";
    pub(super) const TIMED_OUT: &str = "ProgressDeadlineExceeded";
    pub(super) const PAUSED: &str = "DeploymentPaused";
    pub(super) const RESUMED: &str = "DeploymentResumed";
    pub(in super::super) const CREATE_ERROR: &str = "ReplicaSetCreateError";
}

/// What kind of pass the status is computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// The rollout goes on: progress is judged.
    Rollout,
    /// Paused, scaled or being deleted: only counts and availability.
    Hold,
}

/// The status after this pass, and when to look again although nothing changes.
pub(super) fn status(rollout: &Rollout, pass: Pass, now: Timestamp) -> (DeploymentStatus, Option<Duration>) {
    let deployment = rollout.deployment;
    let before = deployment.status.clone().unwrap_or_default();
    let mut conditions = Conditions { list: before.conditions.clone().unwrap_or_default(), now };
    let deadline = deadline(deployment);
    if deadline.is_some() {
        note_pause(&mut conditions, is_paused(deployment));
        note_new_replica_set(&mut conditions, rollout);
    }
    let mut status = counts(rollout, &before);
    note_availability(&mut conditions, &status, &rollout.limits);
    if pass == Pass::Rollout {
        match deadline {
            None => conditions.remove(PROGRESSING),
            Some(deadline) => judge_progress(&mut conditions, rollout, &before, &status, deadline),
        }
        note_failures(&mut conditions, rollout);
    }
    let recheck = deadline.filter(|_| pass == Pass::Rollout && !is_complete(&status, &rollout.limits));
    let recheck = recheck.and_then(|deadline| conditions.deadline_in(deadline));
    status.conditions = (!conditions.list.is_empty()).then_some(conditions.list);
    (status, recheck)
}

/// The status of a Deployment whose new ReplicaSet the API refused.
pub(super) fn failed_to_create(deployment: &Deployment, message: String, now: Timestamp) -> DeploymentStatus {
    let mut status = deployment.status.clone().unwrap_or_default();
    let mut conditions = Conditions { list: status.conditions.take().unwrap_or_default(), now };
    conditions.set(PROGRESSING, "False", reason::CREATE_ERROR, message);
    status.conditions = Some(conditions.list);
    status
}

/// True when `spec.paused` holds the rollout.
pub(super) fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().is_some_and(|spec| spec.paused == Some(true))
}

/// True when all wanted pods are of the new template and available, and no other is left.
pub(super) fn is_complete(status: &DeploymentStatus, limits: &Limits) -> bool {
    let is_all = |count: Option<i32>| count.unwrap_or(0) == limits.replicas;
    is_all(status.replicas) && is_all(status.updated_replicas) && is_all(status.available_replicas)
}

/// The counts, without conditions.
pub(super) fn counts(rollout: &Rollout, before: &DeploymentStatus) -> DeploymentStatus {
    let sum = |count: fn(&Draft) -> i32| rollout.all().map(count).sum::<i32>();
    let optional = |set: &Draft, count: fn(&ReplicaSet) -> Option<i32>| count(set.stored()).unwrap_or(0);
    let total = sum(Draft::observed);
    let available = sum(Draft::available);
    let ready = |set: &ReplicaSet| set.status.as_ref().and_then(|status| status.ready_replicas);
    let leaving = |set: &ReplicaSet| set.status.as_ref().and_then(|status| status.terminating_replicas);
    DeploymentStatus {
        observed_generation: rollout.deployment.metadata.generation,
        replicas: some_count(total),
        updated_replicas: some_count(rollout.new.as_ref().map_or(0, Draft::observed)),
        ready_replicas: some_count(rollout.all().map(|set| optional(set, ready)).sum()),
        available_replicas: some_count(available),
        unavailable_replicas: some_count((rollout.all_wanted() - available).max(0)),
        terminating_replicas: some_count(rollout.all().map(|set| optional(set, leaving)).sum()),
        collision_count: before.collision_count,
        conditions: None,
    }
}

impl Rollout<'_> {
    /// The pods wanted of all ReplicaSets as stored: what is missing of them is unavailable.
    fn all_wanted(&self) -> i32 {
        self.all().map(|set| super::rollout::wanted(set.stored())).sum()
    }

    /// The name that messages give the rollout: its ReplicaSet, or else the Deployment.
    fn subject(&self) -> String {
        let created = self.created.as_deref();
        match self.new.as_ref().map(Draft::current).or(created) {
            Some(set) => format!("ReplicaSet \"{}\"", facts::name(&set.metadata)),
            None => format!("Deployment \"{}\"", facts::name(&self.deployment.metadata)),
        }
    }
}

/// `progressDeadlineSeconds`; `None` when progress is not watched.
fn deadline(deployment: &Deployment) -> Option<Duration> {
    let seconds = deployment.spec.as_ref()?.progress_deadline_seconds?;
    (seconds != i32::MAX).then(|| facts::seconds(Some(seconds)))
}

fn note_pause(conditions: &mut Conditions, paused: bool) {
    let reason = conditions.reason(PROGRESSING);
    if reason == Some(reason::TIMED_OUT) {
        return;
    }
    let noted = reason == Some(reason::PAUSED);
    if paused && !noted {
        conditions.set(PROGRESSING, "Unknown", reason::PAUSED, "Deployment is paused".to_owned());
    } else if !paused && noted {
        conditions.set(PROGRESSING, "Unknown", reason::RESUMED, "Deployment is resumed".to_owned());
    }
}

fn note_new_replica_set(conditions: &mut Conditions, rollout: &Rollout) {
    if let Some(created) = &rollout.created {
        let message = format!("Created new replica set \"{}\"", facts::name(&created.metadata));
        conditions.set(PROGRESSING, "True", reason::CREATED, message);
    } else if let (Some(new), None) = (&rollout.new, conditions.get(PROGRESSING)) {
        let message = format!("Found new replica set \"{}\"", facts::name(&new.current().metadata));
        conditions.set(PROGRESSING, "True", reason::FOUND, message);
    }
}

fn note_availability(conditions: &mut Conditions, status: &DeploymentStatus, limits: &Limits) {
    let (value, reason, message) =
        if status.available_replicas.unwrap_or(0) >= limits.replicas - limits.unavailable {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
    conditions.set(AVAILABLE, value, reason, message.to_owned());
}

fn judge_progress(
    conditions: &mut Conditions,
    rollout: &Rollout,
    before: &DeploymentStatus,
    status: &DeploymentStatus,
    deadline: Duration,
) {
    let was_done = conditions.reason(PROGRESSING) == Some(reason::DONE);
    if was_done && status.replicas == status.updated_replicas {
        return;
    }
    let subject = rollout.subject();
    if is_complete(status, &rollout.limits) {
        let message = format!("{subject} has successfully progressed.");
        conditions.set(PROGRESSING, "True", reason::DONE, message);
    } else if has_progressed(before, status) {
        conditions.renew(PROGRESSING, "True", reason::UPDATED, format!("{subject} is progressing."));
    } else if conditions.timed_out(deadline) {
        conditions.set(
            PROGRESSING,
            "False",
            reason::TIMED_OUT,
            format!("{subject} has timed out progressing."),
        );
    }
}

/// True when new pods came, old ones went, or more became ready or available.
fn has_progressed(before: &DeploymentStatus, now: &DeploymentStatus) -> bool {
    fn counts(status: &DeploymentStatus) -> [i32; 4] {
        let updated = status.updated_replicas.unwrap_or(0);
        let old = status.replicas.unwrap_or(0) - updated;
        [updated, -old, status.ready_replicas.unwrap_or(0), status.available_replicas.unwrap_or(0)]
    }
    counts(now).iter().zip(counts(before)).any(|(now, before)| *now > before)
}

/// Repeats the first failure that a ReplicaSet reports, the new one's before the others'.
fn note_failures(conditions: &mut Conditions, rollout: &Rollout) {
    let failure = rollout.all().find_map(|set| {
        let conditions = set.stored().status.as_ref()?.conditions.as_deref()?;
        conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE).cloned()
    });
    match failure {
        Some(failure) => {
            let reason = failure.reason.unwrap_or_default();
            conditions.set(REPLICA_FAILURE, &failure.status, &reason, failure.message.unwrap_or_default());
        }
        None => conditions.remove(REPLICA_FAILURE),
    }
}

/// The conditions being worked on.
struct Conditions {
    list: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.list.iter().find(|condition| condition.type_ == kind)
    }

    fn reason(&self, kind: &str) -> Option<&str> {
        self.get(kind)?.reason.as_deref()
    }

    fn remove(&mut self, kind: &str) {
        self.list.retain(|condition| condition.type_ != kind);
    }

    /// Sets a condition; one of the same value and reason stays as it is, with its times.
    fn set(&mut self, kind: &str, value: &str, reason: &str, message: String) {
        let same = self.get(kind).is_some_and(|c| c.status == value && c.reason.as_deref() == Some(reason));
        if !same {
            self.renew(kind, value, reason, message);
        }
    }

    /// Sets a condition and its update time in any case.
    fn renew(&mut self, kind: &str, value: &str, reason: &str, message: String) {
        let now = facts::stamp(self.now);
        let since = self.get(kind).filter(|c| c.status == value).and_then(|c| c.last_transition_time.clone());
        let condition = DeploymentCondition {
            type_: kind.to_owned(),
            status: value.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_update_time: Some(now.clone()),
            last_transition_time: since.or(Some(now)),
        };
        match self.list.iter_mut().find(|condition| condition.type_ == kind) {
            Some(place) => *place = condition,
            None => self.list.push(condition),
        }
    }

    /// True when progress was awaited for longer than the deadline.
    fn timed_out(&self, deadline: Duration) -> bool {
        let Some(condition) = self.get(PROGRESSING) else { return false };
        match condition.reason.as_deref() {
            Some(reason::DONE) => false,
            Some(reason::TIMED_OUT) => true,
            _ => self.deadline_in(deadline).is_none(),
        }
    }

    /// How long progress may still take; `None` when the deadline has passed or nothing is awaited.
    fn deadline_in(&self, deadline: Duration) -> Option<Duration> {
        let condition = self.get(PROGRESSING)?;
        if matches!(condition.reason.as_deref(), Some(reason::TIMED_OUT | reason::PAUSED)) {
            return None;
        }
        facts::remaining(condition.last_update_time.as_ref()?, deadline, self.now)
    }
}
