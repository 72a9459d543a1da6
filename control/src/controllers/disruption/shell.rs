//! The disruption controller: what wakes it, what it looks at, how its plans are carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use isopod_spec::selector::Selector;
use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::{Observed, needs_scale, plan};
use crate::cache::{Change, ObjectKey, View};
use crate::controllers::facts;
use crate::controllers::runner::{Controller, Planned, Shell};

/// Keeps the status of disruption budgets.
#[derive(Debug, Default)]
pub(crate) struct DisruptionController;

/// A status, and the budget it is for.
#[derive(Debug)]
pub(crate) struct Task {
    budget: Arc<PodDisruptionBudget>,
    status: PodDisruptionBudgetStatus,
}

impl Controller for DisruptionController {
    const NAME: &'static str = "disruption-controller";
    type Plan = Task;

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::PodDisruptionBudget(delta) => wake(delta.key.clone()),
            Change::Pod(delta) => {
                for budget in view.pod_disruption_budgets.in_namespace(delta.key.namespace()) {
                    if delta.both().any(|pod| covers(budget, pod)) {
                        wake(ObjectKey::of(&budget.metadata));
                    }
                }
            }
            // How many pods there should be may have changed.
            Change::Deployment(_)
            | Change::ReplicaSet(_)
            | Change::StatefulSet(_)
            | Change::ReplicationController(_) => {
                let budgets = view.pod_disruption_budgets.in_namespace(change.key().namespace());
                let counting = budgets.filter(|budget| budget.spec.as_ref().is_some_and(needs_scale));
                counting.for_each(|budget| wake(ObjectKey::of(&budget.metadata)));
            }
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, now: Timestamp) -> Planned<Task> {
        let Some(budget) = view.pod_disruption_budgets.get(key) else { return Planned::nothing() };
        let pods = view.pods.in_namespace(key.namespace()).filter(|pod| covers(budget, pod));
        let pods: Vec<Arc<Pod>> = pods.cloned().collect();
        let expected = match &budget.spec {
            Some(spec) if needs_scale(spec) => expected(&pods, key.namespace(), view),
            _ => Ok(0),
        };
        let plan = plan(budget, &Observed { pods, expected }, now);
        let task = plan.status.map(|status| Task { budget: budget.clone(), status });
        Planned { plan: task, again_after: plan.again_after }
    }

    async fn apply(shell: Shell, Task { budget, status }: Task) -> Result<(), Status> {
        let budget = PodDisruptionBudget { status: Some(status), ..(*budget).clone() };
        shell.objects.update_status(&budget).await.map(drop)
    }
}

fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|chosen| Selector::of(Some(chosen)).matches(pod.metadata.labels.as_ref()))
}

/// The sum of the wanted pods of all that keep these; pods that nobody keeps do not count.
fn expected(pods: &[Arc<Pod>], namespace: &str, view: &View) -> Result<usize, String> {
    let mut scales = BTreeMap::new();
    for owner in pods.iter().filter_map(|pod| facts::controller_of(&pod.metadata)) {
        if !scales.contains_key(owner.uid.as_str()) {
            let (uid, scale) = scale(owner, namespace, view).ok_or_else(|| {
                format!("{}/{} does not implement the scale subresource", owner.kind, owner.name)
            })?;
            scales.insert(owner.uid.as_str(), 0);
            scales.insert(uid, scale);
        }
    }
    Ok(scales.into_values().sum())
}

/// The uid of what decides how many pods there are (a Deployment for its ReplicaSets), and how many.
fn scale<'a>(owner: &'a OwnerReference, namespace: &str, view: &'a View) -> Option<(&'a str, usize)> {
    let key = ObjectKey::new(namespace, &owner.name);
    let (uid, replicas) = match owner.kind.as_str() {
        "ReplicaSet" => {
            let set = view.replica_sets.get(&key)?;
            match facts::controller_of(&set.metadata).filter(|above| above.kind == "Deployment") {
                Some(above) => {
                    let deployment = view.deployments.get(&ObjectKey::new(namespace, &above.name))?;
                    (above.uid.as_str(), deployment.spec.as_ref()?.replicas)
                }
                None => (owner.uid.as_str(), set.spec.as_ref()?.replicas),
            }
        }
        "StatefulSet" => (owner.uid.as_str(), view.stateful_sets.get(&key)?.spec.as_ref()?.replicas),
        "ReplicationController" => {
            (owner.uid.as_str(), view.replication_controllers.get(&key)?.spec.as_ref()?.replicas)
        }
        _ => return None,
    };
    Some((uid, usize::try_from(replicas.unwrap_or(1)).unwrap_or(0)))
}
