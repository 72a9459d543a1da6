//! The Deployment controller: what wakes it, what it looks at, how its plans are carried out.

use std::collections::HashMap;
use std::sync::Arc;

use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use super::{Action, Observed, Plan, Resize, plan, revision, status};
use crate::cache::{Change, Delta, ObjectKey, View};
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::{facts, outcome};
use crate::events::{Level, Occurrence, reference};
use crate::objects::DeleteOptions;

/// Keeps Deployments' ReplicaSets.
#[derive(Debug, Default)]
pub(crate) struct DeploymentController;

/// A plan, and the Deployment it was made for.
#[derive(Debug)]
pub(crate) struct Job {
    deployment: Arc<Deployment>,
    plan: Plan,
}

impl Controller for DeploymentController {
    const NAME: &'static str = "deployment-controller";
    type Plan = Job;

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::Deployment(delta) => wake(delta.key.clone()),
            Change::ReplicaSet(delta) => delta.both().for_each(|set| wake_owners(set, view, wake)),
            Change::Pod(delta) => wake_for_ended_pod(delta, view, wake),
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, now: Timestamp) -> Planned<Job> {
        let Some(deployment) = view.deployments.get(key) else { return Planned::nothing() };
        let uid = facts::uid(&deployment.metadata);
        let orphans = view.replica_sets.orphans(key.namespace());
        let replica_sets: Vec<Arc<ReplicaSet>> =
            view.replica_sets.controlled_by(uid).chain(orphans).cloned().collect();
        let unfinished_pods =
            replica_sets.iter().map(|set| unfinished_pods(set, view)).collect::<HashMap<_, _>>();
        let plan = plan(deployment, Observed { replica_sets, unfinished_pods }, now);
        let again_after = plan.again_after;
        let is_met = plan.actions.is_empty() && plan.status.is_none();
        let plan = (!is_met).then(|| Job { deployment: deployment.clone(), plan });
        Planned { plan, again_after }
    }

    async fn apply(shell: Shell, job: Job) -> Result<(), Status> {
        let mut deployment = (*job.deployment).clone();
        for action in job.plan.actions {
            carry_out(&shell, &mut deployment, action).await?;
        }
        if let Some(status) = job.plan.status {
            deployment.status = Some(status);
            shell.objects.update_status(&deployment).await?;
        }
        Ok(())
    }
}

fn wake_owners(set: &ReplicaSet, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
    let namespace = facts::namespace(&set.metadata);
    match facts::controller_of(&set.metadata) {
        Some(owner) if owner.kind == "Deployment" => wake(ObjectKey::new(namespace, &owner.name)),
        Some(_) => {}
        // Somebody may want to adopt it; such ReplicaSets are rare.
        None => {
            view.deployments.in_namespace(namespace).for_each(|owner| wake(ObjectKey::of(&owner.metadata)))
        }
    }
}

/// `Recreate` waits for old pods to end.
fn wake_for_ended_pod(delta: &Delta<Pod>, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
    let runs = |pod: &Option<Arc<Pod>>| pod.as_ref().is_some_and(|pod| !facts::is_finished(pod));
    let Some(pod) = delta.latest().filter(|_| runs(&delta.old) && !runs(&delta.new)) else { return };
    let Some(owner) = facts::controller_of(&pod.metadata) else { return };
    let namespace = facts::namespace(&pod.metadata);
    if let Some(set) = view.replica_sets.get(&ObjectKey::new(namespace, &owner.name)) {
        wake_owners(set, view, wake);
    }
}

fn unfinished_pods(set: &ReplicaSet, view: &View) -> (String, usize) {
    let uid = facts::uid(&set.metadata);
    let pods = view.pods.controlled_by(uid).filter(|pod| !facts::is_finished(pod));
    (uid.to_owned(), pods.count())
}

async fn carry_out(shell: &Shell, deployment: &mut Deployment, action: Action) -> Result<(), Status> {
    match action {
        Action::Adopt { replica_set } => {
            let mut set = (*replica_set).clone();
            facts::adopt(
                &mut set,
                facts::controller_reference("apps/v1", "Deployment", &deployment.metadata),
            );
            shell.objects.update(&set).await?;
        }
        Action::Release { replica_set } => {
            let mut set = (*replica_set).clone();
            facts::release(&mut set, facts::uid(&deployment.metadata));
            shell.objects.update(&set).await?;
        }
        Action::Create { replica_set } => create(shell, deployment, *replica_set).await?,
        Action::Update { replica_set, resize } => {
            shell.objects.update(&*replica_set).await?;
            if let Some(resize) = resize {
                tell_resize(shell, deployment, &replica_set, resize);
            }
        }
        Action::Delete { replica_set } => {
            let meta = &replica_set.metadata;
            let options = DeleteOptions {
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
                ..DeleteOptions::default()
            };
            let (namespace, name) = (facts::namespace(meta), facts::name(meta));
            outcome::settled(shell.objects.delete::<ReplicaSet>(namespace, name, &options).await)?;
        }
        Action::SetRevision { revision: number } => {
            revision::annotate(&mut deployment.metadata, revision::REVISION, number);
            *deployment = shell.objects.update(deployment).await?;
        }
    }
    Ok(())
}

async fn create(shell: &Shell, deployment: &mut Deployment, set: ReplicaSet) -> Result<(), Status> {
    let to = super::rollout::wanted(&set);
    let (namespace, name) =
        (facts::namespace(&set.metadata).to_owned(), facts::name(&set.metadata).to_owned());
    match shell.objects.create(set.clone()).await {
        Ok(created) => {
            if to > 0 {
                tell_resize(shell, deployment, &created, Resize { from: 0, to });
            }
            Ok(())
        }
        Err(status) if outcome::is_namespace_going(&status) => Ok(()),
        Err(status) if outcome::is_taken(&status) => {
            let existing = shell.objects.get::<ReplicaSet>(&namespace, &name).await?;
            match existing {
                // Created before a restart that came between the create and what follows it.
                Some(existing) if is_same(&existing, &set, deployment) => Ok(()),
                Some(_) => count_collision(shell, deployment).await,
                None => Err(status),
            }
        }
        Err(status) => {
            let message = format!("Failed to create new replica set \"{name}\": {status}");
            tell(shell, deployment, Level::Warning, status::reason::CREATE_ERROR, message.clone());
            deployment.status = Some(status::failed_to_create(deployment, message, Timestamp::now()));
            shell.objects.update_status(deployment).await?;
            Err(status)
        }
    }
}

fn is_same(existing: &ReplicaSet, wanted: &ReplicaSet, deployment: &Deployment) -> bool {
    let template =
        |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    facts::is_controlled_by(&existing.metadata, facts::uid(&deployment.metadata))
        && revision::same_template(&template(existing), &template(wanted))
}

/// Another template has the same hash: the next name is made from the hash and this count.
async fn count_collision(shell: &Shell, deployment: &mut Deployment) -> Result<(), Status> {
    let status = deployment.status.get_or_insert_default();
    status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
    *deployment = shell.objects.update_status(deployment).await?;
    Ok(())
}

fn tell_resize(shell: &Shell, deployment: &Deployment, set: &ReplicaSet, Resize { from, to }: Resize) {
    let direction = if to > from { "up" } else { "down" };
    let name = facts::name(&set.metadata);
    let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
    tell(shell, deployment, Level::Normal, "ScalingReplicaSet", message);
}

fn tell(shell: &Shell, deployment: &Deployment, level: Level, reason: &'static str, message: String) {
    let component = DeploymentController::NAME;
    shell.recorder.record(Occurrence { component, about: reference(deployment), level, reason, message });
}
