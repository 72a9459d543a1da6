//! The status of each container.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState as State, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::agent::backoff::in_words;
use crate::agent::plan::crash_wait;
use crate::agent::pod::{Blocked, ContainerState, Phase, PodState, Role, Slot, Termination, WaitingReason};

/// A failed pull shows as `ErrImagePull` for this long, then as waiting for the next try.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(2);

/// Of the init containers, and of the others.
pub(super) fn statuses(pod: &PodState, now: Timestamp) -> (Vec<ContainerStatus>, Vec<ContainerStatus>) {
    let (main, init): (Vec<_>, Vec<_>) = pod.slots().partition(|(_, container)| container.role == Role::Main);
    let statuses = |of: Vec<(Slot, &ContainerState)>| {
        of.into_iter().map(|(slot, container)| status(pod, slot, container, now)).collect()
    };
    (statuses(init), statuses(main))
}

fn status(pod: &PodState, slot: Slot, container: &ContainerState, now: Timestamp) -> ContainerStatus {
    let (state, last) = states(pod, container, now);
    let running = state.running.is_some();
    let ready = match container.role {
        Role::Init => matches!(&container.phase, Phase::Terminated(end) if end.exit_code == 0),
        Role::Main | Role::Sidecar => running && container.started && container.ready,
    };
    ContainerStatus {
        name: container.name.clone(),
        image: pod.declared(slot).image.clone().unwrap_or_default(),
        image_id: container.image_id.clone(),
        container_id: id_of(container),
        ready,
        started: Some(running && container.started),
        restart_count: i32::try_from(container.restarts).unwrap_or(i32::MAX),
        state: Some(state),
        last_state: Some(last),
        ..ContainerStatus::default()
    }
}

fn id_of(container: &ContainerState) -> Option<String> {
    let id = match &container.phase {
        Phase::Running(running) | Phase::Stopping { running, .. } => &running.id,
        Phase::Terminated(end) => &end.id,
        Phase::Waiting { .. } | Phase::Starting { .. } => &container.last.as_ref()?.id,
    };
    (!id.is_empty()).then(|| id.clone())
}

/// `state` and `lastState`.
fn states(pod: &PodState, container: &ContainerState, now: Timestamp) -> (State, State) {
    let last = container.last.as_ref().map(terminated).unwrap_or_default();
    match &container.phase {
        Phase::Running(running) | Phase::Stopping { running, .. } => {
            let running = ContainerStateRunning { started_at: Some(Time(running.started_at)) };
            (State { running: Some(running), ..State::default() }, last)
        }
        Phase::Waiting { blocked: Some(blocked) } => {
            let (reason, message) = blocked_words(pod, container, blocked, now);
            (waiting(reason, Some(message).filter(|message| !message.is_empty())), last)
        }
        Phase::Waiting { blocked: None } | Phase::Starting { .. } => {
            (waiting(starting_reason(pod, container), None), last)
        }
        Phase::Terminated(end) => match crash_message(pod, container, end, now) {
            Some(message) => (waiting("CrashLoopBackOff", Some(message)), terminated(end)),
            None => (terminated(end), last),
        },
    }
}

fn starting_reason(pod: &PodState, container: &ContainerState) -> &'static str {
    match container.role {
        Role::Main if pod.is_initialized() => "ContainerCreating",
        _ if !pod.containers.iter().any(|other| other.role != Role::Main) => "ContainerCreating",
        _ => "PodInitializing",
    }
}

fn blocked_words(
    pod: &PodState,
    container: &ContainerState,
    blocked: &Blocked,
    now: Timestamp,
) -> (&'static str, String) {
    let shown_long_enough = now >= blocked.since.saturating_add(PULL_ERROR_SHOWN).unwrap_or(Timestamp::MAX);
    if blocked.reason != WaitingReason::ErrImagePull || !shown_long_enough {
        return (blocked.reason.as_str(), blocked.message.clone());
    }
    let image = pod
        .pod
        .spec
        .iter()
        .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let image = image
        .filter(|declared| declared.name == container.name)
        .find_map(|declared| declared.image.as_deref());
    let message = format!(
        "Back-off pulling image \"{}\": ErrImagePull: {}",
        image.unwrap_or_default(),
        blocked.message
    );
    ("ImagePullBackOff", message)
}

/// The message of a container that waits to be started again; `None` when it does not.
fn crash_message(
    pod: &PodState,
    container: &ContainerState,
    end: &Termination,
    now: Timestamp,
) -> Option<String> {
    let waits = !pod.is_ending() && pod.restarts(container.role, end.exit_code);
    if !waits || crash_wait(container, end).is_none_or(|until| now >= until) {
        return None;
    }
    let (delay, _) = container.crashes.wait(end.finished_at)?;
    Some(back_off_message(pod, container, delay))
}

/// Upstream's words, shared with the `BackOff` event.
fn back_off_message(pod: &PodState, container: &ContainerState, delay: Duration) -> String {
    let meta = &pod.pod.metadata;
    format!(
        "back-off {} restarting failed container={} pod={}_{}({})",
        in_words(delay),
        container.name,
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default(),
    )
}

fn waiting(reason: &str, message: Option<String>) -> State {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    State { waiting: Some(waiting), ..State::default() }
}

fn terminated(end: &Termination) -> State {
    let terminated = ContainerStateTerminated {
        container_id: (!end.id.is_empty()).then(|| end.id.clone()),
        exit_code: end.exit_code,
        finished_at: Some(Time(end.finished_at)),
        message: (!end.message.is_empty()).then(|| end.message.clone()),
        reason: Some(end.reason.clone()),
        signal: None,
        started_at: end.started_at.map(Time),
    };
    State { terminated: Some(terminated), ..State::default() }
}

/// When the words for this container next change by time alone.
pub(crate) fn next_change(container: &ContainerState, now: Timestamp) -> Option<Timestamp> {
    let Phase::Waiting { blocked: Some(blocked) } = &container.phase else { return None };
    let change = blocked.since.saturating_add(PULL_ERROR_SHOWN).ok()?;
    (blocked.reason == WaitingReason::ErrImagePull && now < change).then_some(change)
}
