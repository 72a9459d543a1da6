//! CronJobs: defaults, messages, rows.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, create, update};

const MINIMAL: &str = "
metadata: {name: report}
spec:
  schedule: '*/5 * * * *'
  jobTemplate: {spec: {template: {spec: {restartPolicy: OnFailure, containers: [{name: r, image: report:v1}]}}}}
";

#[test]
fn a_minimal_cron_job_allows_overlap_and_keeps_a_short_history() {
    let object = create::<CronJob>(MINIMAL).unwrap();
    let spec = object.get::<CronJob>().unwrap().spec.clone();
    assert_eq!(spec.concurrency_policy.as_deref(), Some("Allow"));
    assert_eq!((spec.successful_jobs_history_limit, spec.failed_jobs_history_limit), (Some(3), Some(1)));
    let job = spec.job_template.spec.unwrap();
    assert_eq!((job.completions, job.backoff_limit, job.selector), (Some(1), Some(6), None));
}

#[test]
fn broken_cron_jobs_are_told_what_is_wrong() {
    check_invalid::<CronJob>(
        "
metadata: {name: report-that-has-a-name-which-is-much-too-long-for-its-jobs}
spec:
  schedule: every day
  timeZone: ../etc/passwd
  concurrencyPolicy: Sometimes
  startingDeadlineSeconds: -1
  failedJobsHistoryLimit: -1
  jobTemplate: {spec: {manualSelector: true, template: {spec: {containers: [{name: r, image: r}]}}}}
",
        expect![[r#"
            metadata.name: Invalid value: "report-that-has-a-name-which-is-much-too-long-for-its-jobs": must be no more than 52 characters
            spec.schedule: Invalid value: "every day": expected exactly 5 fields, found 2: [every day]
            spec.timeZone: Invalid value: "../etc/passwd": unknown time zone ../etc/passwd
            spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0
            spec.concurrencyPolicy: Unsupported value: "Sometimes": supported values: "Allow", "Forbid", "Replace"
            spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0
            spec.jobTemplate.spec.manualSelector: Forbidden: `manualSelector` is not supported in a CronJob's template
            spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#]],
    );
    let local = MINIMAL.replace("jobTemplate:", "timeZone: Local\n  jobTemplate:");
    check_invalid::<CronJob>(
        &local,
        expect![[
            r#"spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"#
        ]],
    );
}

#[test]
fn a_cron_job_is_a_row() {
    check_row::<CronJob>(
        create::<CronJob>(MINIMAL).unwrap().as_ref(),
        expect![[r#"
        Name: "report"
        Schedule: "*/5 * * * *"
        Timezone: "<none>"
        Suspend: "False"
        Active: 0
        Last Schedule: "<none>"
        Age: "0s"
        Containers*: "r"
        Images*: "report:v1"
        Selector*: "<none>""#]],
    );
    let observed = format!(
        "{MINIMAL}\nstatus: {{active: [{{name: report-1}}], lastScheduleTime: '2025-12-31T23:55:00Z'}}"
    );
    let cells = update::<CronJob>(MINIMAL, &observed, Target::Status).unwrap().cells(crate::testing::now());
    assert_eq!((&cells[4], &cells[5]), (&Cell::from(1), &Cell::from("5m")));
}
