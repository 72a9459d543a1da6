//! Pods as rows: above all, the words of the Status column.

use expect_test::expect;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::table::Cell;
use crate::testing::{check_row, create, now};

/// The Ready, Status and Restarts cells of a pod of two containers and, in `init`, more.
fn shown(init: &str, meta: &str, status: &str) -> String {
    let yaml = format!(
        "{{metadata: {{name: web}}, spec: {{initContainers: {init}, containers: [{{name: a, image: a}}, {{name: b, image: b}}]}}}}"
    );
    let mut object = create::<Pod>(&yaml).unwrap();
    let pod = object.get_mut::<Pod>().unwrap();
    let status: serde_json::Value = serde_saphyr::from_str(status).unwrap();
    pod.status = Some(serde_json::from_value(status).unwrap());
    if meta == "deleted" {
        pod.metadata.deletion_timestamp = pod.metadata.creation_timestamp.clone();
    }
    let cells = object.cells(now());
    let text = |index: usize| match &cells[index] {
        Cell::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    format!("{} {} {}", text(1), text(2), text(3))
}

#[test]
fn the_status_column_says_what_keeps_a_pod_from_running() {
    const RUNS: &str = "ready: true, restartCount: 0, state: {running: {}}";
    const DONE: &str = "ready: false, restartCount: 1, state: {terminated: {exitCode: 0, reason: Completed}}";
    let two = |a: &str, b: &str, more: &str| {
        format!("{{phase: Running, {more} containerStatuses: [{{name: a, {a}}}, {{name: b, {b}}}]}}")
    };
    for (status, expected) in [
        ("{phase: Pending}".to_owned(), "0/2 Pending 0"),
        ("{phase: Failed, reason: Evicted}".to_owned(), "0/2 Evicted 0"),
        (
            "{phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: SchedulingGated}]}"
                .to_owned(),
            "0/2 SchedulingGated 0",
        ),
        (two(RUNS, RUNS, ""), "2/2 Running 0"),
        (two(RUNS, "ready: false, restartCount: 0, state: {running: {}}", ""), "1/2 Running 0"),
        (two("restartCount: 0, state: {waiting: {reason: ErrImagePull}}", RUNS, ""), "1/2 ErrImagePull 0"),
        (
            two(
                "restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1, finishedAt: '2025-12-31T23:55:00Z'}}",
                "restartCount: 1, state: {waiting: {reason: ContainerCreating}}, lastState: {terminated: {exitCode: 1, finishedAt: '2025-12-31T23:50:00Z'}}",
                "",
            ),
            "0/2 CrashLoopBackOff 4 (5m ago)",
        ),
        (two(RUNS, DONE, "conditions: [{type: Ready, status: 'True'}],"), "1/2 Running 1"),
        (two(RUNS, DONE, ""), "1/2 NotReady 1"),
        (two(DONE, DONE, ""), "0/2 Completed 2"),
        (two(RUNS, "restartCount: 0, state: {terminated: {exitCode: 3}}", ""), "1/2 ExitCode:3 0"),
        (two(RUNS, "restartCount: 0, state: {terminated: {exitCode: 137, signal: 9}}", ""), "1/2 Signal:9 0"),
        (
            two(RUNS, "restartCount: 0, state: {terminated: {exitCode: 137, reason: OOMKilled}}", ""),
            "1/2 OOMKilled 0",
        ),
    ] {
        assert_eq!(shown("[]", "", &status), expected, "{status}");
    }
}

#[test]
fn the_status_column_says_how_far_initializing_is() {
    const INIT: &str = "[{name: i, image: i}, {name: s, image: s, restartPolicy: Always}]";
    const WAIT: &str = "restartCount: 0, state: {waiting: {reason: PodInitializing}}";
    let init = |i: &str, s: &str| {
        format!(
            "{{phase: Pending, initContainerStatuses: [{{name: i, {i}}}, {{name: s, {s}}}], containerStatuses: []}}"
        )
    };
    for (status, expected) in [
        (init(WAIT, WAIT), "0/3 Init:0/2 0"),
        (init("restartCount: 2, state: {terminated: {exitCode: 0}}", WAIT), "0/3 Init:1/2 2"),
        (
            init("restartCount: 1, state: {waiting: {reason: ImagePullBackOff}}", WAIT),
            "0/3 Init:ImagePullBackOff 1",
        ),
        (init("restartCount: 1, state: {terminated: {exitCode: 3}}", WAIT), "0/3 Init:ExitCode:3 1"),
        (init("restartCount: 1, state: {terminated: {exitCode: 9, signal: 9}}", WAIT), "0/3 Init:Signal:9 1"),
        (
            init("restartCount: 1, state: {terminated: {exitCode: 9, reason: Error}}", WAIT),
            "0/3 Init:Error 1",
        ),
        (
            init(
                "restartCount: 2, state: {terminated: {exitCode: 0}}",
                "restartCount: 5, ready: true, started: true, state: {running: {}}",
            ),
            "1/3 Pending 5",
        ),
    ] {
        assert_eq!(shown(INIT, "", &status), expected, "{status}");
    }
}

#[test]
fn a_pod_that_is_going_says_so() {
    assert_eq!(shown("[]", "deleted", "{phase: Running}"), "0/2 Terminating 0");
    assert_eq!(shown("[]", "deleted", "{phase: Succeeded}"), "0/2 Succeeded 0");
    assert_eq!(shown("[]", "deleted", "{phase: Running, reason: NodeLost}"), "0/2 Unknown 0");
}

#[test]
fn a_pod_is_a_row() {
    let mut object = create::<Pod>(
        "{metadata: {name: web}, spec: {nodeName: n1, readinessGates: [{conditionType: a}, {conditionType: b}], containers: [{name: web, image: hello}]}}",
    )
    .unwrap();
    assert!(object.row_conditions().is_empty());
    let status = json!({"phase": "Succeeded", "podIP": "127.42.0.2", "nominatedNodeName": "n2",
        "conditions": [{"type": "a", "status": "True"}, {"type": "b", "status": "False"}]});
    object.get_mut::<Pod>().unwrap().status = Some(serde_json::from_value(status).unwrap());
    object.set_defaults();
    check_row::<Pod>(
        object.as_ref(),
        expect![[r#"
        Name: "web"
        Ready: "0/1"
        Status: "Succeeded"
        Restarts: "0"
        Age: "0s"
        IP*: "127.42.0.2"
        Node*: "n1"
        Nominated Node*: "n2"
        Readiness Gates*: "1/2""#]],
    );
    expect![[r#"[{"type":"Completed","status":"True","reason":"Succeeded","message":"The pod has completed successfully."}]"#]].assert_eq(&serde_json::to_string(&object.row_conditions()).unwrap());
    for (label, value) in [
        ("spec.nodeName", "n1"),
        ("spec.host", "n1"),
        ("spec.restartPolicy", "Always"),
        ("spec.schedulerName", "default-scheduler"),
        ("spec.serviceAccountName", ""),
        ("spec.hostNetwork", "false"),
        ("status.phase", "Succeeded"),
        ("status.podIP", "127.42.0.2"),
        ("status.podIPs", "127.42.0.2"),
        ("status.nominatedNodeName", "n2"),
    ] {
        assert_eq!(object.field(label).as_deref(), Some(value), "{label}");
    }
}
