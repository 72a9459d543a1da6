//! A Job as a row.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;

use super::holds;
use crate::apps::workload;
use crate::table::{Cell, Column, age, human_duration};

pub(super) fn columns() -> Vec<Column> {
    workload::columns(vec![
        Column::NAME,
        Column::text("Status", "How far the Job is."),
        Column::text("Completions", "Pods that have succeeded of those that must."),
        Column::text("Duration", "How long it has been running, or ran."),
        Column::AGE,
    ])
}

pub(super) fn cells(job: &Job, now: Timestamp) -> Vec<Cell> {
    let spec = job.spec.as_ref();
    let own = vec![
        Cell::from(job.metadata.name.as_deref()),
        Cell::from(state(job)),
        Cell::from(completions(job)),
        Cell::from(duration(job, now)),
        Cell::from(age(job.metadata.creation_timestamp.as_ref(), now)),
    ];
    workload::cells(own, spec.map(|spec| &spec.template), spec.and_then(|spec| spec.selector.as_ref()))
}

/// The first of these that holds.
fn state(job: &Job) -> &'static str {
    match () {
        () if holds(job, "Complete") => "Complete",
        () if holds(job, "Failed") => "Failed",
        () if job.metadata.deletion_timestamp.is_some() => "Terminating",
        () if holds(job, "Suspended") => "Suspended",
        () if holds(job, "FailureTarget") => "FailureTarget",
        () if holds(job, "SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(job: &Job) -> String {
    let succeeded = job.status.as_ref().and_then(|status| status.succeeded).unwrap_or(0);
    let spec = job.spec.as_ref();
    let parallelism = spec.and_then(|spec| spec.parallelism).unwrap_or(0);
    match spec.and_then(|spec| spec.completions) {
        Some(completions) => format!("{succeeded}/{completions}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
}

fn duration(job: &Job, now: Timestamp) -> String {
    let status = job.status.as_ref();
    let Some(start) = status.and_then(|status| status.start_time.as_ref()) else { return String::new() };
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let failed = conditions.iter().find(|own| own.type_ == "Failed" && own.status == "True");
    let end = status
        .and_then(|status| status.completion_time.as_ref())
        .or_else(|| failed.and_then(|condition| condition.last_transition_time.as_ref()))
        .map_or(now, |end| end.0);
    human_duration(end.as_second() - start.0.as_second())
}
