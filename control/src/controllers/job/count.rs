//! Counting each pod's end once.
//!
//! An ended pod is first noted by its uid in the status, then let go (its finalizer is taken away), and only when it is
//! seen to be gone or free does the note become a count. Whatever write fails in between, the next pass goes on from
//! there.

use std::collections::BTreeSet;
use std::sync::Arc;

use isopod_spec::batch::job::is_indexed;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;

use super::policy::{self, Verdict as PolicyVerdict};
use super::{indexes, is_tracked};
use crate::controllers::facts::{self, some_count};

/// A Job's pods, sorted by what they count as.
#[derive(Debug)]
pub(super) struct Tally {
    /// The stored status with what has ended noted or counted.
    pub(super) status: JobStatus,
    /// Pods that run or will.
    pub(super) active: Vec<Arc<Pod>>,
    /// How many are on their way out and have not ended yet.
    pub(super) terminating: usize,
    /// Pods that have ended, in any way, and are still there.
    pub(super) ended: Vec<Arc<Pod>>,
    /// Ended pods that are noted, and may go.
    pub(super) untrack: Vec<Arc<Pod>>,
    /// Numbers that have succeeded, of an Indexed Job.
    pub(super) completed: BTreeSet<i32>,
    /// The message of a pod that fails the whole Job.
    pub(super) fails_job: Option<String>,
}

impl Tally {
    /// Sorts the pods and counts what can be counted.
    pub(super) fn of(job: &Job, spec: &JobSpec, pods: &[Arc<Pod>]) -> Tally {
        let mut status = job.status.clone().unwrap_or_default();
        let completed = status.completed_indexes.as_deref().unwrap_or_default();
        let mut tally = Tally {
            completed: indexes::parse(completed, spec.completions.unwrap_or(0)),
            active: Vec::new(),
            terminating: 0,
            ended: Vec::new(),
            untrack: Vec::new(),
            fails_job: None,
            status: JobStatus::default(),
        };
        count_noted(&mut status, pods);
        tally.status = status;
        for pod in pods {
            tally.sort(pod, spec);
        }
        if is_indexed(spec) {
            tally.status.succeeded = count(tally.completed.len());
            tally.status.completed_indexes =
                Some(indexes::format(&tally.completed)).filter(|text| !text.is_empty());
        }
        tally
    }

    fn sort(&mut self, pod: &Arc<Pod>, spec: &JobSpec) {
        let leaves = facts::is_terminating(&pod.metadata);
        if leaves && !facts::is_finished(pod) && !is_removed(pod) {
            self.terminating += 1;
        }
        match end_of(pod, spec) {
            Some(end) if is_tracked(pod) => {
                self.ended.push(pod.clone());
                self.note(pod, end, spec);
            }
            Some(_) if facts::is_finished(pod) => self.ended.push(pod.clone()),
            None if !leaves => self.active.push(pod.clone()),
            // Told to go by the Job itself, or not to be judged yet.
            Some(_) | None => {}
        }
    }

    /// Notes the end of a pod that is still held, and lets it go.
    fn note(&mut self, pod: &Arc<Pod>, end: End, spec: &JobSpec) {
        self.untrack.push(pod.clone());
        let noted = self.status.uncounted_terminated_pods.get_or_insert_default();
        let uid = facts::uid(&pod.metadata).to_owned();
        let list = match end {
            End::Succeeded if is_indexed(spec) => {
                let known = spec.completions.unwrap_or(0);
                self.completed.extend(indexes::of(pod).filter(|index| *index < known));
                return;
            }
            End::Succeeded => &mut noted.succeeded,
            End::Failed => {
                match policy::judge(spec.pod_failure_policy.as_ref(), pod) {
                    PolicyVerdict::Counts => {}
                    PolicyVerdict::Ignored => return,
                    PolicyVerdict::FailsJob(message) => {
                        self.fails_job.get_or_insert(message);
                    }
                }
                &mut noted.failed
            }
        };
        let list = list.get_or_insert_default();
        if !list.contains(&uid) {
            list.push(uid);
        }
    }

    /// How many pods have succeeded, noted ones included.
    pub(super) fn succeeded(&self) -> usize {
        let noted = self.noted().and_then(|noted| noted.succeeded.as_ref()).map_or(0, Vec::len);
        usize::try_from(self.status.succeeded.unwrap_or(0)).unwrap_or(0) + noted
    }

    /// How many pods have failed, noted ones included.
    pub(super) fn failed(&self) -> usize {
        let noted = self.noted().and_then(|noted| noted.failed.as_ref()).map_or(0, Vec::len);
        usize::try_from(self.status.failed.unwrap_or(0)).unwrap_or(0) + noted
    }

    fn noted(&self) -> Option<&UncountedTerminatedPods> {
        self.status.uncounted_terminated_pods.as_ref()
    }

    /// True when nothing that has ended waits to be counted.
    pub(super) fn is_counted(&self) -> bool {
        let none = |list: &Option<Vec<String>>| list.as_ref().is_none_or(|list| list.is_empty());
        self.untrack.is_empty()
            && self.noted().is_none_or(|noted| none(&noted.succeeded) && none(&noted.failed))
    }

    /// Fills in how many pods there are once so many more are created and deleted.
    pub(super) fn fill(&self, status: &mut JobStatus, created: usize, deleted: usize) {
        let ready = self.active.iter().filter(|pod| facts::is_ready(pod)).count();
        status.active = count((self.active.len() + created).saturating_sub(deleted));
        status.ready = Some(i32::try_from(ready).unwrap_or(i32::MAX));
        status.terminating = Some(i32::try_from(self.terminating).unwrap_or(i32::MAX));
        status.uncounted_terminated_pods.get_or_insert_default();
    }
}

fn count(count: usize) -> Option<i32> {
    some_count(i32::try_from(count).unwrap_or(i32::MAX))
}

/// Notes of pods that are free or gone become counts.
fn count_noted(status: &mut JobStatus, pods: &[Arc<Pod>]) {
    let Some(noted) = &mut status.uncounted_terminated_pods else { return };
    let is_held =
        |uid: &String| pods.iter().any(|pod| pod.metadata.uid.as_ref() == Some(uid) && is_tracked(pod));
    for (list, total) in
        [(&mut noted.succeeded, &mut status.succeeded), (&mut noted.failed, &mut status.failed)]
    {
        let Some(uids) = list.as_mut() else { continue };
        let before = uids.len();
        uids.retain(is_held);
        let counted = i32::try_from(before - uids.len()).unwrap_or(i32::MAX);
        *total = some_count(total.unwrap_or(0) + counted);
        if uids.is_empty() {
            *list = None;
        }
    }
}

/// How a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Succeeded,
    Failed,
}

/// A pod that leaves counts as failed at once, unless the Job wants to see its end.
fn end_of(pod: &Pod, spec: &JobSpec) -> Option<End> {
    match facts::phase(pod) {
        "Succeeded" => Some(End::Succeeded),
        "Failed" => Some(End::Failed),
        _ if is_removed(pod) => Some(End::Failed),
        _ => (facts::is_terminating(&pod.metadata) && !replaces_only_ended(spec)).then_some(End::Failed),
    }
}

/// True when only our finalizer keeps the pod: no node runs it any more.
fn is_removed(pod: &Pod) -> bool {
    facts::is_terminating(&pod.metadata) && pod.metadata.deletion_grace_period_seconds.unwrap_or(0) == 0
}

/// True when a pod that leaves keeps its place until it has ended.
pub(super) fn replaces_only_ended(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed")
}
