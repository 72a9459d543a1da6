//! Distributes endpoints over slices with as few writes as possible.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Action;
use super::desired::Group;
use super::{HEADLESS, MANAGED_BY, MANAGER, SERVICE_NAME};
use crate::controllers::facts::{self, StringMap};

/// As in Kubernetes: a slice stays small enough that a change of one endpoint is a small message.
pub(super) const ENDPOINTS_PER_SLICE: usize = 100;

/// The writes that make the existing slices list exactly `groups`.
pub(super) fn pack(service: &Service, groups: Vec<Group>, existing: &[Arc<EndpointSlice>]) -> Vec<Action> {
    let mut spare: Vec<&Arc<EndpointSlice>> =
        existing.iter().filter(|slice| !facts::is_terminating(&slice.metadata)).collect();
    spare.sort_by_key(|slice| facts::name(&slice.metadata));
    let mut packed = Vec::new();
    for group in groups {
        let (mine, others) = spare.into_iter().partition(|slice| has_ports_of(slice, &group));
        spare = others;
        packed.push((group, mine));
    }
    let mut actions = Vec::new();
    for (group, mut mine) in packed {
        // Rather than deleting a slice and creating one, change the ports of one that is not needed as it is.
        let reusable = spare.iter().position(|slice| slice.address_type == group.family.name());
        if let Some(position) = reusable.filter(|_| mine.is_empty()) {
            mine.push(spare.remove(position));
        }
        pack_group(service, &group, mine, &mut actions);
    }
    actions.extend(spare.into_iter().map(|slice| Action::Delete { slice: slice.clone() }));
    actions
}

fn has_ports_of(slice: &EndpointSlice, group: &Group) -> bool {
    slice.address_type == group.family.name() && slice.ports.as_deref().unwrap_or_default() == group.ports
}

fn pack_group(service: &Service, group: &Group, slices: Vec<&Arc<EndpointSlice>>, actions: &mut Vec<Action>) {
    let mut homeless: HashMap<&str, &Endpoint> =
        group.endpoints.iter().map(|endpoint| (identity(endpoint), endpoint)).collect();
    // Endpoints stay in the slice that has them.
    let mut contents: Vec<(&Arc<EndpointSlice>, Vec<Endpoint>)> = Vec::new();
    for slice in slices {
        let stored = slice.endpoints.as_deref().unwrap_or_default();
        let kept = stored.iter().filter_map(|endpoint| homeless.remove(identity(endpoint)));
        contents.push((slice, kept.cloned().collect()));
    }
    let newcomers = group.endpoints.iter().filter(|endpoint| homeless.contains_key(identity(endpoint)));
    let mut newcomers = newcomers.cloned().peekable();
    // Newcomers fill a slice that has to be written anyway, then the fullest with room, then new ones.
    contents.sort_by_key(|(slice, kept)| (is_current(service, group, slice, kept), Reverse(kept.len())));
    for (_, kept) in &mut contents {
        let room = ENDPOINTS_PER_SLICE.saturating_sub(kept.len());
        kept.extend(newcomers.by_ref().take(room));
    }
    let mut may_be_empty = group.endpoints.is_empty();
    for (slice, kept) in contents {
        if kept.is_empty() && !std::mem::take(&mut may_be_empty) {
            actions.push(Action::Delete { slice: slice.clone() });
        } else if !is_current(service, group, slice, &kept) {
            let slice = Box::new(filled((**slice).clone(), service, group, kept));
            actions.push(Action::Update { slice });
        }
    }
    while newcomers.peek().is_some() || std::mem::take(&mut may_be_empty) {
        let endpoints = newcomers.by_ref().take(ENDPOINTS_PER_SLICE).collect();
        let slice = Box::new(filled(new_slice(service, group), service, group, endpoints));
        actions.push(Action::Create { slice });
    }
}

/// What makes an endpoint the same one although its address or readiness changed: its pod.
fn identity(endpoint: &Endpoint) -> &str {
    endpoint.target_ref.as_ref().and_then(|pod| pod.uid.as_deref()).unwrap_or_default()
}

/// True when the slice need not be written to hold `endpoints`.
fn is_current(service: &Service, group: &Group, slice: &EndpointSlice, endpoints: &[Endpoint]) -> bool {
    has_ports_of(slice, group)
        && slice.endpoints.as_deref().unwrap_or_default() == endpoints
        && slice.metadata.labels.as_ref() == Some(&labels(service))
}

fn filled(
    mut slice: EndpointSlice,
    service: &Service,
    group: &Group,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    slice.endpoints = Some(endpoints);
    slice.ports = Some(group.ports.clone());
    slice.metadata.labels = Some(labels(service));
    slice
}

fn new_slice(service: &Service, group: &Group) -> EndpointSlice {
    EndpointSlice {
        address_type: group.family.name().to_owned(),
        endpoints: None,
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", facts::name(&service.metadata))),
            namespace: service.metadata.namespace.clone(),
            owner_references: Some(vec![facts::controller_reference("v1", "Service", &service.metadata)]),
            ..ObjectMeta::default()
        },
        ports: None,
    }
}

/// The Service's labels and those by which slices are found.
fn labels(service: &Service) -> StringMap {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME.to_owned(), facts::name(&service.metadata).to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}
