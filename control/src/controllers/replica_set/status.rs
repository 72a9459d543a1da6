//! A ReplicaSet's status: how many pods there are, ready and available.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;

use crate::controllers::facts::{self, Availability, some_count};

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The status that these pods give, and when a ready pod becomes available.
pub(super) fn met(
    replica_set: &ReplicaSet,
    owned: &[Arc<Pod>],
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Duration>) {
    let spec = replica_set.spec.clone().unwrap_or_default();
    let min_ready = facts::seconds(spec.min_ready_seconds);
    let template = spec.template.and_then(|template| template.metadata).and_then(|meta| meta.labels);
    let template = template.unwrap_or_default();
    let mut status = ReplicaSetStatus {
        observed_generation: replica_set.metadata.generation,
        conditions: other_conditions(replica_set),
        ..ReplicaSetStatus::default()
    };
    let (mut labeled, mut ready, mut available, mut leaving) = (0, 0, 0, 0);
    let mut again = None;
    for pod in owned.iter().filter(|pod| !facts::is_finished(pod)) {
        if facts::is_terminating(&pod.metadata) {
            leaving += 1;
            continue;
        }
        status.replicas += 1;
        labeled += i32::from(facts::has_labels(&pod.metadata, &template));
        match facts::availability(pod, min_ready, now) {
            Availability::NotReady => continue,
            Availability::Available => available += 1,
            Availability::After(wait) => again = facts::sooner(again, Some(wait)),
        }
        ready += 1;
    }
    status.fully_labeled_replicas = some_count(labeled);
    status.ready_replicas = some_count(ready);
    status.available_replicas = some_count(available);
    status.terminating_replicas = some_count(leaving);
    (status, again)
}

/// The status of a ReplicaSet for which a pod could not be created or deleted (`reason` says which).
pub(super) fn failed(
    replica_set: &ReplicaSet,
    reason: &str,
    message: String,
    now: Timestamp,
) -> ReplicaSetStatus {
    let mut status = replica_set.status.clone().unwrap_or_default();
    status.observed_generation = replica_set.metadata.generation;
    let conditions = status.conditions.get_or_insert_default();
    if !conditions.iter().any(|condition| condition.type_ == REPLICA_FAILURE) {
        conditions.push(ReplicaSetCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(facts::stamp(now)),
        });
    }
    status
}

/// A failure that was reported is over once the number of pods is as wanted.
fn other_conditions(replica_set: &ReplicaSet) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = replica_set.status.as_ref()?.conditions.clone()?;
    conditions.retain(|condition| condition.type_ != REPLICA_FAILURE);
    (!conditions.is_empty()).then_some(conditions)
}
