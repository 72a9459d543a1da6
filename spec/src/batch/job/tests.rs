//! Jobs: defaults, messages, updates, rows.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, check_stored, check_update, create, update};

const MINIMAL: &str = "
metadata: {name: pi}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: pi, image: pi:v1}]}
";

#[test]
fn a_minimal_job_runs_one_pod_and_finds_it_by_its_uid() {
    check_stored::<Job>(
        MINIMAL,
        expect![[r#"
            metadata:
              generation: 1
              name: pi
            spec:
              backoffLimit: 6
              completionMode: NonIndexed
              completions: 1
              parallelism: 1
              podReplacementPolicy: TerminatingOrFailed
              selector:
                matchLabels:
                  batch.kubernetes.io/controller-uid: uid-1
              suspend: false
              template:
                metadata:
                  labels:
                    batch.kubernetes.io/controller-uid: uid-1
                    batch.kubernetes.io/job-name: pi
                    controller-uid: uid-1
                    job-name: pi
                spec:
                  containers:
                  - image: pi:v1
                    imagePullPolicy: IfNotPresent
                    name: pi
                    resources: {}
                    terminationMessagePath: /dev/termination-log
                    terminationMessagePolicy: File
                  dnsPolicy: ClusterFirst
                  restartPolicy: Never
                  schedulerName: default-scheduler
                  securityContext: {}
                  terminationGracePeriodSeconds: 30
            status: {}
        "#]],
    );
}

#[test]
fn broken_jobs_are_told_what_is_wrong() {
    check_invalid::<Job>(
        "
metadata: {name: pi}
spec:
  parallelism: -1
  backoffLimit: -1
  completionMode: Indexed
  selector: {matchLabels: {app: pi}}
  template: {spec: {containers: [{name: pi, image: pi:v1}]}}
",
        expect![[r#"
            spec.parallelism: Invalid value: -1: must be greater than or equal to 0
            spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0
            spec.completions: Required value: when completion mode is Indexed
            spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
            spec.selector: Invalid value: {"matchLabels":{"app":"pi"}}: `selector` not auto-generated
            spec.template.metadata.labels: Invalid value: {"batch.kubernetes.io/controller-uid":"uid-1","batch.kubernetes.io/job-name":"pi","controller-uid":"uid-1","job-name":"pi"}: `selector` does not match template `labels`"#]],
    );
    check_invalid::<Job>(
        "
metadata: {name: pi}
spec:
  podReplacementPolicy: TerminatingOrFailed
  podFailurePolicy:
    rules:
    - {action: FailJob, onExitCodes: {containerName: other, operator: In, values: [0, 3, 3]}}
    - {action: Explode}
    - {action: Ignore, onPodConditions: [{type: DisruptionTarget, status: Maybe}]}
  template: {spec: {restartPolicy: OnFailure, containers: [{name: pi, image: pi:v1}]}}
",
        expect![[r#"
            spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"
            spec.podFailurePolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified
            spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator
            spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3
            spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "other": must be one of the container or initContainer names in the pod template
            spec.podFailurePolicy.rules[1].action: Unsupported value: "Explode": supported values: "Count", "FailJob", "Ignore"
            spec.podFailurePolicy.rules[1]: Invalid value: {"action":"Explode"}: specifying one of OnExitCodes and OnPodConditions is required
            spec.podFailurePolicy.rules[2].onPodConditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown""#]],
    );
}

#[test]
fn fields_without_effect_are_warned_of() {
    let limited = MINIMAL.replace("spec:\n  template", "spec:\n  backoffLimitPerIndex: 1\n  template");
    let warnings = create::<Job>(&limited).unwrap().warnings();
    assert_eq!(warnings, ["spec.backoffLimitPerIndex: stored, but has no effect yet"]);
}

#[test]
fn a_job_that_runs_keeps_its_template_and_may_change_its_pace() {
    let created = create::<Job>(MINIMAL).unwrap();
    let manifest = |change: fn(&mut Job)| {
        let mut job = created.get::<Job>().unwrap().clone();
        job.metadata = ObjectMeta { name: job.metadata.name, ..ObjectMeta::default() };
        change(&mut job);
        serde_saphyr::to_string(&serde_json::to_value(job).unwrap()).unwrap()
    };
    let image = |job: &mut Job| {
        job.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].image = Some("pi:v2".into());
    };
    let message = update::<Job>(MINIMAL, &manifest(image), Target::Main).unwrap_err().message;
    assert!(
        message.contains("spec.template: Invalid value") && message.ends_with("field is immutable"),
        "{message}"
    );
    let faster = manifest(|job| job.spec.as_mut().unwrap().parallelism = Some(5));
    assert_eq!(update::<Job>(MINIMAL, &faster, Target::Main).unwrap().meta().generation, Some(2));
    check_update::<Job>(
        MINIMAL,
        &manifest(|job| job.spec.as_mut().unwrap().completions = Some(5)),
        Target::Main,
        expect![[r#"Job.batch "pi" is invalid: spec.completions: Invalid value: 5: field is immutable"#]],
    );
}

#[test]
fn a_job_is_a_row_and_is_found_by_its_successes() {
    let running = format!("{MINIMAL}\nstatus: {{succeeded: 0, startTime: '2025-12-31T23:59:00Z'}}");
    let row = |status: &str| {
        let observed = format!("{MINIMAL}\nstatus: {status}");
        let cells = update::<Job>(MINIMAL, &observed, Target::Status).unwrap().cells(crate::testing::now());
        serde_json::to_string(&cells[1..4]).unwrap()
    };
    check_row::<Job>(
        update::<Job>(MINIMAL, &running, Target::Status).unwrap().as_ref(),
        expect![[r#"
        Name: "pi"
        Status: "Running"
        Completions: "0/1"
        Duration: "60s"
        Age: "0s"
        Containers*: "pi"
        Images*: "pi:v1"
        Selector*: "batch.kubernetes.io/controller-uid=uid-1""#]],
    );
    let complete = "{succeeded: 1, startTime: '2025-12-31T23:59:00Z', completionTime: '2025-12-31T23:59:07Z', \
                    conditions: [{type: Complete, status: 'True'}]}";
    assert_eq!(row(complete), r#"["Complete","1/1","7s"]"#);
    let failed = "{startTime: '2025-12-31T23:59:00Z', \
                  conditions: [{type: Failed, status: 'True', lastTransitionTime: '2025-12-31T23:59:09Z'}]}";
    assert_eq!(row(failed), r#"["Failed","0/1","9s"]"#);
    assert_eq!(row("{conditions: [{type: Suspended, status: 'True'}]}"), r#"["Suspended","0/1",""]"#);
    let observed = update::<Job>(MINIMAL, &format!("{MINIMAL}\nstatus: {complete}"), Target::Status).unwrap();
    assert_eq!(observed.field("status.successful").as_deref(), Some("1"));
}
