//! The StatefulSet controller: what wakes it, what it looks at, how its plans are carried out.

use std::sync::Arc;

use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::{Action, Observed, Plan, claims, members, plan};
use crate::cache::{Change, ObjectKey, View};
use crate::controllers::pods::Acting;
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::{facts, outcome, revisions};
use crate::events::Level;

/// Keeps StatefulSets' pods.
#[derive(Debug, Default)]
pub(crate) struct StatefulSetController;

/// A plan, and the StatefulSet it was made for.
#[derive(Debug)]
pub(crate) struct Task {
    set: Arc<StatefulSet>,
    plan: Plan,
}

impl Controller for StatefulSetController {
    const NAME: &'static str = "statefulset-controller";
    type Plan = Task;

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::StatefulSet(delta) => wake(delta.key.clone()),
            Change::Pod(delta) => delta.both().for_each(|pod| wake_owners(pod, view, wake)),
            Change::ControllerRevision(delta) => {
                let owner = delta.latest().and_then(|own| facts::controller_of(&own.metadata));
                let owner = owner.filter(|owner| owner.kind == StatefulSet::KIND);
                owner.into_iter().for_each(|owner| wake(ObjectKey::new(delta.key.namespace(), &owner.name)));
            }
            Change::PersistentVolumeClaim(delta) => {
                let sets = view.stateful_sets.in_namespace(delta.key.namespace());
                let own = sets.filter(|set| claims::may_be_of(set, delta.key.name()));
                own.for_each(|set| wake(ObjectKey::of(&set.metadata)));
            }
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, now: Timestamp) -> Planned<Task> {
        let Some(set) = view.stateful_sets.get(key) else { return Planned::nothing() };
        let uid = facts::uid(&set.metadata);
        let pods = view.pods.controlled_by(uid).chain(view.pods.orphans(key.namespace()));
        let revisions = view.controller_revisions.controlled_by(uid);
        let claims = view.persistent_volume_claims.in_namespace(key.namespace());
        let claims = claims.filter(|claim| claims::may_be_of(set, facts::name(&claim.metadata)));
        let observed = Observed {
            pods: pods.cloned().collect(),
            revisions: revisions.cloned().collect(),
            claims: claims.cloned().collect(),
        };
        let plan = plan(set, observed, now);
        let again_after = plan.again_after;
        let is_met = plan.actions.is_empty() && plan.status.is_none();
        let plan = (!is_met).then(|| Task { set: set.clone(), plan });
        Planned { plan, again_after }
    }

    async fn apply(shell: Shell, Task { set, plan }: Task) -> Result<(), Status> {
        let acting = Acting::of(&shell, Self::NAME, &*set);
        for action in plan.actions {
            match action {
                Action::Adopt { pod } => acting.adopt(&*pod).await?,
                Action::Release { pod } => acting.release(&*pod).await?,
                Action::Revise(change) => revisions::apply(&shell, &acting, change).await?,
                Action::Create { pods } => acting.create(pods).await?,
                Action::Delete { pods } => acting.delete(&pods).await?,
                Action::Claim { claims } => create_claims(&shell, &acting, claims).await?,
                Action::Reown { claims } => {
                    for claim in shell.objects.update_many(&claims).await {
                        drop(claim?);
                    }
                }
            }
        }
        if let Some(status) = plan.status {
            let set = StatefulSet { status: Some(status), ..(*set).clone() };
            shell.objects.update_status(&set).await?;
        }
        Ok(())
    }
}

/// A claim that is there already is the set's as well: its name says so.
async fn create_claims(
    shell: &Shell,
    acting: &Acting<'_>,
    claims: Vec<PersistentVolumeClaim>,
) -> Result<(), Status> {
    for claim in claims {
        let name = facts::name(&claim.metadata).to_owned();
        match shell.objects.create(claim).await {
            Ok(_) => {
                acting.tell(Level::Normal, "SuccessfulCreate", format!("create Claim {name} success"));
            }
            Err(status) if outcome::is_taken(&status) => {}
            Err(status) if outcome::is_namespace_going(&status) => return Ok(()),
            Err(status) => {
                let message = format!("create Claim {name} failed error: {status}");
                acting.tell(Level::Warning, "FailedCreate", message);
                return Err(status);
            }
        }
    }
    Ok(())
}

fn wake_owners(pod: &Pod, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
    let namespace = facts::namespace(&pod.metadata);
    match facts::controller_of(&pod.metadata) {
        Some(owner) if owner.kind == StatefulSet::KIND => wake(ObjectKey::new(namespace, &owner.name)),
        Some(_) => {}
        None => {
            let sets = view.stateful_sets.in_namespace(namespace);
            let own = sets.filter(|set| members::ordinal(set, pod).is_some());
            own.for_each(|set| wake(ObjectKey::of(&set.metadata)));
        }
    }
}
