//! What a container must look like.
//!
//! Follows `pkg/apis/core/validation` (validateContainer).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvFromSource, EnvVar, EnvVarSource, ResourceRequirements, SecurityContext,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{probes, volumes};
use crate::field_error::{FieldErrors, Path};
use crate::quantity::Amount;
use crate::{meta, validation};

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["File", "FallbackToLogsOnError"];
const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];

/// Checks a container by itself and against the pod's volumes.
pub(super) fn one(container: &Container, volumes: &[Volume], path: &Path<'_>, errors: &mut FieldErrors) {
    match container.name.as_str() {
        "" => errors.required(&path.child("name"), ""),
        name => validation::syntax(&path.child("name"), name, meta::dns_1123_label_faults, errors),
    }
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        errors.required(&path.child("image"), "");
    } else if image.trim() != image {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
    let policy = container.termination_message_policy.as_ref();
    validation::required_word(&path.child("terminationMessagePolicy"), policy, MESSAGE_POLICIES, errors);
    ports(container.ports.as_deref().unwrap_or_default(), &path.child("ports"), errors);
    environment(container, path, errors);
    mounts(container.volume_mounts.as_deref().unwrap_or_default(), volumes, path, errors);
    probes::all(container, path, errors);
    let policy = container.image_pull_policy.as_ref();
    validation::required_word(&path.child("imagePullPolicy"), policy, PULL_POLICIES, errors);
    let policy = container.restart_policy.as_ref();
    let policies: &[&str] = &["Always", "Never", "OnFailure"];
    validation::optional_word(&path.child("restartPolicy"), policy, policies, errors);
    if let Some(requirements) = &container.resources {
        resources(requirements, &path.child("resources"), errors);
    }
    if let Some(context) = &container.security_context {
        security(context, &path.child("securityContext"), errors);
    }
}

fn ports(ports: &[ContainerPort], list: &Path<'_>, errors: &mut FieldErrors) {
    for (index, port) in ports.iter().enumerate() {
        let path = list.index(index);
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let faults = meta::port_name_faults(name);
            if faults.is_empty() && ports[..index].iter().any(|other| other.name.as_deref() == Some(name)) {
                errors.duplicate(&path.child("name"), name);
            }
            for fault in faults {
                errors.invalid(&path.child("name"), name, &fault);
            }
        }
        match port.container_port {
            0 => errors.required(&path.child("containerPort"), ""),
            number => validation::port(&path.child("containerPort"), number, errors),
        }
        if let Some(number) = port.host_port.filter(|number| *number != 0) {
            validation::port(&path.child("hostPort"), number, errors);
        }
        let protocol = port.protocol.as_ref();
        validation::required_word(&path.child("protocol"), protocol, validation::PROTOCOLS, errors);
    }
}

fn environment(container: &Container, path: &Path<'_>, errors: &mut FieldErrors) {
    let list = path.child("env");
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let path = list.index(index);
        match variable.name.as_str() {
            "" => errors.required(&path.child("name"), ""),
            name => validation::syntax(&path.child("name"), name, meta::env_name_faults, errors),
        }
        if let Some(source) = &variable.value_from {
            value_source(variable, source, &path.child("valueFrom"), errors);
        }
    }
    let list = path.child("envFrom");
    for (index, source) in container.env_from.iter().flatten().enumerate() {
        environment_source(source, &list.index(index), errors);
    }
}

fn value_source(variable: &EnvVar, source: &EnvVarSource, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut sources = 0;
    if let Some(field) = &source.field_ref {
        sources += 1;
        volumes::field_reference(&field.field_path, volumes::ENV_FIELDS, &path.child("fieldRef"), errors);
    }
    if let Some(resource) = &source.resource_field_ref {
        sources += 1;
        if resource.resource.is_empty() {
            errors.required(&path.child("resourceFieldRef").child("resource"), "");
        }
    }
    if let Some(reference) = &source.config_map_key_ref {
        sources += 1;
        key_reference(&reference.name, &reference.key, &path.child("configMapKeyRef"), errors);
    }
    if let Some(reference) = &source.secret_key_ref {
        sources += 1;
        key_reference(&reference.name, &reference.key, &path.child("secretKeyRef"), errors);
    }
    let has_value = variable.value.as_ref().is_some_and(|value| !value.is_empty());
    match sources {
        0 if source.file_key_ref.is_none() => {
            let detail =
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
            errors.invalid(path, "", detail);
        }
        _ if has_value => errors.invalid(path, "", "may not be specified when `value` is not empty"),
        2.. => errors.invalid(path, "", "may not have more than one field specified at a time"),
        _ => {}
    }
}

fn key_reference(name: &str, key: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    match key {
        "" => errors.required(&path.child("key"), ""),
        key => {
            for fault in meta::is_config_key(key).err().unwrap_or_default() {
                errors.invalid(&path.child("key"), key, &fault);
            }
        }
    }
}

fn environment_source(source: &EnvFromSource, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(prefix) = source.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
        validation::syntax(&path.child("prefix"), prefix, meta::env_name_faults, errors);
    }
    let config = source.config_map_ref.as_ref().map(|reference| ("configMapRef", &reference.name));
    let secret = source.secret_ref.as_ref().map(|reference| ("secretRef", &reference.name));
    for (field, name) in config.into_iter().chain(secret) {
        if name.is_empty() {
            errors.required(&path.child(field).child("name"), "");
        }
    }
    match (config, secret) {
        (None, None) => errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"),
        (Some(_), Some(_)) => {
            errors.invalid(path, "", "may not have more than one field specified at a time");
        }
        _ => {}
    }
}

fn mounts(mounts: &[VolumeMount], volumes: &[Volume], path: &Path<'_>, errors: &mut FieldErrors) {
    let list = path.child("volumeMounts");
    for (index, mount) in mounts.iter().enumerate() {
        let path = list.index(index);
        match mount.name.as_str() {
            "" => errors.required(&path.child("name"), ""),
            name if !volumes.iter().any(|volume| volume.name == name) => {
                errors.not_found(&path.child("name"), name);
            }
            _ => {}
        }
        match mount.mount_path.as_str() {
            "" => errors.required(&path.child("mountPath"), ""),
            mount_path if mounts[..index].iter().any(|other| other.mount_path == mount_path) => {
                errors.invalid(&path.child("mountPath"), mount_path, "must be unique");
            }
            _ => {}
        }
        let sub_path = mount.sub_path.as_deref().unwrap_or_default();
        let expression = mount.sub_path_expr.as_deref().unwrap_or_default();
        volumes::descending_path(sub_path, &path.child("subPath"), errors);
        volumes::descending_path(expression, &path.child("subPathExpr"), errors);
        if !sub_path.is_empty() && !expression.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.invalid(&path.child("subPathExpr"), expression, detail);
        }
        let propagation = mount.mount_propagation.as_ref();
        validation::optional_word(&path.child("mountPropagation"), propagation, PROPAGATIONS, errors);
    }
}

fn resources(requirements: &ResourceRequirements, path: &Path<'_>, errors: &mut FieldErrors) {
    let (limits_path, requests_path) = (path.child("limits"), path.child("requests"));
    if let Some(limits) = &requirements.limits {
        amounts(limits, &limits_path, errors);
    }
    let Some(requests) = &requirements.requests else { return };
    amounts(requests, &requests_path, errors);
    for (name, request) in requests {
        let limit = requirements.limits.as_ref().and_then(|limits| limits.get(name));
        let parsed = (Amount::try_from(request), limit.map(Amount::try_from));
        match parsed {
            (Ok(request), Some(Ok(limit))) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.invalid(&requests_path, request.to_string().as_str(), &detail);
            }
            (Ok(request), Some(Ok(limit))) if request != limit && !may_overcommit(name) => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.invalid(&requests_path, request.to_string().as_str(), &detail);
            }
            (Ok(_), None) if !may_overcommit(name) => {
                errors.required(&limits_path, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
}

/// Native resources may be promised more often than there are; hardware may not.
fn may_overcommit(name: &str) -> bool {
    !name.contains('/') && !name.starts_with("hugepages-")
}

/// Checks the names and amounts of a resource list.
pub(super) fn amounts(list: &BTreeMap<String, Quantity>, path: &Path<'_>, errors: &mut FieldErrors) {
    for (name, quantity) in list {
        let path = path.key(name);
        resource_name(name, &path, errors);
        match Amount::try_from(quantity) {
            Err(error) => errors.invalid(&path, &quantity.0, &error.to_string()),
            Ok(amount) if amount.is_negative() => {
                errors.invalid(&path, &quantity.0, "must be greater than or equal to 0");
            }
            Ok(amount) if !may_overcommit(name) && !amount.is_whole() => {
                errors.invalid(&path, &quantity.0, "must be an integer");
            }
            Ok(_) => {}
        }
    }
}

fn resource_name(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let faults = meta::qualified_name_faults(name);
    let well_formed = faults.is_empty();
    for fault in faults {
        errors.invalid(path, name, &fault);
    }
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if well_formed && !name.contains('/') && !standard {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
        errors.invalid(path, name, "must be a standard resource for containers");
    }
}

fn security(context: &SecurityContext, path: &Path<'_>, errors: &mut FieldErrors) {
    for (field, id) in [("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)] {
        if let Some(id) = id {
            validation::within(&path.child(field), id, 0, i32::MAX.into(), errors);
        }
    }
    if context.allow_privilege_escalation == Some(false) && context.privileged == Some(true) {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.invalid(path, crate::field_error::Shown::json(context), detail);
    }
}
