//! Endpoints: the older form of what EndpointSlices say, for clients that still read it.

pub(crate) mod shell;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::Endpoint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::endpoint_slice::HEADLESS;
use super::endpoint_slice::desired::Group;
use super::facts::{self, StringMap};

/// Label with the program that keeps the object, and our value; clients know both from Kubernetes.
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");

/// The write that makes `stored` say what `groups` say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Create(Box<Endpoints>),
    Update(Box<Endpoints>),
}

/// What has to be written so that the Service's Endpoints list its pods.
pub(crate) fn plan(service: &Service, groups: &[Group], stored: Option<&Endpoints>) -> Option<Action> {
    let subsets: Vec<EndpointSubset> = groups.iter().filter_map(|group| subset(service, group)).collect();
    let subsets = (!subsets.is_empty()).then_some(subsets);
    let labels = Some(labels(service));
    match stored {
        Some(stored) if stored.subsets == subsets && stored.metadata.labels == labels => None,
        Some(stored) => {
            let mut endpoints = Endpoints { subsets, ..stored.clone() };
            endpoints.metadata.labels = labels;
            Some(Action::Update(Box::new(endpoints)))
        }
        None => {
            let metadata = ObjectMeta {
                name: service.metadata.name.clone(),
                namespace: service.metadata.namespace.clone(),
                labels,
                owner_references: Some(vec![facts::controller_reference("v1", "Service", &service.metadata)]),
                ..ObjectMeta::default()
            };
            Some(Action::Create(Box::new(Endpoints { metadata, subsets })))
        }
    }
}

fn labels(service: &Service) -> StringMap {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

/// The group's pods, those that are ready apart; pods that are leaving are not listed.
fn subset(service: &Service, group: &Group) -> Option<EndpointSubset> {
    let publishes_all =
        service.spec.as_ref().is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
    let (mut ready, mut not_ready) = (Vec::new(), Vec::new());
    for endpoint in &group.endpoints {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        if conditions.ready == Some(true) {
            ready.push(address(endpoint));
        } else if publishes_all || conditions.terminating != Some(true) {
            not_ready.push(address(endpoint));
        }
    }
    if ready.is_empty() && not_ready.is_empty() {
        return None;
    }
    let by_address = |addresses: &mut Vec<EndpointAddress>| addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
    by_address(&mut ready);
    by_address(&mut not_ready);
    let ports = group.ports.iter().map(|port| EndpointPort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        port: port.port.unwrap_or_default(),
        protocol: port.protocol.clone(),
        app_protocol: port.app_protocol.clone(),
    });
    Some(EndpointSubset {
        addresses: (!ready.is_empty()).then_some(ready),
        not_ready_addresses: (!not_ready.is_empty()).then_some(not_ready),
        ports: (!group.ports.is_empty()).then(|| ports.collect()),
    })
}

fn address(endpoint: &Endpoint) -> EndpointAddress {
    EndpointAddress {
        ip: endpoint.addresses.first().cloned().unwrap_or_default(),
        hostname: endpoint.hostname.clone(),
        node_name: endpoint.node_name.clone(),
        target_ref: endpoint.target_ref.clone(),
    }
}
