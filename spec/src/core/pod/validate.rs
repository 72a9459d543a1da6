//! What a pod's spec must look like, whether in a pod or in a template.
//!
//! Follows `pkg/apis/core/validation` (ValidatePodSpec): the same checks in the same order and words, for the
//! fields that are honoured here. Containers, volumes and scheduling have their own files.

use k8s_openapi::api::core::v1::{Container, HostAlias, PodSpec};

use super::{containers, scheduling, volumes};
use crate::field_error::{FieldErrors, Path};
use crate::{meta, validation};

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

/// Checks a spec with its defaults filled in.
pub(super) fn spec(spec: &PodSpec, path: &Path<'_>, errors: &mut FieldErrors) {
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    volumes::all(volumes, &path.child("volumes"), errors);
    main_containers(spec, path, errors);
    init_containers(spec, path, errors);
    ephemeral_containers(spec, path, errors);
    let restart = spec.restart_policy.as_ref();
    validation::required_word(&path.child("restartPolicy"), restart, RESTART_POLICIES, errors);
    validation::required_word(&path.child("dnsPolicy"), spec.dns_policy.as_ref(), DNS_POLICIES, errors);
    if let Some(selector) = &spec.node_selector {
        meta::validate_labels(selector, &path.child("nodeSelector"), errors);
    }
    names(spec, path, errors);
    if let Some(seconds) = spec.active_deadline_seconds {
        let path = path.child("activeDeadlineSeconds");
        validation::within(&path, seconds, 1, i32::MAX.into(), errors);
    }
    scheduling::all(spec, path, errors);
    host_aliases(spec.host_aliases.as_deref().unwrap_or_default(), path, errors);
    if let Some(overhead) = &spec.overhead {
        containers::amounts(overhead, &path.child("overhead"), errors);
    }
    if let Some(context) = &spec.security_context {
        let path = path.child("securityContext");
        for (field, id) in [
            ("runAsUser", context.run_as_user),
            ("runAsGroup", context.run_as_group),
            ("fsGroup", context.fs_group),
        ] {
            if let Some(id) = id {
                validation::within(&path.child(field), id, 0, i32::MAX.into(), errors);
            }
        }
    }
}

fn main_containers(spec: &PodSpec, path: &Path<'_>, errors: &mut FieldErrors) {
    let list = path.child("containers");
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    if spec.containers.is_empty() {
        errors.required(&list, "");
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let path = list.index(index);
        containers::one(container, volumes, &path, errors);
        unique_name(container, &spec.containers[..index], &path, errors);
        host_network_ports(spec, container, &path, errors);
    }
    host_ports(&spec.containers, &list, errors);
}

fn init_containers(spec: &PodSpec, path: &Path<'_>, errors: &mut FieldErrors) {
    let list = path.child("initContainers");
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let init = spec.init_containers.as_deref().unwrap_or_default();
    for (index, container) in init.iter().enumerate() {
        let path = list.index(index);
        containers::one(container, volumes, &path, errors);
        unique_name(container, &spec.containers, &path, errors);
        unique_name(container, &init[..index], &path, errors);
        if container.restart_policy.as_deref() == Some("Always") {
            continue;
        }
        for (field, is_set) in [
            ("lifecycle", container.lifecycle.is_some()),
            ("livenessProbe", container.liveness_probe.is_some()),
            ("readinessProbe", container.readiness_probe.is_some()),
            ("startupProbe", container.startup_probe.is_some()),
        ] {
            if is_set {
                let detail = "may not be set for init containers without restartPolicy=Always";
                errors.forbidden(&path.child(field), detail);
            }
        }
    }
}

fn unique_name(container: &Container, others: &[Container], path: &Path<'_>, errors: &mut FieldErrors) {
    if !container.name.is_empty() && others.iter().any(|other| other.name == container.name) {
        errors.duplicate(&path.child("name"), &container.name);
    }
}

/// Ephemeral containers are added to a running pod through their subresource only.
fn ephemeral_containers(spec: &PodSpec, path: &Path<'_>, errors: &mut FieldErrors) {
    let list = path.child("ephemeralContainers");
    for (index, container) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let path = list.index(index);
        match container.name.as_str() {
            "" => errors.required(&path.child("name"), ""),
            name => validation::syntax(&path.child("name"), name, meta::dns_1123_label_faults, errors),
        }
        let taken = |other: &Container| other.name == container.name;
        if spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(taken) {
            errors.duplicate(&path.child("name"), &container.name);
        }
        if container.image.as_deref().unwrap_or_default().is_empty() {
            errors.required(&path.child("image"), "");
        }
    }
}

/// With the host's network a container port is a port of the host.
fn host_network_ports(spec: &PodSpec, container: &Container, path: &Path<'_>, errors: &mut FieldErrors) {
    if spec.host_network != Some(true) {
        return;
    }
    let list = path.child("ports");
    for (index, port) in container.ports.iter().flatten().enumerate() {
        if port.host_port.is_some_and(|host_port| host_port != 0 && host_port != port.container_port) {
            let path = list.index(index);
            let detail = "must match `hostPort` when `hostNetwork` is true";
            errors.invalid(&path.child("containerPort"), port.container_port, detail);
        }
    }
}

/// Two containers cannot have the same port of the host.
fn host_ports(containers: &[Container], list: &Path<'_>, errors: &mut FieldErrors) {
    let mut taken: Vec<String> = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        let path = list.index(index);
        let ports = path.child("ports");
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let Some(number) = port.host_port.filter(|number| *number != 0) else { continue };
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let key = format!("{protocol}/{}/{number}", port.host_ip.as_deref().unwrap_or_default());
            if taken.contains(&key) {
                errors.duplicate(&ports.index(index).child("hostPort"), &key);
            } else {
                taken.push(key);
            }
        }
    }
}

fn names(spec: &PodSpec, path: &Path<'_>, errors: &mut FieldErrors) {
    type Faults = fn(&str) -> Vec<String>;
    let subdomain: Faults = meta::dns_1123_subdomain_faults;
    let label: Faults = meta::dns_1123_label_faults;
    for (field, value, faults) in [
        ("serviceAccountName", &spec.service_account_name, subdomain),
        ("nodeName", &spec.node_name, subdomain),
        ("hostname", &spec.hostname, label),
        ("subdomain", &spec.subdomain, label),
        ("priorityClassName", &spec.priority_class_name, subdomain),
        ("runtimeClassName", &spec.runtime_class_name, subdomain),
    ] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            validation::syntax(&path.child(field), value, faults, errors);
        }
    }
    let policies: &[&str] = &["PreemptLowerPriority", "Never"];
    let policy = spec.preemption_policy.as_ref();
    validation::optional_word(&path.child("preemptionPolicy"), policy, policies, errors);
}

fn host_aliases(aliases: &[HostAlias], path: &Path<'_>, errors: &mut FieldErrors) {
    let list = path.child("hostAliases");
    for (index, alias) in aliases.iter().enumerate() {
        let path = list.index(index);
        validation::ip_address(&path.child("ip"), &alias.ip, errors);
        let names = path.child("hostnames");
        for (index, name) in alias.hostnames.iter().flatten().enumerate() {
            validation::syntax(&names.index(index), name, meta::dns_1123_subdomain_faults, errors);
        }
    }
}
