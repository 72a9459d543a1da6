//! How long a Job waits after failures before it tries again.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::controllers::facts;

/// The wait after the first failure; it doubles with each one more.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// How much longer to wait, judged by the ended pods that are still there: the failures since the last success count.
pub(super) fn wait(ended: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let succeeded = |pod: &&Arc<Pod>| facts::phase(pod) == "Succeeded";
    let last_success = ended.iter().filter(succeeded).map(|pod| ended_at(pod, now)).max();
    let failures = ended.iter().filter(|pod| !succeeded(pod)).map(|pod| ended_at(pod, now));
    let failures: Vec<Timestamp> =
        failures.filter(|failed| last_success.is_none_or(|success| *failed > success)).collect();
    let last = failures.iter().max()?;
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(10);
    facts::remaining(&Time(*last), (FIRST * 2_u32.pow(doublings)).min(LONGEST), now)
}

/// When a pod ended: when its last container did, or when it was told to go.
fn ended_at(pod: &Pod, now: Timestamp) -> Timestamp {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let finished = containers.filter_map(|own| own.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    let told = pod.metadata.deletion_timestamp.as_ref().map(|deadline| {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        deadline.0 - SignedDuration::from_secs(grace)
    });
    let created = pod.metadata.creation_timestamp.as_ref().map(|created| created.0);
    finished.map(|time| time.0).max().or(told).or(created).unwrap_or(now)
}
