//! Plans of pods in every state of their life.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::*;
use crate::agent::pod::{Blocked, Running, WaitingReason};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn pod(spec: serde_json::Value) -> PodState {
    let pod: Pod = serde_json::from_value(
        json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec}),
    )
    .unwrap();
    let mut state = PodState::first_seen(Arc::new(pod), at(0));
    state.address = Some("127.42.0.1".parse().unwrap());
    state
}

fn single(policy: &str) -> PodState {
    pod(json!({"restartPolicy": policy, "containers": [{"name": "c"}]}))
}

fn with_init() -> PodState {
    pod(json!({"initContainers": [{"name": "i1"}, {"name": "i2"}], "containers": [{"name": "c"}]}))
}

fn with_sidecar() -> PodState {
    pod(json!({"restartPolicy": "Never", "initContainers": [{"name": "s", "restartPolicy": "Always"}],
               "containers": [{"name": "c"}]}))
}

fn running() -> Phase {
    Phase::Running(Running { id: "id".into(), started_at: at(0) })
}

fn ended(exit_code: i32) -> Phase {
    let (id, reason, message) = ("id".into(), "Error".into(), String::new());
    Phase::Terminated(Termination { id, exit_code, reason, message, started_at: None, finished_at: at(0) })
}

fn delete(pod: &mut PodState, deadline: Timestamp) {
    Arc::make_mut(&mut pod.pod).metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(deadline));
}

fn actions(pod: &PodState) -> Vec<Action> {
    plan(pod, at(0)).actions
}

const C: Slot = Slot(0);

#[test]
fn a_new_pod_gets_an_address_and_starts() {
    let mut pod = single("Always");
    pod.address = None;
    assert_eq!(actions(&pod), [Action::AssignAddress, Action::Start(C)]);
}

#[test]
fn a_pod_that_is_as_it_should_be_needs_nothing() {
    let mut pod = single("Always");
    for phase in [Phase::Starting { since: at(0) }, running()] {
        pod.containers[0].phase = phase;
        assert_eq!(plan(&pod, at(0)), Plan::default());
    }
}

#[test]
fn the_restart_policy_decides_what_starts_again() {
    for (policy, exit_code, again) in [
        ("Always", 0, true),
        ("Always", 1, true),
        ("OnFailure", 0, false),
        ("OnFailure", 1, true),
        ("Never", 0, false),
        ("Never", 1, false),
    ] {
        let mut pod = single(policy);
        pod.containers[0].phase = ended(exit_code);
        let want = if again { vec![Action::Start(C)] } else { vec![] };
        assert_eq!(actions(&pod), want, "{policy} {exit_code}");
    }
}

#[test]
fn a_crashing_container_waits_for_its_back_off() {
    let mut pod = single("Always");
    pod.containers[0].phase = ended(1);
    pod.containers[0].crashes.advance(at(-1), at(-1));
    assert_eq!(plan(&pod, at(9)), Plan { actions: vec![], wake_at: Some(at(10)) });
    assert_eq!(plan(&pod, at(10)).actions, [Action::Start(C)]);
}

#[test]
fn a_blocked_start_is_tried_again_in_time() {
    let mut pod = single("Always");
    let (reason, message) = (WaitingReason::ErrImagePull, "no".to_owned());
    let blocked = Blocked { reason, message, since: at(0), retry_at: at(10) };
    pod.containers[0].phase = Phase::Waiting { blocked: Some(blocked) };
    assert_eq!(plan(&pod, at(0)), Plan { actions: vec![], wake_at: Some(at(10)) });
    assert_eq!(plan(&pod, at(10)).actions, [Action::Start(C)]);
}

#[test]
fn init_containers_run_one_after_the_other() {
    let mut pod = with_init();
    assert_eq!(actions(&pod), [Action::Start(Slot(0))]);
    pod.containers[0].phase = running();
    assert_eq!(actions(&pod), []);
    pod.containers[0].phase = ended(1);
    assert_eq!(actions(&pod), [Action::Start(Slot(0))], "a failed one is tried again");
    pod.containers[0].phase = ended(0);
    assert_eq!(actions(&pod), [Action::Start(Slot(1))]);
    pod.containers[1].phase = ended(0);
    assert_eq!(actions(&pod), [Action::Start(Slot(2))]);
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let mut pod = pod(json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}],
                             "containers": [{"name": "c"}]}));
    pod.containers[0].phase = ended(1);
    assert_eq!(actions(&pod), []);
}

#[test]
fn a_sidecar_runs_beside_and_ends_after_the_others() {
    let mut pod = with_sidecar();
    assert_eq!(actions(&pod), [Action::Start(Slot(0))]);
    pod.containers[0].phase = running();
    assert_eq!(actions(&pod), [], "not started yet by its probe");
    pod.containers[0].started = true;
    assert_eq!(actions(&pod), [Action::Start(Slot(1))]);
    pod.containers[1].phase = running();
    pod.containers[0].phase = ended(0);
    assert_eq!(actions(&pod), [Action::Start(Slot(0))], "it is kept up");
    pod.containers[0].phase = running();
    pod.containers[1].phase = ended(0);
    let stop = Action::Stop { slot: Slot(0), deadline: at(30), cause: StopCause::PodEnds };
    assert_eq!(actions(&pod), [stop]);
}

#[test]
fn deletion_stops_within_the_grace_that_is_left_and_then_removes() {
    let mut pod = single("Always");
    pod.containers[0].phase = running();
    delete(&mut pod, at(20));
    let stop = |seconds| Action::Stop { slot: C, deadline: at(seconds), cause: StopCause::PodEnds };
    assert_eq!(actions(&pod), [stop(20)]);
    assert_eq!(plan(&pod, at(25)).actions, [stop(25)]);
    let running = Running { id: "id".into(), started_at: at(0) };
    pod.containers[0].phase = Phase::Stopping { running, deadline: at(20) };
    assert_eq!(actions(&pod), []);
    delete(&mut pod, at(5));
    assert_eq!(actions(&pod), [stop(5)], "a second deletion shortens the grace");
    pod.containers[0].phase = ended(0);
    assert_eq!(actions(&pod), [Action::Delete]);
    pod.removed = true;
    assert_eq!(actions(&pod), [Action::Forget]);
}

#[test]
fn deletion_waits_for_a_start_under_way() {
    let mut pod = single("Always");
    pod.containers[0].phase = Phase::Starting { since: at(0) };
    delete(&mut pod, at(20));
    assert_eq!(actions(&pod), []);
}

#[test]
fn deletion_stops_a_sidecar_last() {
    let mut pod = with_sidecar();
    pod.containers[0].phase = running();
    pod.containers[1].phase = running();
    delete(&mut pod, at(20));
    let stop = |slot| Action::Stop { slot, deadline: at(20), cause: StopCause::PodEnds };
    assert_eq!(actions(&pod), [stop(Slot(1))]);
    pod.containers[1].phase = ended(0);
    assert_eq!(actions(&pod), [stop(Slot(0))]);
}

#[test]
fn an_object_removed_by_force_leaves_no_grace() {
    let mut pod = single("Always");
    pod.containers[0].phase = running();
    pod.removed = true;
    let stop = Action::Stop { slot: C, deadline: at(0), cause: StopCause::PodEnds };
    assert_eq!(actions(&pod), [stop]);
}

#[test]
fn a_deadline_fails_the_pod() {
    let mut pod = pod(json!({"activeDeadlineSeconds": 5, "containers": [{"name": "c"}]}));
    pod.containers[0].phase = running();
    assert_eq!(plan(&pod, at(4)).wake_at, Some(at(5)));
    let failed = plan(&pod, at(5));
    let [Action::Fail(failure)] = failed.actions.as_slice() else { panic!("{failed:?}") };
    assert_eq!(failure.reason, "DeadlineExceeded");
    pod.failure = Some(failure.clone());
    let stop = Action::Stop { slot: C, deadline: at(35), cause: StopCause::PodEnds };
    assert_eq!(plan(&pod, at(5)).actions, [stop]);
    pod.containers[0].phase = ended(137);
    assert_eq!(plan(&pod, at(5)), Plan::default(), "the failed pod stays, with nothing more to do");
}

#[test]
fn a_container_that_fails_its_probe_is_stopped_and_started_again() {
    let mut pod = single("Always");
    pod.containers[0].phase = running();
    pod.containers[0].unhealthy = Some("Liveness probe failed".into());
    let stop = Action::Stop { slot: C, deadline: at(30), cause: StopCause::Unhealthy };
    assert_eq!(actions(&pod), [stop]);
}

#[test]
fn what_the_api_says_ran_is_started_again_after_a_restart_of_the_agent() {
    let status = json!({"phase": "Running", "podIP": "127.42.0.9", "containerStatuses": [
        {"name": "c", "image": "i", "imageID": "d", "ready": true, "restartCount": 2, "containerID": "wasmtime://x",
         "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]});
    let pod: Pod =
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]},
                                                 "status": status}))
        .unwrap();
    let state = PodState::first_seen(Arc::new(pod), at(0));
    assert_eq!(state.address, Some("127.42.0.9".parse().unwrap()));
    assert_eq!(state.containers[0].restarts, 2);
    let Phase::Terminated(end) = &state.containers[0].phase else { panic!() };
    assert_eq!((end.exit_code, end.reason.as_str()), (137, "ContainerStatusUnknown"));
    assert_eq!(actions(&state), [Action::Start(C)]);
}

#[test]
fn a_pod_in_a_final_phase_is_left_alone() {
    let pod: Pod =
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]},
                                                 "status": {"phase": "Failed"}}))
        .unwrap();
    assert_eq!(plan(&PodState::first_seen(Arc::new(pod), at(0)), at(0)), Plan::default());
}
