//! The index after every kind of change.

use serde_json::json;

use super::*;
use crate::security::authorize::ResourceAttributes;

fn of<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("a manifest")
}

fn role<T: serde::de::DeserializeOwned>(verbs: &[&str]) -> T {
    of(json!({"metadata": {}, "rules": [{"verbs": verbs, "apiGroups": [""], "resources": ["pods"]}]}))
}

fn binding<T: serde::de::DeserializeOwned>(kind: &str, role: &str, subjects: serde_json::Value) -> T {
    of(json!({"metadata": {}, "roleRef": {"kind": kind, "name": role}, "subjects": subjects}))
}

fn may(policy: &Policy, identity: &Identity, verb: &str, namespace: &str) -> bool {
    let pods = ResourceAttributes { verb, resource: "pods", namespace, ..ResourceAttributes::default() };
    policy.grant(identity, &Attributes::Resource(pods)).is_some()
}

#[test]
fn a_binding_counts_where_it_is_and_while_it_is() {
    let (jane, ops) = (Identity::named("jane", &[]), Identity::named("jim", &["ops"]));
    let mut policy = Policy::default();
    policy.set_cluster_role("read", Some(role(&["get"])));
    policy.set_role("shop", "write", Some(role(&["create"])));
    let people = json!([{"kind": "User", "name": "jane"}, {"kind": "Group", "name": "ops"}]);
    policy.set_binding("shop", "a", Some(binding("ClusterRole", "read", people.clone())));
    policy.set_binding("shop", "b", Some(binding("Role", "write", people.clone())));
    policy.set_binding("other", "c", Some(binding("Role", "write", people)));
    for caller in [&jane, &ops] {
        assert!(may(&policy, caller, "get", "shop"));
        assert!(may(&policy, caller, "create", "shop"));
        assert!(!may(&policy, caller, "create", "other"), "a Role of another namespace");
        assert!(!may(&policy, caller, "get", ""));
    }
    assert_eq!(policy.missing_roles(&jane, "other"), ["role.rbac.authorization.k8s.io \"write\" not found"]);

    policy.set_binding(
        "shop",
        "a",
        Some(binding("ClusterRole", "read", json!([{"kind": "Group", "name": "ops"}]))),
    );
    assert!(!may(&policy, &jane, "get", "shop"));
    assert!(may(&policy, &ops, "get", "shop"));
    policy.set_cluster_role("read", None);
    assert!(!may(&policy, &ops, "get", "shop"));
    for (namespace, name) in [("shop", "a"), ("shop", "b"), ("other", "c")] {
        policy.set_binding(namespace, name, None);
    }
    assert!(!may(&policy, &jane, "create", "shop"));
    assert!(policy.namespaces.is_empty() && policy.everywhere.users.is_empty());
}

#[test]
fn a_cluster_binding_counts_everywhere_and_tells_itself() {
    let mut policy = Policy::default();
    policy.set_cluster_role("read", Some(role(&["get"])));
    let robot = json!([{"kind": "ServiceAccount", "name": "robot", "namespace": "shop"}]);
    policy.set_cluster_binding("readers", Some(binding("ClusterRole", "read", robot)));
    let robot = Identity::service_account("shop", "robot");
    assert!(may(&policy, &robot, "get", "") && may(&policy, &robot, "get", "any"));
    assert!(!may(&policy, &Identity::service_account("other", "robot"), "get", "any"));
    let pods = ResourceAttributes { verb: "get", resource: "pods", ..ResourceAttributes::default() };
    let why = policy.grant(&robot, &Attributes::Resource(pods)).expect("allowed").to_string();
    assert_eq!(why, "RBAC: allowed by ClusterRoleBinding \"readers\" of ClusterRole \"read\"");
}

#[test]
fn an_account_without_namespace_is_one_of_the_bindings_own() {
    let mut policy = Policy::default();
    policy.set_role("shop", "read", Some(role(&["get"])));
    let robot = json!([{"kind": "ServiceAccount", "name": "robot"}]);
    policy.set_binding("shop", "readers", Some(binding("Role", "read", robot)));
    assert!(may(&policy, &Identity::service_account("shop", "robot"), "get", "shop"));
    assert!(!may(&policy, &Identity::service_account("", "robot"), "get", "shop"));
}
