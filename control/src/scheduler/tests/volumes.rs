//! Claims and volumes: which nodes they leave, and what a pod is told that they leave none.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use super::*;
use crate::controllers::volumes::{BIND_COMPLETED, FOLDER, PROVISIONER, SELECTED_NODE};

fn on(host: &str) -> Value {
    json!({"required": {"nodeSelectorTerms": [{"matchExpressions":
        [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}]}})
}

fn claim(name: &str, spec: Value, annotations: Value) -> Change {
    let mut wanted = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
                            "resources": {"requests": {"storage": "1Gi"}}});
    wanted.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let metadata = json!({"name": name, "namespace": "ns", "uid": name, "annotations": annotations});
    let claim: PersistentVolumeClaim =
        serde_json::from_value(json!({"metadata": metadata, "spec": wanted})).unwrap();
    Change::PersistentVolumeClaim(created(&claim.metadata, &claim))
}

fn volume(name: &str, host: &str) -> Change {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "nodeAffinity": on(host),
                      "capacity": {"storage": "1Gi"}});
    let volume: PersistentVolume =
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
    Change::PersistentVolume(created(&volume.metadata, &volume))
}

fn class(provisioner: &str, mode: &str) -> Change {
    let class = json!({"metadata": {"name": "fast"}, "provisioner": provisioner, "volumeBindingMode": mode});
    let class: StorageClass = serde_json::from_value(class).unwrap();
    Change::StorageClass(created(&class.metadata, &class))
}

/// Two nodes, of which the second makes volumes.
fn world(changes: Vec<Change>) -> Picture {
    let mut second = node("n2", "8", "8Gi", "110");
    second.metadata.annotations = Some(string_map(&[(FOLDER, "/data")]));
    let mut picture = picture(&[node("n1", "8", "8Gi", "110"), second], &[]);
    for change in changes {
        assert!(picture.observe_volumes(&change));
    }
    picture
}

fn using(name: &str, claim: &str) -> Pod {
    with(pod(name, &[]), |spec| {
        let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": claim}});
        spec.volumes = Some(vec![serde_json::from_value(volume).unwrap()]);
    })
}

#[test]
fn a_pod_goes_where_its_claim_has_or_can_have_a_volume() {
    let bound = || json!({BIND_COMPLETED: "yes"});
    let delayed = "WaitForFirstConsumer";
    for (changes, expected) in [
        (vec![claim("data", json!({"volumeName": "v"}), bound()), volume("v", "n1")], "n1"),
        (vec![claim("data", json!({"volumeName": "v"}), bound()), volume("v", "n2")], "n2"),
        (vec![claim("data", json!({}), json!({})), class(PROVISIONER, delayed)], "n2"),
        (
            vec![
                claim("data", json!({}), json!({})),
                class("kubernetes.io/no-provisioner", delayed),
                volume("v", "n1"),
            ],
            "n1",
        ),
        (vec![claim("data", json!({}), json!({SELECTED_NODE: "n1"})), class(PROVISIONER, delayed)], "n1"),
        (
            vec![claim("data", json!({}), json!({})), class("kubernetes.io/no-provisioner", delayed)],
            "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind. preemption: 0/2 \
             nodes are available: 2 Preemption is not helpful for scheduling.",
        ),
        (
            vec![claim("data", json!({}), json!({})), class(PROVISIONER, "Immediate")],
            "0/2 nodes are available: 2 pod has unbound immediate PersistentVolumeClaims. preemption: 0/2 nodes are \
             available: 2 Preemption is not helpful for scheduling.",
        ),
        (
            vec![],
            "0/2 nodes are available: 2 persistentvolumeclaim \"data\" not found. preemption: 0/2 nodes are \
             available: 2 Preemption is not helpful for scheduling.",
        ),
    ] {
        assert_eq!(one(&mut world(changes), using("web", "data")), expected);
    }
}

#[test]
fn one_pod_at_a_time_has_a_claim_that_only_one_may_use() {
    let alone = claim("data", json!({"accessModes": ["ReadWriteOncePod"]}), json!({}));
    let mut picture = world(vec![alone, class(PROVISIONER, "WaitForFirstConsumer")]);
    // Both in one pass, where only the second hears of the first.
    let found = decide(&mut picture, vec![using("a", "data"), using("b", "data")]);
    assert_eq!(found[0], "n2");
    assert!(found[1].contains("ReadWriteOncePod access mode"), "{found:?}");
    assert!(one(&mut picture, using("c", "data")).contains("ReadWriteOncePod access mode"));
    let gone = using("a", "data");
    picture.unassume(&ObjectKey::of(&gone.metadata));
    assert_eq!(one(&mut picture, using("c", "data")), "n2");
}
