//! Node: a machine that runs pods.
//!
//! Rules: `pkg/apis/core/validation` (ValidateNode, ValidateNodeUpdate), `pkg/registry/core/node`; columns:
//! `pkg/printers/internalversion` (printNode).

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::jiff::Timestamp;

use crate::field_error::{FieldErrors, Path, Shown};
use crate::meta;
use crate::quantity;
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column, age};
use crate::validation;

/// Prefix of the labels whose rest is a role of the node.
const ROLE_LABEL_PREFIX: &str = "node-role.kubernetes.io/";

/// What a taint does to pods that do not tolerate it.
pub(crate) const TAINT_EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

impl Resource for Node {
    const SELECTABLE: &'static [&'static str] = &["spec.unschedulable"];

    fn declaration() -> Declaration {
        Declaration::of::<Self>("node").short_names(&["no"]).subresources(&[Subresource::STATUS])
    }

    fn set_defaults(&mut self) {
        self.spec.get_or_insert_default();
        let status = self.status.get_or_insert_default();
        if status.allocatable.is_none() {
            status.allocatable.clone_from(&status.capacity);
        }
        let amounts = status.capacity.iter_mut().chain(status.allocatable.iter_mut());
        amounts.flat_map(|list| list.values_mut()).for_each(quantity::canonicalize);
    }

    /// A node that registers brings its status along, so a create keeps it.
    fn prepare_update(&mut self, old: &Self, target: Target) {
        match target {
            Target::Status => self.spec.clone_from(&old.spec),
            _ => self.status.clone_from(&old.status),
        }
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let spec = Path::new("spec");
        let taints = self.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        let list = spec.child("taints");
        for (index, taint) in taints.iter().enumerate() {
            validate_taint(taint, &list.index(index), errors);
            let same = |other: &&Taint| other.key == taint.key && other.effect == taint.effect;
            if taints[..index].iter().any(|other| same(&other)) {
                errors.duplicate(&list.index(index), Shown::json(taint));
            }
        }
    }

    fn validate_update(&self, old: &Self, _: Target, errors: &mut FieldErrors) {
        let spec = Path::new("spec");
        let (new, old) = (self.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
        if old.pod_cidrs.as_ref().is_some_and(|cidrs| !cidrs.is_empty()) && new.pod_cidrs != old.pod_cidrs {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.forbidden(&spec.child("podCIDRs"), detail);
        }
        if old.provider_id.as_ref().is_some_and(|id| !id.is_empty()) && new.provider_id != old.provider_id {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.forbidden(&spec.child("providerID"), detail);
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::NAME,
            Column::text("Status", "Whether the node takes pods."),
            Column::text("Roles", "The roles its labels name."),
            Column::AGE,
            Column::text("Version", "Version of the node's agent."),
            Column::text("Internal-IP", "Address inside the cluster.").wide(),
            Column::text("External-IP", "Address from outside.").wide(),
            Column::text("OS-Image", "Operating system.").wide(),
            Column::text("Kernel-Version", "Kernel and architecture.").wide(),
            Column::text("Container-Runtime", "What runs the containers.").wide(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let info = self.status.as_ref().and_then(|status| status.node_info.as_ref());
        let or_unknown = |text: Option<&String>| match text {
            Some(text) if !text.is_empty() => text.clone(),
            _ => "<unknown>".to_owned(),
        };
        let kernel = match info.filter(|info| !info.kernel_version.is_empty()) {
            None => "<unknown>".to_owned(),
            Some(info) => format!("{} ({})", info.kernel_version, info.architecture),
        };
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(status(self)),
            Cell::from(roles(self)),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
            Cell::from(info.map(|info| info.kubelet_version.as_str())),
            Cell::from(address(self, "InternalIP")),
            Cell::from(address(self, "ExternalIP")),
            Cell::from(or_unknown(info.map(|info| &info.os_image))),
            Cell::from(kernel),
            Cell::from(or_unknown(info.map(|info| &info.container_runtime_version))),
        ]
    }

    fn field(&self, _label: &str) -> Cow<'_, str> {
        let unschedulable = self.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
        if unschedulable { "true".into() } else { "false".into() }
    }
}

fn validate_taint(taint: &Taint, path: &Path<'_>, errors: &mut FieldErrors) {
    validation::syntax(&path.child("key"), &taint.key, meta::qualified_name_faults, errors);
    if let Some(value) = taint.value.as_deref().filter(|value| !value.is_empty()) {
        validation::syntax(&path.child("value"), value, meta::label_value_faults, errors);
    }
    validation::required_word(&path.child("effect"), Some(&taint.effect), TAINT_EFFECTS, errors);
}

fn status(node: &Node) -> String {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
    let mut text = match ready.map(|condition| condition.status.as_str()) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        text.push_str(",SchedulingDisabled");
    }
    text
}

fn roles(node: &Node) -> String {
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in node.metadata.labels.iter().flatten() {
        match key.strip_prefix(ROLE_LABEL_PREFIX) {
            Some(role) if !role.is_empty() => roles.push(role),
            None if key == "kubernetes.io/role" && !value.is_empty() => roles.push(value),
            _ => {}
        }
    }
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn address<'a>(node: &'a Node, kind: &str) -> &'a str {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    addresses.into_iter().find(|address| address.type_ == kind).map_or("<none>", |address| &address.address)
}

#[cfg(test)]
mod tests;
