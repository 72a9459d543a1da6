//! Service: one name and address for the pods that a selector finds.
//!
//! Rules: <https://kubernetes.io/docs/concepts/services-networking/service/>, `pkg/apis/core/validation`
//! (ValidateService), `pkg/registry/core/service`. Cluster addresses and node ports are given out by the API
//! server in the transaction that stores the Service; here only their shape is checked.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{
    ClientIPConfig, LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus,
    SessionAffinityConfig,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use crate::defaults;
use crate::field_error::FieldErrors;
use crate::resource::{Declaration, NameRule, Resource, Subresource, Target};
use crate::table::{Cell, Column};

mod table;
mod update;
mod validate;

/// The `clusterIP` of a Service without an address of its own.
pub const HEADLESS: &str = "None";

/// Seconds that a client stays with a pod when nothing else is said.
const CLIENT_AFFINITY_SECONDS: i32 = 10_800;

/// How a Service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceType {
    /// By an address inside the cluster.
    ClusterIp,
    /// Also by a port of every node.
    NodePort,
    /// Also by an address outside the cluster.
    LoadBalancer,
    /// By another name; it has no address here.
    ExternalName,
}

/// The type of a Service; an unknown one, which validation refuses, counts as the default.
pub fn service_type(spec: &ServiceSpec) -> ServiceType {
    match spec.type_.as_deref().unwrap_or_default() {
        "NodePort" => ServiceType::NodePort,
        "LoadBalancer" => ServiceType::LoadBalancer,
        "ExternalName" => ServiceType::ExternalName,
        _ => ServiceType::ClusterIp,
    }
}

/// True when the Service asks for no address of its own.
pub fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some(HEADLESS)
        || spec.cluster_ips.as_ref().is_some_and(|ips| ips.first().is_some_and(|ip| ip == HEADLESS))
}

/// True when the Service must be given a cluster address that it does not have yet.
pub fn wants_cluster_ip(spec: &ServiceSpec) -> bool {
    service_type(spec) != ServiceType::ExternalName
        && spec.cluster_ip.as_deref().unwrap_or_default().is_empty()
}

/// True when the ports of the Service must have node ports.
pub fn wants_node_ports(spec: &ServiceSpec) -> bool {
    match service_type(spec) {
        ServiceType::NodePort => true,
        ServiceType::LoadBalancer => spec.allocate_load_balancer_node_ports != Some(false),
        ServiceType::ClusterIp | ServiceType::ExternalName => false,
    }
}

impl Resource for Service {
    const SELECTABLE: &'static [&'static str] = &["spec.clusterIP", "spec.type"];

    fn declaration() -> Declaration {
        Declaration {
            name_rule: NameRule::Dns1035Label,
            create_on_update: true,
            delete_returns_object: true,
            ..Declaration::of::<Self>("service")
                .short_names(&["svc"])
                .in_category_all()
                .subresources(&[Subresource::STATUS])
        }
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        defaults::text(&mut spec.type_, "ClusterIP");
        default_affinity(spec);
        spec.ports.iter_mut().flatten().for_each(default_port);
        let kind = service_type(spec);
        let external = matches!(kind, ServiceType::NodePort | ServiceType::LoadBalancer)
            || (kind == ServiceType::ClusterIp
                && spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()));
        if external {
            defaults::text(&mut spec.external_traffic_policy, "Cluster");
        }
        if kind == ServiceType::LoadBalancer {
            spec.allocate_load_balancer_node_ports.get_or_insert(true);
        }
        if kind != ServiceType::ExternalName {
            defaults::text(&mut spec.internal_traffic_policy, "Cluster");
            defaults::text(&mut spec.ip_family_policy, "SingleStack");
            if spec.ip_families.as_ref().is_none_or(Vec::is_empty) {
                spec.ip_families = Some(vec!["IPv4".to_owned()]);
            }
        }
        let status = self.status.get_or_insert_default();
        status.load_balancer.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        let load_balancer = Some(LoadBalancerStatus::default());
        self.status = Some(ServiceStatus { load_balancer, ..ServiceStatus::default() });
        update::agree_on_addresses(self.spec.get_or_insert_default(), None);
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        if target == Target::Status {
            self.spec.clone_from(&old.spec);
            return;
        }
        self.status.clone_from(&old.status);
        if let (Some(spec), Some(old)) = (&mut self.spec, &old.spec) {
            update::carry_over(spec, old);
        }
    }

    fn validate(&self, errors: &mut FieldErrors) {
        if let Some(spec) = &self.spec {
            validate::spec(spec, errors);
        }
    }

    fn validate_update(&self, old: &Self, target: Target, errors: &mut FieldErrors) {
        if let (Some(spec), Some(old), Target::Main) = (&self.spec, &old.spec, target) {
            validate::step(spec, old, errors);
        }
    }

    /// What a Service without an address cannot do.
    fn warnings(&self) -> Vec<String> {
        let Some(spec) = self.spec.as_ref().filter(|spec| is_headless(spec)) else { return Vec::new() };
        let ignored = [
            ("loadBalancerIP", spec.load_balancer_ip.as_ref().is_some_and(|ip| !ip.is_empty())),
            ("externalIPs", spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty())),
            ("sessionAffinity", spec.session_affinity.as_deref() == Some("ClientIP")),
        ];
        let ignored = ignored.into_iter().filter(|(_, is_set)| *is_set);
        ignored.map(|(field, _)| format!("spec.{field} is ignored for headless services")).collect()
    }

    fn columns() -> Vec<Column> {
        table::columns()
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        table::cells(self, now)
    }

    fn field(&self, label: &str) -> Cow<'_, str> {
        let Some(spec) = &self.spec else { return "".into() };
        let value = match label {
            "spec.clusterIP" => &spec.cluster_ip,
            _ => &spec.type_,
        };
        value.as_deref().unwrap_or_default().into()
    }
}

fn default_affinity(spec: &mut ServiceSpec) {
    defaults::text(&mut spec.session_affinity, "None");
    match spec.session_affinity.as_deref() {
        Some("None") => spec.session_affinity_config = None,
        Some("ClientIP") => {
            let config: &mut SessionAffinityConfig = spec.session_affinity_config.get_or_insert_default();
            let client_ip: &mut ClientIPConfig = config.client_ip.get_or_insert_default();
            client_ip.timeout_seconds.get_or_insert(CLIENT_AFFINITY_SECONDS);
        }
        _ => {}
    }
}

fn default_port(port: &mut ServicePort) {
    defaults::text(&mut port.protocol, "TCP");
    let absent = match &port.target_port {
        None | Some(IntOrString::Int(0)) => true,
        Some(IntOrString::String(name)) => name.is_empty(),
        Some(IntOrString::Int(_)) => false,
    };
    if absent {
        port.target_port = Some(IntOrString::Int(port.port));
    }
}

#[cfg(test)]
mod tests;
