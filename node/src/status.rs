//! Container states to PodStatus: what the agent knows, in the words of the API.
//!
//! Pure: the same state gives the same status, and times of conditions move only when the condition does.

mod conditions;
mod containers;
mod patch;
mod phase;

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{HostIP, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(crate) use containers::next_change;
pub use patch::patch;

use crate::agent::pod::PodState;

/// The status of a pod at `now`. `previous` is what the API holds: conditions of others are kept from it, and the
/// times of those that did not change.
pub fn pod_status(pod: &PodState, host: IpAddr, previous: &PodStatus, now: Timestamp) -> PodStatus {
    let (init, main) = containers::statuses(pod, now);
    let phase = phase::phase(pod, &init, &main, previous);
    let generation = pod.pod.metadata.generation;
    let conditions = conditions::conditions(pod, &phase, &main, previous, now);
    let address = pod.address.map(|address| address.to_string());
    PodStatus {
        conditions: Some(conditions),
        container_statuses: Some(main),
        init_container_statuses: (!init.is_empty()).then_some(init),
        host_ip: Some(host.to_string()),
        host_ips: Some(vec![HostIP { ip: host.to_string() }]),
        message: pod
            .failure
            .as_ref()
            .map(|failure| failure.message.clone())
            .or_else(|| previous.message.clone()),
        observed_generation: generation,
        phase: Some(phase.as_str().to_owned()),
        pod_ips: address.clone().map(|ip| vec![PodIP { ip }]),
        pod_ip: address,
        reason: pod
            .failure
            .as_ref()
            .map(|failure| failure.reason.to_owned())
            .or_else(|| previous.reason.clone()),
        start_time: Some(Time(pod.start_time)),
        ..previous.clone()
    }
}

#[cfg(test)]
mod tests;
