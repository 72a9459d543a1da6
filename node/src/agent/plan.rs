//! What to do about one pod: a pure function of what is known and of the time. It is never told what changed, gives
//! the same plan for the same state, and nothing at all once the pod is as it should be.

use std::time::Duration;

use jiff::Timestamp;

use super::pod::{ContainerState, Failure, Phase, PodState, Role, Slot, Termination, spec};

/// Something to do. Each is safe to be asked for again until the state shows that it was done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Give the pod an address.
    AssignAddress,
    /// Bring up a container.
    Start(Slot),
    /// Stop a container that runs.
    Stop {
        /// Which.
        slot: Slot,
        /// Until when it may finish what it is doing.
        deadline: Timestamp,
        /// Why.
        cause: StopCause,
    },
    /// The pod as a whole failed: remember it.
    Fail(Failure),
    /// Everything has ended: remove the object from the API.
    Delete,
    /// The object is gone and everything has ended: forget the pod.
    Forget,
}

/// Why a container is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// Its pod is on its way out.
    PodEnds,
    /// A probe failed too often: it is started again afterwards.
    Unhealthy,
}

/// What to do now, and when to look again although nothing changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// The time of the next decision that only needs time to pass.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
    }
}

/// Plans one pod.
pub fn plan(pod: &PodState, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if let Some(deadline) = active_deadline(pod) {
        if now < deadline {
            plan.wake(deadline);
        } else {
            plan.actions.push(Action::Fail(Failure {
                reason: "DeadlineExceeded",
                message: "Pod was active on the node longer than the specified deadline".to_owned(),
            }));
            return plan;
        }
    }
    if pod.is_ending() {
        end(pod, now, &mut plan);
    } else {
        run(pod, now, &mut plan);
    }
    plan
}

/// When the pod has been active for too long; `None` without a deadline, or when it is ending anyway.
fn active_deadline(pod: &PodState) -> Option<Timestamp> {
    let seconds = spec(&pod.pod).active_deadline_seconds.filter(|_| !pod.is_ending())?;
    let span = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Some(after(pod.start_time, span))
}

/// Stops what runs: sidecars only once the others have ended. Then lets go of the pod.
fn end(pod: &PodState, now: Timestamp, plan: &mut Plan) {
    let mut busy = false;
    let others_run = pod.containers.iter().any(|c| c.role != Role::Sidecar && occupies(c));
    for (slot, container) in pod.slots() {
        busy |= occupies(container) || container.is_to_be_found();
        if container.is_to_be_found() {
            find(slot, container, now, plan);
        }
        let first_others = container.role == Role::Sidecar && others_run;
        let deadline = deadline(pod, now);
        let stop = match &container.phase {
            Phase::Running(_) => !first_others,
            // The grace was shortened, by a second deletion or by force.
            Phase::Stopping { deadline: before, .. } => deadline < *before,
            _ => false,
        };
        if stop {
            plan.actions.push(Action::Stop { slot, deadline, cause: StopCause::PodEnds });
        }
    }
    if busy {
        return;
    }
    if pod.removed {
        plan.actions.push(Action::Forget);
    } else if pod.deletion_deadline().is_some() {
        plan.actions.push(Action::Delete);
    }
}

/// Takes up what still runs, so that it can be stopped.
fn find(slot: Slot, container: &ContainerState, now: Timestamp, plan: &mut Plan) {
    match &container.phase {
        Phase::Waiting { blocked: Some(blocked) } if now < blocked.retry_at => plan.wake(blocked.retry_at),
        _ => plan.actions.push(Action::Start(slot)),
    }
}

fn deadline(pod: &PodState, now: Timestamp) -> Timestamp {
    match pod.deletion_deadline() {
        // The object was removed by force: whatever replaces it may already run elsewhere.
        _ if pod.removed => now,
        Some(deadline) => deadline.max(now),
        None => after(now, pod.grace()),
    }
}

fn after(now: Timestamp, span: Duration) -> Timestamp {
    now.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// A container that must end before its pod has ended.
fn occupies(container: &ContainerState) -> bool {
    matches!(container.phase, Phase::Starting { .. } | Phase::Running(_) | Phase::Stopping { .. })
}

fn run(pod: &PodState, now: Timestamp, plan: &mut Plan) {
    let mut wanted = Vec::new();
    let initialized = initialize(pod, now, plan, &mut wanted);
    if initialized {
        for (slot, container) in pod.slots().filter(|(_, container)| container.role == Role::Main) {
            keep_up(pod, slot, container, now, plan, &mut wanted);
        }
        if pod.containers.iter().any(|c| c.role == Role::Sidecar) && mains_are_done(pod) {
            wanted.clear();
            stop_sidecars(pod, now, plan);
        }
    }
    if !wanted.is_empty() && pod.address.is_none() {
        plan.actions.push(Action::AssignAddress);
    }
    plan.actions.extend(wanted.into_iter().map(Action::Start));
}

/// Takes the init containers in their order, as far as they have come. True once they all did their part.
fn initialize(pod: &PodState, now: Timestamp, plan: &mut Plan, wanted: &mut Vec<Slot>) -> bool {
    for (slot, container) in pod.slots() {
        let goes_on = match (container.role, &container.phase) {
            (Role::Main, _) => continue,
            (Role::Init, Phase::Terminated(end)) if end.exit_code == 0 => true,
            // A sidecar holds up the ones after it only until it has started for the first time.
            (Role::Sidecar, Phase::Running(_)) => container.started,
            (Role::Sidecar, _) => later_ones_ran(pod, slot),
            (Role::Init, _) => false,
        };
        keep_up(pod, slot, container, now, plan, wanted);
        if !goes_on {
            return false;
        }
    }
    true
}

fn later_ones_ran(pod: &PodState, slot: Slot) -> bool {
    let untouched = Phase::Waiting { blocked: None };
    pod.slots().any(|(other, container)| other > slot && container.phase != untouched)
}

/// Starts the container if it should run and nothing forbids it now.
fn keep_up(
    pod: &PodState,
    slot: Slot,
    container: &ContainerState,
    now: Timestamp,
    plan: &mut Plan,
    wanted: &mut Vec<Slot>,
) {
    let not_before = match &container.phase {
        Phase::Waiting { blocked: None } => None,
        Phase::Waiting { blocked: Some(blocked) } => Some(blocked.retry_at),
        Phase::Terminated(end) if pod.restarts(container.role, end.exit_code) => crash_wait(container, end),
        Phase::Running(_) if container.unhealthy.is_some() => {
            plan.actions.push(Action::Stop {
                slot,
                deadline: after(now, pod.grace()),
                cause: StopCause::Unhealthy,
            });
            return;
        }
        Phase::Starting { .. } | Phase::Running(_) | Phase::Stopping { .. } | Phase::Terminated(_) => return,
    };
    match not_before {
        Some(time) if now < time => plan.wake(time),
        _ => wanted.push(slot),
    }
}

/// Until when a container that ended is held back; `None` when it may start at once.
pub fn crash_wait(container: &ContainerState, end: &Termination) -> Option<Timestamp> {
    container.crashes.wait(end.finished_at).map(|(_, until)| until)
}

/// Whether all main containers have ended for good.
fn mains_are_done(pod: &PodState) -> bool {
    pod.containers.iter().filter(|container| container.role == Role::Main).all(|container| {
        matches!(&container.phase, Phase::Terminated(end) if !pod.restarts(Role::Main, end.exit_code))
    })
}

fn stop_sidecars(pod: &PodState, now: Timestamp, plan: &mut Plan) {
    for (slot, container) in pod.slots() {
        if container.role == Role::Sidecar && matches!(container.phase, Phase::Running(_)) {
            plan.actions.push(Action::Stop {
                slot,
                deadline: after(now, pod.grace()),
                cause: StopCause::PodEnds,
            });
        }
    }
}

#[cfg(test)]
mod tests;
