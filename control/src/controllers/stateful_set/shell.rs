//! The StatefulSet controller: what wakes it, what it looks at, how its plans are carried out.

use std::sync::Arc;

use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;

use super::{Action, Observed, Plan, members, plan};
use crate::cache::{Change, ObjectKey, View};
use crate::controllers::pods::Acting;
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::{facts, revisions};
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
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, now: Timestamp) -> Planned<Task> {
        let Some(set) = view.stateful_sets.get(key) else { return Planned::nothing() };
        let uid = facts::uid(&set.metadata);
        let pods = view.pods.controlled_by(uid).chain(view.pods.orphans(key.namespace()));
        let revisions = view.controller_revisions.controlled_by(uid);
        let observed = Observed { pods: pods.cloned().collect(), revisions: revisions.cloned().collect() };
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
                Action::RefuseClaims => {
                    let message = "spec.volumeClaimTemplates: PersistentVolumeClaims have no effect yet, so no pod is \
                                   created; use an emptyDir volume, or one of the host";
                    acting.tell(Level::Warning, "FailedCreate", message.to_owned());
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
