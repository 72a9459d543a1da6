//! Statuses as a client reads them, for pods in every state of their life.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::agent::pod::{Blocked, Failure, Phase, Running, Slot, Termination, WaitingReason};

fn at(seconds: i64) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs(seconds.unsigned_abs())
}

fn pod(spec: Value) -> PodState {
    let meta = json!({"name": "p", "namespace": "ns", "uid": "u", "generation": 1});
    let pod: Pod = serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap();
    let mut state = PodState::first_seen(Arc::new(pod), at(0));
    state.address = Some("127.42.0.1".parse().unwrap());
    state
}

fn single(policy: &str) -> PodState {
    pod(json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "registry.local/a:v1"}]}))
}

fn running() -> Phase {
    Phase::Running(Running { id: "wasmtime://1".into(), started_at: at(1) })
}

fn ended(exit_code: i32, reason: &str) -> Phase {
    Phase::Terminated(Termination {
        id: "wasmtime://1".into(),
        exit_code,
        reason: reason.into(),
        message: "m".into(),
        started_at: Some(at(1)),
        finished_at: at(2),
    })
}

fn status_at(pod: &PodState, seconds: i64) -> PodStatus {
    pod_status(pod, "127.0.0.1".parse().unwrap(), &PodStatus::default(), at(seconds))
}

fn condition(status: &PodStatus, kind: &str) -> String {
    let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == kind).unwrap();
    let reason = condition.reason.as_deref().unwrap_or_default();
    let message = condition.message.as_deref().unwrap_or_default();
    [condition.status.as_str(), reason, message].join(" ").trim_end().to_owned()
}

fn waiting(status: &PodStatus) -> String {
    let state = status.container_statuses.as_ref().unwrap()[0].state.clone().unwrap();
    let waiting = state.waiting.clone().unwrap_or_else(|| panic!("{state:?}"));
    [waiting.reason.unwrap(), waiting.message.unwrap_or_default()].join(": ")
}

#[test]
fn a_running_pod_is_ready() {
    let mut pod = single("Always");
    pod.containers[0] = crate::agent::pod::ContainerState {
        phase: running(),
        started: true,
        ready: true,
        image_id: "registry.local/a@sha256:0".into(),
        ..pod.containers[0].clone()
    };
    let status = serde_json::to_value(status_at(&pod, 3)).unwrap();
    let time = "2026-01-01T00:00:03Z";
    let holds = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": time, "observedGeneration": 1});
    let want = json!({
        "phase": "Running", "podIP": "127.42.0.1", "podIPs": [{"ip": "127.42.0.1"}],
        "hostIP": "127.0.0.1", "hostIPs": [{"ip": "127.0.0.1"}], "startTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
        "conditions": [holds("PodReadyToStartContainers"), holds("Initialized"), holds("Ready"),
                       holds("ContainersReady"), holds("PodScheduled")],
        "containerStatuses": [{
            "name": "c", "image": "registry.local/a:v1", "imageID": "registry.local/a@sha256:0",
            "containerID": "wasmtime://1", "ready": true, "started": true, "restartCount": 0,
            "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}, "lastState": {}}]
    });
    assert_eq!(status, want);
}

#[test]
fn phases_follow_the_containers_and_the_policy() {
    for (policy, phase, want) in [
        ("Always", Phase::Waiting { blocked: None }, "Pending"),
        ("Always", Phase::Starting { since: at(0) }, "Pending"),
        ("Always", running(), "Running"),
        ("Always", ended(1, "Error"), "Running"),
        ("Always", ended(0, "Completed"), "Running"),
        ("OnFailure", ended(1, "Error"), "Running"),
        ("OnFailure", ended(0, "Completed"), "Succeeded"),
        ("Never", ended(0, "Completed"), "Succeeded"),
        ("Never", ended(137, "OOMKilled"), "Failed"),
    ] {
        let mut pod = single(policy);
        pod.containers[0].phase = phase.clone();
        assert_eq!(status_at(&pod, 3).phase.as_deref(), Some(want), "{policy} {phase:?}");
    }
}

#[test]
fn conditions_say_why_a_pod_is_not_ready() {
    let mut pod = single("Never");
    let not_ready = "False ContainersNotReady containers with unready status: [c]";
    assert_eq!(condition(&status_at(&pod, 3), "Ready"), not_ready);
    assert_eq!(condition(&status_at(&pod, 3), "ContainersReady"), not_ready);
    pod.containers[0].phase = ended(0, "Completed");
    assert_eq!(condition(&status_at(&pod, 3), "Ready"), "False PodCompleted");
    pod.containers[0].phase = ended(1, "Error");
    assert_eq!(condition(&status_at(&pod, 3), "Ready"), "False PodFailed");
}

#[test]
fn init_containers_are_named_until_they_are_done() {
    let mut pod =
        pod(json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "c"}]}));
    pod.containers[0].phase = ended(0, "Completed");
    let status = status_at(&pod, 3);
    let want = "False ContainersNotInitialized containers with incomplete status: [j]";
    assert_eq!(condition(&status, "Initialized"), want);
    assert_eq!(waiting(&status), "PodInitializing: ");
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert!(status.init_container_statuses.unwrap()[0].ready);
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let mut pod = pod(
        json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}], "containers": [{"name": "c"}]}),
    );
    pod.containers[0].phase = ended(1, "Error");
    assert_eq!(status_at(&pod, 3).phase.as_deref(), Some("Failed"));
}

#[test]
fn a_failed_pull_becomes_a_back_off() {
    let mut pod = single("Always");
    let blocked = Blocked {
        reason: WaitingReason::ErrImagePull,
        message: "not found".into(),
        since: at(0),
        retry_at: at(10),
    };
    pod.containers[0].phase = Phase::Waiting { blocked: Some(blocked) };
    assert_eq!(waiting(&status_at(&pod, 1)), "ErrImagePull: not found");
    let want = r#"ImagePullBackOff: Back-off pulling image "registry.local/a:v1": ErrImagePull: not found"#;
    assert_eq!(waiting(&status_at(&pod, 2)), want);
}

#[test]
fn a_crash_loop_shows_the_wait_and_the_last_end() {
    let mut pod = single("Always");
    pod.containers[0].phase = ended(1, "Error");
    pod.containers[0].crashes.advance(at(0), at(0));
    pod.containers[0].crashes.advance(at(1), at(1));
    let status = status_at(&pod, 3);
    assert_eq!(waiting(&status), "CrashLoopBackOff: back-off 20s restarting failed container=c pod=p_ns(u)");
    let last = status.container_statuses.unwrap()[0].last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.message.as_deref()), (1, Some("m")));
    assert_eq!(status.phase.as_deref(), Some("Running"));
}

#[test]
fn a_failed_pod_says_why() {
    let mut pod = single("Always");
    pod.containers[0].phase = ended(137, "Error");
    pod.failure = Some(Failure { reason: "DeadlineExceeded", message: "too long".into() });
    let status = status_at(&pod, 3);
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(
        (status.reason.as_deref(), status.message.as_deref()),
        (Some("DeadlineExceeded"), Some("too long"))
    );
}

#[test]
fn readiness_gates_hold_a_pod_back() {
    let mut pod = pod(json!({"readinessGates": [{"conditionType": "x/y"}], "containers": [{"name": "c"}]}));
    let container = pod.container_mut(Slot(0));
    (container.phase, container.started, container.ready) = (running(), true, true);
    let want =
        r#"False ReadinessGatesNotReady corresponding condition of pod readiness gate "x/y" does not exist."#;
    assert_eq!(condition(&status_at(&pod, 3), "Ready"), want);
    let gate: PodStatus =
        serde_json::from_value(json!({"conditions": [{"type": "x/y", "status": "True"}]})).unwrap();
    let status = pod_status(&pod, "127.0.0.1".parse().unwrap(), &gate, at(3));
    assert_eq!(condition(&status, "Ready"), "True");
    assert_eq!(condition(&status, "x/y"), "True", "the condition of others is kept");
}

#[test]
fn times_of_conditions_move_only_with_them() {
    let mut pod = single("Always");
    let first = status_at(&pod, 3);
    let again = pod_status(&pod, "127.0.0.1".parse().unwrap(), &first, at(9));
    assert_eq!(patch(&first, &again, "u"), None);
    let container = pod.container_mut(Slot(0));
    (container.phase, container.started, container.ready) = (running(), true, true);
    let ready = pod_status(&pod, "127.0.0.1".parse().unwrap(), &first, at(9));
    let time = |status: &PodStatus, kind: &str| {
        let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == kind).unwrap();
        condition.last_transition_time.clone().unwrap().0
    };
    assert_eq!(time(&ready, "Initialized"), at(3));
    assert_eq!(time(&ready, "Ready"), at(9));
}

#[test]
fn a_patch_holds_only_what_changed() {
    let old: PodStatus = serde_json::from_value(json!({"phase": "Pending", "message": "x", "conditions": [
        {"type": "A", "status": "True"}, {"type": "B", "status": "False", "reason": "R"}]}))
    .unwrap();
    let new: PodStatus = serde_json::from_value(json!({"phase": "Running", "conditions": [
        {"type": "A", "status": "True"}, {"type": "B", "status": "True"}]}))
    .unwrap();
    let patch: Value = serde_json::from_slice(&patch(&old, &new, "u").unwrap()).unwrap();
    let want = json!({"metadata": {"uid": "u"}, "status": {"phase": "Running", "message": null,
        "conditions": [{"type": "B", "status": "True", "reason": null}]}});
    assert_eq!(patch, want);
}

#[test]
fn an_address_that_changed_replaces_the_old_one() {
    let with = |ip: &str| -> PodStatus { serde_json::from_value(json!({"podIPs": [{"ip": ip}]})).unwrap() };
    let patch: Value =
        serde_json::from_slice(&patch(&with("1.1.1.1"), &with("2.2.2.2"), "u").unwrap()).unwrap();
    assert_eq!(patch["status"]["podIPs"], json!([{"$patch": "replace"}, {"ip": "2.2.2.2"}]));
}
