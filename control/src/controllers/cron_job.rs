//! CronJobs: a Job whenever the schedule says so.
//!
//! [`plan`] is pure; the zone is read by the [`shell`]. What was scheduled last is told by the Jobs themselves, so that a
//! leader that ends between a create and the status makes no Job twice: the name of a Job is its minute.

pub(crate) mod shell;
#[cfg(test)]
mod tests;
mod zone;

use std::sync::Arc;
use std::time::Duration;

use isopod_spec::batch::job::holds;
use isopod_spec::batch::schedule::Schedule;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::job::is_finished;
use super::{facts, pods};
use crate::events::{Level, reference};

/// Annotation of a Job: when it was due.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Annotation of a Job that a person made from a CronJob.
const INSTANTIATED: &str = "cronjob.kubernetes.io/instantiate";
/// More missed times than this are a sign of a wrong clock or a long outage.
const MISSED_MAX: usize = 100;

/// One write that brings the cluster nearer to the CronJob.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Creates the Job that is due.
    Create { job: Box<Job> },
    /// Deletes a Job of the past, or one that is to be replaced.
    Delete { job: Arc<Job> },
}

/// Something to tell about the CronJob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Happened {
    pub(crate) level: Level,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What to write now, and when to look again if nothing changes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    /// The status to write, when it differs from the stored one.
    pub(crate) status: Option<CronJobStatus>,
    pub(crate) happened: Vec<Happened>,
    pub(crate) again_after: Option<Duration>,
}

impl Plan {
    /// True when there is nothing to write or to tell.
    pub(crate) fn is_met(&self) -> bool {
        self.actions.is_empty() && self.status.is_none() && self.happened.is_empty()
    }

    fn tell(&mut self, level: Level, reason: &'static str, message: impl Into<String>) {
        self.happened.push(Happened { level, reason, message: message.into() });
    }
}

/// The next step towards `cron_job`. `jobs` are those that it controls; `zone` is the one it names, if that is known.
pub(crate) fn plan(cron_job: &CronJob, jobs: &[Arc<Job>], zone: Option<&TimeZone>, now: Timestamp) -> Plan {
    let spec = &cron_job.spec;
    let mut plan = Plan::default();
    let status = status(cron_job, jobs);
    note_completed(cron_job, jobs, &mut plan);
    plan.actions.extend(surplus(spec, jobs));
    if !facts::is_terminating(&cron_job.metadata) && spec.suspend != Some(true) {
        match (Schedule::parse(&spec.schedule), zone) {
            (Ok(schedule), Some(zone)) => {
                start_due(cron_job, &status, jobs, (&schedule, zone), now, &mut plan)
            }
            (Err(error), _) => {
                let message = format!("unparseable schedule: {:?} : {error}", spec.schedule);
                plan.tell(Level::Warning, "UnparseableSchedule", message);
            }
            (_, None) => {
                let name = spec.time_zone.as_deref().unwrap_or_default();
                let message = format!("invalid timeZone: {name:?}: no such zone in this machine's zoneinfo");
                plan.tell(Level::Warning, "UnknownTimeZone", message);
            }
        }
    }
    if plan.actions.is_empty() && cron_job.status.as_ref() != Some(&status) {
        // After actions the next pass writes it, with what they made.
        plan.status = Some(status);
    }
    plan
}

/// Starts the Job that is due, unless it is too late or others are in the way.
fn start_due(
    cron_job: &CronJob,
    status: &CronJobStatus,
    jobs: &[Arc<Job>],
    (schedule, zone): (&Schedule, &TimeZone),
    now: Timestamp,
    plan: &mut Plan,
) {
    let spec = &cron_job.spec;
    let next = schedule.next(now, zone).map(|next| next.duration_since(now));
    plan.again_after = next.and_then(|wait| Duration::try_from(wait).ok());
    let created = cron_job.metadata.creation_timestamp.as_ref();
    let Some(since) = status.last_schedule_time.as_ref().or(created).map(|time| time.0) else { return };
    let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
    let since = deadline.map_or(since, |deadline| since.max(now - deadline));
    let Some((due, missed)) = schedule.last(since, now, zone, MISSED_MAX) else { return };
    if missed > MISSED_MAX {
        let message =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.tell(Level::Warning, "TooManyMissedTimes", message);
    }
    let job = new_job(cron_job, due, zone);
    if jobs.iter().any(|own| own.metadata.name == job.metadata.name) {
        return;
    }
    let running = jobs.iter().filter(|own| is_scheduled(own) && !is_finished(own));
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if running.clone().next().is_some() => {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.tell(Level::Normal, "JobAlreadyActive", message);
            return;
        }
        Some("Replace") => plan.actions.extend(running.cloned().map(|job| Action::Delete { job })),
        _ => {}
    }
    plan.actions.push(Action::Create { job: Box::new(job) });
}

/// The Job of a time.
fn new_job(cron_job: &CronJob, due: Timestamp, zone: &TimeZone) -> Job {
    let template = cron_job.spec.job_template.clone();
    let metadata = template.metadata.unwrap_or_default();
    let mut annotations = metadata.annotations.unwrap_or_default();
    let text = if *zone == TimeZone::UTC {
        due.to_string()
    } else {
        due.display_with_offset(zone.to_offset(due)).to_string()
    };
    annotations.insert(SCHEDULED.to_owned(), text);
    Job {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", facts::name(&cron_job.metadata), due.as_second().div_euclid(60))),
            namespace: cron_job.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![pods::controlled_by(cron_job)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// True for a Job that the schedule made.
fn is_scheduled(job: &Job) -> bool {
    facts::annotation(&job.metadata, INSTANTIATED).is_none()
}

/// What runs, what was due last, and what has succeeded last, as far as Jobs or the stored status still tell.
fn status(cron_job: &CronJob, jobs: &[Arc<Job>]) -> CronJobStatus {
    let stored = cron_job.status.clone().unwrap_or_default();
    let mut running: Vec<&Arc<Job>> =
        jobs.iter().filter(|job| is_scheduled(job) && !is_finished(job)).collect();
    running.sort_by_key(|job| job.metadata.creation_timestamp.clone());
    let active: Vec<ObjectReference> = running.into_iter().map(|job| reference_to(job)).collect();
    let due = jobs
        .iter()
        .filter_map(|job| facts::annotation(&job.metadata, SCHEDULED)?.parse::<Timestamp>().ok().map(Time));
    let completed = jobs.iter().filter(|job| holds(job, "Complete"));
    let completed = completed.filter_map(|job| job.status.as_ref()?.completion_time.clone());
    CronJobStatus {
        active: Some(active).filter(|active| !active.is_empty()),
        last_schedule_time: due.chain(stored.last_schedule_time).max(),
        last_successful_time: completed.chain(stored.last_successful_time).max(),
    }
}

/// The version of the Job would change the status whenever a pod ends: it is left out.
fn reference_to(job: &Job) -> ObjectReference {
    ObjectReference { resource_version: None, ..reference(job) }
}

/// Tells of Jobs that were running when the status was written and are finished now.
fn note_completed(cron_job: &CronJob, jobs: &[Arc<Job>], plan: &mut Plan) {
    let active = cron_job.status.as_ref().and_then(|status| status.active.as_deref()).unwrap_or_default();
    let was_active = |job: &&Arc<Job>| active.iter().any(|own| own.uid == job.metadata.uid);
    for job in jobs.iter().filter(was_active).filter(|job| is_finished(job)) {
        let condition = if holds(job, "Complete") { "Complete" } else { "Failed" };
        let name = facts::name(&job.metadata);
        let message = format!("Saw completed job: {name}, condition: {condition}");
        plan.tell(Level::Normal, "SawCompletedJob", message);
    }
}

/// Finished Jobs beyond what is to be remembered, the oldest first.
fn surplus(spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Vec<Action> {
    let mut actions = Vec::new();
    for (condition, limit) in
        [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)]
    {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
        let ended = jobs.iter().filter(|job| holds(job, condition) && !facts::is_terminating(&job.metadata));
        let mut ended: Vec<&Arc<Job>> = ended.collect();
        ended.sort_by_key(|job| job.metadata.creation_timestamp.clone());
        let surplus = ended.len().saturating_sub(limit);
        actions.extend(ended.into_iter().take(surplus).cloned().map(|job| Action::Delete { job }));
    }
    actions
}
