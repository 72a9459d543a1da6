//! What nodes reach through their pods.

use serde_json::json;

use super::*;

fn pod(node: &str, name: &str) -> Vec<u8> {
    let pod = json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {
        "nodeName": node,
        "serviceAccountName": "robot",
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [{"name": "c", "image": "i",
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env-key", "key": "k"}}}],
            "envFrom": [{"configMapRef": {"name": "env-map"}}]}],
        "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "init"}}]}],
        "volumes": [
            {"name": "v", "secret": {"secretName": "volume"}},
            {"name": "p", "projected": {"sources": [{"configMap": {"name": "projected"}}, {"secret": {"name": "inner"}}]}}]}});
    pod.to_string().into_bytes()
}

fn may_do(pods: &Pods, node: &str, verb: &str, resource: &str, name: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let on = ResourceAttributes {
        verb,
        resource,
        subresource,
        namespace: "shop",
        name,
        ..ResourceAttributes::default()
    };
    may(pods, node, &Attributes::Resource(on))
}

#[test]
fn a_node_reads_what_its_pods_name_as_long_as_they_do() {
    let mut pods = Pods::default();
    pods.set("shop/a", Used::by(&pod("n1", "a")));
    pods.set("shop/b", Used::by(&pod("n1", "b")));
    for (resource, name) in [
        ("secrets", "pull"),
        ("secrets", "env-key"),
        ("secrets", "init"),
        ("secrets", "volume"),
        ("secrets", "inner"),
        ("configmaps", "env-map"),
        ("configmaps", "projected"),
        ("serviceaccounts", "robot"),
        ("pods", "a"),
    ] {
        assert!(may_do(&pods, "n1", "get", resource, name), "{resource} {name}");
        assert!(!may_do(&pods, "n2", "get", resource, name), "{resource} {name}");
    }
    assert!(may_do(&pods, "n1", "create", "serviceaccounts/token", "robot"));
    assert!(!may_do(&pods, "n1", "create", "serviceaccounts/token", "default"));
    assert!(!may_do(&pods, "n1", "get", "secrets", "other"));
    assert!(!may_do(&pods, "n1", "list", "secrets", ""));

    pods.set("shop/a", None);
    assert!(may_do(&pods, "n1", "get", "secrets", "volume"), "the other pod still has it");
    pods.set("shop/b", Used::by(&pod("n2", "b")));
    assert!(!may_do(&pods, "n1", "get", "secrets", "volume"));
    assert!(may_do(&pods, "n2", "get", "secrets", "volume"));
    pods.set("shop/b", Used::by(b"{}"));
    assert!(pods.nodes.is_empty() && pods.pods.is_empty());
}

#[test]
fn lists_are_of_the_nodes_own_pods_or_of_metadata() {
    let pods = Pods::default();
    let on = |resource, of_node, metadata_only| {
        let on = ResourceAttributes {
            verb: "watch",
            resource,
            of_node,
            metadata_only,
            ..ResourceAttributes::default()
        };
        may(&pods, "n1", &Attributes::Resource(on))
    };
    assert!(on("pods", "n1", false));
    assert!(!on("pods", "n2", false));
    assert!(!on("pods", "", true));
    assert!(on("secrets", "", true));
    assert!(!on("secrets", "", false));
    assert!(on("services", "", false));
}

#[test]
fn a_node_touches_its_own_node_and_lease_only() {
    let pods = Pods::default();
    for (verb, resource, name, expected) in [
        ("patch", "nodes/status", "n1", true),
        ("patch", "nodes/status", "n2", false),
        ("get", "nodes", "n2", false),
        ("list", "nodes", "", false),
        ("delete", "nodes", "n1", false),
        ("create", "nodes", "", true),
        ("create", "pods", "", false),
        ("patch", "pods", "p", false),
        ("create", "secrets", "", false),
    ] {
        assert_eq!(may_do(&pods, "n1", verb, resource, name), expected, "{verb} {resource} {name}");
    }
    let lease = |verb, namespace, name| {
        let group = "coordination.k8s.io";
        let on = ResourceAttributes {
            verb,
            group,
            resource: "leases",
            namespace,
            name,
            ..ResourceAttributes::default()
        };
        may(&pods, "n1", &Attributes::Resource(on))
    };
    assert!(lease("update", "kube-node-lease", "n1") && lease("create", "kube-node-lease", ""));
    assert!(!lease("update", "kube-node-lease", "n2") && !lease("create", "default", ""));
}

#[test]
fn a_node_keeps_its_own_connection_and_renews_its_own_certificates() {
    for (verb, path, expected) in [
        ("get", "/isopod/v1/nodes/n1/connection", true),
        ("post", "/isopod/v1/nodes/n1/certificates", true),
        ("get", "/isopod/v1/nodes/n2/connection", false),
        ("get", "/isopod/v1/nodes/n11/connection", false),
        ("post", "/isopod/v1/nodes/n2/certificates", false),
        ("post", "/isopod/v1/nodes/n1/connection", false),
        ("get", "/isopod/v1/nodes/n1/x/connection", false),
        ("get", "/isopod/v1/members", false),
        ("post", "/isopod/v1/leader", false),
    ] {
        let found = may(&Pods::default(), "n1", &Attributes::Path { verb, path });
        assert_eq!(found, expected, "{verb} {path}");
    }
}
