//! Binding: the scheduler's decision, written into the pod.
//!
//! Follows `pkg/registry/core/pod/storage` (BindingREST): a pod is bound once, and never while it is being deleted.

use k8s_openapi::api::core::v1::{Binding, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::field_error::{FieldErrors, Path};
use crate::status::{GroupKind, GroupResource, Status};

const BINDINGS: GroupResource<'_> = GroupResource { group: "", resource: "pods/binding" };

/// Puts the pod on the node the binding names. A pod that is bound, gated or being deleted is a Conflict.
pub fn bind(pod: &mut Pod, binding: &Binding, now: Timestamp) -> Result<(), Status> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    validate(&name, binding)?;
    refuse_unbindable(pod, &name, binding)?;
    let spec = pod.spec.get_or_insert_default();
    spec.node_name.clone_from(&binding.target.name);
    let meta = &mut pod.metadata;
    for (mine, given) in
        [(&mut meta.labels, &binding.metadata.labels), (&mut meta.annotations, &binding.metadata.annotations)]
    {
        if let Some(given) = given.as_ref().filter(|given| !given.is_empty()) {
            let pairs = given.iter().map(|(key, value)| (key.clone(), value.clone()));
            mine.get_or_insert_default().extend(pairs);
        }
    }
    let status = pod.status.get_or_insert_default();
    status.nominated_node_name = None;
    set_scheduled(status.conditions.get_or_insert_default(), meta.generation, now);
    Ok(())
}

fn validate(name: &str, binding: &Binding) -> Result<(), Status> {
    let (target, mut errors) = (Path::new("target"), FieldErrors::new());
    match binding.target.kind.as_deref().unwrap_or_default() {
        "" | "Node" => {}
        kind => errors.not_supported(&target.child("kind"), kind, &["Node", "<empty>"]),
    }
    if binding.target.name.as_deref().unwrap_or_default().is_empty() {
        errors.required(&target.child("name"), "");
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid(GroupKind { group: "", kind: "Binding" }, name, &errors)),
    }
}

fn refuse_unbindable(pod: &Pod, name: &str, binding: &Binding) -> Result<(), Status> {
    if let (Some(wanted), Some(found)) = (&binding.metadata.uid, &pod.metadata.uid)
        && !wanted.is_empty()
        && wanted != found
    {
        return Err(Status::precondition_failed(BINDINGS, name, "UID", wanted, found));
    }
    let spec = pod.spec.as_ref();
    let node = spec.and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    let why = if pod.metadata.deletion_timestamp.is_some() {
        format!("pod {name} is being deleted, cannot be assigned to a host")
    } else if !node.is_empty() {
        format!("pod {name} is already assigned to node {}", crate::field_error::quote(node))
    } else if spec.is_some_and(super::is_gated) {
        format!("pod {name} has non-empty .spec.schedulingGates")
    } else {
        return Ok(());
    };
    Err(Status::conflict(BINDINGS, name, &why))
}

fn set_scheduled(conditions: &mut Vec<PodCondition>, generation: Option<i64>, now: Timestamp) {
    let seconds = Timestamp::from_second(now.as_second()).expect("a timestamp's own second is in range");
    let scheduled = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(Time(seconds)),
        observed_generation: generation,
        ..PodCondition::default()
    };
    match conditions.iter_mut().find(|condition| condition.type_ == scheduled.type_) {
        Some(condition) => *condition = scheduled,
        None => conditions.push(scheduled),
    }
}
