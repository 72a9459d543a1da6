//! Begins what a plan asks for, and writes what became of the pod.

use jiff::Timestamp;

use super::api;
use super::entry::{Entry, Removing, Uid, Write, Writing};
use super::events::Kind;
use super::plan::{Action, StopCause, crash_wait, plan};
use super::pod::{ContainerState, Phase, PodState, Slot, WaitingReason};
use super::start::{Request, pod_ref};
use super::supervise::{Drain, Stop};
use super::{Agent, Outcome, RESYNC};
use crate::status;

/// Without a free address a pod is tried again after this.
const ADDRESS_RETRY: std::time::Duration = std::time::Duration::from_secs(10);

impl Agent {
    /// Plans one pod and begins what the plan says, until there is nothing more to begin now.
    pub(super) fn settle_pod(&mut self, uid: &Uid, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        entry.marked = false;
        if entry.wake_at.is_some_and(|at| at <= now) {
            entry.wake_at = None;
            self.wake(uid, now + RESYNC);
        }
        let Some(entry) = self.pods.get(uid) else { return };
        let plan = plan(&entry.state, now);
        if let Some(at) = plan.wake_at {
            self.wake(uid, at);
        }
        let mut remove = false;
        for action in plan.actions {
            match action {
                Action::AssignAddress => {
                    if !self.assign_address(uid, now) {
                        break;
                    }
                }
                Action::Start(slot) => self.start(uid, slot, now),
                Action::Stop { slot, deadline, cause } => self.stop(uid, slot, deadline, cause, now),
                Action::Fail(failure) => {
                    if let Some(entry) = self.pods.get_mut(uid) {
                        entry.state.failure = Some(failure);
                    }
                    // What follows from it is the next plan.
                    self.mark(uid);
                }
                Action::Delete => remove = true,
                Action::Forget => return self.forget(uid),
            }
        }
        self.tell_waits(uid, now);
        self.write_status(uid, now);
        if remove {
            self.remove(uid, now);
        }
    }

    fn assign_address(&mut self, uid: &Uid, now: Timestamp) -> bool {
        let Some(entry) = self.pods.get_mut(uid) else { return false };
        entry.state.address = self.addresses.assign();
        if entry.state.address.is_some() {
            return true;
        }
        let capacity = self.addresses.capacity();
        let message =
            format!("Failed to create pod sandbox: all {capacity} addresses of this node are in use");
        self.starter.events.pod(&entry.state.pod, None, Kind::Warning, "FailedCreatePodSandBox", message);
        self.wake(uid, now + ADDRESS_RETRY);
        false
    }

    fn start(&mut self, uid: &Uid, slot: Slot, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let Some(address) = entry.state.address else { return };
        let declared = entry.state.declared(slot).clone();
        let pod = entry.state.pod.clone();
        let state = entry.state.container_mut(slot);
        if let Phase::Terminated(end) = std::mem::replace(&mut state.phase, Phase::Starting { since: now }) {
            state.crashes.advance(end.finished_at, now);
            state.last = Some(end);
        }
        let resumes = state.resumes.clone();
        // What runs already is the run that the API counts, not the next.
        let again = state.last.is_some() && resumes.is_none();
        let restart = state.restarts + u32::from(again);
        let request = Request { pod, declared, slot, role: state.role, address, restart, resumes };
        let (starter, uid) = (self.starter.clone(), uid.clone());
        self.tasks.spawn(async move {
            let started = starter.start(&request).await;
            Outcome::Started(uid, slot, Box::new(started))
        });
    }

    fn stop(&mut self, uid: &Uid, slot: Slot, deadline: Timestamp, cause: StopCause, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let pod = entry.state.pod.clone();
        let removed = entry.state.removed;
        let state = entry.state.container_mut(slot);
        let grace = state.unhealthy_grace.take().filter(|_| cause == StopCause::Unhealthy);
        let deadline = grace.and_then(|grace| now.saturating_add(grace).ok()).unwrap_or(deadline);
        let (running, first) = match &state.phase {
            Phase::Running(running) => (running.clone(), true),
            Phase::Stopping { running, .. } => (running.clone(), false),
            _ => return,
        };
        state.phase = Phase::Stopping { running, deadline };
        if first {
            let message = match (cause, &state.unhealthy) {
                (StopCause::Unhealthy, Some(message)) => message.clone(),
                _ => format!("Stopping container {}", state.name),
            };
            let about = Some((state.name.as_str(), state.role));
            self.starter.events.pod(&pod, about, Kind::Normal, "Killing", message);
        }
        let drain = if cause == StopCause::PodEnds && !removed { Drain::Serve } else { Drain::Refuse };
        if let Some(stop) = &entry.stops[slot.0] {
            stop.send_replace(Some(Stop { deadline, drain }));
        }
    }

    fn forget(&mut self, uid: &Uid) {
        let Some(entry) = self.pods.remove(uid) else { return };
        if let Some(address) = entry.state.address {
            self.addresses.release(address);
        }
        let (starter, pod) = (self.starter.clone(), pod_ref(&entry.state.pod));
        self.tasks.spawn(async move {
            if let Some(docker) = &starter.docker
                && let Err(error) = docker.remove_pod(&pod.uid).await
            {
                tracing::warn!(pod = pod.name, namespace = pod.namespace, %error, "containers of the pod are left");
            }
            let of = pod.clone();
            let cleaned =
                move || starter.logs.remove_pod(&of).and_then(|()| starter.volumes.remove_pod(&of.uid));
            let cleaned = tokio::task::spawn_blocking(cleaned).await.map_err(std::io::Error::other).flatten();
            if let Err(error) = cleaned {
                tracing::warn!(pod = pod.name, namespace = pod.namespace, %error, "files of the pod are left");
            }
            Outcome::Cleaned
        });
    }

    /// Tells of each wait for another try once, when it begins.
    fn tell_waits(&mut self, uid: &Uid, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        if entry.state.is_ending() {
            return;
        }
        for index in 0..entry.state.containers.len() {
            let container = &entry.state.containers[index];
            let Some((number, reason, message)) = wait_of(&entry.state, Slot(index), container, now) else {
                continue;
            };
            if entry.told[index].replace(number) != Some(number) {
                let about = Some((container.name.as_str(), container.role));
                self.starter.events.pod(&entry.state.pod, about, Kind::Warning, reason, message);
            }
        }
    }

    /// Writes the status if it differs from what the API holds. One write at a time for each pod: what changes
    /// meanwhile goes with the next.
    fn write_status(&mut self, uid: &Uid, now: Timestamp) {
        let host = self.host();
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let Some(failures) = may_write(entry, now) else { return };
        if let Some(soon) = entry.starts_now(now) {
            return self.wake(uid, soon);
        }
        let wakes =
            entry.state.containers.iter().filter_map(|container| status::next_change(container, now)).min();
        let status = status::pod_status(&entry.state, host, &entry.written, now);
        if let Some(patch) = status::patch(&entry.written, &status, &entry.name.uid) {
            entry.writing = Writing::UnderWay { failures };
            let write = Box::new(Write { status, patch });
            let (client, name, turns) = (self.client.clone(), entry.name.clone(), self.writes.clone());
            let uid = uid.clone();
            self.tasks.spawn(async move {
                let _turn = turns.acquire().await.expect("the semaphore is never closed");
                let result = api::patch_status(&client, &name, write.patch.clone()).await;
                Outcome::Wrote(uid, write, result)
            });
        }
        if let Some(at) = wakes {
            self.wake(uid, at);
        }
        if let Some(Writing::Idle { not_before: Some(at), .. }) =
            self.pods.get(uid).map(|entry| entry.writing)
        {
            self.wake(uid, at);
        }
    }

    /// Removes the object once its last status is written.
    fn remove(&mut self, uid: &Uid, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        if matches!(entry.writing, Writing::UnderWay { .. } | Writing::Idle { not_before: Some(_), .. }) {
            return;
        }
        match entry.removing {
            Removing::UnderWay => return,
            Removing::No { not_before: Some(at) } if now < at => return self.wake(uid, at),
            Removing::No { .. } => {}
        }
        entry.removing = Removing::UnderWay;
        let (client, name, uid) = (self.client.clone(), entry.name.clone(), uid.clone());
        self.tasks.spawn(async move {
            let result = api::remove(&client, &name).await;
            Outcome::Removed(uid, result)
        });
    }
}

/// `Some` with the number of failures so far, if a status may be written now.
fn may_write(entry: &Entry, now: Timestamp) -> Option<u32> {
    // The object is gone, or is about to go without ever having run: nobody would read it.
    let never_ran = entry
        .state
        .containers
        .iter()
        .all(|container| matches!(container.phase, Phase::Waiting { .. }) && container.last.is_none());
    if entry.state.removed || (never_ran && entry.state.deletion_deadline().is_some()) {
        return None;
    }
    match entry.writing {
        Writing::UnderWay { .. } => None,
        Writing::Idle { not_before: Some(at), .. } if now < at => None,
        Writing::Idle { failures, .. } => Some(failures),
    }
}

/// What to tell of a container that waits for another try: which wait it is, the reason, and the words.
fn wait_of(
    pod: &PodState,
    slot: Slot,
    container: &ContainerState,
    now: Timestamp,
) -> Option<(u32, &'static str, String)> {
    match &container.phase {
        Phase::Terminated(end) if pod.restarts(container.role, end.exit_code) => {
            crash_wait(container, end).filter(|until| now < *until)?;
            let meta = &pod.pod.metadata;
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            let (name, namespace, uid) = (text(&meta.name), text(&meta.namespace), text(&meta.uid));
            let container_name = &container.name;
            let words = format!(
                "Back-off restarting failed container {container_name} in pod {name}_{namespace}({uid})"
            );
            Some((container.restarts, "BackOff", words))
        }
        Phase::Waiting { blocked: Some(blocked) }
            if blocked.reason == WaitingReason::ErrImagePull
                && status::next_change(container, now).is_none() =>
        {
            let image = pod.declared(slot).image.as_deref().unwrap_or_default();
            // Each failed try is another wait.
            let number =
                u32::try_from(blocked.since.as_second().rem_euclid(i64::from(u32::MAX))).unwrap_or(0);
            Some((number, "BackOff", format!("Back-off pulling image \"{image}\"")))
        }
        _ => None,
    }
}
