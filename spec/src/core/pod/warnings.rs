//! What a client is warned of: fields that are allowed and do not do what their author thinks.
//!
//! Follows `pkg/api/pod/warnings.go` where upstream warns as well.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::field_error::Path;

/// Warnings about a pod or a template.
pub(crate) fn of(spec: &PodSpec, path: &Path<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (field, list) in [
        ("containers", spec.containers.as_slice()),
        ("initContainers", spec.init_containers.as_deref().unwrap_or_default()),
    ] {
        let list_path = path.child(field);
        for (index, container) in list.iter().enumerate() {
            repeated_ports(container, &list_path.index(index), &mut warnings);
            repeated_variables(container, &list_path.index(index), &mut warnings);
        }
    }
    if let Some(seconds) = spec.termination_grace_period_seconds.filter(|seconds| *seconds < 0) {
        let path = path.child("terminationGracePeriodSeconds");
        warnings.push(format!(
            "{path}: must be >= 0; negative values are invalid and will be treated as 1 ({seconds})"
        ));
    }
    warnings
}

fn repeated_ports(container: &Container, path: &Path<'_>, warnings: &mut Vec<String>) {
    let list = path.child("ports");
    let ports = container.ports.as_deref().unwrap_or_default();
    for (index, port) in ports.iter().enumerate() {
        let same = |other: &k8s_openapi::api::core::v1::ContainerPort| {
            other.container_port == port.container_port
                && other.protocol == port.protocol
                && other.host_port == port.host_port
                && other.host_ip == port.host_ip
        };
        if let Some(first) = ports[..index].iter().position(same) {
            let (this, first) = (list.index(index), list.index(first));
            warnings.push(format!("{this}: duplicate port definition with {first}"));
        }
    }
}

fn repeated_variables(container: &Container, path: &Path<'_>, warnings: &mut Vec<String>) {
    let list = path.child("env");
    let variables = container.env.as_deref().unwrap_or_default();
    for (index, variable) in variables.iter().enumerate() {
        if variables[..index].iter().any(|other| other.name == variable.name) {
            let this = list.index(index);
            let name = crate::field_error::quote(&variable.name);
            warnings.push(format!(
                "{this}: hides previous definition of {name}, which may be dropped when using apply"
            ));
        }
    }
}
