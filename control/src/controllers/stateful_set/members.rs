//! A StatefulSet's pods by their numbers, and how each of them is.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::Pod;

use super::{Version, claims};
use crate::controllers::facts::{self, Availability};
use crate::controllers::pods;
use crate::controllers::revisions::REVISION_LABEL;

/// Label of a pod: its name, so that a Service can pick one.
const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
/// Label of a pod: its number.
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// How a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It runs and has been ready for long enough.
    Well,
    /// It is missing, starting, not ready, or leaving.
    Unwell,
    /// It has ended although it should not.
    Ended,
}

/// A number, and the pod that has it.
#[derive(Debug)]
pub(super) struct Slot {
    /// The place among the wanted pods, from 0.
    pub(super) index: usize,
    /// The number in the name.
    pub(super) ordinal: i32,
    pub(super) pod: Option<Arc<Pod>>,
    pub(super) health: Health,
}

/// All pods of a set.
#[derive(Debug)]
pub(super) struct Members {
    /// One for each wanted pod, in order.
    pub(super) slots: Vec<Slot>,
    /// Pods with other numbers, the highest first.
    pub(super) surplus: Vec<Arc<Pod>>,
    /// When a ready pod will have been ready for long enough.
    pub(super) again_after: Option<Duration>,
}

impl Members {
    pub(super) fn of(
        set: &StatefulSet,
        spec: &StatefulSetSpec,
        pods: Vec<Arc<Pod>>,
        now: Timestamp,
    ) -> Members {
        let first = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
        let wanted = spec.replicas.unwrap_or(1);
        let mut pods: Vec<(i32, Arc<Pod>)> =
            pods.into_iter().filter_map(|pod| Some((ordinal(set, &pod)?, pod))).collect();
        pods.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
        let mut again_after = None;
        let mut slots = Vec::new();
        for (index, ordinal) in (first..first.saturating_add(wanted)).enumerate() {
            let position = pods.iter().position(|(own, _)| *own == ordinal);
            let pod = position.map(|position| pods.remove(position).1);
            let (health, wait) = pod.as_ref().map_or((Health::Unwell, None), |pod| health(pod, spec, now));
            again_after = facts::sooner(again_after, wait);
            slots.push(Slot { index, ordinal, pod, health });
        }
        Members { slots, surplus: pods.into_iter().map(|(_, pod)| pod).collect(), again_after }
    }

    /// Every pod, wanted or not.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.slots.iter().filter_map(|slot| slot.pod.as_ref()).chain(&self.surplus)
    }
}

fn health(pod: &Pod, spec: &StatefulSetSpec, now: Timestamp) -> (Health, Option<Duration>) {
    if facts::is_terminating(&pod.metadata) {
        return (Health::Unwell, None);
    }
    if facts::is_finished(pod) {
        return (Health::Ended, None);
    }
    match facts::availability(pod, facts::seconds(spec.min_ready_seconds), now) {
        Availability::Available => (Health::Well, None),
        Availability::After(wait) => (Health::Unwell, Some(wait)),
        Availability::NotReady => (Health::Unwell, None),
    }
}

/// The number at the end of the pod's name, if the rest is the set's.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let (parent, number) = facts::name(&pod.metadata).rsplit_once('-')?;
    let ordinal: i32 = number.parse().ok()?;
    (parent == facts::name(&set.metadata) && ordinal.to_string() == number).then_some(ordinal)
}

/// The pod with this number.
pub(super) fn new_pod(set: &StatefulSet, ordinal: i32, version: &Version) -> Pod {
    let mut pod = pods::from_template(version.template.clone(), set);
    let name = format!("{}-{ordinal}", facts::name(&set.metadata));
    let labels = pod.metadata.labels.get_or_insert_default();
    for (label, value) in [
        (NAME_LABEL, name.clone()),
        (INDEX_LABEL, ordinal.to_string()),
        (REVISION_LABEL, version.name.clone()),
    ] {
        labels.insert(label.to_owned(), value);
    }
    pod.metadata.generate_name = None;
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name.clone());
    spec.subdomain =
        set.spec.as_ref().and_then(|spec| spec.service_name.clone()).filter(|name| !name.is_empty());
    pod.metadata.name = Some(name);
    claims::mount(set, &mut pod, ordinal);
    pod
}
