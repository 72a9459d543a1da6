//! In which order pods are decided, and when they are tried again.

use std::time::Duration;

use tokio::time::Instant;

use super::super::pass::Candidate;
use super::super::pending::Pending;
use super::super::refusal::Hopes;
use super::{bound, created, deleted, pod, with};
use crate::cache::ObjectKey;

fn names(candidates: &[Candidate]) -> Vec<&str> {
    candidates.iter().map(|candidate| candidate.key.name()).collect()
}

#[tokio::test]
async fn higher_priority_goes_first_then_who_came_first() {
    let mut pending = Pending::default();
    let other = with(pod("other", &[]), |spec| spec.scheduler_name = Some("mine".into()));
    let important = with(pod("important", &[]), |spec| spec.priority = Some(10));
    for pod in [pod("z", &[]), other, bound(pod("bound", &[]), "n1"), pod("a", &[]), important] {
        pending.observe(&created(&pod.metadata, &pod));
    }
    assert!(pending.has_active(Instant::now()));
    assert_eq!(names(&pending.take(2)), ["important", "z"]);
    assert_eq!(names(&pending.take(9)), ["a"]);
    assert!(!pending.has_active(Instant::now()));
}

#[tokio::test]
async fn a_refused_pod_waits_for_the_cluster_to_change_and_at_least_its_backoff() {
    let (mut pending, now) = (Pending::default(), Instant::now());
    let pod = pod("a", &[]);
    let key = ObjectKey::of(&pod.metadata);
    pending.observe(&created(&pod.metadata, &pod));
    pending.take(1);
    pending.refused(&key, Hopes::ANY, now);
    // Its own condition and event come back as a change that is no news.
    pending.observe(&created(&pod.metadata, &pod));
    assert!(!pending.has_active(now + Duration::from_secs(60)));
    pending.wake(Hopes::ANY, now + Duration::from_millis(100));
    assert!(!pending.has_active(now + Duration::from_millis(900)));
    assert!(pending.has_active(now + Duration::from_secs(1)));
    pending.take(1);
    pending.refused(&key, Hopes::ANY, now);
    pending.wake(Hopes::ANY, now + Duration::from_secs(2));
    assert!(pending.has_active(now), "the second backoff of two seconds is over");
    pending.take(1);
    pending.refused(&key, Hopes::ANY, now);
    assert!(
        pending.has_active(now + Duration::from_secs(300)),
        "tried again even if nothing seems to change"
    );
}

#[tokio::test]
async fn a_changed_pod_is_tried_anew_and_a_deleted_one_forgotten() {
    let (mut pending, now) = (Pending::default(), Instant::now());
    let mut pod = pod("a", &[]);
    let key = ObjectKey::of(&pod.metadata);
    pending.observe(&created(&pod.metadata, &pod));
    pending.take(1);
    pending.refused(&key, Hopes::ANY, now);
    pod.metadata.generation = Some(2);
    pending.observe(&created(&pod.metadata, &pod));
    assert!(pending.has_active(now));
    pending.observe(&deleted(&pod.metadata, &pod));
    assert!(!pending.has_active(now));
    pending.failed(&key, now);
    assert_eq!(pending.next_due(), None);
}

#[tokio::test]
async fn a_refused_pod_is_woken_by_what_can_help_it_only() {
    let of = |nodes_change, pods_leave, pods_come| Hopes {
        nodes_change,
        pods_leave,
        pods_come,
        ..Hopes::default()
    };
    for (hopes, change, wakes) in [
        (of(true, false, false), of(true, false, false), true),
        (of(true, false, false), of(false, true, true), false),
        (of(true, true, false), of(false, true, false), true),
        (of(true, true, false), of(false, false, true), false),
        (of(true, false, true), of(false, false, true), true),
    ] {
        let (mut pending, now) = (Pending::default(), Instant::now());
        let pod = pod("a", &[]);
        pending.observe(&created(&pod.metadata, &pod));
        pending.take(1);
        pending.refused(&ObjectKey::of(&pod.metadata), hopes, now);
        let later = now + Duration::from_secs(2);
        pending.wake(change, later);
        assert_eq!(pending.has_active(later), wakes, "{hopes:?} {change:?}");
    }
}
