//! The EndpointSlice controller: what wakes it, what it looks at, how its plans are carried out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::{Action, MANAGED_BY, MANAGER, Observed, SERVICE_NAME, is_kept, plan};
use crate::cache::{Change, Delta, ObjectKey, View};
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::{facts, outcome};
use crate::objects::DeleteOptions;

/// Label of a node with its zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// Keeps Services' EndpointSlices.
#[derive(Debug, Default)]
pub(crate) struct EndpointSliceController;

impl Controller for EndpointSliceController {
    const NAME: &'static str = "endpoint-slice-controller";
    type Plan = Vec<Action>;
    // A hundred pods that become ready together are one write or two, and nobody waits long for the first.
    const REST: Duration = Duration::from_millis(10);

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::EndpointSlice(delta) => delta.both().for_each(|slice| wake_service(slice, wake)),
            change => wake_services(change, view, wake),
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, _now: Timestamp) -> Planned<Vec<Action>> {
        let Some(service) = view.services.get(key).filter(|service| is_kept(service)) else {
            return Planned::nothing();
        };
        let pods = pods_of(service, view);
        let zones = zones_of(&pods, view);
        let place = key.to_string();
        let slices = view.endpoint_slices.in_place(&place).filter(|slice| is_ours(slice)).cloned().collect();
        let actions = plan(service, &Observed { pods, zones, slices });
        Planned { plan: (!actions.is_empty()).then_some(actions), again_after: None }
    }

    async fn apply(shell: Shell, actions: Vec<Action>) -> Result<(), Status> {
        for action in actions {
            match action {
                Action::Create { slice } => match shell.objects.create(*slice).await {
                    Err(status) if outcome::is_namespace_going(&status) => {}
                    created => drop(created?),
                },
                Action::Update { slice } => drop(shell.objects.update(&*slice).await?),
                Action::Delete { slice } => {
                    let meta = &slice.metadata;
                    let options = DeleteOptions { uid: meta.uid.clone(), ..DeleteOptions::default() };
                    let (namespace, name) = (facts::namespace(meta), facts::name(meta));
                    outcome::settled(shell.objects.delete::<EndpointSlice>(namespace, name, &options).await)?;
                }
            }
        }
        Ok(())
    }
}

fn is_ours(slice: &EndpointSlice) -> bool {
    facts::label(&slice.metadata, MANAGED_BY) == Some(MANAGER)
}

fn wake_service(slice: &EndpointSlice, wake: &mut dyn FnMut(ObjectKey)) {
    if let Some(service) = facts::label(&slice.metadata, SERVICE_NAME).filter(|_| is_ours(slice)) {
        wake(ObjectKey::new(facts::namespace(&slice.metadata), service));
    }
}

/// Wakes the Services whose endpoints may differ after a change of a Service, a pod or a node.
pub(crate) fn wake_services(change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
    match change {
        Change::Service(delta) => wake(delta.key.clone()),
        Change::Pod(delta) if matters(delta) => {
            for service in view.services.in_namespace(delta.key.namespace()) {
                if delta.both().any(|pod| selects(service, pod)) {
                    wake(ObjectKey::of(&service.metadata));
                }
            }
        }
        Change::Node(delta) => {
            let zone = |node: &Option<Arc<_>>| {
                node.as_ref().and_then(|node: &Arc<k8s_openapi::api::core::v1::Node>| {
                    facts::label(&node.metadata, ZONE).map(str::to_owned)
                })
            };
            if zone(&delta.old) != zone(&delta.new) {
                view.services.iter().for_each(|(key, _)| wake(key.clone()));
            }
        }
        _ => {}
    }
}

/// True when something that endpoints show differs.
fn matters(delta: &Delta<Pod>) -> bool {
    let (Some(old), Some(new)) = (&delta.old, &delta.new) else { return true };
    let addresses =
        |pod: &Pod| pod.status.as_ref().map(|status| (status.pod_ip.clone(), status.pod_ips.clone()));
    old.metadata.uid != new.metadata.uid
        || old.metadata.labels != new.metadata.labels
        || facts::is_terminating(&old.metadata) != facts::is_terminating(&new.metadata)
        || facts::is_finished(old) != facts::is_finished(new)
        || facts::is_ready(old) != facts::is_ready(new)
        || facts::node_name(old) != facts::node_name(new)
        || addresses(old) != addresses(new)
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| !selector.is_empty() && facts::has_labels(&pod.metadata, selector))
}

/// The pods that the Service's selector matches.
pub(crate) fn pods_of(service: &Service, view: &View) -> Vec<Arc<Pod>> {
    let pods = view.pods.in_namespace(facts::namespace(&service.metadata));
    pods.filter(|pod| selects(service, pod)).cloned().collect()
}

/// The zones of the nodes that the pods run on, by node name.
pub(crate) fn zones_of(pods: &[Arc<Pod>], view: &View) -> BTreeMap<String, String> {
    let mut zones = BTreeMap::new();
    for name in pods.iter().filter_map(|pod| facts::node_name(pod)) {
        let node = view.nodes.get(&ObjectKey::new("", name));
        if let Some(zone) = node.and_then(|node| facts::label(&node.metadata, ZONE)) {
            zones.insert(name.to_owned(), zone.to_owned());
        }
    }
    zones
}
