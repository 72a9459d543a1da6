//! CronJobs: when Jobs are made, what is in their way, what is remembered.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{
    CronJob, CronJobSpec, CronJobStatus, Job, JobCondition, JobSpec, JobStatus, JobTemplateSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use proptest::prelude::*;

use super::{Action, INSTANTIATED, Plan, facts, is_finished, plan};

/// 2026-01-01T00:00:30Z.
const CREATED: i64 = 1_767_225_630;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A CronJob and its Jobs, in a cluster that carries out plans.
struct World {
    cron_job: CronJob,
    jobs: Vec<Arc<Job>>,
    created: usize,
    now: i64,
    told: Vec<&'static str>,
}

fn every_minute(change: impl FnOnce(&mut CronJobSpec)) -> World {
    let mut spec = CronJobSpec {
        schedule: "* * * * *".into(),
        successful_jobs_history_limit: Some(3),
        failed_jobs_history_limit: Some(1),
        job_template: JobTemplateSpec { spec: Some(JobSpec::default()), metadata: None },
        ..CronJobSpec::default()
    };
    change(&mut spec);
    let metadata = ObjectMeta {
        name: Some("report".into()),
        namespace: Some("default".into()),
        uid: Some("cj".into()),
        creation_timestamp: Some(Time(at(CREATED))),
        ..ObjectMeta::default()
    };
    let cron_job = CronJob { metadata, spec, status: Some(CronJobStatus::default()) };
    World { cron_job, jobs: Vec::new(), created: 0, now: CREATED, told: Vec::new() }
}

impl World {
    fn plan(&self) -> Plan {
        plan(&self.cron_job, &self.jobs, Some(&TimeZone::UTC), at(self.now))
    }

    /// Waits, then plans and carries out until nothing is left to write.
    fn pass(&mut self, seconds: i64) -> Option<Duration> {
        self.now += seconds;
        for _ in 0..10 {
            let plan = self.plan();
            self.told.extend(plan.happened.iter().map(|what| what.reason));
            if plan.actions.is_empty() && plan.status.is_none() {
                return plan.again_after;
            }
            self.cron_job.status = plan.status.or(self.cron_job.status.take());
            for action in plan.actions {
                match action {
                    Action::Create { job } => self.create(*job),
                    Action::Delete { job } => self.jobs.retain(|own| own.metadata.uid != job.metadata.uid),
                }
            }
        }
        panic!("no fixed point: {:?}", self.plan());
    }

    fn create(&mut self, mut job: Job) {
        self.created += 1;
        job.metadata.uid = Some(format!("j{}", self.created));
        job.metadata.creation_timestamp = Some(Time(at(self.now)));
        self.jobs.push(Arc::new(job));
    }

    /// The oldest Job that runs ends.
    fn end(&mut self, condition: &str) {
        let time = Time(at(self.now));
        let job = self.jobs.iter_mut().find(|job| !is_finished(job)).expect("a job runs");
        let condition =
            JobCondition { type_: condition.into(), status: "True".into(), ..JobCondition::default() };
        Arc::make_mut(job).status = Some(JobStatus {
            conditions: Some(vec![condition]),
            completion_time: Some(time),
            ..JobStatus::default()
        });
    }

    fn names(&self) -> Vec<&str> {
        self.jobs.iter().map(|job| facts::name(&job.metadata)).collect()
    }

    fn active(&self) -> usize {
        self.cron_job.status.as_ref().unwrap().active.as_ref().map_or(0, Vec::len)
    }
}

#[test]
fn a_job_is_made_at_each_time_and_named_after_its_minute() {
    let mut world = every_minute(|_| {});
    assert_eq!(world.pass(0), Some(Duration::from_secs(30)));
    assert!(world.jobs.is_empty(), "nothing is due yet");
    assert_eq!(world.pass(31), Some(Duration::from_secs(59)));
    assert_eq!(world.names(), ["report-29453761"]);
    let job = &world.jobs[0];
    let scheduled = facts::annotation(&job.metadata, "batch.kubernetes.io/cronjob-scheduled-timestamp");
    assert_eq!(scheduled, Some("2026-01-01T00:01:00Z"));
    assert_eq!(facts::controller_of(&job.metadata).unwrap().kind, "CronJob");
    assert_eq!(world.active(), 1);
    world.pass(60);
    assert_eq!((world.names().len(), world.active()), (2, 2));
    let status = world.cron_job.status.clone().unwrap();
    assert_eq!(status.last_schedule_time, Some(Time("2026-01-01T00:02:00Z".parse().unwrap())));
}

#[test]
fn missed_times_are_made_up_for_by_one_job_unless_it_is_too_late() {
    for (deadline, wait, expected) in
        [(None, 600, Some("report-29453770")), (Some(20), 40, Some("report-29453761")), (Some(5), 40, None)]
    {
        let mut world = every_minute(|spec| spec.starting_deadline_seconds = deadline);
        world.pass(wait);
        assert_eq!(world.names().first().copied(), expected, "{deadline:?} {wait}");
        assert!(world.names().len() <= 1);
    }
    let mut world = every_minute(|_| {});
    world.pass(101 * 60);
    assert_eq!((world.names().len(), world.told[0]), (1, "TooManyMissedTimes"));
}

#[test]
fn a_job_that_still_runs_is_joined_waited_for_or_replaced() {
    for (policy, names, told) in [
        ("Allow", &["report-29453761", "report-29453762"][..], None),
        ("Forbid", &["report-29453761"], Some("JobAlreadyActive")),
        ("Replace", &["report-29453762"], None),
    ] {
        let mut world = every_minute(|spec| spec.concurrency_policy = Some(policy.into()));
        world.pass(31);
        world.pass(60);
        assert_eq!((world.names(), world.told.first().copied()), (names.to_vec(), told), "{policy}");
    }
    let mut world = every_minute(|spec| spec.concurrency_policy = Some("Forbid".into()));
    world.pass(31);
    world.pass(60);
    world.end("Complete");
    world.pass(0);
    assert_eq!(
        world.names(),
        ["report-29453761", "report-29453762"],
        "it is made up for when the way is free"
    );
}

#[test]
fn a_few_finished_jobs_are_remembered() {
    let mut world = every_minute(|_| {});
    world.pass(30);
    for condition in ["Complete", "Failed", "Complete", "Failed", "Complete", "Complete"] {
        world.end(condition);
        world.pass(60);
    }
    let ended = |condition| world.jobs.iter().filter(|job| super::holds(job, condition)).count();
    assert_eq!((ended("Complete"), ended("Failed"), world.active()), (3, 1, 1));
    assert!(world.told.contains(&"SawCompletedJob"));
    assert!(world.cron_job.status.as_ref().unwrap().last_successful_time.is_some());
}

#[test]
fn jobs_that_people_made_from_it_do_not_stand_in_the_way() {
    let mut world = every_minute(|spec| spec.concurrency_policy = Some("Forbid".into()));
    let mut manual = super::new_job(&world.cron_job, at(0), &TimeZone::UTC);
    manual.metadata.annotations = Some([(INSTANTIATED.to_owned(), "manual".to_owned())].into());
    world.create(manual);
    world.pass(31);
    assert_eq!((world.jobs.len(), world.active()), (2, 1));
}

#[test]
fn nothing_is_made_while_suspended_or_without_a_known_zone() {
    let mut world = every_minute(|spec| spec.suspend = Some(true));
    assert_eq!((world.pass(600), world.names().len()), (None, 0));
    let world = every_minute(|spec| spec.time_zone = Some("Mars/Olympus".into()));
    let plan = plan(&world.cron_job, &[], None, at(CREATED + 600));
    assert_eq!((plan.happened[0].reason, plan.actions.len()), ("UnknownTimeZone", 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the pace of time and of the Jobs, every pass reaches a fixed point, no minute gets two Jobs, and the
    /// history stays as short as it should.
    #[test]
    fn every_pass_comes_to_rest(
        policy in prop::sample::select(vec!["Allow", "Forbid", "Replace"]),
        steps in proptest::collection::vec((0..200_i64, 0..3_u8), 0..40),
    ) {
        let mut world = every_minute(|spec| spec.concurrency_policy = Some(policy.into()));
        for (seconds, ending) in steps {
            world.pass(seconds);
            if world.active() > 0 && ending > 0 {
                world.end(if ending == 1 { "Complete" } else { "Failed" });
                world.pass(0);
            }
            let mut names = world.names();
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(names.len(), world.jobs.len());
            let ended = |condition| world.jobs.iter().filter(|job| super::holds(job, condition)).count();
            prop_assert!(ended("Complete") <= 3 && ended("Failed") <= 1);
            prop_assert!(policy == "Allow" || world.active() <= 1);
        }
    }
}
