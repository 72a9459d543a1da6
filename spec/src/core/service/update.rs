//! What a Service keeps over an update: addresses and ports it was given, unless its type no longer has them.
//!
//! Follows `pkg/registry/core/service` (patchAllocatedValues, dropTypeDependentFields, normalizeClusterIPs): a
//! client that sends the manifest it once wrote does not lose what the server added.

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};

use super::{ServiceType, service_type, wants_node_ports};

/// Fills `new` with what the server gave `old`, and drops what the new type does not have.
pub(super) fn carry_over(new: &mut ServiceSpec, old: &ServiceSpec) {
    agree_on_addresses(new, Some(old));
    let had_ip = service_type(old) != ServiceType::ExternalName;
    let has_ip = service_type(new) != ServiceType::ExternalName;
    if had_ip && has_ip {
        if is_empty(new.cluster_ip.as_ref()) {
            new.cluster_ip.clone_from(&old.cluster_ip);
        }
        if new.cluster_ips.as_ref().is_none_or(Vec::is_empty) && new.cluster_ip == old.cluster_ip {
            new.cluster_ips.clone_from(&old.cluster_ips);
        }
    } else if had_ip {
        drop_addresses(new, old);
    }
    match (wants_node_ports(old), wants_node_ports(new)) {
        (true, true) => keep_node_ports(new, old),
        (true, false) => drop_node_ports(new, old),
        _ => {}
    }
    let external = matches!(service_type(new), ServiceType::NodePort | ServiceType::LoadBalancer);
    if !external && new.external_traffic_policy == old.external_traffic_policy {
        new.external_traffic_policy = None;
    }
    if service_type(new) != ServiceType::LoadBalancer {
        let unchanged = new.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports;
        if unchanged {
            new.allocate_load_balancer_node_ports = None;
        }
        if new.load_balancer_class == old.load_balancer_class {
            new.load_balancer_class = None;
        }
    }
}

/// `clusterIP` and the first of `clusterIPs` say the same: a client that sets one means both.
pub(super) fn agree_on_addresses(new: &mut ServiceSpec, old: Option<&ServiceSpec>) {
    let first = new.cluster_ips.as_ref().and_then(|ips| ips.first()).cloned();
    match (is_empty(new.cluster_ip.as_ref()), first) {
        (true, None) => {}
        (false, None) => new.cluster_ips = new.cluster_ip.clone().map(|ip| vec![ip]),
        (empty, Some(first)) => {
            let old_ip = old.and_then(|old| old.cluster_ip.as_ref());
            let list_unchanged = old.is_some_and(|old| old.cluster_ips == new.cluster_ips);
            let ip_changed = old.is_some() && new.cluster_ip.as_ref() != old_ip;
            if list_unchanged && ip_changed && !empty {
                new.cluster_ips = new.cluster_ip.clone().map(|ip| vec![ip]);
            } else if empty && old.is_none() {
                new.cluster_ip = Some(first);
            } else if empty && list_unchanged {
                new.cluster_ips = None;
            }
        }
    }
}

fn is_empty(text: Option<&String>) -> bool {
    text.is_none_or(String::is_empty)
}

fn drop_addresses(new: &mut ServiceSpec, old: &ServiceSpec) {
    if new.cluster_ip == old.cluster_ip {
        new.cluster_ip = None;
    }
    if new.cluster_ips == old.cluster_ips {
        new.cluster_ips = None;
    }
    if new.ip_families == old.ip_families {
        new.ip_families = None;
    }
    if new.ip_family_policy == old.ip_family_policy {
        new.ip_family_policy = None;
    }
    if new.internal_traffic_policy == old.internal_traffic_policy {
        new.internal_traffic_policy = None;
    }
}

fn same_port(a: &ServicePort, b: &ServicePort) -> bool {
    a.port == b.port && a.protocol == b.protocol
}

fn keep_node_ports(new: &mut ServiceSpec, old: &ServiceSpec) {
    let mut used: Vec<i32> = new.ports.iter().flatten().filter_map(|port| port.node_port).collect();
    for port in new.ports.iter_mut().flatten().filter(|port| port.node_port.unwrap_or(0) == 0) {
        let given = old.ports.iter().flatten().find(|known| same_port(known, port));
        let given = given.and_then(|known| known.node_port).filter(|number| !used.contains(number));
        if let Some(number) = given {
            port.node_port = Some(number);
            used.push(number);
        }
    }
}

/// Only when the client left them all as they were: a node port that was set on purpose is an error to report.
fn drop_node_ports(new: &mut ServiceSpec, old: &ServiceSpec) {
    let numbers = |spec: &ServiceSpec| -> Vec<Option<i32>> {
        spec.ports.iter().flatten().map(|port| port.node_port).collect()
    };
    if numbers(new) == numbers(old) {
        new.ports.iter_mut().flatten().for_each(|port| port.node_port = None);
    }
}
