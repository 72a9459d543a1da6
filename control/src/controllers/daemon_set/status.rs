//! A DaemonSet's status: on how many nodes its pods should be, are, and serve.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus};

use super::Site;
use super::place::Fit;
use crate::controllers::facts::{self, Availability, count, some_count};
use crate::controllers::revisions::REVISION_LABEL;

/// The status that these nodes give, and when a ready pod becomes available.
pub(super) fn of(
    set: &DaemonSet,
    spec: &DaemonSetSpec,
    sites: &[Site],
    hash: &str,
    now: Timestamp,
) -> (DaemonSetStatus, Option<Duration>) {
    let (mut scheduled, mut misscheduled, mut ready, mut available, mut updated) = (0, 0, 0, 0, 0);
    let mut again_after = None;
    let min_ready = facts::seconds(spec.min_ready_seconds);
    let wanted = sites.iter().filter(|site| site.fit == Fit::Suits).count();
    for site in sites {
        if site.fit != Fit::Suits {
            misscheduled += usize::from(!site.pods.is_empty());
            continue;
        }
        let alive = || site.pods.iter().filter(|pod| !facts::is_finished(pod));
        scheduled += usize::from(alive().count() > 0);
        ready += usize::from(alive().any(|pod| facts::is_ready(pod)));
        let judged: Vec<Availability> = alive().map(|pod| facts::availability(pod, min_ready, now)).collect();
        available += usize::from(judged.contains(&Availability::Available));
        for judgement in judged {
            if let Availability::After(wait) = judgement {
                again_after = facts::sooner(again_after, Some(wait));
            }
        }
        let is_new = |pod| facts::label(pod, REVISION_LABEL) == Some(hash);
        updated += usize::from(alive().any(|pod| is_new(&pod.metadata)));
    }
    let stored = set.status.as_ref();
    let status = DaemonSetStatus {
        observed_generation: set.metadata.generation,
        desired_number_scheduled: count(wanted),
        current_number_scheduled: count(scheduled),
        number_misscheduled: count(misscheduled),
        number_ready: count(ready),
        number_available: some_count(count(available)),
        number_unavailable: some_count(count(wanted.saturating_sub(available))),
        updated_number_scheduled: some_count(count(updated)),
        collision_count: stored.and_then(|status| status.collision_count),
        conditions: stored.and_then(|status| status.conditions.clone()),
    };
    (status, again_after)
}
