//! Who may hand on what.

use expect_test::expect;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};
use serde_json::json;

use super::*;

fn rules(rules: serde_json::Value) -> Vec<PolicyRule> {
    serde_json::from_value(rules).expect("rules")
}

/// `jane` reads pods everywhere, and may do everything with the deployment `web` in `shop`.
fn policy() -> Policy {
    let mut policy = Policy::default();
    let role = |rules: serde_json::Value| -> ClusterRole {
        serde_json::from_value(json!({"metadata": {}, "rules": rules})).expect("a role")
    };
    let read = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]}]);
    let web = json!([{"verbs": ["*"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"]}]);
    policy.set_cluster_role("read", Some(role(read)));
    policy.set_cluster_role("web", Some(role(web)));
    let binding = |role: &str| json!({"metadata": {}, "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": [{"kind": "User", "name": "jane"}]});
    let everywhere: ClusterRoleBinding = serde_json::from_value(binding("read")).expect("a binding");
    let in_shop: RoleBinding = serde_json::from_value(binding("web")).expect("a binding");
    policy.set_cluster_binding("read", Some(everywhere));
    policy.set_binding("shop", "web", Some(in_shop));
    policy
}

#[test]
fn what_one_has_may_be_handed_on_in_the_same_place_or_a_narrower_one() {
    let jane = Identity::named("jane", &["staff"]);
    let read = rules(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]));
    let web = rules(
        json!([{"verbs": ["delete"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"]}]),
    );
    for (wanted, namespace, expected) in [
        (&read, "", true),
        (&read, "shop", true),
        (&web, "shop", true),
        (&web, "", false),
        (&web, "other", false),
    ] {
        assert_eq!(
            may_hand_on(&policy(), &jane, namespace, wanted).is_ok(),
            expected,
            "{namespace} {wanted:?}"
        );
    }
    assert!(may_hand_on(&policy(), &Identity::named("jim", &[]), "shop", &read).is_err());
}

#[test]
fn a_refusal_says_what_is_missing() {
    let jane = Identity::named("jane", &["staff"]);
    let wanted = rules(json!([
        {"verbs": ["get", "delete", "create"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"]},
        {"verbs": ["get"], "nonResourceURLs": ["/metrics"]},
    ]));
    expect![[r#"
        user "jane" (groups=["staff"]) is attempting to grant RBAC permissions not currently held:
        {APIGroups:[""], Resources:["pods"], Verbs:["create" "delete"]}
        {APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}
        {NonResourceURLs:["/metrics"], Verbs:["get"]}"#]]
    .assert_eq(&may_hand_on(&policy(), &jane, "shop", &wanted).expect_err("refused"));
}

#[test]
fn a_rule_that_means_millions_is_refused_unread() {
    let many: Vec<String> = (0..2000).map(|number| format!("r{number}")).collect();
    let wanted = rules(json!([{"verbs": many, "apiGroups": many, "resources": many}]));
    let refused = may_hand_on(&policy(), &Identity::named("jane", &[]), "", &wanted).expect_err("refused");
    assert!(refused.contains("more than 50000"), "{refused}");
}

#[test]
fn only_what_a_role_lacks_is_added_to_it() {
    let own = rules(json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}]));
    let wanted = rules(json!([
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "secrets"]},
    ]));
    assert_eq!(uncovered(&own, &wanted), wanted[1..]);
    assert!(uncovered(&full_authority(), &wanted).is_empty());
}
