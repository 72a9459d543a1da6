//! The controller of ReplicaSets and ReplicationControllers: what wakes it, what it looks at, how its plans are carried
//! out.

use std::marker::PhantomData;
use std::sync::Arc;

use isopod_spec::selector::Selector;
use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::{Action, Observed, Plan, new_pod, plan, status};
use crate::cache::{Cached, Change, Delta, ObjectKey, View};
use crate::controllers::facts;
use crate::controllers::pods::Acting;
use crate::controllers::runner::{Controller, Planned, Shell};

/// A kind that keeps a number of pods alike, and its form as a ReplicaSet, which plans are made for.
pub(crate) trait Replicated: Cached {
    /// The name of its controller.
    const CONTROLLER: &'static str;

    /// The change, if it is of this kind.
    fn delta(change: &Change) -> Option<&Delta<Self>>;

    /// The same wish and state as a ReplicaSet.
    fn as_replica_set(object: &Arc<Self>) -> Arc<ReplicaSet>;

    /// The object with this status.
    fn with_status(&self, status: ReplicaSetStatus) -> Self;
}

/// Keeps the pods of a kind of sets.
#[derive(Debug)]
pub(crate) struct ReplicaSetController<T = ReplicaSet>(PhantomData<fn() -> T>);

impl<T> Default for ReplicaSetController<T> {
    fn default() -> Self {
        ReplicaSetController(PhantomData)
    }
}

/// A plan, and the object it was made for.
#[derive(Debug)]
pub(crate) struct Job<T> {
    object: Arc<T>,
    replica_set: Arc<ReplicaSet>,
    plan: Plan,
}

impl<T: Replicated> Controller for ReplicaSetController<T> {
    const NAME: &'static str = T::CONTROLLER;
    type Plan = Job<T>;

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        if let Some(delta) = T::delta(change) {
            wake(delta.key.clone());
        } else if let Change::Pod(delta) = change {
            delta.both().for_each(|pod| wake_owners::<T>(pod, view, wake));
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, now: Timestamp) -> Planned<Job<T>> {
        let Some(object) = T::shelf(view).get(key) else { return Planned::nothing() };
        let replica_set = T::as_replica_set(object);
        let controlled = view.pods.controlled_by(facts::uid(&replica_set.metadata));
        let pods: Vec<Arc<Pod>> = controlled.chain(view.pods.orphans(key.namespace())).cloned().collect();
        let siblings = siblings(&replica_set, &pods, view);
        let mut plan = plan(&replica_set, Observed { pods, siblings }, now);
        // Not every kind has a place for all that a ReplicaSet's status says.
        plan.status = plan.status.filter(|status| object.with_status(status.clone()) != **object);
        let again_after = plan.again_after;
        let is_met = plan.actions.is_empty() && plan.status.is_none();
        let plan = (!is_met).then(|| Job { object: object.clone(), replica_set, plan });
        Planned { plan, again_after }
    }

    async fn apply(shell: Shell, job: Job<T>) -> Result<(), Status> {
        let acting = Acting::of(&shell, T::CONTROLLER, &*job.object);
        let mut surplus = Vec::new();
        for action in job.plan.actions {
            match action {
                Action::Adopt { pod } => acting.adopt(&*pod).await?,
                Action::Release { pod } => acting.release(&*pod).await?,
                Action::Create { count } => {
                    let pods = (0..count).map(|_| new_pod(&job.replica_set, &*job.object)).collect();
                    if let Err(error) = acting.create(pods).await {
                        return fail(&shell, &job.object, &job.replica_set, "FailedCreate", error).await;
                    }
                }
                Action::Delete { pod } => surplus.push(pod),
            }
        }
        if let Err(error) = acting.delete(&surplus).await {
            return fail(&shell, &job.object, &job.replica_set, "FailedDelete", error).await;
        }
        if let Some(status) = job.plan.status {
            shell.objects.update_status(&job.object.with_status(status)).await?;
        }
        Ok(())
    }
}

fn wake_owners<T: Replicated>(pod: &Pod, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
    let namespace = facts::namespace(&pod.metadata);
    match facts::controller_of(&pod.metadata) {
        Some(owner) if owner.kind == T::KIND => wake(ObjectKey::new(namespace, &owner.name)),
        Some(_) => {}
        None => {
            let sets = T::shelf(view).in_namespace(namespace).map(T::as_replica_set);
            let matching = sets.filter(|set| {
                let selector = set.spec.as_ref().map(|spec| &spec.selector);
                Selector::of(selector).matches(pod.metadata.labels.as_ref())
            });
            matching.for_each(|set| wake(ObjectKey::of(&set.metadata)));
        }
    }
}

/// Active pods of all ReplicaSets of the same owner. Only looked for when pods have to be chosen for deletion.
fn siblings(replica_set: &ReplicaSet, pods: &[Arc<Pod>], view: &View) -> Vec<Arc<Pod>> {
    let wanted = replica_set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let active = pods.iter().filter(|pod| facts::is_active(pod));
    if active.clone().count() <= usize::try_from(wanted).unwrap_or(0) {
        return Vec::new();
    }
    let Some(owner) = facts::controller_of(&replica_set.metadata) else { return active.cloned().collect() };
    let sets = view.replica_sets.controlled_by(&owner.uid);
    let pods = sets.flat_map(|set| view.pods.controlled_by(facts::uid(&set.metadata)));
    pods.filter(|pod| facts::is_active(pod)).cloned().collect()
}

/// Says in the status that a pod could not be created or deleted; the error stands.
async fn fail<T: Replicated>(
    shell: &Shell,
    object: &Arc<T>,
    replica_set: &ReplicaSet,
    reason: &'static str,
    error: Status,
) -> Result<(), Status> {
    let status = status::failed(replica_set, reason, error.message.clone(), Timestamp::now());
    if replica_set.status.as_ref() != Some(&status) {
        shell.objects.update_status(&object.with_status(status)).await?;
    }
    Err(error)
}
