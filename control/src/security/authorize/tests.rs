//! Decisions and their words.

use super::*;
use crate::security::identity::{AUTHENTICATED, NODES};

fn on<'a>(verb: &'a str, resource: &'a str, namespace: &'a str) -> Attributes<'a> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes::Resource(ResourceAttributes {
        verb,
        resource,
        subresource,
        namespace,
        ..ResourceAttributes::default()
    })
}

fn decide(identity: &Identity, attributes: &Attributes<'_>) -> Decision {
    authorize(&Policy::default(), &Pods::default(), identity, attributes)
}

#[test]
fn masters_may_do_everything_and_strangers_nothing() {
    let delete = on("delete", "nodes", "");
    assert_eq!(decide(&Identity::control_plane(), &delete), Decision::Allow);
    let stranger = Identity::anonymous();
    for (attributes, expected) in [
        (
            on("list", "pods", "y"),
            r#"User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "y""#,
        ),
        (
            on("get", "pods/log", ""),
            r#"User "system:anonymous" cannot get resource "pods/log" in API group "" at the cluster scope"#,
        ),
        (
            Attributes::Path { verb: "get", path: "/metrics" },
            r#"User "system:anonymous" cannot get path "/metrics""#,
        ),
    ] {
        assert_eq!(decide(&stranger, &attributes), Decision::Deny(expected.to_owned()));
    }
}

#[test]
fn a_binding_to_a_role_that_is_not_there_is_told() {
    let mut policy = Policy::default();
    let binding = serde_json::json!({"metadata": {}, "roleRef": {"kind": "ClusterRole", "name": "gone"},
        "subjects": [{"kind": "User", "name": "jane"}]});
    policy.set_cluster_binding("b", Some(serde_json::from_value(binding).expect("a binding")));
    let jane = Identity::named("jane", &[AUTHENTICATED]);
    let denied = authorize(&policy, &Pods::default(), &jane, &on("list", "pods", "y"));
    let expected = r#"User "jane" cannot list resource "pods" in API group "" in the namespace "y": RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#;
    assert_eq!(denied, Decision::Deny(expected.to_owned()));
}

#[test]
fn anybody_reads_health_and_version_only() {
    for (path, expected) in [
        ("/version", true),
        ("/healthz", true),
        ("/readyz/storage", true),
        ("/versions", false),
        ("/metrics", false),
        ("/api", false),
        ("/v2/", false),
        ("/openid/v1/jwks", false),
    ] {
        let decision = decide(&Identity::anonymous(), &Attributes::Path { verb: "get", path });
        assert_eq!(decision == Decision::Allow, expected, "{path}");
    }
    let post = decide(&Identity::anonymous(), &Attributes::Path { verb: "post", path: "/version" });
    assert_ne!(post, Decision::Allow);
}

#[test]
fn a_node_reads_discovery_and_artifacts() {
    let node = Identity::named("system:node:n1", &[NODES, AUTHENTICATED]);
    for (verb, path, expected) in [
        ("get", "/v2/hello/manifests/v1", true),
        ("put", "/v2/hello/manifests/v1", false),
        ("get", "/apis", true),
        ("get", "/metrics", false),
    ] {
        assert_eq!(
            decide(&node, &Attributes::Path { verb, path }) == Decision::Allow,
            expected,
            "{verb} {path}"
        );
    }
}
