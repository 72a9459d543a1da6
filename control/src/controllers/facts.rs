//! Small questions that several controllers ask of objects: who owns this, is this pod ready, what is its age.
//!
//! Everything here is pure; the time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::Metadata;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Labels, annotations and node selectors have this form in all upstream types.
pub(crate) type StringMap = BTreeMap<String, String>;

/// The uid, or `""` for an object that was never stored.
pub(crate) fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

/// The name, or `""` for an object whose name the server still has to make.
pub(crate) fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// The namespace, or `""` for a cluster-scoped object.
pub(crate) fn namespace(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

/// The one owner that controls the object.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_deref()?.iter().find(|owner| owner.controller == Some(true))
}

/// True when the object with this uid controls the object.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, owner_uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == owner_uid)
}

/// A reference that makes `owner` the controller of what carries it.
pub(crate) fn controller_reference(api_version: &str, kind: &str, owner: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: name(owner).to_owned(),
        uid: uid(owner).to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Gives an object without controller the controller `owner`.
pub(crate) fn adopt<T: Metadata<Ty = ObjectMeta>>(object: &mut T, owner: OwnerReference) {
    object.metadata_mut().owner_references.get_or_insert_default().push(owner);
}

/// Takes the reference to `owner_uid` away.
pub(crate) fn release<T: Metadata<Ty = ObjectMeta>>(object: &mut T, owner_uid: &str) {
    if let Some(owners) = &mut object.metadata_mut().owner_references {
        owners.retain(|owner| owner.uid != owner_uid);
    }
}

/// True from the first delete request on.
pub(crate) fn is_terminating(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

/// An annotation's value.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// A label's value.
pub(crate) fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

/// True when every pair of `wanted` is among the object's labels.
pub(crate) fn has_labels(meta: &ObjectMeta, wanted: &StringMap) -> bool {
    match &meta.labels {
        Some(labels) => wanted.iter().all(|(key, value)| labels.get(key) == Some(value)),
        None => wanted.is_empty(),
    }
}

/// Time as the API shows it: whole seconds.
pub(crate) fn stamp(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// How long until `after` has passed since `since`; `None` when it has.
pub(crate) fn remaining(since: &Time, after: Duration, now: Timestamp) -> Option<Duration> {
    let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
    let left = after.saturating_sub(now.duration_since(since.0));
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// Seconds of an API field as a duration; negative counts as zero.
pub(crate) fn seconds(value: Option<i32>) -> Duration {
    Duration::from_secs(u64::try_from(value.unwrap_or(0)).unwrap_or(0))
}

/// Counts are left out of a status when zero, as Kubernetes does.
pub(crate) fn some_count(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// A number, or a percentage of `total` rounded up. Validation has kept out everything else.
pub(crate) fn part_of(value: &IntOrString, total: usize) -> usize {
    match value {
        IntOrString::Int(number) => usize::try_from(*number).unwrap_or(0),
        IntOrString::String(text) => {
            let percent: usize = text.trim_end_matches('%').parse().unwrap_or(0);
            total.saturating_mul(percent).div_ceil(100)
        }
    }
}

/// A count as the API has it.
pub(crate) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The sooner of two optional waits.
pub(crate) fn sooner(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The pod's phase; a pod without status is `Pending`.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// True when all containers have ended for good.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// True for a pod that counts as a replica: neither finished nor on its way out.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(&pod.metadata)
}

/// The node that the pod is bound to.
pub(crate) fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

/// A condition of the pod.
pub(crate) fn pod_condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_deref()?.iter().find(|condition| condition.type_ == kind)
}

/// True when the pod's condition `Ready` is `True`.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    pod_condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// When the pod became ready, if it is.
pub(crate) fn ready_since(pod: &Pod) -> Option<&Time> {
    pod_condition(pod, "Ready").filter(|ready| ready.status == "True")?.last_transition_time.as_ref()
}

/// Whether a pod has been ready for long enough, and if not, when to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    /// Ready for at least the required time.
    Available,
    /// Ready, but not yet long enough; it will be after this wait.
    After(Duration),
    /// Not ready: only a change of the pod can make it available.
    NotReady,
}

/// Judges a ready pod by `minReadySeconds`.
pub(crate) fn availability(pod: &Pod, min_ready: Duration, now: Timestamp) -> Availability {
    if !is_ready(pod) {
        return Availability::NotReady;
    }
    match ready_since(pod) {
        _ if min_ready.is_zero() => Availability::Available,
        Some(since) => match remaining(since, min_ready, now) {
            Some(left) => Availability::After(left),
            None => Availability::Available,
        },
        None => Availability::NotReady,
    }
}

/// The highest restart count among the pod's containers.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
    statuses.unwrap_or_default().iter().map(|container| container.restart_count).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod(phase: &str, ready_at: Option<i64>) -> Pod {
        let mut pod = Pod::default();
        let status = pod.status.get_or_insert_default();
        status.phase = Some(phase.to_owned());
        status.conditions = ready_at.map(|second| {
            vec![PodCondition {
                type_: "Ready".into(),
                status: "True".into(),
                last_transition_time: Some(Time(at(second))),
                ..PodCondition::default()
            }]
        });
        pod
    }

    #[test]
    fn a_pod_is_available_once_it_was_ready_for_long_enough() {
        let ten = Duration::from_secs(10);
        for (ready_at, min_ready, now, expected) in [
            (None, Duration::ZERO, 100, Availability::NotReady),
            (Some(100), Duration::ZERO, 100, Availability::Available),
            (Some(100), ten, 103, Availability::After(Duration::from_secs(7))),
            (Some(100), ten, 110, Availability::Available),
            (Some(100), ten, 90, Availability::After(Duration::from_secs(20))),
        ] {
            assert_eq!(availability(&pod("Running", ready_at), min_ready, at(now)), expected);
        }
    }

    #[test]
    fn only_pods_that_run_or_will_run_are_active() {
        assert!(is_active(&pod("Running", None)));
        assert!(is_active(&Pod::default()));
        assert!(!is_active(&pod("Failed", None)));
        assert!(!is_active(&pod("Succeeded", None)));
        let mut leaving = pod("Running", None);
        leaving.metadata.deletion_timestamp = Some(Time(at(1)));
        assert!(!is_active(&leaving));
    }

    #[test]
    fn adopting_and_releasing_are_inverse() {
        let owner = ObjectMeta { name: Some("d".into()), uid: Some("u1".into()), ..ObjectMeta::default() };
        let mut pod = Pod::default();
        adopt(&mut pod, controller_reference("apps/v1", "ReplicaSet", &owner));
        assert!(is_controlled_by(&pod.metadata, "u1"));
        release(&mut pod, "u1");
        assert!(controller_of(&pod.metadata).is_none());
    }
}
