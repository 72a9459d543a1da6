//! The ReplicaSet controller: what wakes it, what it looks at, how its plans are carried out.

use std::sync::Arc;

use futures::future::join_all;
use isopod_spec::selector::Selector;
use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use super::{Action, Observed, Plan, new_pod, plan, slow_start, status};
use crate::cache::{Change, ObjectKey, View};
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::{facts, outcome};
use crate::events::{Level, Occurrence, reference};
use crate::objects::DeleteOptions;

/// Keeps ReplicaSets' pods.
#[derive(Debug, Default)]
pub(crate) struct ReplicaSetController;

/// A plan, and the ReplicaSet it was made for.
#[derive(Debug)]
pub(crate) struct Job {
    replica_set: Arc<ReplicaSet>,
    plan: Plan,
}

impl Controller for ReplicaSetController {
    const NAME: &'static str = "replicaset-controller";
    type Plan = Job;

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::ReplicaSet(delta) => wake(delta.key.clone()),
            Change::Pod(delta) => delta.both().for_each(|pod| wake_owners(pod, view, wake)),
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, now: Timestamp) -> Planned<Job> {
        let Some(replica_set) = view.replica_sets.get(key) else { return Planned::nothing() };
        let controlled = view.pods.controlled_by(facts::uid(&replica_set.metadata));
        let pods: Vec<Arc<Pod>> = controlled.chain(view.pods.orphans(key.namespace())).cloned().collect();
        let siblings = siblings(replica_set, &pods, view);
        let plan = plan(replica_set, Observed { pods, siblings }, now);
        let again_after = plan.again_after;
        let is_met = plan.actions.is_empty() && plan.status.is_none();
        let plan = (!is_met).then(|| Job { replica_set: replica_set.clone(), plan });
        Planned { plan, again_after }
    }

    async fn apply(shell: Shell, job: Job) -> Result<(), Status> {
        let mut surplus = Vec::new();
        for action in job.plan.actions {
            match action {
                Action::Adopt { pod } => {
                    let owner =
                        facts::controller_reference("apps/v1", "ReplicaSet", &job.replica_set.metadata);
                    let mut pod = (*pod).clone();
                    facts::adopt(&mut pod, owner);
                    shell.objects.update(&pod).await?;
                }
                Action::Release { pod } => {
                    let mut pod = (*pod).clone();
                    facts::release(&mut pod, facts::uid(&job.replica_set.metadata));
                    shell.objects.update(&pod).await?;
                }
                Action::Create { count } => create(&shell, &job.replica_set, count).await?,
                Action::Delete { pod } => surplus.push(pod),
            }
        }
        delete(&shell, &job.replica_set, &surplus).await?;
        if let Some(status) = job.plan.status {
            write_status(&shell, &job.replica_set, status).await?;
        }
        Ok(())
    }
}

fn wake_owners(pod: &Pod, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
    let namespace = facts::namespace(&pod.metadata);
    match facts::controller_of(&pod.metadata) {
        Some(owner) if owner.kind == "ReplicaSet" => wake(ObjectKey::new(namespace, &owner.name)),
        Some(_) => {}
        None => {
            let sets = view.replica_sets.in_namespace(namespace);
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

async fn create(shell: &Shell, replica_set: &ReplicaSet, count: usize) -> Result<(), Status> {
    for batch in slow_start(count) {
        let pods = std::iter::repeat_with(|| new_pod(replica_set)).take(batch).collect();
        let mut failure = None;
        for created in shell.objects.create_many::<Pod>(pods).await {
            match created {
                Ok(pod) => {
                    let message = format!("Created pod: {}", facts::name(&pod.metadata));
                    tell(shell, replica_set, Level::Normal, "SuccessfulCreate", message);
                }
                Err(status) => failure = Some(status),
            }
        }
        match failure {
            None => {}
            Some(status) if outcome::is_namespace_going(&status) => return Ok(()),
            Some(status) => return fail(shell, replica_set, ("FailedCreate", "creating"), status).await,
        }
    }
    Ok(())
}

async fn delete(shell: &Shell, replica_set: &ReplicaSet, pods: &[Arc<Pod>]) -> Result<(), Status> {
    let deletions = pods.iter().map(|pod| async {
        let meta = &pod.metadata;
        let options = DeleteOptions { uid: meta.uid.clone(), ..DeleteOptions::default() };
        let (namespace, name) = (facts::namespace(meta), facts::name(meta));
        let deleted = shell.objects.delete::<Pod>(namespace, name, &options).await;
        if deleted.is_ok() {
            tell(shell, replica_set, Level::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
        }
        outcome::settled(deleted)
    });
    match join_all(deletions).await.into_iter().find_map(Result::err) {
        None => Ok(()),
        Some(status) => fail(shell, replica_set, ("FailedDelete", "deleting"), status).await,
    }
}

/// Tells of a failure in an event and in the status; the error stands.
async fn fail(
    shell: &Shell,
    replica_set: &ReplicaSet,
    (reason, doing): (&'static str, &str),
    error: Status,
) -> Result<(), Status> {
    tell(shell, replica_set, Level::Warning, reason, format!("Error {doing}: {error}"));
    let status = status::failed(replica_set, reason, error.message.clone(), Timestamp::now());
    if replica_set.status.as_ref() != Some(&status) {
        write_status(shell, replica_set, status).await?;
    }
    Err(error)
}

async fn write_status(
    shell: &Shell,
    replica_set: &ReplicaSet,
    status: k8s_openapi::api::apps::v1::ReplicaSetStatus,
) -> Result<(), Status> {
    let replica_set = ReplicaSet { status: Some(status), ..replica_set.clone() };
    shell.objects.update_status(&replica_set).await.map(drop)
}

fn tell(shell: &Shell, replica_set: &ReplicaSet, level: Level, reason: &'static str, message: String) {
    let component = ReplicaSetController::NAME;
    shell.recorder.record(Occurrence { component, about: reference(replica_set), level, reason, message });
}
