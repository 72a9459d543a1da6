//! A Job's conditions: whether it runs, rests, has succeeded or failed, and since when.

use std::time::Duration;

use isopod_spec::batch::job::holds;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::count::Tally;
use crate::controllers::facts;
use crate::events::Level;

/// What becomes of the Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Runs,
    /// Enough pods have succeeded.
    Succeeds,
    /// It is given up.
    Fails(Failure),
}

/// Why a Job is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    reason: String,
    message: String,
}

impl Failure {
    fn new(reason: &str, message: impl Into<String>) -> Failure {
        Failure { reason: reason.to_owned(), message: message.into() }
    }
}

/// Something to tell about the Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Happened {
    pub(crate) level: Level,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

const DEADLINE: &str = "DeadlineExceeded";
const BACKOFF: &str = "BackoffLimitExceeded";
const POLICY: &str = "PodFailurePolicy";

/// Judges the Job by what its pods have done. A verdict that was given stands.
pub(super) fn verdict(job: &Job, spec: &JobSpec, tally: &Tally, now: Timestamp) -> Verdict {
    if let Some(given) = condition(&tally.status, "FailureTarget") {
        let (reason, message) = (given.reason.as_deref(), given.message.clone());
        return Verdict::Fails(Failure::new(reason.unwrap_or_default(), message.unwrap_or_default()));
    }
    if holds(job, "SuccessCriteriaMet") {
        return Verdict::Succeeds;
    }
    if let Some(message) = &tally.fails_job {
        return Verdict::Fails(Failure::new(POLICY, message.clone()));
    }
    let limit = usize::try_from(spec.backoff_limit.unwrap_or(6)).unwrap_or(0);
    if tally.failed() > limit || restarts_exceed(spec, tally, limit) {
        return Verdict::Fails(Failure::new(BACKOFF, "Job has reached the specified backoff limit"));
    }
    let is_late = spec.active_deadline_seconds.is_some()
        && tally.status.start_time.is_some()
        && spec.suspend != Some(true)
        && deadline(spec, &tally.status, now).is_none();
    if is_late {
        return Verdict::Fails(Failure::new(DEADLINE, "Job was active longer than specified deadline"));
    }
    let is_done = match spec.completions {
        Some(completions) => tally.succeeded() >= usize::try_from(completions).unwrap_or(0),
        None => tally.succeeded() > 0 && tally.active.is_empty(),
    };
    if is_done { Verdict::Succeeds } else { Verdict::Runs }
}

/// Containers that are started again in place are failures as well.
fn restarts_exceed(spec: &JobSpec, tally: &Tally, limit: usize) -> bool {
    let policy = spec.template.spec.as_ref().and_then(|pod| pod.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let restarts = |pod: &Pod| {
        let containers = pod.status.iter().flat_map(|status| {
            status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
        });
        containers.map(|own| usize::try_from(own.restart_count).unwrap_or(0)).sum::<usize>()
    };
    let all: usize = tally.active.iter().map(|pod| restarts(pod)).sum();
    all > 0 && all >= limit
}

/// How long until the Job has run for too long.
pub(super) fn deadline(spec: &JobSpec, status: &JobStatus, now: Timestamp) -> Option<Duration> {
    let seconds = u64::try_from(spec.active_deadline_seconds?).unwrap_or(0);
    facts::remaining(status.start_time.as_ref()?, Duration::from_secs(seconds), now)
}

/// When the Job came to its end.
pub(super) fn ended_at(job: &Job) -> Option<&Time> {
    let status = job.status.as_ref()?;
    let end = condition(status, "Complete").or_else(|| condition(status, "Failed"))?;
    end.last_transition_time.as_ref()
}

/// Begins, rests or goes on.
pub(super) fn set_suspended(
    status: &mut JobStatus,
    is_suspended: bool,
    now: Timestamp,
    happened: &mut Vec<Happened>,
) {
    let rested = condition(status, "Suspended").is_some();
    if is_suspended {
        status.start_time = None;
        if !rested {
            set(status, "Suspended", "True", Failure::new("JobSuspended", "Job suspended"), now);
            tell(happened, Level::Normal, "Suspended", "Job suspended");
        }
        return;
    }
    if rested {
        set(status, "Suspended", "False", Failure::new("JobResumed", "Job resumed"), now);
        tell(happened, Level::Normal, "Resumed", "Job resumed");
    }
    status.start_time.get_or_insert_with(|| facts::stamp(now));
}

/// Writes the verdict down: first what is going to be, and once nothing runs or waits to be counted, that it is so.
pub(super) fn conclude(
    status: &mut JobStatus,
    verdict: &Verdict,
    is_quiet: bool,
    now: Timestamp,
    happened: &mut Vec<Happened>,
) {
    let (first, last, why) = match verdict {
        Verdict::Runs => return,
        Verdict::Succeeds => {
            let why = Failure::new("CompletionsReached", "Reached expected number of succeeded pods");
            ("SuccessCriteriaMet", "Complete", why)
        }
        Verdict::Fails(why) => ("FailureTarget", "Failed", why.clone()),
    };
    set(status, first, "True", why.clone(), now);
    if !is_quiet {
        return;
    }
    set(status, last, "True", why.clone(), now);
    if *verdict == Verdict::Succeeds {
        status.start_time.get_or_insert_with(|| facts::stamp(now));
        status.completion_time = Some(facts::stamp(now));
        tell(happened, Level::Normal, "Completed", "Job completed");
    } else {
        let reason = [DEADLINE, BACKOFF, POLICY].into_iter().find(|known| *known == why.reason);
        tell(happened, Level::Warning, reason.unwrap_or("Failed"), &why.message);
    }
}

fn tell(happened: &mut Vec<Happened>, level: Level, reason: &'static str, message: &str) {
    happened.push(Happened { level, reason, message: message.to_owned() });
}

/// A condition that holds.
fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|own| own.type_ == kind && own.status == "True")
}

fn set(status: &mut JobStatus, kind: &str, value: &str, why: Failure, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    if conditions.iter().any(|own| own.type_ == kind && own.status == value) {
        return;
    }
    conditions.retain(|own| own.type_ != kind);
    conditions.push(JobCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(why.reason),
        message: Some(why.message),
        last_probe_time: Some(facts::stamp(now)),
        last_transition_time: Some(facts::stamp(now)),
    });
}
