//! Every verb on every resource and subresource that is served, for every kind of caller, at the choke point: what is
//! allowed is what is listed here and nothing else. The resources come from the registry, so that a new kind is in
//! the matrix from its first day.

use std::collections::BTreeSet;

use isopod_spec::registry;
use isopod_spec::resource::{Kind, VERBS};
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use serde_json::json;

use super::*;
use crate::controllers::aggregated_rules;
use crate::security::identity::{AUTHENTICATED, NODES};
use crate::security::node::Used;
use crate::security::rbac::defaults;

/// Verbs that only rules know.
const SPECIAL: [&str; 4] = ["bind", "escalate", "impersonate", "use"];
/// Resources of which some are not served, and none by these names: rules with wildcards must not let anybody in.
const STRANGE: [(&str, &str, &str); 3] =
    [("", "nodes", "proxy"), ("example.org", "things", ""), ("", "users", "")];

/// The default roles, with `view`, `edit` and `admin` bound in the namespace `shop`.
fn policy() -> Policy {
    let mut policy = Policy::default();
    let mut roles = defaults::roles();
    // A part may be made of others itself: `admin` of `edit` of `view`.
    for _ in 0..3 {
        let all = roles.clone();
        let all: Vec<&ClusterRole> = all.iter().collect();
        for role in &mut roles {
            if let Some(rules) = aggregated_rules(role, &all) {
                role.rules = Some(rules);
            }
        }
    }
    for role in roles {
        policy.set_cluster_role(&role.metadata.name.clone().expect("a name"), Some(role));
    }
    for binding in defaults::bindings() {
        policy.set_cluster_binding(&binding.metadata.name.clone().expect("a name"), Some(binding));
    }
    for role in ["view", "edit", "admin"] {
        let binding = json!({"metadata": {}, "roleRef": {"kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": role}]});
        let binding: RoleBinding = serde_json::from_value(binding).expect("a binding");
        policy.set_binding("shop", role, Some(binding));
    }
    policy
}

/// One pod, on the node `n1`, that names the secret and the config map `x`.
fn pods() -> Pods {
    let pod = json!({"metadata": {"name": "x", "namespace": "shop"}, "spec": {"nodeName": "n1",
        "serviceAccountName": "x", "containers": [], "volumes": [
            {"name": "s", "secret": {"secretName": "x"}}, {"name": "c", "configMap": {"name": "x"}}]}});
    let mut pods = Pods::default();
    pods.set("shop/x", Used::by(pod.to_string().as_bytes()));
    pods
}

/// Everything that can be asked for, once for each place: `shop`, another namespace, the cluster.
fn for_each(mut ask: impl FnMut(&ResourceAttributes<'_>)) {
    let served = registry::builtin().iter().flat_map(|kind: &std::sync::Arc<Kind>| {
        let below = kind.subresources.iter().map(|below| below.name);
        std::iter::once("")
            .chain(below)
            .map(|below| (kind.group.as_str(), kind.plural.as_str(), below))
            .collect::<Vec<_>>()
    });
    for (group, resource, subresource) in served.chain(STRANGE) {
        for verb in VERBS.iter().copied().chain(SPECIAL) {
            for namespace in ["shop", "other", ""] {
                for name in ["x", ""] {
                    ask(&ResourceAttributes {
                        verb,
                        group,
                        resource,
                        subresource,
                        namespace,
                        name,
                        ..ResourceAttributes::default()
                    });
                }
            }
        }
    }
}

/// What the caller may do, as `verb resource[/subresource] namespace`.
fn allowed(identity: &Identity) -> BTreeSet<String> {
    let (policy, pods) = (policy(), pods());
    let mut allowed = BTreeSet::new();
    for_each(|on| {
        let decision = authorize(&policy, &pods, identity, &Attributes::Resource(*on));
        // The reason that reviews give must be there exactly when the request is let through.
        let told = grant(&policy, &pods, identity, &Attributes::Resource(*on));
        assert_eq!(told.is_some(), decision == Decision::Allow, "{on:?}");
        if decision == Decision::Allow {
            let slash = if on.subresource.is_empty() { "" } else { "/" };
            let place = if on.namespace.is_empty() { "-" } else { on.namespace };
            allowed.insert(format!("{} {}{slash}{} {place}", on.verb, on.resource, on.subresource));
        }
    });
    allowed
}

fn known(user: &str) -> Identity {
    Identity::named(user, &[AUTHENTICATED])
}

/// What everybody who is known may ask.
const OWN_REVIEWS: [&str; 3] = ["selfsubjectaccessreviews", "selfsubjectreviews", "selfsubjectrulesreviews"];

/// The same without what everybody may: the reviews of oneself.
fn own(identity: &Identity) -> BTreeSet<String> {
    let mut own = allowed(identity);
    own.retain(|line| !OWN_REVIEWS.iter().any(|review| line.starts_with(&format!("create {review} "))));
    own
}

#[test]
fn strangers_may_do_nothing_and_known_callers_ask_about_themselves() {
    assert_eq!(allowed(&Identity::anonymous()), BTreeSet::new());
    for caller in [
        known("jane"),
        Identity::service_account("shop", "x"),
        Identity::named("jane", &[AUTHENTICATED, NODES]),
    ] {
        assert_eq!(own(&caller), BTreeSet::new(), "{caller:?}");
        assert_eq!(allowed(&caller).len(), 3 * OWN_REVIEWS.len());
    }
}

#[test]
fn masters_may_do_everything_by_group_and_by_role() {
    let master = Identity::named("m", &[MASTERS]);
    for_each(|on| {
        let on = Attributes::Resource(*on);
        assert_eq!(authorize(&Policy::default(), &Pods::default(), &master, &on), Decision::Allow, "{on:?}");
    });
    let policy = policy();
    for_each(|on| {
        assert!(policy.grant(&master, &Attributes::Resource(*on)).is_some(), "cluster-admin: {on:?}")
    });
}

#[test]
fn viewers_read_the_namespace_without_its_secrets() {
    let may = own(&known("view"));
    assert!(may.contains("list pods shop") && may.contains("get pods/log shop"));
    for line in &may {
        let parts: Vec<&str> = line.split(' ').collect();
        assert!(matches!(parts[0], "get" | "list" | "watch"), "{line}");
        assert_eq!(parts[2], "shop", "{line}");
        assert!(!HIDDEN.contains(&parts[1]), "{line}");
    }
}

/// What is not for viewers, though it is in the namespace.
const HIDDEN: [&str; 9] = [
    "secrets",
    "roles",
    "rolebindings",
    "serviceaccounts/token",
    "pods/exec",
    "pods/attach",
    "pods/portforward",
    "pods/proxy",
    "localsubjectaccessreviews",
];

#[test]
fn editors_write_the_namespace_but_hand_on_no_rights() {
    let (view, edit) = (own(&known("view")), own(&known("edit")));
    assert!(view.is_subset(&edit));
    assert!(edit.contains("create pods shop") && edit.contains("get secrets shop"));
    for line in &edit {
        let parts: Vec<&str> = line.split(' ').collect();
        assert_eq!(parts[2], "shop", "{line}");
        assert!(!matches!(parts[0], "bind" | "escalate" | "use"), "{line}");
        assert!(parts[0] != "impersonate" || parts[1] == "serviceaccounts", "{line}");
        let reads = matches!(parts[0], "get" | "list" | "watch");
        assert!(reads || is_written_by_editors(parts[1]), "{line}");
        assert!(!matches!(parts[1], "roles" | "rolebindings"), "{line}");
    }
}

fn is_written_by_editors(resource: &str) -> bool {
    const WRITTEN: [&str; 29] = [
        "configmaps",
        "cronjobs",
        "daemonsets",
        "deployments",
        "deployments/scale",
        "events",
        "horizontalpodautoscalers",
        "ingresses",
        "jobs",
        "leases",
        "networkpolicies",
        "persistentvolumeclaims",
        "poddisruptionbudgets",
        "pods",
        "pods/attach",
        "pods/eviction",
        "pods/exec",
        "pods/portforward",
        "pods/proxy",
        "replicasets",
        "replicasets/scale",
        "replicationcontrollers",
        "replicationcontrollers/scale",
        "secrets",
        "serviceaccounts",
        "serviceaccounts/token",
        "services",
        "statefulsets",
        "statefulsets/scale",
    ];
    WRITTEN.contains(&resource)
}

#[test]
fn administrators_of_a_namespace_add_roles_and_questions_to_what_editors_do() {
    let (edit, admin) = (own(&known("edit")), own(&known("admin")));
    assert!(edit.is_subset(&admin));
    let more: BTreeSet<String> = admin.difference(&edit).cloned().collect();
    let verbs = |resource: &'static str| VERBS.iter().map(move |verb| format!("{verb} {resource} shop"));
    let expected: BTreeSet<String> = verbs("roles")
        .chain(verbs("rolebindings"))
        .chain(["create localsubjectaccessreviews shop".to_owned()])
        .collect();
    assert_eq!(more, expected);
}

#[test]
fn nodes_reach_what_their_pods_name_and_other_nodes_do_not() {
    let node = |name: &str| Identity::named(&format!("system:node:{name}"), &[NODES, AUTHENTICATED]);
    let (own_node, other) = (own(&node("n1")), own(&node("n2")));
    let through_pods: BTreeSet<String> = [
        "create serviceaccounts/token shop",
        "delete pods shop",
        "get configmaps shop",
        "get pods shop",
        "get pods/status shop",
        "get secrets shop",
        "get serviceaccounts shop",
        "list configmaps shop",
        "list secrets shop",
        "patch pods/status shop",
        "update pods/status shop",
        "watch configmaps shop",
        "watch secrets shop",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    assert_eq!(own_node.difference(&other).cloned().collect::<BTreeSet<_>>(), through_pods);
    for line in &other {
        let parts: Vec<&str> = line.split(' ').collect();
        let (verb, resource) = (parts[0], parts[1]);
        let expected = match resource {
            "services" | "endpointslices" => matches!(verb, "get" | "list" | "watch"),
            "events" => matches!(verb, "create" | "update" | "patch" | "get" | "list"),
            // They say where data is, and hold no secret.
            "persistentvolumes" => verb == "get",
            // Which node's is in the body; the verb looks at it.
            "nodes" | "leases" => verb == "create",
            _ => false,
        };
        assert!(expected, "{line}");
    }
}
