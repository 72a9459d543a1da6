//! Pod: containers that run together on a node.
//!
//! Rules: <https://kubernetes.io/docs/concepts/workloads/pods/>, `pkg/apis/core/v1/defaults.go`,
//! `pkg/apis/core/validation` (ValidatePodSpec, ValidatePodUpdate), `pkg/registry/core/pod` (strategies).

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodIP, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use crate::field_error::{FieldErrors, Path};
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column, RowCondition};

pub mod annotations;
pub mod binding;
mod containers;
mod defaults;
mod probes;
pub mod qos;
mod scheduling;
mod table;
mod template;
mod update;
mod validate;
mod volumes;
mod warnings;

pub(crate) use table::{container_names, images};
pub(crate) use template::{default_template, template_warnings, validate_template};

/// How long a pod has to end when nothing else is said.
pub const DEFAULT_GRACE_SECONDS: i64 = 30;

const SPEC: Path<'_> = Path::new("spec");

/// True when the pod has ended for good.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// The pod's phase; empty before the server gave it one.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The condition of that type.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// The seconds a graceful delete gives: as asked, else as the pod says; none when nothing runs yet or any more.
/// A negative number counts as one second, as upstream.
pub fn deletion_grace_seconds(pod: &Pod, asked: Option<i64>) -> i64 {
    let spec = pod.spec.as_ref();
    let unscheduled = spec.and_then(|spec| spec.node_name.as_deref()).unwrap_or_default().is_empty();
    if unscheduled || is_finished(pod) {
        return 0;
    }
    let own = spec.and_then(|spec| spec.termination_grace_period_seconds);
    let seconds = asked.or(own).unwrap_or(DEFAULT_GRACE_SECONDS);
    if seconds < 0 { 1 } else { seconds }
}

impl Resource for Pod {
    const SELECTABLE: &'static [&'static str] = &[
        "spec.nodeName",
        "spec.host",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ];

    fn declaration() -> Declaration {
        Declaration {
            has_generation: true,
            delete_returns_object: true,
            graceful_delete: true,
            ..Declaration::of::<Self>("pod").short_names(&["po"]).in_category_all().subresources(&[
                Subresource::BINDING,
                Subresource::EVICTION,
                Subresource::LOG,
                Subresource::PORT_FORWARD,
                Subresource::STATUS,
            ])
        }
    }

    fn set_defaults(&mut self) {
        defaults::pod(self);
        if let Some(status) = &mut self.status {
            agree_on_addresses(status);
        }
    }

    fn prepare_create(&mut self) {
        let qos_class = self.spec.as_ref().map(|spec| qos::class(spec).as_str().to_owned());
        let gated = self.spec.as_ref().is_some_and(is_gated);
        let conditions = gated.then(|| vec![scheduling::gated_condition()]);
        self.status = Some(PodStatus {
            phase: Some("Pending".to_owned()),
            qos_class,
            conditions,
            ..PodStatus::default()
        });
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        match target {
            // Binding writes a node into the spec and a condition into the status.
            Target::Binding => return,
            Target::Status => {}
            _ => {
                self.status.clone_from(&old.status);
                return;
            }
        }
        self.spec.clone_from(&old.spec);
        self.metadata = ObjectMeta {
            deletion_timestamp: old.metadata.deletion_timestamp.clone(),
            owner_references: old.metadata.owner_references.clone(),
            ..std::mem::take(&mut self.metadata)
        };
        let status = self.status.get_or_insert_default();
        status.qos_class = old.status.as_ref().and_then(|status| status.qos_class.clone());
    }

    fn deletion_grace(&self, requested: Option<i64>) -> i64 {
        deletion_grace_seconds(self, requested)
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.spec != old.spec
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let metadata = Path::new("metadata");
        annotations::validate(self.metadata.annotations.as_ref(), &metadata.child("annotations"), errors);
        match &self.spec {
            None => errors.required(&SPEC.child("containers"), ""),
            Some(spec) => validate::spec(spec, &SPEC, errors),
        }
    }

    fn validate_update(&self, old: &Self, target: Target, errors: &mut FieldErrors) {
        update::step(self, old, target, errors);
    }

    fn warnings(&self) -> Vec<String> {
        self.spec.as_ref().map(|spec| warnings::of(spec, &SPEC)).unwrap_or_default()
    }

    fn columns() -> Vec<Column> {
        table::columns()
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        table::cells(self, now)
    }

    fn row_conditions(&self) -> Vec<RowCondition> {
        table::row_conditions(self)
    }

    fn field(&self, label: &str) -> Cow<'_, str> {
        let (spec, status) = (self.spec.as_ref(), self.status.as_ref());
        let value = match label {
            "spec.nodeName" | "spec.host" => spec.and_then(|spec| spec.node_name.as_deref()),
            "spec.restartPolicy" => spec.and_then(|spec| spec.restart_policy.as_deref()),
            "spec.schedulerName" => spec.and_then(|spec| spec.scheduler_name.as_deref()),
            "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.as_deref()),
            "spec.hostNetwork" => {
                let host = spec.and_then(|spec| spec.host_network).unwrap_or(false);
                return if host { "true".into() } else { "false".into() };
            }
            "status.phase" => status.and_then(|status| status.phase.as_deref()),
            "status.podIP" => status.and_then(|status| status.pod_ip.as_deref()),
            "status.podIPs" => {
                let ips = status.into_iter().flat_map(|status| status.pod_ips.iter().flatten());
                return ips.map(|ip| ip.ip.as_str()).collect::<Vec<_>>().join(",").into();
            }
            _ => status.and_then(|status| status.nominated_node_name.as_deref()),
        };
        value.unwrap_or_default().into()
    }
}

/// True while something holds the pod back from scheduling.
pub fn is_gated(spec: &PodSpec) -> bool {
    spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty())
}

/// `podIP` and the first of `podIPs` say the same, whichever was written.
fn agree_on_addresses(status: &mut PodStatus) {
    let ip = status.pod_ip.clone().filter(|ip| !ip.is_empty());
    match (ip, status.pod_ips.as_deref().unwrap_or_default()) {
        (Some(ip), []) => status.pod_ips = Some(vec![PodIP { ip }]),
        (None, [first, ..]) => status.pod_ip = Some(first.ip.clone()),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
