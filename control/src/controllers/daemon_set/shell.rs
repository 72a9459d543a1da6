//! The DaemonSet controller: what wakes it, what it looks at, how its plans are carried out.

use std::sync::Arc;

use isopod_spec::selector::Selector;
use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};

use super::{Action, Observed, Plan, plan};
use crate::cache::{Change, ObjectKey, View};
use crate::controllers::facts::StringMap;
use crate::controllers::pods::Acting;
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::{facts, revisions};

/// Keeps DaemonSets' pods.
#[derive(Debug, Default)]
pub(crate) struct DaemonSetController;

/// A plan, and the DaemonSet it was made for.
#[derive(Debug)]
pub(crate) struct Task {
    set: Arc<DaemonSet>,
    plan: Plan,
}

impl Controller for DaemonSetController {
    const NAME: &'static str = "daemonset-controller";
    type Plan = Task;

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::DaemonSet(delta) => wake(delta.key.clone()),
            Change::Pod(delta) => delta.both().for_each(|pod| wake_owners(pod, view, wake)),
            Change::ControllerRevision(delta) => {
                let owner = delta.latest().and_then(|own| facts::controller_of(&own.metadata));
                let owner = owner.filter(|owner| owner.kind == DaemonSet::KIND);
                owner.into_iter().for_each(|owner| wake(ObjectKey::new(delta.key.namespace(), &owner.name)));
            }
            Change::Node(delta) if traits(delta.old.as_deref()) != traits(delta.new.as_deref()) => {
                view.daemon_sets.iter().for_each(|(key, _)| wake(key.clone()));
            }
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, now: Timestamp) -> Planned<Task> {
        let Some(set) = view.daemon_sets.get(key) else { return Planned::nothing() };
        let uid = facts::uid(&set.metadata);
        let pods = view.pods.controlled_by(uid).chain(view.pods.orphans(key.namespace()));
        let revisions = view.controller_revisions.controlled_by(uid);
        let observed = Observed {
            pods: pods.cloned().collect(),
            revisions: revisions.cloned().collect(),
            nodes: view.nodes.iter().map(|(_, node)| node.clone()).collect(),
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
            }
        }
        if let Some(status) = plan.status {
            let set = DaemonSet { status: Some(status), ..(*set).clone() };
            shell.objects.update_status(&set).await?;
        }
        Ok(())
    }
}

/// What of a node a DaemonSet looks at: nodes report themselves often, and this changes rarely.
fn traits(node: Option<&Node>) -> Option<(Option<&StringMap>, Option<&Vec<Taint>>)> {
    node.map(|node| (node.metadata.labels.as_ref(), node.spec.as_ref().and_then(|spec| spec.taints.as_ref())))
}

fn wake_owners(pod: &Pod, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
    let namespace = facts::namespace(&pod.metadata);
    match facts::controller_of(&pod.metadata) {
        Some(owner) if owner.kind == DaemonSet::KIND => wake(ObjectKey::new(namespace, &owner.name)),
        Some(_) => {}
        None => {
            let sets = view.daemon_sets.in_namespace(namespace);
            let matching = sets.filter(|set| {
                let selector = set.spec.as_ref().map(|spec| &spec.selector);
                Selector::of(selector).matches(pod.metadata.labels.as_ref())
            });
            matching.for_each(|set| wake(ObjectKey::of(&set.metadata)));
        }
    }
}
