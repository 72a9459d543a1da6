//! The phase of a pod, by the rules of the kubelet.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use crate::agent::pod::{PodState, RestartPolicy, Role};

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

#[derive(Default)]
struct Count {
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
}

impl Count {
    fn of(statuses: &[ContainerStatus]) -> Self {
        let mut count = Self::default();
        for status in statuses {
            match (ended(status, Which::Now), ended(status, Which::Before)) {
                (Some(exit_code), _) => {
                    count.stopped += 1;
                    count.succeeded += usize::from(exit_code == 0);
                }
                _ if is_running(status) => count.running += 1,
                (None, Some(_)) => count.stopped += 1,
                (None, None) => count.waiting += 1,
            }
        }
        count
    }
}

enum Which {
    Now,
    Before,
}

fn ended(status: &ContainerStatus, which: Which) -> Option<i32> {
    let state = match which {
        Which::Now => &status.state,
        Which::Before => &status.last_state,
    };
    state.as_ref()?.terminated.as_ref().map(|terminated| terminated.exit_code)
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

pub(super) fn phase(
    pod: &PodState,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
    previous: &PodStatus,
) -> Phase {
    // A final phase is never left again.
    match previous.phase.as_deref() {
        Some("Failed") => return Phase::Failed,
        Some("Succeeded") => return Phase::Succeeded,
        _ => {}
    }
    if pod.failure.is_some() {
        return Phase::Failed;
    }
    let policy = pod.restart_policy();
    let roles = || pod.containers.iter().map(|container| container.role).zip(init);
    let init_failed = roles().any(|(role, status)| {
        role == Role::Init
            && ended(status, Which::Now).or(ended(status, Which::Before)).is_some_and(|code| code != 0)
    });
    if init_failed && policy == RestartPolicy::Never {
        return Phase::Failed;
    }
    let count = Count::of(main);
    let init_pending = !pod.is_initialized() && count.running + count.stopped == 0;
    if init_pending || count.waiting > 0 {
        return Phase::Pending;
    }
    let all_well = count.stopped == count.succeeded;
    match () {
        () if count.running > 0 => Phase::Running,
        // The agent takes the pod down: what ended will not come back.
        () if pod.is_ending() && everything_ended(pod) => {
            if all_well {
                Phase::Succeeded
            } else {
                Phase::Failed
            }
        }
        () if policy == RestartPolicy::Always => Phase::Running,
        () if all_well => Phase::Succeeded,
        () if policy == RestartPolicy::Never => Phase::Failed,
        () => Phase::Running,
    }
}

fn everything_ended(pod: &PodState) -> bool {
    use crate::agent::pod::Phase as Container;
    pod.containers.iter().all(|container| matches!(container.phase, Container::Terminated(_)))
}
