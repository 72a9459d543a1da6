//! The Node object: pure functions of what the node is.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::Facts;
use crate::images::Image;
use crate::volumes::FOLDER;

/// As upstream, which lists so many of the largest.
const IMAGES: usize = 50;

/// What the node sets on an object that exists already.
pub(super) fn labels(facts: &Facts) -> Value {
    json!({"metadata": {"annotations": {FOLDER: facts.volumes}, "labels": {
        "kubernetes.io/hostname": facts.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": facts.machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": facts.machine.architecture,
    }}})
}

/// The object to create.
pub(super) fn node(facts: &Facts) -> Node {
    let mut node = labels(facts);
    node["metadata"]["name"] = json!(facts.name);
    node["spec"] = json!({"podCIDR": facts.pod_cidr, "podCIDRs": [facts.pod_cidr]});
    serde_json::from_value(node).expect("built with the fields of a Node")
}

/// The status without its conditions.
pub(super) fn status(facts: &Facts, images: &[Arc<Image>]) -> Value {
    let machine = &facts.machine;
    let resources = json!({
        "cpu": machine.cpus.to_string(),
        "memory": format!("{}Ki", machine.memory_bytes / 1024),
        "ephemeral-storage": format!("{}Ki", machine.storage_bytes / 1024),
        "pods": facts.pods.to_string(),
    });
    json!({
        "capacity": resources,
        "allocatable": resources,
        "addresses": [
            {"type": "InternalIP", "address": facts.address},
            {"type": "Hostname", "address": facts.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": facts.server.port()}},
        "nodeInfo": {
            "architecture": machine.architecture,
            "bootID": machine.boot_id,
            "containerRuntimeVersion": format!("wasmtime://{}", crate::WASMTIME_VERSION),
            "kernelVersion": machine.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": concat!("v1.36.0+isopod-", env!("CARGO_PKG_VERSION")),
            "machineID": machine.machine_id,
            "operatingSystem": "linux",
            "osImage": machine.os_image,
            "systemUUID": machine.machine_id,
        },
        "images": image_list(images),
    })
}

fn image_list(images: &[Arc<Image>]) -> Vec<Value> {
    let mut images: Vec<_> = images.iter().collect();
    images.sort_by(|one, other| other.size.cmp(&one.size).then_with(|| one.reference.cmp(&other.reference)));
    images
        .into_iter()
        .take(IMAGES)
        .map(|image| json!({"names": [image.id, image.reference], "sizeBytes": image.size}))
        .collect()
}

/// The conditions, in upstream's words. `since` is when this process began: a condition that holds again holds since
/// then; one that held before keeps its time.
pub(super) fn conditions(known: &Node, since: Timestamp, now: Timestamp) -> Value {
    let before = known.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let all: Vec<_> = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "the node agent takes pods"),
    ]
    .into_iter()
    .map(|(kind, status, reason, message)| {
        let held = before.iter().find(|condition| condition.type_ == kind && condition.status == status);
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: held
                .and_then(|held| held.last_transition_time.clone())
                .or(Some(Time(since))),
        }
    })
    .collect();
    json!(all)
}

/// Whether the API holds the node for ready.
pub(super) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::NodeStatus;

    use super::*;
    use crate::machine::Machine;

    fn facts() -> Facts {
        let machine = Machine { cpus: 2, memory_bytes: 2048, architecture: "amd64", ..Machine::default() };
        Facts {
            name: "n".into(),
            address: "127.0.0.1".parse().unwrap(),
            server: "127.0.0.1:4321".parse().unwrap(),
            pod_cidr: "127.42.0.0/16".into(),
            pods: 10_000,
            volumes: "/data/claims".into(),
            machine,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_status_is_one_that_the_api_knows() {
        let image = Image {
            reference: "registry.local/a:v1".into(),
            id: "registry.local/a@sha256:0".into(),
            digest: "sha256:1".into(),
            size: 7,
            entrypoint: vec![],
            cmd: vec![],
            env: vec![],
        };
        let status: NodeStatus = serde_json::from_value(status(&facts(), &[Arc::new(image)])).unwrap();
        let allocatable = status.allocatable.unwrap();
        assert_eq!((allocatable["cpu"].0.as_str(), allocatable["memory"].0.as_str()), ("2", "2Ki"));
        assert_eq!(allocatable["pods"].0, "10000");
        assert_eq!(status.daemon_endpoints.unwrap().kubelet_endpoint.unwrap().port, 4321);
        assert_eq!(status.images.unwrap()[0].size_bytes, Some(7));
        assert_eq!(node(&facts()).spec.unwrap().pod_cidr.as_deref(), Some("127.42.0.0/16"));
    }

    #[test]
    fn conditions_keep_the_time_since_which_they_hold() {
        let known: Node =
            serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"conditions": [
            {"type": "MemoryPressure", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
            .unwrap();
        assert!(!is_ready(&known));
        let (since, now) = (at("2026-01-01T01:00:00Z"), at("2026-01-01T02:00:00Z"));
        let conditions: Vec<NodeCondition> = serde_json::from_value(conditions(&known, since, now)).unwrap();
        let time = |kind: &str| {
            let condition = conditions.iter().find(|condition| condition.type_ == kind).unwrap();
            condition.last_transition_time.clone().unwrap().0
        };
        assert_eq!(time("MemoryPressure"), at("2026-01-01T00:00:00Z"));
        assert_eq!(time("Ready"), since);
    }
}
