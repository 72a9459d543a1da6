//! What a Service must look like.

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::{HEADLESS, ServiceType, is_headless, service_type};
use crate::field_error::{FieldErrors, Path, Shown};
use crate::{meta, validation};

const SPEC: Path<'_> = Path::new("spec");
const TRAFFIC_POLICIES: &[&str] = &["Cluster", "Local"];
const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
/// A client stays with a pod for a day at most.
const CLIENT_AFFINITY_MAX_SECONDS: i32 = 86_400;

pub(super) fn spec(spec: &ServiceSpec, errors: &mut FieldErrors) {
    validation::required_word(&SPEC.child("type"), spec.type_.as_ref(), TYPES, errors);
    ports(spec, errors);
    by_type(spec, errors);
    addresses(spec, errors);
    if let Some(selector) = &spec.selector {
        meta::validate_labels(selector, &SPEC.child("selector"), errors);
    }
    affinity(spec, errors);
    policies(spec, errors);
}

fn ports(spec: &ServiceSpec, errors: &mut FieldErrors) {
    let path = SPEC.child("ports");
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty() && !is_headless(spec) && service_type(spec) != ServiceType::ExternalName {
        errors.required(&path, "");
    }
    for (index, port) in ports.iter().enumerate() {
        let (item, before) = (path.index(index), &ports[..index]);
        one_port(port, ports.len() > 1, &item, errors);
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() && before.iter().any(|other| other.name.as_deref() == Some(name)) {
            errors.duplicate(&item.child("name"), name);
        }
        if before.iter().any(|other| other.port == port.port && other.protocol == port.protocol) {
            let shown = json!({"port": port.port, "protocol": port.protocol});
            errors.duplicate(&item, Shown::json(&shown));
        }
        node_port(spec, port, before, &item, errors);
    }
}

fn one_port(port: &ServicePort, named: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    match port.name.as_deref().unwrap_or_default() {
        "" if named => errors.required(&path.child("name"), ""),
        "" => {}
        name => validation::syntax(&path.child("name"), name, meta::dns_1123_label_faults, errors),
    }
    validation::port(&path.child("port"), port.port, errors);
    let protocol = port.protocol.as_ref();
    validation::required_word(&path.child("protocol"), protocol, validation::PROTOCOLS, errors);
    let target = port.target_port.clone().unwrap_or(IntOrString::Int(port.port));
    validation::port_or_name(&path.child("targetPort"), &target, errors);
    if let Some(protocol) = port.app_protocol.as_deref() {
        validation::syntax(&path.child("appProtocol"), protocol, meta::qualified_name_faults, errors);
    }
}

fn node_port(
    spec: &ServiceSpec,
    port: &ServicePort,
    before: &[ServicePort],
    path: &Path<'_>,
    errors: &mut FieldErrors,
) {
    let Some(number) = port.node_port.filter(|number| *number != 0) else { return };
    let path = path.child("nodePort");
    match service_type(spec) {
        ServiceType::ClusterIp => errors.forbidden(&path, "may not be used when `type` is 'ClusterIP'"),
        ServiceType::ExternalName => {
            errors.forbidden(&path, "may not be used when `type` is 'ExternalName'");
        }
        _ if before
            .iter()
            .any(|other| other.node_port == Some(number) && other.protocol == port.protocol) =>
        {
            errors.duplicate(&path, number);
        }
        _ => {}
    }
}

fn by_type(spec: &ServiceSpec, errors: &mut FieldErrors) {
    let first = spec.cluster_ip.as_deref().unwrap_or_default();
    let path = SPEC.child("clusterIPs");
    match service_type(spec) {
        ServiceType::LoadBalancer if is_headless(spec) => {
            errors.invalid(&path.index(0), first, "may not be set to 'None' for LoadBalancer services");
        }
        ServiceType::NodePort if is_headless(spec) => {
            errors.invalid(&path.index(0), first, "may not be set to 'None' for NodePort services");
        }
        ServiceType::ExternalName => {
            if !first.is_empty() {
                errors.forbidden(&path, "may not be set for ExternalName services");
            }
            let name = spec.external_name.as_deref().unwrap_or_default();
            match name.strip_suffix('.').unwrap_or(name) {
                "" => errors.required(&SPEC.child("externalName"), ""),
                name => validation::syntax(
                    &SPEC.child("externalName"),
                    name,
                    meta::dns_1123_subdomain_faults,
                    errors,
                ),
            }
        }
        _ => {}
    }
}

fn addresses(spec: &ServiceSpec, errors: &mut FieldErrors) {
    let path = SPEC.child("clusterIPs");
    let ips = spec.cluster_ips.as_deref().unwrap_or_default();
    for (index, ip) in ips.iter().enumerate().filter(|(_, ip)| *ip != HEADLESS) {
        validation::ip_address(&path.index(index), ip, errors);
    }
    if let (Some(first), Some(ip)) = (ips.first(), spec.cluster_ip.as_ref())
        && first != ip
    {
        errors.invalid(&path, Shown::json(ips), "first value must match `clusterIP`");
    }
    let external = SPEC.child("externalIPs");
    for (index, ip) in spec.external_ips.iter().flatten().enumerate() {
        validation::ip_address(&external.index(index), ip, errors);
    }
    let families = SPEC.child("ipFamilies");
    for (index, family) in spec.ip_families.iter().flatten().enumerate() {
        validation::optional_word(&families.index(index), Some(family), &["IPv4", "IPv6"], errors);
    }
    let policies: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    let policy = spec.ip_family_policy.as_ref();
    validation::optional_word(&SPEC.child("ipFamilyPolicy"), policy, policies, errors);
}

fn affinity(spec: &ServiceSpec, errors: &mut FieldErrors) {
    let affinity = spec.session_affinity.as_ref();
    validation::required_word(&SPEC.child("sessionAffinity"), affinity, &["ClientIP", "None"], errors);
    let config = SPEC.child("sessionAffinityConfig");
    let seconds = spec
        .session_affinity_config
        .as_ref()
        .and_then(|config| config.client_ip.as_ref())
        .and_then(|client_ip| client_ip.timeout_seconds);
    if let Some(seconds) = seconds.filter(|seconds| !(1..=CLIENT_AFFINITY_MAX_SECONDS).contains(seconds)) {
        let detail =
            format!("must be greater than 0 and less than or equal to {CLIENT_AFFINITY_MAX_SECONDS}");
        errors.invalid(&config.child("clientIP").child("timeoutSeconds"), seconds, &detail);
    }
}

fn policies(spec: &ServiceSpec, errors: &mut FieldErrors) {
    let internal = spec.internal_traffic_policy.as_ref();
    validation::optional_word(&SPEC.child("internalTrafficPolicy"), internal, TRAFFIC_POLICIES, errors);
    let path = SPEC.child("externalTrafficPolicy");
    let external = spec.external_traffic_policy.as_ref();
    let reachable = matches!(service_type(spec), ServiceType::NodePort | ServiceType::LoadBalancer)
        || spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty());
    match external.filter(|policy| !policy.is_empty()) {
        Some(policy) if !reachable => {
            errors.invalid(&path, policy, "may only be set for externally-accessible services");
        }
        policy => validation::optional_word(&path, policy, TRAFFIC_POLICIES, errors),
    }
}

/// An address once given stays, as long as the type has one.
pub(super) fn step(new: &ServiceSpec, old: &ServiceSpec, errors: &mut FieldErrors) {
    let has_ip = |spec: &ServiceSpec| service_type(spec) != ServiceType::ExternalName;
    let old_ip = old.cluster_ip.as_deref().unwrap_or_default();
    if has_ip(new) && has_ip(old) && !old_ip.is_empty() && new.cluster_ip.as_deref() != Some(old_ip) {
        let shown = Shown::json(new.cluster_ips.as_deref().unwrap_or_default());
        errors.invalid(&SPEC.child("clusterIPs").index(0), shown, "may not change once set");
    }
}
