//! The kinds that this controller keeps, in the form of ReplicaSets.

use std::sync::Arc;

use isopod_spec::core::replication_controller;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};

use super::shell::Replicated;
use crate::cache::{Change, Delta};

impl Replicated for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset-controller";

    fn delta(change: &Change) -> Option<&Delta<Self>> {
        if let Change::ReplicaSet(delta) = change { Some(delta) } else { None }
    }

    fn as_replica_set(object: &Arc<Self>) -> Arc<ReplicaSet> {
        object.clone()
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        ReplicaSet { status: Some(status), ..self.clone() }
    }
}

impl Replicated for ReplicationController {
    const CONTROLLER: &'static str = "replication-controller";

    fn delta(change: &Change) -> Option<&Delta<Self>> {
        if let Change::ReplicationController(delta) = change { Some(delta) } else { None }
    }

    fn as_replica_set(object: &Arc<Self>) -> Arc<ReplicaSet> {
        let spec = object.spec.as_ref().map(|spec| ReplicaSetSpec {
            replicas: spec.replicas,
            min_ready_seconds: spec.min_ready_seconds,
            selector: replication_controller::selector(spec),
            template: spec.template.clone(),
        });
        let status = object.status.as_ref().map(status_as_replica_set);
        Arc::new(ReplicaSet { metadata: object.metadata.clone(), spec, status })
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        let conditions = status.conditions.map(|conditions| {
            let own = conditions.into_iter().map(|condition| ReplicationControllerCondition {
                type_: condition.type_,
                status: condition.status,
                reason: condition.reason,
                message: condition.message,
                last_transition_time: condition.last_transition_time,
            });
            own.collect()
        });
        let status = ReplicationControllerStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            conditions,
        };
        ReplicationController { status: Some(status), ..self.clone() }
    }
}

fn status_as_replica_set(status: &ReplicationControllerStatus) -> ReplicaSetStatus {
    let conditions = status.conditions.as_ref().map(|conditions| {
        let own = conditions.iter().cloned().map(|condition| ReplicaSetCondition {
            type_: condition.type_,
            status: condition.status,
            reason: condition.reason,
            message: condition.message,
            last_transition_time: condition.last_transition_time,
        });
        own.collect()
    });
    ReplicaSetStatus {
        replicas: status.replicas,
        fully_labeled_replicas: status.fully_labeled_replicas,
        ready_replicas: status.ready_replicas,
        available_replicas: status.available_replicas,
        terminating_replicas: None,
        observed_generation: status.observed_generation,
        conditions,
    }
}
