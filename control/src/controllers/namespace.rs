//! Deletion of namespaces: everything in them goes first, then the finalizer that held them.

pub(crate) mod shell;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use isopod_spec::resource::Kind;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};

use super::facts;
use crate::cache::ObjectKey;

/// The finalizer that every namespace is created with.
const FINALIZER: &str = "kubernetes";

/// An object in a namespace that is being deleted.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) kind: Arc<Kind>,
    pub(crate) key: ObjectKey,
    /// Its deletion has begun: it waits for a grace period or finalizers.
    pub(crate) is_leaving: bool,
    pub(crate) finalizers: Vec<String>,
}

/// What to do about a namespace that is being deleted.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Objects to delete.
    pub(crate) delete: Vec<Content>,
    /// The status, when it differs.
    pub(crate) status: Option<NamespaceStatus>,
    /// Nothing is left: the finalizer can go, and with it the namespace.
    pub(crate) is_empty: bool,
}

/// True when the namespace waits for its content to go.
pub(crate) fn is_emptied(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_deref()).unwrap_or_default();
    facts::is_terminating(&namespace.metadata) && finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

/// What follows from what is left in the namespace.
pub(crate) fn plan(namespace: &Namespace, content: Vec<Content>, now: Timestamp) -> Plan {
    if !is_emptied(namespace) {
        return Plan::default();
    }
    if content.is_empty() {
        return Plan { is_empty: true, ..Plan::default() };
    }
    let status = status(namespace, &content, now);
    let status = (namespace.status.as_ref() != Some(&status)).then_some(status);
    let delete = content.into_iter().filter(|object| !object.is_leaving).collect();
    Plan { delete, status, is_empty: false }
}

/// The namespace without its finalizer.
pub(crate) fn finalized(namespace: &Namespace) -> Namespace {
    let mut namespace = namespace.clone();
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    namespace
}

/// Conditions in Kubernetes' words: clients print them while they wait.
fn status(namespace: &Namespace, content: &[Content], now: Timestamp) -> NamespaceStatus {
    let mut of_kind: BTreeMap<String, usize> = BTreeMap::new();
    let mut of_finalizer: BTreeMap<&str, usize> = BTreeMap::new();
    for object in content {
        let group =
            if object.kind.group.is_empty() { String::new() } else { format!(".{}", object.kind.group) };
        *of_kind.entry(format!("{}{group}", object.kind.plural)).or_default() += 1;
        for finalizer in &object.finalizers {
            *of_finalizer.entry(finalizer).or_default() += 1;
        }
    }
    let remaining: Vec<String> =
        of_kind.iter().map(|(kind, count)| format!("{kind} has {count} resource instances")).collect();
    let held: Vec<String> = of_finalizer
        .iter()
        .map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"))
        .collect();
    let remaining = format!("Some resources are remaining: {}", remaining.join(", "));
    let finalizers = if held.is_empty() {
        ("False", "ContentHasNoFinalizers", "All content-preserving finalizers finished".to_owned())
    } else {
        let held = format!("Some content in the namespace has finalizers remaining: {}", held.join(", "));
        ("True", "SomeFinalizersRemain", held)
    };
    let mut status = namespace.status.clone().unwrap_or_default();
    status.phase = Some("Terminating".to_owned());
    let text = str::to_owned;
    for (kind, (value, reason, message)) in [
        (
            "NamespaceDeletionDiscoveryFailure",
            ("False", "ResourcesDiscovered", text("All resources successfully discovered")),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            ("False", "ParsedGroupVersions", text("All legacy kube types successfully parsed")),
        ),
        (
            "NamespaceDeletionContentFailure",
            (
                "False",
                "ContentDeleted",
                text("All content successfully deleted, may be waiting on finalization"),
            ),
        ),
        ("NamespaceContentRemaining", ("True", "SomeResourcesRemain", remaining)),
        ("NamespaceFinalizersRemaining", finalizers),
    ] {
        set_condition(&mut status, kind, value, reason, message, now);
    }
    status
}

fn set_condition(
    status: &mut NamespaceStatus,
    kind: &str,
    value: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter_mut().find(|condition| condition.type_ == kind);
    let since = known
        .as_ref()
        .filter(|known| known.status == value)
        .and_then(|known| known.last_transition_time.clone());
    let condition = NamespaceCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: since.or_else(|| Some(facts::stamp(now))),
    };
    match known {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}
