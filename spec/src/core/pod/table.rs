//! A pod as a row; the Status column tells more than the phase.
//!
//! Follows `pkg/printers/internalversion` (printPod): people and scripts know these words.

use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{condition, is_finished, phase};
use crate::table::{Cell, Column, RowCondition, age};

pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::NAME,
        Column::text("Ready", "Ready containers of all containers."),
        Column::text("Status", "Phase, or what keeps the pod from running."),
        Column::text("Restarts", "How often containers were restarted, and when last."),
        Column::AGE,
        Column::text("IP", "Address of the pod.").wide(),
        Column::text("Node", "Node that runs the pod.").wide(),
        Column::text("Nominated Node", "Node where room is being made for the pod.").wide(),
        Column::text("Readiness Gates", "Conditions that must hold besides ready containers.").wide(),
    ]
}

pub(super) fn cells(pod: &Pod, now: Timestamp) -> Vec<Cell> {
    let row = Row::of(pod);
    let restarts = match (row.restarts, &row.last_restart) {
        (count @ 1.., Some(last)) => format!("{count} ({} ago)", age(Some(last), now)),
        (count, _) => count.to_string(),
    };
    let status = pod.status.as_ref();
    let ip = status.and_then(|status| status.pod_ips.as_ref()?.first()).map(|ip| ip.ip.as_str());
    vec![
        Cell::from(pod.metadata.name.as_deref()),
        Cell::from(format!("{}/{}", row.ready, row.total)),
        Cell::from(row.reason),
        Cell::from(restarts),
        Cell::from(age(pod.metadata.creation_timestamp.as_ref(), now)),
        Cell::from(or_none(ip)),
        Cell::from(or_none(pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()))),
        Cell::from(or_none(status.and_then(|status| status.nominated_node_name.as_deref()))),
        Cell::from(readiness_gates(pod)),
    ]
}

pub(super) fn row_conditions(pod: &Pod) -> Vec<RowCondition> {
    let (reason, message) = match phase(pod) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return Vec::new(),
    };
    vec![RowCondition { kind: "Completed", status: "True", reason, message }]
}

fn or_none(text: Option<&str>) -> &str {
    text.filter(|text| !text.is_empty()).unwrap_or("<none>")
}

fn readiness_gates(pod: &Pod) -> String {
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = |kind: &str| condition(pod, kind).is_some_and(|condition| condition.status == "True");
    let open = gates.iter().filter(|gate| open(&gate.condition_type)).count();
    format!("{open}/{}", gates.len())
}

/// What the statuses of the containers come to.
struct Row {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i32,
    last_restart: Option<Time>,
}

impl Row {
    fn of(pod: &Pod) -> Row {
        let mut row =
            Row { ready: 0, total: 0, reason: initial_reason(pod), restarts: 0, last_restart: None };
        let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let sidecars = init.filter(|container| is_sidecar(container)).count();
        row.total = sidecars + pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
        let initializing = row.read_init(pod);
        if !initializing || is_true(pod, "Initialized") {
            row.read_containers(pod);
        }
        if pod.metadata.deletion_timestamp.is_some() {
            let lost = pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("NodeLost");
            if lost {
                row.reason = "Unknown".to_owned();
            } else if !is_finished(pod) {
                row.reason = "Terminating".to_owned();
            }
        }
        row
    }

    /// Reads the init containers up to the first that is not done; true when there is one.
    fn read_init(&mut self, pod: &Pod) -> bool {
        let specs = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
        let statuses = pod.status.as_ref().and_then(|status| status.init_container_statuses.as_deref());
        for (index, status) in statuses.unwrap_or_default().iter().enumerate() {
            self.count_restarts(status);
            let sidecar = specs.iter().any(|spec| spec.name == status.name && is_sidecar(spec));
            let empty = ContainerState::default();
            let state = status.state.as_ref().unwrap_or(&empty);
            if state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0) {
                continue;
            }
            if sidecar && status.started == Some(true) {
                self.ready += usize::from(status.ready);
                continue;
            }
            let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
            self.reason = match (ended_reason(state), waiting) {
                (Some(ended), _) => format!("Init:{ended}"),
                (None, Some(why)) if !why.is_empty() && why != "PodInitializing" => format!("Init:{why}"),
                _ => format!("Init:{index}/{}", specs.len()),
            };
            return true;
        }
        false
    }

    /// Reads the containers, from the last to the first: the first one's reason wins.
    fn read_containers(&mut self, pod: &Pod) {
        self.keep_only_sidecar_restarts(pod);
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
        let mut running = false;
        for status in statuses.unwrap_or_default().iter().rev() {
            self.count_restarts(status);
            let Some(state) = &status.state else { continue };
            let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
            if let Some(why) = waiting.filter(|why| !why.is_empty()).or_else(|| ended_reason(state)) {
                self.reason = why;
            } else if status.ready && state.running.is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            self.reason = if is_true(pod, "Ready") { "Running" } else { "NotReady" }.to_owned();
        }
    }

    /// Once the pod runs, the restarts of what initialized it no longer matter.
    fn keep_only_sidecar_restarts(&mut self, pod: &Pod) {
        (self.restarts, self.last_restart) = (0, None);
        let specs = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
        let statuses = pod.status.as_ref().and_then(|status| status.init_container_statuses.as_deref());
        for status in statuses.unwrap_or_default() {
            if specs.iter().any(|spec| spec.name == status.name && is_sidecar(spec)) {
                self.count_restarts(status);
            }
        }
    }

    fn count_restarts(&mut self, status: &ContainerStatus) {
        self.restarts += status.restart_count;
        let ended = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let finished = ended.and_then(|ended| ended.finished_at.clone());
        self.last_restart = self.last_restart.take().max(finished);
    }
}

fn initial_reason(pod: &Pod) -> String {
    if condition(pod, "PodScheduled").is_some_and(|c| c.reason.as_deref() == Some("SchedulingGated")) {
        return "SchedulingGated".to_owned();
    }
    let reason = pod.status.as_ref().and_then(|status| status.reason.as_deref()).unwrap_or_default();
    if reason.is_empty() { phase(pod).to_owned() } else { reason.to_owned() }
}

fn ended_reason(state: &ContainerState) -> Option<String> {
    let ended = state.terminated.as_ref()?;
    Some(match (ended.reason.as_deref().unwrap_or_default(), ended.signal.unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", ended.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    })
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn is_true(pod: &Pod, kind: &str) -> bool {
    condition(pod, kind).is_some_and(|condition| condition.status == "True")
}

/// Names of the containers as the tables of workloads show them.
pub(crate) fn container_names(spec: Option<&PodSpec>) -> String {
    let names = spec.into_iter().flat_map(|spec| spec.containers.iter().map(|c| c.name.as_str()));
    names.collect::<Vec<_>>().join(",")
}

/// Images of the containers as the tables of workloads show them.
pub(crate) fn images(spec: Option<&PodSpec>) -> String {
    let containers = spec.into_iter().flat_map(|spec| spec.containers.iter());
    containers.map(|c| c.image.as_deref().unwrap_or_default()).collect::<Vec<_>>().join(",")
}
