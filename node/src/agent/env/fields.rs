//! Fields of the pod and amounts of its resources, as variables.

use isopod_spec::quantity::Amount;
use k8s_openapi::api::core::v1::{Container, ResourceFieldSelector};

use super::Inputs;
use crate::agent::pod::{each_container, spec};

/// The value of a `fieldRef`.
pub(crate) fn field(inputs: &Inputs<'_>, path: &str) -> Result<String, String> {
    let meta = &inputs.pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    if let Some((map, key)) = keyed(path) {
        let map = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(unsupported(path)),
        };
        return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "spec.nodeName" => inputs.host.node_name.clone(),
        "spec.serviceAccountName" => text(&spec(inputs.pod).service_account_name),
        "status.hostIP" | "status.hostIPs" => inputs.host.address.to_string(),
        "status.podIP" | "status.podIPs" => inputs.address.to_string(),
        _ => return Err(unsupported(path)),
    })
}

fn unsupported(path: &str) -> String {
    format!("unsupported fieldPath: {path}")
}

/// `metadata.labels['key']` in its two parts.
fn keyed(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// The value of a `resourceFieldRef`, rounded up in units of its divisor.
pub(crate) fn resource(inputs: &Inputs<'_>, selector: &ResourceFieldSelector) -> Result<String, String> {
    let container = match selector.container_name.as_deref().filter(|name| !name.is_empty()) {
        None => inputs.container,
        Some(name) => each_container(spec(inputs.pod))
            .map(|(container, _)| container)
            .find(|container| container.name == name)
            .ok_or_else(|| format!("container {name} not found"))?,
    };
    let (list, resource) = selector.resource.split_once('.').ok_or_else(|| unknown(selector))?;
    if !matches!(list, "limits" | "requests") {
        return Err(unknown(selector));
    }
    let declared = amount(container, list, resource)?;
    // Without a limit the whole machine is the limit.
    let whole_machine = || inputs.host.allocatable.get(resource).copied().filter(|_| list == "limits");
    let milli = match (declared, resource) {
        (Some(amount), "cpu") => i128::from(amount.milli_value()),
        (Some(amount), _) => i128::from(amount.value()) * 1000,
        (None, "cpu") => i128::from(whole_machine().unwrap_or(0)),
        (None, _) => i128::from(whole_machine().unwrap_or(0)) * 1000,
    };
    let divisor = match &selector.divisor {
        Some(divisor) => Amount::try_from(divisor).map_err(|error| format!("invalid divisor: {error}"))?,
        None => Amount::units(1),
    };
    let divisor = i128::from(if divisor.is_zero() { 1000 } else { divisor.milli_value() });
    Ok(((milli + divisor - 1) / divisor).to_string())
}

fn unknown(selector: &ResourceFieldSelector) -> String {
    format!("unsupported container resource : {}", selector.resource)
}

fn amount(container: &Container, list: &str, resource: &str) -> Result<Option<Amount>, String> {
    let Some(resources) = &container.resources else { return Ok(None) };
    let list = if list == "limits" { &resources.limits } else { &resources.requests };
    let quantity = list.as_ref().and_then(|list| list.get(resource));
    quantity.map(Amount::try_from).transpose().map_err(|error| format!("invalid {resource}: {error}"))
}
