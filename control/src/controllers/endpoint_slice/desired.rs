//! The endpoints that a Service should have, grouped by what a slice has in common: address family and ports.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::controllers::facts;

/// Address family of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    IPv4,
    IPv6,
}

impl Family {
    /// The family's name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::IPv4 => "IPv4",
            Family::IPv6 => "IPv6",
        }
    }

    fn of(address: &str) -> Family {
        if address.contains(':') { Family::IPv6 } else { Family::IPv4 }
    }
}

/// Endpoints that may share slices.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) family: Family,
    pub(crate) ports: Vec<EndpointPort>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// All endpoints of the Service. Each of its address families has at least one group, if only an empty one: a slice
/// without endpoints says "nobody", no slice says "not known yet".
pub(crate) fn groups(service: &Service, pods: &[Arc<Pod>], zones: &BTreeMap<String, String>) -> Vec<Group> {
    let mut groups = Vec::new();
    for family in families(service) {
        let mut of_family: Vec<Group> = Vec::new();
        for pod in pods {
            let Some(address) = address(pod, family) else { continue };
            let ports = ports(service, pod);
            let endpoint = endpoint(service, pod, address, zones);
            match of_family.iter_mut().find(|group| group.ports == ports) {
                Some(group) => group.endpoints.push(endpoint),
                None => of_family.push(Group { family, ports, endpoints: vec![endpoint] }),
            }
        }
        if of_family.is_empty() {
            of_family.push(Group { family, ports: Vec::new(), endpoints: Vec::new() });
        }
        groups.append(&mut of_family);
    }
    groups
}

fn families(service: &Service) -> Vec<Family> {
    let named = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    let mut families: Vec<Family> =
        named.iter().map(|name| if name == "IPv6" { Family::IPv6 } else { Family::IPv4 }).collect();
    if families.is_empty() {
        let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default();
        families.push(Family::of(address));
    }
    families
}

/// The pod's address of this family, while the pod may still answer on it.
fn address(pod: &Pod, family: Family) -> Option<&str> {
    if facts::is_finished(pod) {
        return None;
    }
    let status = pod.status.as_ref()?;
    let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).chain(status.pod_ip.as_deref());
    all.filter(|address| !address.is_empty()).find(|address| Family::of(address) == family)
}

fn endpoint(service: &Service, pod: &Pod, address: &str, zones: &BTreeMap<String, String>) -> Endpoint {
    let spec = pod.spec.as_ref();
    let publishes_all =
        service.spec.as_ref().is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
    let serving = facts::is_ready(pod);
    let terminating = facts::is_terminating(&pod.metadata);
    let node_name = facts::node_name(pod);
    let in_subdomain = spec.and_then(|spec| spec.subdomain.as_deref()) == service.metadata.name.as_deref();
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(publishes_all || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: spec.and_then(|spec| spec.hostname.clone()).filter(|name| in_subdomain && !name.is_empty()),
        node_name: node_name.map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone: node_name.and_then(|node| zones.get(node)).cloned(),
        ..Endpoint::default()
    }
}

/// The Service's ports as this pod has them. A named target port that the pod lacks is left out.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let resolved = ports.iter().filter_map(|port| {
        Some(EndpointPort {
            // Unnamed ports have the empty name: a missing one would mean "any name".
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(target_port(port, pod)?),
            protocol: Some(protocol(port.protocol.as_deref()).to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
    });
    resolved.collect()
}

fn target_port(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().chain(sidecars);
    let mut declared = containers.flat_map(|container| container.ports.iter().flatten());
    let wanted = protocol(port.protocol.as_deref());
    let found = declared.find(|declared| {
        declared.name.as_ref() == Some(name) && protocol(declared.protocol.as_deref()) == wanted
    });
    found.map(|declared| declared.container_port)
}

fn protocol(value: Option<&str>) -> &str {
    value.unwrap_or("TCP")
}
