//! CronJob: Jobs at set times.
//!
//! Rules: <https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/>, `pkg/apis/batch/v1/defaults.go`,
//! `pkg/apis/batch/validation`, `pkg/registry/batch/cronjob`; columns: `pkg/printers/internalversion`.

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus};
use k8s_openapi::jiff::Timestamp;

use super::job;
use super::schedule::Schedule;
use crate::apps::workload::{self, SPEC};
use crate::defaults;
use crate::field_error::{FieldErrors, Path};
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column, age};
use crate::validation;

/// Jobs are named after their CronJob, with a dash and the minute.
const NAME_BYTES_MAX: usize = 63 - 11;

impl Resource for CronJob {
    fn declaration() -> Declaration {
        workload::declaration::<Self>("cronjob", &["cj"], &[Subresource::STATUS])
    }

    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        defaults::text(&mut spec.concurrency_policy, "Allow");
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(3);
        spec.failed_jobs_history_limit.get_or_insert(1);
        job::default_spec(spec.job_template.spec.get_or_insert_default());
        self.status.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        self.status = Some(CronJobStatus::default());
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        workload::keep_unwritten(target, (&mut self.spec, &old.spec), (&mut self.status, &old.status));
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.spec != old.spec
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        if name.len() > NAME_BYTES_MAX {
            let path = Path::new("metadata");
            let detail = format!("must be no more than {NAME_BYTES_MAX} characters");
            errors.invalid(&path.child("name"), name, &detail);
        }
        validate_spec(&self.spec, errors);
    }

    fn warnings(&self) -> Vec<String> {
        let job = self.spec.job_template.spec.as_ref();
        let path = SPEC.child("jobTemplate");
        let (path, template) = (path.child("spec"), job.map(|job| &job.template));
        template
            .map(|template| crate::core::pod::template_warnings(template, &path.child("template")))
            .unwrap_or_default()
    }

    fn columns() -> Vec<Column> {
        workload::columns(vec![
            Column::NAME,
            Column::text("Schedule", "When Jobs are made, in the form of cron."),
            Column::text("Timezone", "Whose clock the schedule goes by."),
            Column::text("Suspend", "Whether no Jobs are made for now."),
            Column::integer("Active", "How many of its Jobs are running."),
            Column::text("Last Schedule", "Time since the last Job was due."),
            Column::AGE,
        ])
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (&self.spec, self.status.as_ref());
        let last = status.and_then(|status| status.last_schedule_time.as_ref());
        let suspend = spec.suspend.unwrap_or(false);
        let own = vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(spec.schedule.as_str()),
            Cell::from(spec.time_zone.as_deref().unwrap_or("<none>")),
            Cell::from(if suspend { "True" } else { "False" }),
            Cell::from(status.and_then(|status| status.active.as_ref()).map_or(0, Vec::len)),
            Cell::from(last.map_or_else(|| "<none>".to_owned(), |last| age(Some(last), now))),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ];
        let job = spec.job_template.spec.as_ref();
        workload::cells(own, job.map(|job| &job.template), job.and_then(|job| job.selector.as_ref()))
    }
}

fn validate_spec(spec: &CronJobSpec, errors: &mut FieldErrors) {
    let path = SPEC.child("schedule");
    if spec.schedule.is_empty() {
        errors.required(&path, "");
    } else if let Err(error) = Schedule::parse(&spec.schedule) {
        errors.invalid(&path, &spec.schedule, &error.to_string());
    }
    if let Some(zone) = &spec.time_zone {
        validate_zone(zone, &SPEC.child("timeZone"), errors);
    }
    let deadline = SPEC.child("startingDeadlineSeconds");
    validation::nonnegative(&deadline, spec.starting_deadline_seconds, errors);
    let policy = SPEC.child("concurrencyPolicy");
    let known = &["Allow", "Forbid", "Replace"];
    validation::required_word(&policy, spec.concurrency_policy.as_ref(), known, errors);
    workload::numbers(
        [
            ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit),
            ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
        ],
        errors,
    );
    let Some(job) = &spec.job_template.spec else { return };
    let template = SPEC.child("jobTemplate");
    let template = template.child("spec");
    if job.manual_selector == Some(true) {
        let detail = "`manualSelector` is not supported in a CronJob's template";
        errors.forbidden(&template.child("manualSelector"), detail);
    }
    job::validate_spec(job, &template, errors);
}

/// Whether there is such a zone is known where the database is; a path out of it is no name.
fn validate_zone(zone: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let is_plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
    };
    if zone.is_empty() {
        errors.invalid(path, zone, "timeZone must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("local") {
        errors.invalid(
            path,
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        );
    } else if !zone.split('/').all(is_plain) {
        errors.invalid(path, zone, &format!("unknown time zone {zone}"));
    }
}

#[cfg(test)]
mod tests;
