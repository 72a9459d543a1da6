//! Pods that wait for a node: who is next, who waits for a change of the cluster, and for how long.
//!
//! Pure: the time is an argument.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::pass::Candidate;
use super::refusal::Hopes;
use super::wants::Recent;
use crate::cache::{Delta, ObjectKey};
use crate::controllers::facts;

/// The scheduler that pods name when they name none.
pub(super) const SCHEDULER: &str = "default-scheduler";
/// Wait after the first refusal; each further one doubles it ...
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// ... up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A refused pod is tried again after this even if nothing seems to have changed.
const PARKED_MAX: Duration = Duration::from_secs(300);

/// The waiting pods.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: HashMap<ObjectKey, Waiting>,
    active: BTreeSet<Rank>,
    timers: BTreeSet<(Instant, ObjectKey)>,
    /// Refused pods that wait for a change of the cluster.
    hoping: BTreeSet<ObjectKey>,
    arrivals: u64,
    recent: Recent,
}

#[derive(Debug)]
struct Waiting {
    candidate: Candidate,
    rank: Rank,
    stage: Stage,
    attempts: u32,
}

/// Higher priority first, then who came first.
type Rank = (Reverse<i32>, u64, ObjectKey);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// To be decided in the next pass.
    Active,
    /// Decided; the decision is being written.
    Deciding,
    /// Refused, not to be tried before the first time, and to be tried at the second.
    Parked { not_before: Instant, timer: Instant, hopes: Hopes },
}

impl Pending {
    /// Takes over a change of a pod.
    pub(super) fn observe(&mut self, change: &Delta<Pod>) {
        let Some(pod) = change.new.as_ref().filter(|pod| waits(pod)) else {
            self.remove(&change.key);
            return;
        };
        if let Some(waiting) = self.waiting.get_mut(&change.key) {
            let old = std::mem::replace(&mut waiting.candidate.pod, pod.clone());
            if !asks_anew(&old, pod) {
                return;
            }
            if old.metadata.uid == pod.metadata.uid && waiting.stage == Stage::Deciding {
                waiting.candidate.wants = self.recent.of(pod);
                return;
            }
            self.remove(&change.key);
        }
        self.arrivals += 1;
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        let rank = (Reverse(priority), self.arrivals, change.key.clone());
        let wants = self.recent.of(pod);
        let candidate = Candidate { key: change.key.clone(), pod: pod.clone(), wants };
        let stage = Stage::Active;
        self.active.insert(rank.clone());
        self.waiting.insert(change.key.clone(), Waiting { candidate, rank, stage, attempts: 0 });
    }

    /// The cluster changed in such ways: refused pods whom that may help are tried again once their backoff is over.
    pub(super) fn wake(&mut self, changes: Hopes, now: Instant) {
        let may_help = |key: &&ObjectKey| match self.waiting.get(*key).map(|waiting| waiting.stage) {
            Some(Stage::Parked { hopes, .. }) => hopes.meet(changes),
            _ => false,
        };
        let called: Vec<ObjectKey> = self.hoping.iter().filter(may_help).cloned().collect();
        for key in called {
            let Some(Stage::Parked { not_before, .. }) = self.waiting.get(&key).map(|waiting| waiting.stage)
            else {
                continue;
            };
            if not_before <= now {
                self.activate(&key);
            } else {
                self.park(&key, not_before, not_before, Hopes::default());
            }
        }
    }

    /// True when a pod is to be decided now.
    pub(super) fn has_active(&mut self, now: Instant) -> bool {
        while let Some((_, key)) = self.timers.first().filter(|(due, _)| *due <= now).cloned() {
            self.activate(&key);
        }
        !self.active.is_empty()
    }

    /// The next pods to decide, at most so many; they are out of the way until their decision is known.
    pub(super) fn take(&mut self, max: usize) -> Vec<Candidate> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some((_, _, key)) = self.active.pop_first() else { break };
            let Some(waiting) = self.waiting.get_mut(&key) else { continue };
            waiting.stage = Stage::Deciding;
            waiting.attempts += 1;
            taken.push(waiting.candidate.clone());
        }
        taken
    }

    /// No node could take the pod: it waits for a change of the cluster that may help.
    pub(super) fn refused(&mut self, key: &ObjectKey, hopes: Hopes, now: Instant) {
        let not_before = now + self.backoff(key);
        self.park(key, not_before, now + PARKED_MAX, hopes);
    }

    /// The pod of this name as it is now, while it waits because no node could take it.
    pub(super) fn refused_pod(&self, key: &ObjectKey) -> Option<Arc<Pod>> {
        let waiting = self.waiting.get(key)?;
        matches!(waiting.stage, Stage::Parked { .. }).then(|| waiting.candidate.pod.clone())
    }

    /// The decision could not be written: the pod is tried again soon.
    pub(super) fn failed(&mut self, key: &ObjectKey, now: Instant) {
        let due = now + self.backoff(key);
        self.park(key, due, due, Hopes::default());
    }

    /// The pod has a node once its claims are bound: it is tried again at the next change of a volume.
    pub(super) fn awaits(&mut self, key: &ObjectKey, now: Instant) {
        let hopes = Hopes { volumes_change: true, ..Hopes::default() };
        self.park(key, now, now + self.backoff(key), hopes);
    }

    /// When a pod has to be tried although nothing changes.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    fn backoff(&self, key: &ObjectKey) -> Duration {
        let attempts = self.waiting.get(key).map_or(1, |waiting| waiting.attempts);
        BACKOFF_FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(8)).min(BACKOFF_MAX)
    }

    fn park(&mut self, key: &ObjectKey, not_before: Instant, timer: Instant, hopes: Hopes) {
        self.unpark(key);
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        waiting.stage = Stage::Parked { not_before, timer, hopes };
        self.timers.insert((timer, key.clone()));
        if hopes != Hopes::default() {
            self.hoping.insert(key.clone());
        }
    }

    fn activate(&mut self, key: &ObjectKey) {
        self.unpark(key);
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        waiting.stage = Stage::Active;
        self.active.insert(waiting.rank.clone());
    }

    fn remove(&mut self, key: &ObjectKey) {
        self.unpark(key);
        let Some(waiting) = self.waiting.remove(key) else { return };
        self.active.remove(&waiting.rank);
    }

    fn unpark(&mut self, key: &ObjectKey) {
        if let Some(Stage::Parked { timer, .. }) = self.waiting.get(key).map(|waiting| waiting.stage) {
            self.timers.remove(&(timer, key.clone()));
            self.hoping.remove(key);
        }
    }
}

/// True for a pod that this scheduler has to find a node for.
fn waits(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let is_ours = spec.scheduler_name.as_deref().is_none_or(|name| name.is_empty() || name == SCHEDULER);
    let is_gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    is_ours && !is_gated && facts::node_name(pod).is_none() && facts::is_active(pod)
}

/// True when a decision about the old pod says nothing about the new one.
fn asks_anew(old: &Pod, new: &Pod) -> bool {
    let (old, new) = (&old.metadata, &new.metadata);
    old.uid != new.uid || old.generation != new.generation || old.labels != new.labels
}
