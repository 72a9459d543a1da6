//! Jobs: which pods come and go, what is counted, how Jobs end.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{
    Job, JobSpec, JobStatus, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodSpec, PodTemplateSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use proptest::prelude::*;

use super::{Action, Plan, TRACKING, facts, is_finished, is_tracked, plan};

/// What a Job's pods find out over time: a cluster that carries out plans, and lets pods end as told.
struct World {
    job: Job,
    pods: Vec<Pod>,
    created: usize,
    now: i64,
    told: Vec<&'static str>,
    is_deleted: bool,
}

fn job(change: impl FnOnce(&mut JobSpec)) -> World {
    let labels = Some([("job".to_owned(), "pi".to_owned())].into());
    let container = Container { name: "c".into(), ..Container::default() };
    let mut spec = JobSpec {
        parallelism: Some(1),
        completions: Some(1),
        backoff_limit: Some(6),
        selector: Some(LabelSelector { match_labels: labels.clone(), ..LabelSelector::default() }),
        template: PodTemplateSpec {
            metadata: Some(ObjectMeta { labels, ..ObjectMeta::default() }),
            spec: Some(PodSpec { containers: vec![container], ..PodSpec::default() }),
        },
        ..JobSpec::default()
    };
    change(&mut spec);
    let metadata =
        ObjectMeta { name: Some("pi".into()), uid: Some("job-uid".into()), ..ObjectMeta::default() };
    let job = Job { metadata, spec: Some(spec), status: Some(JobStatus::default()) };
    World { job, pods: Vec::new(), created: 0, now: 10_000, told: Vec::new(), is_deleted: false }
}

impl World {
    fn time(&self) -> Timestamp {
        Timestamp::from_second(self.now).unwrap()
    }

    fn plan(&self) -> Plan {
        plan(&self.job, self.pods.iter().cloned().map(Arc::new).collect(), self.time())
    }

    /// Plans and carries out until nothing is left to do; what to wait for then.
    fn settle(&mut self) -> Option<Duration> {
        for _ in 0..20 {
            let plan = self.plan();
            if plan.is_met() {
                return plan.again_after;
            }
            self.carry_out(plan);
        }
        panic!("no fixed point: {:?}", self.plan());
    }

    fn carry_out(&mut self, plan: Plan) {
        if let Some(status) = plan.status {
            self.job.status = Some(status);
        }
        self.told.extend(plan.happened.iter().map(|what| what.reason));
        for action in plan.actions {
            match action {
                Action::Untrack { pod } => self.change(&pod, |pod| pod.metadata.finalizers = None),
                Action::Create { pods } => pods.into_iter().for_each(|pod| self.create(pod)),
                Action::Delete { pods } => pods.iter().for_each(|pod| self.delete(pod)),
                Action::DeleteJob => self.is_deleted = true,
                Action::Adopt { .. } | Action::Release { .. } => panic!("all pods are the Job's"),
            }
            self.pods.retain(|pod| is_tracked(pod) || !is_gone(pod));
        }
    }

    fn create(&mut self, mut pod: Pod) {
        self.created += 1;
        pod.metadata.uid = Some(format!("p{}", self.created));
        pod.metadata.name = pod.metadata.uid.clone();
        pod.metadata.creation_timestamp = Some(Time(self.time()));
        pod.status.get_or_insert_default().phase = Some("Running".into());
        self.pods.push(pod);
    }

    fn change(&mut self, pod: &Pod, change: impl Fn(&mut Pod)) {
        let own = self.pods.iter_mut().find(|own| own.metadata.uid == pod.metadata.uid);
        own.into_iter().for_each(change);
    }

    fn delete(&mut self, pod: &Pod) {
        let time = Time(self.time());
        self.change(pod, |pod| {
            pod.metadata.deletion_timestamp = Some(time.clone());
            pod.metadata.deletion_grace_period_seconds = Some(30);
        });
    }

    /// The nodes end what was told to go.
    fn reap(&mut self) {
        for pod in &mut self.pods {
            if facts::is_terminating(&pod.metadata) {
                pod.metadata.deletion_grace_period_seconds = Some(0);
            }
        }
        self.pods.retain(|pod| is_tracked(pod) || !is_gone(pod));
    }

    /// The first pod that runs ends with this code.
    fn end(&mut self, code: i32) {
        let time = Time(self.time());
        let pod = self.pods.iter_mut().find(|pod| facts::is_active(pod)).expect("a pod runs");
        let ended =
            ContainerStateTerminated { exit_code: code, finished_at: Some(time), ..Default::default() };
        let status = pod.status.get_or_insert_default();
        status.phase = Some(if code == 0 { "Succeeded" } else { "Failed" }.into());
        status.container_statuses = Some(vec![ContainerStatus {
            name: "c".into(),
            state: Some(ContainerState { terminated: Some(ended), ..ContainerState::default() }),
            ..ContainerStatus::default()
        }]);
    }

    fn active(&self) -> usize {
        self.pods.iter().filter(|pod| facts::is_active(pod)).count()
    }

    fn status(&self) -> JobStatus {
        self.job.status.clone().unwrap()
    }

    fn counts(&self) -> (i32, i32, i32) {
        let status = self.status();
        (status.active.unwrap_or(0), status.succeeded.unwrap_or(0), status.failed.unwrap_or(0))
    }

    /// Conditions that hold, with the reason.
    fn conditions(&self) -> Vec<String> {
        let conditions = self.status().conditions.unwrap_or_default();
        let holding = conditions.into_iter().filter(|own| own.status == "True");
        holding.map(|own| format!("{} {}", own.type_, own.reason.unwrap_or_default())).collect()
    }
}

fn is_gone(pod: &Pod) -> bool {
    facts::is_terminating(&pod.metadata) && pod.metadata.deletion_grace_period_seconds == Some(0)
}

#[test]
fn a_job_runs_its_pods_and_is_complete_when_enough_have_succeeded() {
    let mut world = job(|spec| (spec.completions, spec.parallelism) = (Some(3), Some(2)));
    world.settle();
    assert_eq!((world.active(), world.counts()), (2, (2, 0, 0)));
    assert!(world.status().start_time.is_some());
    world.end(0);
    world.settle();
    assert_eq!((world.active(), world.counts()), (2, (2, 1, 0)));
    world.end(0);
    world.end(0);
    world.settle();
    assert_eq!((world.created, world.counts()), (3, (0, 3, 0)));
    let reached = "CompletionsReached";
    assert_eq!(world.conditions(), [format!("SuccessCriteriaMet {reached}"), format!("Complete {reached}")]);
    assert_eq!(world.told, ["Completed"]);
    assert!(world.status().completion_time.is_some());
    assert!(world.pods.iter().all(|pod| !is_tracked(pod)));
}

#[test]
fn failed_pods_are_replaced_after_a_wait_that_doubles_until_there_are_too_many() {
    let mut world = job(|spec| spec.backoff_limit = Some(2));
    world.settle();
    for (failed, wait) in [(1, 10), (2, 20)] {
        world.end(1);
        assert_eq!(world.settle(), Some(Duration::from_secs(wait)));
        assert_eq!((world.active(), world.counts()), (0, (0, 0, failed)));
        world.now += 20;
        world.settle();
        assert_eq!(world.active(), 1);
    }
    world.end(1);
    world.settle();
    assert_eq!(world.counts(), (0, 0, 3));
    let exceeded = "BackoffLimitExceeded";
    assert_eq!(world.conditions(), [format!("FailureTarget {exceeded}"), format!("Failed {exceeded}")]);
    assert_eq!(world.told, [exceeded]);
}

#[test]
fn a_job_that_runs_too_long_stops_its_pods_before_it_has_failed() {
    let mut world = job(|spec| {
        (spec.completions, spec.parallelism, spec.active_deadline_seconds) = (Some(2), Some(2), Some(60));
    });
    assert_eq!(world.settle(), Some(Duration::from_secs(60)));
    world.now += 60;
    world.settle();
    assert_eq!(world.conditions(), ["FailureTarget DeadlineExceeded"], "two pods are still ending");
    world.reap();
    world.settle();
    assert_eq!(world.conditions(), ["FailureTarget DeadlineExceeded", "Failed DeadlineExceeded"]);
    assert_eq!((world.pods.len(), world.counts()), (0, (0, 0, 2)));
}

#[test]
fn pods_of_an_indexed_job_have_numbers_that_each_succeed_once() {
    let mut world = job(|spec| {
        (spec.completions, spec.parallelism) = (Some(3), Some(2));
        spec.completion_mode = Some("Indexed".into());
    });
    world.settle();
    let names = |world: &World| -> Vec<String> {
        let active = world.pods.iter().filter(|pod| facts::is_active(pod));
        active.map(|pod| pod.metadata.generate_name.clone().unwrap()).collect()
    };
    assert_eq!(names(&world), ["pi-0-", "pi-1-"]);
    let spec = world.pods[1].spec.clone().unwrap();
    assert_eq!(spec.hostname.as_deref(), Some("pi-1"));
    assert_eq!(spec.containers[0].env.as_ref().unwrap()[0].name, "JOB_COMPLETION_INDEX");
    world.end(1);
    world.settle();
    world.now += 10;
    world.settle();
    assert_eq!(names(&world), ["pi-1-", "pi-0-"], "the number that failed is tried again");
    world.end(0);
    world.settle();
    assert_eq!(world.status().completed_indexes.as_deref(), Some("1"));
    assert_eq!(names(&world), ["pi-0-", "pi-2-"]);
    world.end(0);
    world.end(0);
    world.settle();
    assert_eq!(world.status().completed_indexes.as_deref(), Some("0-2"));
    assert_eq!(world.counts(), (0, 3, 1));
    assert!(is_finished(&world.job));
}

#[test]
fn a_suspended_job_gives_up_its_pods_without_a_failure_and_begins_again() {
    let mut world = job(|spec| spec.parallelism = Some(2));
    world.job.spec.as_mut().unwrap().completions = Some(2);
    world.settle();
    world.job.spec.as_mut().unwrap().suspend = Some(true);
    world.settle();
    world.reap();
    world.settle();
    assert_eq!((world.pods.len(), world.counts()), (0, (0, 0, 0)));
    assert_eq!(world.conditions(), ["Suspended JobSuspended"]);
    assert_eq!(world.status().start_time, None);
    world.job.spec.as_mut().unwrap().suspend = Some(false);
    world.settle();
    assert_eq!((world.active(), world.conditions()), (2, vec![]));
    assert_eq!(world.told, ["Suspended", "Resumed"]);
}

#[test]
fn a_job_without_completions_ends_when_one_pod_has_succeeded_and_the_others_are_done() {
    let mut world = job(|spec| (spec.completions, spec.parallelism) = (None, Some(3)));
    world.settle();
    assert_eq!(world.active(), 3);
    world.end(0);
    world.settle();
    assert_eq!((world.active(), world.created), (2, 3), "nothing new is begun");
    world.end(0);
    world.end(1);
    world.settle();
    assert_eq!((world.counts(), is_finished(&world.job)), ((0, 2, 1), true));
}

#[test]
fn fewer_pods_at_once_are_no_failures() {
    let mut world = job(|spec| (spec.completions, spec.parallelism) = (Some(9), Some(4)));
    world.settle();
    world.job.spec.as_mut().unwrap().parallelism = Some(1);
    world.settle();
    world.reap();
    world.settle();
    assert_eq!((world.active(), world.counts()), (1, (1, 0, 0)));
}

#[test]
fn a_deleted_pod_is_a_failure_and_replaced_at_once_or_when_it_has_ended() {
    for (policy, replaced) in [("TerminatingOrFailed", true), ("Failed", false)] {
        let mut world = job(|spec| spec.pod_replacement_policy = Some(policy.into()));
        world.settle();
        let pod = world.pods[0].clone();
        world.delete(&pod);
        world.settle();
        world.now += 10;
        world.settle();
        assert_eq!(world.created == 2, replaced, "{policy}");
        assert_eq!(world.status().terminating, Some(1), "{policy}");
        world.reap();
        world.settle();
        world.now += 10;
        world.settle();
        assert_eq!((world.created, world.counts()), (2, (1, 0, 1)), "{policy}");
    }
}

#[test]
fn a_failure_policy_ignores_failures_or_ends_the_job() {
    let rule = |action: &str, code| PodFailurePolicyRule {
        action: action.into(),
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            operator: "In".into(),
            values: vec![code],
            container_name: None,
        }),
        on_pod_conditions: None,
    };
    let mut world = job(|spec| {
        let rules = vec![rule("Ignore", 3), rule("FailJob", 42)];
        spec.pod_failure_policy = Some(PodFailurePolicy { rules });
        spec.backoff_limit = Some(0);
    });
    world.settle();
    world.end(3);
    world.settle();
    world.now += 10;
    world.settle();
    assert_eq!((world.active(), world.counts()), (1, (1, 0, 0)));
    world.end(42);
    world.settle();
    assert_eq!(world.conditions(), ["FailureTarget PodFailurePolicy", "Failed PodFailurePolicy"]);
    let message = world.status().conditions.unwrap()[1].message.clone().unwrap();
    assert!(message.starts_with("Container c failed with exit code 42 for pod "), "{message}");
}

#[test]
fn a_finished_job_goes_when_its_time_is_over_and_others_are_not_ours() {
    let mut world = job(|spec| spec.ttl_seconds_after_finished = Some(100));
    world.settle();
    world.end(0);
    assert_eq!(world.settle(), Some(Duration::from_secs(100)));
    world.now += 100;
    assert_eq!(world.plan().actions, [Action::DeleteJob]);
    let foreign = job(|spec| spec.managed_by = Some("example.com/queue".into()));
    assert_eq!(foreign.plan(), Plan::default());
}

#[test]
fn new_pods_are_held_until_they_are_counted() {
    let mut world = job(|_| {});
    world.settle();
    assert_eq!(world.pods[0].metadata.finalizers, Some(vec![TRACKING.to_owned()]));
    world.end(0);
    let first = world.plan();
    let noted = first.status.as_ref().unwrap().uncounted_terminated_pods.clone().unwrap();
    assert_eq!(noted.succeeded, Some(vec!["p1".to_owned()]));
    // The write after the status fails: the next pass lets the pod go all the same.
    world.job.status = first.status;
    assert_eq!(world.plan().actions.len(), 1);
    world.settle();
    assert_eq!(world.counts(), (0, 1, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever becomes of its pods, a Job comes to rest after each change, every end is counted once, and it is complete
    /// or has failed in the end.
    #[test]
    fn every_job_ends(
        completions in 0..6_i32, parallelism in 1..5_i32, limit in 0..4_i32, indexed in any::<bool>(),
        steps in proptest::collection::vec(0..5_u8, 0..40),
    ) {
        let mut world = job(|spec| {
            (spec.completions, spec.parallelism, spec.backoff_limit) = (Some(completions), Some(parallelism), Some(limit));
            spec.completion_mode = indexed.then(|| "Indexed".to_owned());
        });
        let (mut succeeded, mut failed) = (0, 0);
        for step in steps.into_iter().chain(std::iter::repeat_n(0, 20)) {
            world.settle();
            world.now += 601;
            world.settle();
            prop_assert!(world.active() <= usize::try_from(parallelism).unwrap());
            if world.active() == 0 {
                world.reap();
                continue;
            }
            match step {
                0..=2 => { world.end(0); succeeded += 1; }
                3 => { world.end(1); failed += 1; }
                _ => {
                    let pod = world.pods.iter().find(|pod| facts::is_active(pod)).unwrap().clone();
                    world.delete(&pod);
                    world.settle();
                    world.reap();
                    failed += 1;
                }
            }
        }
        world.reap();
        world.settle();
        prop_assert!(is_finished(&world.job), "{:?}", world.status());
        let (active, counted_succeeded, counted_failed) = world.counts();
        prop_assert_eq!((active, counted_succeeded), (0, succeeded));
        // Those that were running when the Job was given up are counted as well.
        prop_assert!(counted_failed >= failed && counted_failed <= failed + parallelism);
    }
}
