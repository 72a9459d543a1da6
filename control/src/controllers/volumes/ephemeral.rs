//! The claims of generic ephemeral volumes: each lives as long as the pod that it is made for.

use std::sync::Arc;

use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::claim_of;
use crate::cache::{Change, ObjectKey, View};
use crate::controllers::pods::{Acting, controlled_by};
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::{facts, outcome};
use crate::events::Level;

/// Makes them. Its keys are pods.
#[derive(Debug, Default)]
pub(crate) struct EphemeralController;

/// What a pod's volumes need.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Claims to make.
    create: Vec<PersistentVolumeClaim>,
    /// Names that claims of others have.
    taken: Vec<String>,
}

/// The claims that the pod needs and that are not there.
fn plan(pod: &Pod, claim: impl Fn(&str) -> Option<Arc<PersistentVolumeClaim>>) -> Plan {
    let mut plan = Plan::default();
    if !facts::is_active(pod) {
        return plan;
    }
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let template = volume.ephemeral.as_ref().and_then(|source| source.volume_claim_template.as_ref());
        let (Some(template), Some(name)) = (template, claim_of(pod, volume)) else { continue };
        match claim(&name) {
            Some(claim) if facts::is_controlled_by(&claim.metadata, facts::uid(&pod.metadata)) => {}
            Some(_) => plan.taken.push(name),
            None => {
                let given = template.metadata.clone().unwrap_or_default();
                plan.create.push(PersistentVolumeClaim {
                    metadata: ObjectMeta {
                        name: Some(name),
                        namespace: pod.metadata.namespace.clone(),
                        labels: given.labels,
                        annotations: given.annotations,
                        owner_references: Some(vec![controlled_by(pod)]),
                        ..ObjectMeta::default()
                    },
                    spec: Some(template.spec.clone()),
                    status: None,
                });
            }
        }
    }
    plan
}

impl Controller for EphemeralController {
    const NAME: &'static str = "ephemeral_volume";
    type Plan = (Arc<Pod>, Plan);

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::Pod(delta) => {
                let volumes =
                    delta.new.iter().filter_map(|pod| pod.spec.as_ref()?.volumes.as_ref()).flatten();
                if volumes.into_iter().any(|volume| volume.ephemeral.is_some()) {
                    wake(delta.key.clone());
                }
            }
            Change::PersistentVolumeClaim(delta) if delta.new.is_none() => {
                let owner = delta.old.as_ref().and_then(|claim| facts::controller_of(&claim.metadata));
                let owner = owner.map(|owner| ObjectKey::new(delta.key.namespace(), &owner.name));
                owner.filter(|pod| view.pods.contains(pod)).into_iter().for_each(wake);
            }
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, _now: Timestamp) -> Planned<Self::Plan> {
        let Some(pod) = view.pods.get(key) else { return Planned::nothing() };
        let claims = &view.persistent_volume_claims;
        let plan = plan(pod, |name| claims.get(&ObjectKey::new(key.namespace(), name)).cloned());
        let plan = (plan != Plan::default()).then(|| (pod.clone(), plan));
        Planned { plan, again_after: None }
    }

    async fn apply(shell: Shell, (pod, plan): Self::Plan) -> Result<(), Status> {
        let acting = Acting::of(&shell, Self::NAME, &*pod);
        for name in plan.taken {
            let message = format!(
                "PVC {}/{name} was not created for the pod {} (pod is not owner)",
                facts::namespace(&pod.metadata),
                facts::name(&pod.metadata)
            );
            acting.tell(Level::Warning, "EphemeralVolumeConflict", message);
        }
        for claim in plan.create {
            match shell.objects.create(claim).await {
                Ok(_) => {}
                Err(status) if outcome::is_taken(&status) || outcome::is_namespace_going(&status) => {}
                Err(status) => return Err(status),
            }
        }
        Ok(())
    }
}
