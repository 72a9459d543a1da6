//! Facts to sentences: what the object wants, what it has, what stands in the way, and what to do.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::gather::{Facts, items, kind_of, name_of};

/// What usually helps, by the reason that a container or pod gives.
const ADVICE: &[(&str, &str)] = &[
    (
        "ErrImagePull",
        "check the reference, and that it was pushed: `isopod push FILE.wasm registry.local/NAME:TAG`",
    ),
    (
        "ImagePullBackOff",
        "check the reference, and that it was pushed: `isopod push FILE.wasm registry.local/NAME:TAG`",
    ),
    ("InvalidImageName", "write the image as HOST/NAME:TAG"),
    (
        "CreateContainerConfigError",
        "make the ConfigMap or Secret that the container's env names, with that key",
    ),
    ("CreateContainerError", "read the message: the artifact cannot run here as it is"),
    ("CrashLoopBackOff", "read what it printed before it ended: `isopod logs --previous POD`"),
    ("OOMKilled", "raise resources.limits.memory, or make the component use less"),
    ("Unschedulable", "make room, or change requests, selectors or tolerations so that a node fits"),
    ("FailedMount", "make the volume's ConfigMap or Secret, or use a kind of volume that the node offers"),
];

/// The explanation, most general sentence first.
pub(super) fn sentences(facts: &Facts, now: Timestamp) -> Vec<String> {
    let mut said = vec![state(facts)];
    said.extend(ownership(facts));
    let obstacles = obstacles(facts);
    said.extend(obstacles.iter().map(Obstacle::sentence));
    said.extend(nodes(facts));
    said.extend(warning(facts, now));
    let reasons = obstacles.iter().map(|obstacle| obstacle.reason.as_str());
    let advice = reasons.filter_map(|reason| ADVICE.iter().find(|(known, _)| *known == reason));
    said.extend(advice.take(1).map(|(_, advice)| format!("Try: {advice}.")));
    said
}

fn shown(object: &Value) -> String {
    format!("{}/{}", kind_of(object).to_lowercase(), name_of(object))
}

/// The first sentence: what the object is up to.
fn state(facts: &Facts) -> String {
    let object = &facts.object;
    let (shown, status) = (shown(object), &object["status"]);
    if let Some(since) = object["metadata"]["deletionTimestamp"].as_str() {
        let finalizers: Vec<&str> =
            items(&object["metadata"]["finalizers"]).iter().filter_map(Value::as_str).collect();
        let held = if finalizers.is_empty() {
            String::new()
        } else {
            format!(", held by the finalizers {}", finalizers.join(", "))
        };
        return format!("{shown} is being deleted since {since}{held}.");
    }
    match kind_of(object) {
        "Pod" => {
            let phase = status["phase"].as_str().unwrap_or("Unknown");
            let ready = if condition(object, "Ready").is_some_and(|c| c["status"] == "True") {
                "and ready"
            } else {
                "and not ready"
            };
            format!("{shown} is {phase} {ready}.")
        }
        "Service" => {
            let endpoints: Vec<&Value> =
                facts.slices.iter().flat_map(|slice| items(&slice["endpoints"])).collect();
            let ready = endpoints.iter().filter(|e| e["conditions"]["ready"] != false).count();
            format!(
                "{shown} has {ready} ready endpoints of {}; its selector matches {} pods.",
                endpoints.len(),
                facts.pods.len()
            )
        }
        _ if object["spec"]["replicas"].is_number() => {
            let wanted = object["spec"]["replicas"].as_i64().unwrap_or(0);
            let ready = status["readyReplicas"].as_i64().unwrap_or(0);
            let paused = if object["spec"]["paused"] == true { " Its rollout is paused." } else { "" };
            format!("{shown} wants {wanted} pods and has {ready} ready.{paused}")
        }
        _ => match status["phase"].as_str() {
            Some(phase) => format!("{shown} is {phase}."),
            None => format!("{shown} exists; nothing in its status says that it waits for something."),
        },
    }
}

fn ownership(facts: &Facts) -> Option<String> {
    let chain: Vec<String> = facts.owners.iter().map(shown).collect();
    (!chain.is_empty()).then(|| format!("It was made by {}.", chain.join(", which was made by ")))
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(&object["status"]["conditions"]).iter().find(|c| c["type"] == kind)
}

/// One reason why pods are not ready, and which pods give it.
struct Obstacle {
    reason: String,
    message: String,
    pods: Vec<String>,
}

impl Obstacle {
    fn sentence(&self) -> String {
        let (first, rest) = self.pods.split_first().expect("an obstacle comes from a pod");
        let others = match rest.len() {
            0 => String::new(),
            1 => " and 1 other".to_owned(),
            more => format!(" and {more} others"),
        };
        let message = if self.message.is_empty() {
            String::new()
        } else {
            format!(": {}", self.message.trim_end_matches('.'))
        };
        format!("pod/{first}{others}: {}{message}.", self.reason)
    }
}

/// Reasons of pods that are not ready, grouped, those of most pods first.
fn obstacles(facts: &Facts) -> Vec<Obstacle> {
    let mut grouped: BTreeMap<String, Obstacle> = BTreeMap::new();
    for pod in &facts.pods {
        for (reason, message) in reasons(pod) {
            let obstacle = grouped.entry(reason.clone()).or_insert_with(|| Obstacle {
                reason,
                message,
                pods: Vec::new(),
            });
            obstacle.pods.push(name_of(pod).to_owned());
        }
    }
    let mut all: Vec<Obstacle> = grouped.into_values().collect();
    all.sort_by_key(|obstacle| std::cmp::Reverse(obstacle.pods.len()));
    all
}

/// Why a pod is not ready: its scheduling, else each of its containers.
fn reasons(pod: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(scheduled) = condition(pod, "PodScheduled").filter(|c| c["status"] == "False") {
        return vec![(text(&scheduled["reason"]), text(&scheduled["message"]))];
    }
    let statuses = ["initContainerStatuses", "containerStatuses"]
        .into_iter()
        .flat_map(|list| items(&pod["status"][list]));
    let mut found: Vec<(String, String)> = Vec::new();
    for status in statuses.filter(|status| status["ready"] != true) {
        let container = text(&status["name"]);
        let told =
            |why: &Value| (text(&why["reason"]), format!("container {container}: {}", text(&why["message"])));
        let (waiting, ended, last) =
            (&status["state"]["waiting"], &status["state"]["terminated"], &status["lastState"]["terminated"]);
        if ended["reason"] == "Completed" {
            continue;
        }
        if last.is_object() && waiting["reason"] == "CrashLoopBackOff" && last["reason"] == "OOMKilled" {
            found.push(told(last));
        } else if waiting.is_object() {
            found.push(told(waiting));
        } else if ended.is_object() {
            let code = ended["exitCode"].as_i64().unwrap_or(0);
            found.push((
                text(&ended["reason"]),
                format!("container {container} ended with exit code {code}: {}", text(&ended["message"])),
            ));
        } else if status["state"]["running"].is_object() {
            found.push((
                "NotReady".into(),
                format!("container {container} runs, but its readiness probe has not succeeded"),
            ));
        }
    }
    if found.is_empty() && pod["status"]["reason"].is_string() {
        found.push((text(&pod["status"]["reason"]), text(&pod["status"]["message"])));
    }
    found
}

/// Nodes of the pods that are not ready themselves.
fn nodes(facts: &Facts) -> Vec<String> {
    let unready =
        facts.nodes.iter().filter(|node| condition(node, "Ready").is_none_or(|c| c["status"] != "True"));
    unready
        .map(|node| {
            let why =
                condition(node, "Ready").and_then(|c| c["message"].as_str()).unwrap_or("it has not reported");
            format!("Its {} is not ready: {}.", shown(node), why.trim_end_matches('.'))
        })
        .collect()
}

/// The newest warning about the object or its pods.
fn warning(facts: &Facts, now: Timestamp) -> Option<String> {
    let event = facts.events.iter().rfind(|event| event["type"] == "Warning")?;
    let message = event["message"].as_str().unwrap_or_default().trim().trim_end_matches('.');
    let count = event["count"]
        .as_i64()
        .filter(|count| *count > 1)
        .map_or(String::new(), |count| format!(", {count} times"));
    let last: Option<Timestamp> = event["lastTimestamp"].as_str().and_then(|time| time.parse().ok());
    let ago =
        last.map_or(String::new(), |last| format!(", {} s ago", (now.as_second() - last.as_second()).max(0)));
    let about = event["involvedObject"]["name"].as_str().unwrap_or_default();
    Some(format!(
        "The newest warning, about {about}{count}{ago}: {}: {message}.",
        event["reason"].as_str().unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, status: Value) -> Value {
        json!({ "kind": "Pod", "metadata": { "name": name }, "status": status })
    }

    fn waiting(reason: &str, message: &str) -> Value {
        json!({ "containerStatuses": [{ "name": "c", "ready": false, "state": { "waiting": { "reason": reason, "message": message } } }] })
    }

    fn deployment() -> Value {
        json!({ "kind": "Deployment", "metadata": { "name": "web" }, "spec": { "replicas": 3 }, "status": { "readyReplicas": 1 } })
    }

    fn explained(facts: &Facts) -> String {
        sentences(facts, "2026-01-01T00:01:00Z".parse().expect("a time")).join("\n")
    }

    #[test]
    fn a_deployment_whose_image_is_missing() {
        let message = "Back-off pulling image \"registry.local/web:v9\"";
        let event = json!({
            "type": "Warning", "reason": "Failed", "message": "no manifest v9", "count": 4,
            "lastTimestamp": "2026-01-01T00:00:50Z", "involvedObject": { "name": "web-1" },
        });
        let facts = Facts {
            object: deployment(),
            pods: vec![
                pod("web-1", waiting("ImagePullBackOff", message)),
                pod("web-2", waiting("ImagePullBackOff", message)),
            ],
            events: vec![event],
            ..Facts::default()
        };
        assert_eq!(
            explained(&facts),
            "deployment/web wants 3 pods and has 1 ready.\n\
             pod/web-1 and 1 other: ImagePullBackOff: container c: Back-off pulling image \"registry.local/web:v9\".\n\
             The newest warning, about web-1, 4 times, 10 s ago: Failed: no manifest v9.\n\
             Try: check the reference, and that it was pushed: `isopod push FILE.wasm registry.local/NAME:TAG`."
        );
    }

    #[test]
    fn a_pod_that_no_node_fits_and_its_owners() {
        let status = json!({
            "phase": "Pending",
            "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu." }],
        });
        let object = pod("web-1", status);
        let owners = vec![json!({ "kind": "ReplicaSet", "metadata": { "name": "web-a" } }), deployment()];
        let facts = Facts { pods: vec![object.clone()], object, owners, ..Facts::default() };
        assert_eq!(
            explained(&facts),
            "pod/web-1 is Pending and not ready.\n\
             It was made by replicaset/web-a, which was made by deployment/web.\n\
             pod/web-1: Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.\n\
             Try: make room, or change requests, selectors or tolerations so that a node fits."
        );
    }

    #[test]
    fn a_service_without_endpoints() {
        let object = json!({ "kind": "Service", "metadata": { "name": "web" } });
        let facts = Facts { object, ..Facts::default() };
        assert_eq!(explained(&facts), "service/web has 0 ready endpoints of 0; its selector matches 0 pods.");
    }

    #[test]
    fn a_container_killed_for_its_memory_is_told_apart_from_a_crash() {
        let status = json!({ "phase": "Running", "containerStatuses": [{
            "name": "c", "ready": false,
            "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s" } },
            "lastState": { "terminated": { "reason": "OOMKilled", "message": "memory limit 8Mi reached", "exitCode": 137 } },
        }] });
        let object = pod("web-1", status);
        let facts = Facts { pods: vec![object.clone()], object, ..Facts::default() };
        assert!(
            explained(&facts).contains("OOMKilled: container c: memory limit 8Mi reached."),
            "{}",
            explained(&facts)
        );
    }
}
