//! A Service as a row: type, addresses, ports.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::jiff::Timestamp;

use super::{ServiceType, service_type};
use crate::table::{Cell, Column, age};

pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::NAME,
        Column::text("Type", "How the service is reached."),
        Column::text("Cluster-IP", "Address inside the cluster."),
        Column::text("External-IP", "Addresses from outside."),
        Column::text("Port(s)", "Ports, with node ports behind the colon."),
        Column::AGE,
        Column::text("Selector", "Labels of the pods behind it.").wide(),
    ]
}

pub(super) fn cells(service: &Service, now: Timestamp) -> Vec<Cell> {
    let empty = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&empty);
    let cluster_ip = spec.cluster_ips.as_ref().and_then(|ips| ips.first()).or(spec.cluster_ip.as_ref());
    let selector: Vec<String> =
        spec.selector.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    vec![
        Cell::from(service.metadata.name.as_deref()),
        Cell::from(spec.type_.as_deref()),
        Cell::from(cluster_ip.filter(|ip| !ip.is_empty()).map_or("<none>", |ip| ip)),
        Cell::from(external(service, spec)),
        Cell::from(ports(spec.ports.as_deref().unwrap_or_default())),
        Cell::from(age(service.metadata.creation_timestamp.as_ref(), now)),
        Cell::from(if selector.is_empty() { "<none>".to_owned() } else { selector.join(",") }),
    ]
}

fn external(service: &Service, spec: &ServiceSpec) -> String {
    if service_type(spec) == ServiceType::ExternalName {
        return spec.external_name.clone().unwrap_or_default();
    }
    let mut balancers: Vec<&str> = service
        .status
        .iter()
        .flat_map(|status| status.load_balancer.iter())
        .flat_map(|balancer| balancer.ingress.iter().flatten())
        .filter_map(|ingress| ingress.ip.as_deref().or(ingress.hostname.as_deref()))
        .collect();
    balancers.sort_unstable();
    balancers.dedup();
    let given = spec.external_ips.iter().flatten().map(String::as_str);
    let all: Vec<&str> = match service_type(spec) {
        ServiceType::LoadBalancer => balancers.into_iter().chain(given).collect(),
        _ => given.collect(),
    };
    match all.is_empty() {
        true if service_type(spec) == ServiceType::LoadBalancer => "<pending>".to_owned(),
        true => "<none>".to_owned(),
        false => all.join(","),
    }
}

fn ports(ports: &[ServicePort]) -> String {
    let texts: Vec<String> = ports
        .iter()
        .map(|port| {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            match port.node_port.filter(|number| *number > 0) {
                Some(node_port) => format!("{}:{node_port}/{protocol}", port.port),
                None => format!("{}/{protocol}", port.port),
            }
        })
        .collect();
    if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") }
}
