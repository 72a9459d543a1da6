//! Jobs: pods that run until enough of them have succeeded, or too many have failed.
//!
//! [`plan`] is pure. A pod's end is counted exactly once, although pods may be deleted at any time: a finalizer keeps an
//! ended pod until the status has noted it ([`count`]). Words of conditions, reasons and annotations are Kubernetes'.

mod backoff;
mod count;
mod indexes;
mod policy;
mod replace;
pub(crate) mod shell;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use isopod_spec::batch::job::{OWN_CONTROLLER, holds};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use self::count::Tally;
use self::status::{Happened, Verdict};
use super::{claim, facts};

/// Keeps a pod of a Job until its end has been counted.
pub(crate) const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// One write that brings the cluster nearer to the Job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Makes the Job the controller of a matching pod that has none.
    Adopt { pod: Arc<Pod> },
    /// Gives up a pod that matches no more.
    Release { pod: Arc<Pod> },
    /// Lets a pod go that has been counted, or is not to be.
    Untrack { pod: Arc<Pod> },
    /// Creates pods.
    Create { pods: Vec<Pod> },
    /// Deletes pods.
    Delete { pods: Vec<Arc<Pod>> },
    /// Deletes the Job itself, whose time is over.
    DeleteJob,
}

/// What to write now, the status first, and when to look again if nothing changes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// The status to write, when it differs from the stored one.
    pub(crate) status: Option<JobStatus>,
    /// What to tell once the status is written.
    pub(crate) happened: Vec<Happened>,
    pub(crate) actions: Vec<Action>,
    pub(crate) again_after: Option<Duration>,
}

impl Plan {
    /// True when there is nothing to write.
    pub(crate) fn is_met(&self) -> bool {
        self.status.is_none() && self.actions.is_empty()
    }
}

/// True when the Job has come to its end, good or bad.
pub(crate) fn is_finished(job: &Job) -> bool {
    holds(job, "Complete") || holds(job, "Failed")
}

/// The next step towards `job`. `pods` are those of the namespace that the Job controls, and those without controller.
pub(crate) fn plan(job: &Job, pods: Vec<Arc<Pod>>, now: Timestamp) -> Plan {
    let Some(spec) = &job.spec else { return Plan::default() };
    if spec.managed_by.as_deref().is_some_and(|manager| manager != OWN_CONTROLLER) {
        return Plan::default();
    }
    let nothing = LabelSelector::default();
    let claim = claim::sort(&job.metadata, spec.selector.as_ref().unwrap_or(&nothing), pods);
    if !claim.is_settled() {
        let adopted = claim.adopt.into_iter().map(|pod| Action::Adopt { pod });
        let released = claim.release.into_iter().map(|pod| Action::Release { pod });
        return Plan { actions: adopted.chain(released).collect(), ..Plan::default() };
    }
    if is_finished(job) {
        return after_the_end(job, spec, &claim.owned, now);
    }
    let tally = Tally::of(job, spec, &claim.owned);
    advance(job, spec, tally, now)
}

/// Pods that are still held are let go, and the Job goes itself when its time is over.
fn after_the_end(job: &Job, spec: &JobSpec, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let held = pods.iter().filter(|pod| is_tracked(pod)).cloned();
    let mut plan = Plan { actions: held.map(|pod| Action::Untrack { pod }).collect(), ..Plan::default() };
    if let Some(ended) = status::ended_at(job).filter(|_| !facts::is_terminating(&job.metadata))
        && let Some(seconds) = spec.ttl_seconds_after_finished
    {
        match facts::remaining(ended, facts::seconds(Some(seconds)), now) {
            Some(wait) => plan.again_after = Some(wait),
            None => plan.actions.push(Action::DeleteJob),
        }
    }
    plan
}

/// One step of a Job that has not ended.
fn advance(job: &Job, spec: &JobSpec, tally: Tally, now: Timestamp) -> Plan {
    let mut status = tally.status.clone();
    let mut happened = Vec::new();
    let is_suspended = spec.suspend == Some(true);
    let verdict = status::verdict(job, spec, &tally, now);
    if verdict == Verdict::Runs {
        status::set_suspended(&mut status, is_suspended, now, &mut happened);
    }
    let mut plan = Plan::default();
    let pods = match (&verdict, is_suspended) {
        _ if facts::is_terminating(&job.metadata) => replace::Change::default(),
        (Verdict::Runs, false) => replace::change(job, spec, &tally, now),
        // Pods that are stopped on purpose have not failed.
        (Verdict::Runs, true) => replace::Change { dismissed: tally.active.clone(), ..Default::default() },
        // Those of a failed Job have.
        (Verdict::Fails(_), _) => replace::Change { stopped: tally.active.clone(), ..Default::default() },
        (Verdict::Succeeds, _) => replace::Change { dismissed: tally.active.clone(), ..Default::default() },
    };
    let created = pods.created.len();
    let deleted = pods.dismissed.len() + pods.stopped.len();
    tally.fill(&mut status, created, deleted);
    let is_quiet = tally.active.is_empty() && tally.terminating == 0 && tally.is_counted();
    status::conclude(&mut status, &verdict, is_quiet, now, &mut happened);
    let untracked = tally.untrack.iter().chain(&pods.dismissed).filter(|pod| is_tracked(pod)).cloned();
    plan.actions.extend(untracked.map(|pod| Action::Untrack { pod }));
    if deleted > 0 {
        plan.actions.push(Action::Delete { pods: [pods.dismissed, pods.stopped].concat() });
    }
    if created > 0 {
        plan.actions.push(Action::Create { pods: pods.created });
    }
    plan.again_after = facts::sooner(pods.again_after, status::deadline(spec, &status, now));
    plan.status = (job.status.as_ref() != Some(&status)).then_some(status);
    if plan.status.is_some() {
        plan.happened = happened;
    }
    plan
}

/// True while the pod waits for its end to be counted.
pub(crate) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.as_ref().is_some_and(|own| own.iter().any(|finalizer| finalizer == TRACKING))
}
