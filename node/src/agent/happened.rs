//! What happened: it moves what is known and marks the pod, and decides nothing.

use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::task::JoinError;

use super::api::WriteError;
use super::entry::{Entry, Removing, Uid, Write, Writing};
use super::events::Kind;
use super::pod::{Blocked, Phase, Running, Slot, Termination, WaitingReason};
use super::start::{Refused, Started};
use super::supervise::{Report, Supervised};
use super::{Agent, Outcome, RESYNC};
use crate::probe::{self, Finding, Prober, Purpose, Target};

/// A container whose configuration or volume is not ready is tried again after this.
const CONFIG_RETRY: std::time::Duration = std::time::Duration::from_secs(5);

impl Agent {
    /// The API changed a pod, or lists all of them.
    pub(super) fn changed(&mut self, change: Result<Event<Pod>, watcher::Error>) {
        match change {
            Ok(Event::Init) => self.listing = Some(HashSet::new()),
            Ok(Event::InitApply(pod)) => {
                let uid = self.observe(pod);
                if let (Some(listing), Some(uid)) = (&mut self.listing, uid) {
                    listing.insert(uid);
                }
            }
            Ok(Event::InitDone) => self.all_listed(),
            Ok(Event::Apply(pod)) => {
                self.observe(pod);
            }
            Ok(Event::Delete(pod)) => {
                if let Some(uid) = pod.metadata.uid {
                    self.gone(&Uid::from(uid));
                }
            }
            Err(error) => tracing::warn!(%error, "watching pods is interrupted"),
        }
    }

    fn observe(&mut self, pod: Pod) -> Option<Uid> {
        let uid = Uid::from(pod.metadata.uid.as_deref()?);
        match self.pods.get_mut(&uid) {
            Some(entry) => {
                entry.update(pod);
                self.starter.volumes.pod_changed(&entry.state.pod);
            }
            None => self.add(pod)?,
        }
        self.mark(&uid);
        Some(uid)
    }

    fn add(&mut self, pod: Pod) -> Option<()> {
        let now = Timestamp::now();
        let (uid, mut entry) = Entry::new(pod, now)?;
        // An address that two pods claim belongs to the one seen first; the other gets a new one.
        if entry.state.address.is_some_and(|address| !self.addresses.reserve(address)) {
            entry.state.address = None;
        }
        self.starter.logs.add_pod(super::start::pod_ref(&entry.state.pod));
        self.pods.insert(uid.clone(), entry);
        self.wake(&uid, now + RESYNC);
        Some(())
    }

    fn all_listed(&mut self) {
        let listed = self.listing.take().unwrap_or_default();
        let gone: Vec<_> = self.pods.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        for uid in gone {
            self.gone(&uid);
        }
        if !std::mem::replace(&mut self.listed, true) {
            self.clean_up_after_earlier_runs();
        }
    }

    fn clean_up_after_earlier_runs(&mut self) {
        let starter = self.starter.clone();
        let known: Vec<String> = self.pods.keys().map(|uid| uid.to_string()).collect();
        self.tasks.spawn(async move {
            if let Some(docker) = &starter.docker
                && let Err(error) = docker.remove_unknown(&known.iter().cloned().collect()).await
            {
                tracing::warn!(%error, "containers of pods that are gone are left");
            }
            let cleaned =
                move || starter.logs.remove_unknown().and_then(|()| starter.volumes.remove_unknown(&known));
            let cleaned = tokio::task::spawn_blocking(cleaned).await.map_err(std::io::Error::other).flatten();
            if let Err(error) = cleaned {
                tracing::warn!(%error, "files of pods that are gone cannot be removed");
            }
            Outcome::Cleaned
        });
    }

    fn gone(&mut self, uid: &Uid) {
        if let Some(entry) = self.pods.get_mut(uid) {
            entry.state.removed = true;
        }
        self.mark(uid);
    }

    /// A task came to its end.
    pub(super) fn finished(&mut self, outcome: Result<Outcome, JoinError>) {
        let uid = match outcome {
            Ok(Outcome::Cleaned) => return,
            Ok(Outcome::Started(uid, slot, started)) => {
                match *started {
                    Ok(started) => self.started(&uid, slot, started),
                    Err(refused) => self.refused(&uid, slot, refused),
                }
                uid
            }
            Ok(Outcome::Ended(uid, slot, end)) => {
                self.ended(&uid, slot, end);
                uid
            }
            Ok(Outcome::Wrote(uid, write, result)) => {
                self.wrote(&uid, *write, result);
                uid
            }
            Ok(Outcome::Removed(uid, result)) => {
                self.removed(&uid, result);
                uid
            }
            Err(error) => {
                tracing::error!(%error, "a task of the agent panicked");
                return;
            }
        };
        self.mark(&uid);
    }

    fn started(&mut self, uid: &Uid, slot: Slot, started: Started) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let Started { container, image_id, registrations, open_ports } = started;
        // It was started with the pod's address, which stays until the pod is forgotten.
        let Some(address) = entry.state.address else { return };
        let declared = entry.state.declared(slot).clone();
        let probes = probe::declared(&declared);
        let (local, from) = (self.starter.local.clone(), self.starter.host.address);
        let target = Target { local, address, from, exec: container.exec() };
        let prober = Prober::new(&declared, target.clone());
        let state = entry.state.container_mut(slot);
        let role = state.role;
        state.phase = Phase::Running(Running { id: container.id().to_owned(), started_at: Timestamp::now() });
        if state.resumes.take().is_none() {
            state.restarts += u32::from(state.last.is_some());
        }
        if !image_id.is_empty() {
            state.image_id = image_id;
        }
        state.started = !probes.startup;
        state.ready = !probes.readiness;
        state.unhealthy = None;
        let (stop, stopped) = watch::channel(None);
        entry.stops[slot.0] = Some(stop);
        let supervised = Supervised {
            container,
            registrations,
            open_ports,
            prober,
            target,
            declared,
            pod: entry.state.pod.clone(),
            uid: uid.clone(),
            slot,
            role,
            reports: self.reporter.clone(),
            events: self.starter.events.clone(),
        };
        let (uid, starter) = (uid.clone(), self.starter.clone());
        self.tasks.spawn(async move {
            let (pod, declared) = (supervised.pod.clone(), supervised.declared.clone());
            let end = supervised.run(stopped).await;
            Outcome::Ended(uid, slot, starter.last_words(&pod, &declared, end).await)
        });
    }

    fn refused(&mut self, uid: &Uid, slot: Slot, refused: Refused) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let now = Timestamp::now();
        let state = entry.state.container_mut(slot);
        let Refused { reason, message } = refused;
        let retry_at = match reason {
            WaitingReason::CreateContainerConfigError | WaitingReason::ContainerCreating => {
                now + CONFIG_RETRY
            }
            _ => {
                state.pulls.advance(now, now);
                state.pulls.wait(now).map_or(now, |(_, until)| until)
            }
        };
        state.phase = Phase::Waiting { blocked: Some(Blocked { reason, message, since: now, retry_at }) };
    }

    fn ended(&mut self, uid: &Uid, slot: Slot, mut end: Termination) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        entry.stops[slot.0] = None;
        let state = entry.state.container_mut(slot);
        if let Some(unhealthy) = state.unhealthy.take()
            && end.exit_code == 0
        {
            // It ended well only because it was made to: for its restart policy that is a failure.
            (end.exit_code, end.reason, end.message) = (137, "Error".to_owned(), unhealthy);
        }
        (state.started, state.ready) = (false, false);
        state.phase = Phase::Terminated(end);
    }

    fn wrote(&mut self, uid: &Uid, write: Write, result: Result<String, WriteError>) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        match result {
            Ok(version) => {
                entry.writing = Writing::Idle { failures: 0, not_before: None };
                let version = version.parse().unwrap_or(0);
                // The watch may have been quicker, and newer.
                if version >= entry.version {
                    entry.version = version;
                    entry.written = write.status;
                }
            }
            Err(WriteError::Gone) => {
                entry.writing = Writing::Idle { failures: 0, not_before: None };
                entry.state.removed = true;
            }
            Err(WriteError::Failed(error)) => {
                tracing::warn!(pod = entry.name.name, namespace = entry.name.namespace, %error, "status not written");
                entry.write_failed(Timestamp::now());
            }
        }
    }

    fn removed(&mut self, uid: &Uid, result: Result<(), WriteError>) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let now = Timestamp::now();
        // Also when it went well: if finalizers keep the object, it is asked for again in time.
        entry.removing = Removing::No { not_before: Some(now + CONFIG_RETRY) };
        match result {
            Ok(()) => {}
            Err(WriteError::Gone) => entry.state.removed = true,
            Err(WriteError::Failed(error)) => {
                tracing::warn!(pod = entry.name.name, namespace = entry.name.namespace, %error, "pod not removed");
            }
        }
    }

    /// A probe found something.
    pub(super) fn found(&mut self, report: Report) {
        let Report { uid, slot, id, finding } = report;
        let Some(entry) = self.pods.get_mut(&uid) else { return };
        let pod = entry.state.pod.clone();
        let ending = entry.state.is_ending();
        let state = entry.state.container_mut(slot);
        let current = matches!(&state.phase, Phase::Running(running) | Phase::Stopping { running, .. } if running.id == id);
        if !current {
            return;
        }
        let about = Some((state.name.as_str(), state.role));
        match finding {
            Finding::Failed { purpose, message } => {
                let message = format!("{} probe failed: {message}", purpose.as_str());
                self.starter.events.pod(&pod, about, Kind::Warning, "Unhealthy", message);
                return;
            }
            Finding::Started => state.started = true,
            Finding::Ready => state.ready = true,
            Finding::NotReady => state.ready = false,
            Finding::Unhealthy { purpose, grace } if !ending => {
                let probe = if purpose == Purpose::Startup { "startup" } else { "liveness" };
                state.unhealthy =
                    Some(format!("Container {} failed {probe} probe, will be restarted", state.name));
                state.unhealthy_grace = grace;
            }
            Finding::Unhealthy { .. } => {}
        }
        self.mark(&uid);
    }
}
