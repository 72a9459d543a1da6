//! The conditions of a pod that its node owns. Those of others (the scheduler's, readiness gates) stay as they are.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::phase::Phase;
use crate::agent::pod::{Phase as Container, PodState, Role, spec};

/// What a condition says, without its times.
struct Verdict {
    kind: &'static str,
    failing: Option<(&'static str, String)>,
}

impl Verdict {
    fn holds(kind: &'static str) -> Self {
        Self { kind, failing: None }
    }

    fn fails(kind: &'static str, reason: &'static str, message: String) -> Self {
        Self { kind, failing: Some((reason, message)) }
    }
}

pub(super) fn conditions(
    pod: &PodState,
    phase: &Phase,
    main: &[ContainerStatus],
    previous: &PodStatus,
    now: Timestamp,
) -> Vec<PodCondition> {
    let containers_ready = containers_ready(phase, main);
    let ready = ready(pod, &containers_ready, previous);
    let own = [has_sandbox(pod), initialized(pod, phase), ready, containers_ready];
    let before = previous.conditions.as_deref().unwrap_or_default();
    let find = |kind: &str| before.iter().find(|condition| condition.type_ == kind);
    let generation = pod.pod.metadata.generation;
    let mut all: Vec<_> =
        own.into_iter().map(|verdict| condition(&verdict, find(verdict.kind), generation, now)).collect();
    // A pod that was bound without the scheduler has been scheduled all the same.
    match find("PodScheduled") {
        None => all.push(condition(&Verdict::holds("PodScheduled"), None, generation, now)),
        Some(known) => {
            let mut known = known.clone();
            known.observed_generation = generation;
            all.push(known);
        }
    }
    let others = before.iter().filter(|condition| !all.iter().any(|ours| ours.type_ == condition.type_));
    let others: Vec<_> = others.cloned().collect();
    all.extend(others);
    all
}

fn condition(
    verdict: &Verdict,
    before: Option<&PodCondition>,
    generation: Option<i64>,
    now: Timestamp,
) -> PodCondition {
    let status = if verdict.failing.is_none() { "True" } else { "False" };
    let unchanged = before.filter(|before| before.status == status);
    let (reason, message) = verdict.failing.clone().unzip();
    PodCondition {
        type_: verdict.kind.to_owned(),
        status: status.to_owned(),
        reason: reason.filter(|reason| !reason.is_empty()).map(str::to_owned),
        message: message.filter(|message| !message.is_empty()),
        last_transition_time: unchanged
            .and_then(|before| before.last_transition_time.clone())
            .or(Some(Time(now))),
        last_probe_time: None,
        observed_generation: generation,
    }
}

fn has_sandbox(pod: &PodState) -> Verdict {
    match pod.address {
        Some(_) => Verdict::holds("PodReadyToStartContainers"),
        None => Verdict { kind: "PodReadyToStartContainers", failing: Some(("", String::new())) },
    }
}

fn initialized(pod: &PodState, phase: &Phase) -> Verdict {
    if *phase == Phase::Succeeded {
        return Verdict { kind: "Initialized", failing: None };
    }
    let incomplete = pod.containers.iter().filter(|container| match container.role {
        Role::Init => !matches!(&container.phase, Container::Terminated(end) if end.exit_code == 0),
        Role::Sidecar => !container.started,
        Role::Main => false,
    });
    let names: Vec<_> = incomplete.map(|container| container.name.as_str()).collect();
    // Once the others have run, initialisation is behind the pod whatever its sidecars do now.
    if names.is_empty() || mains_ran(pod) {
        return Verdict::holds("Initialized");
    }
    let message = format!("containers with incomplete status: [{}]", names.join(" "));
    Verdict::fails("Initialized", "ContainersNotInitialized", message)
}

fn mains_ran(pod: &PodState) -> bool {
    pod.containers.iter().any(|container| {
        container.role == Role::Main
            && (container.last.is_some()
                || container.is_up()
                || matches!(container.phase, Container::Terminated(_)))
    })
}

fn containers_ready(phase: &Phase, main: &[ContainerStatus]) -> Verdict {
    const KIND: &str = "ContainersReady";
    match phase {
        Phase::Succeeded => return Verdict::fails(KIND, "PodCompleted", String::new()),
        Phase::Failed => return Verdict::fails(KIND, "PodFailed", String::new()),
        Phase::Pending | Phase::Running => {}
    }
    let unready: Vec<_> =
        main.iter().filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    if unready.is_empty() {
        return Verdict::holds(KIND);
    }
    Verdict::fails(
        KIND,
        "ContainersNotReady",
        format!("containers with unready status: [{}]", unready.join(" ")),
    )
}

fn ready(pod: &PodState, containers_ready: &Verdict, previous: &PodStatus) -> Verdict {
    const KIND: &str = "Ready";
    if let Some((reason, message)) = &containers_ready.failing {
        return Verdict::fails(KIND, reason, message.clone());
    }
    let gates = spec(&pod.pod).readiness_gates.iter().flatten();
    let failing: Vec<_> = gates.filter_map(|gate| gate_problem(&gate.condition_type, previous)).collect();
    if failing.is_empty() {
        return Verdict::holds(KIND);
    }
    Verdict::fails(KIND, "ReadinessGatesNotReady", failing.join(", "))
}

fn gate_problem(kind: &str, previous: &PodStatus) -> Option<String> {
    let condition = previous.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    match condition {
        None => Some(format!("corresponding condition of pod readiness gate \"{kind}\" does not exist.")),
        Some(condition) if condition.status == "True" => None,
        Some(condition) => Some(format!(
            "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
            condition.status
        )),
    }
}
