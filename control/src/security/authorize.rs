//! May this caller do this? A pure decision over the caller's identity and the request's attributes.
//!
//! Three kinds of caller exist so far: `system:masters` may do everything, a node may do what its agent
//! needs and nothing to other nodes, and anybody may read health and version. All else is denied.

use super::identity::{Identity, MASTERS};

/// What a request wants to do, in the words of Kubernetes' authorization API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes<'a> {
    /// An API object or collection.
    Resource {
        /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
        verb: &'a str,
        /// API group, empty for core.
        group: &'a str,
        /// Plural resource name.
        resource: &'a str,
        /// Subresource, or empty.
        subresource: &'a str,
        /// Namespace, or empty.
        namespace: &'a str,
        /// Object name, or empty.
        name: &'a str,
    },
    /// Any other path.
    Path {
        /// HTTP method in lower case.
        verb: &'a str,
        /// The path.
        path: &'a str,
    },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// Refuse, with the sentence that the client reads after `… is forbidden: `.
    Deny(String),
}

/// Paths that anybody may read (the group `system:public-info-viewer` of Kubernetes).
const PUBLIC: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];

/// What an agent does, as (group, resource, subresource, verbs). Its own node's objects only where
/// [`Attributes::Resource::name`] can tell.
const NODE_RULES: &[(&str, &str, &str, &[&str])] = &[
    ("", "nodes", "", &["get", "list", "watch", "create", "update", "patch"]),
    ("", "nodes", "status", &["get", "update", "patch"]),
    ("", "pods", "", &["get", "list", "watch", "delete"]),
    ("", "pods", "status", &["get", "update", "patch"]),
    ("", "services", "", &["get", "list", "watch"]),
    ("", "namespaces", "", &["get", "list", "watch"]),
    ("", "configmaps", "", &["get", "list", "watch"]),
    ("", "secrets", "", &["get", "list", "watch"]),
    ("", "endpoints", "", &["get", "list", "watch"]),
    ("", "serviceaccounts", "", &["get"]),
    ("", "events", "", &["create", "update", "patch", "get", "list"]),
    ("events.k8s.io", "events", "", &["create", "update", "patch"]),
    ("discovery.k8s.io", "endpointslices", "", &["get", "list", "watch"]),
    ("coordination.k8s.io", "leases", "", &["get", "create", "update", "patch"]),
];

/// Decides. Denials word themselves as Kubernetes does: `User "u" cannot list resource "pods" in API group ""
/// in the namespace "n"`.
pub fn authorize(identity: &Identity, attributes: &Attributes<'_>) -> Decision {
    if identity.is_in(MASTERS) {
        return Decision::Allow;
    }
    let allowed = match *attributes {
        Attributes::Path { verb, path } => path_allowed(identity, verb, path),
        Attributes::Resource { .. } => identity.node().is_some_and(|node| node_may(node, attributes)),
    };
    if allowed { Decision::Allow } else { Decision::Deny(denial(identity, attributes)) }
}

fn path_allowed(identity: &Identity, verb: &str, path: &str) -> bool {
    let public = PUBLIC
        .iter()
        .any(|own| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    let reads = matches!(verb, "get" | "head");
    let discovery = path == "/api"
        || path == "/apis"
        || ["/api/", "/apis/", "/openapi/", "/v2/"].iter().any(|own| path.starts_with(own));
    reads && (public || (discovery && identity.node().is_some()))
}

fn node_may(node: &str, attributes: &Attributes<'_>) -> bool {
    let Attributes::Resource { verb, group, resource, subresource, namespace, name } = *attributes else {
        return false;
    };
    let ruled = NODE_RULES.iter().any(|(rule_group, rule_resource, rule_sub, verbs)| {
        *rule_group == group
            && *rule_resource == resource
            && *rule_sub == subresource
            && verbs.contains(&verb)
    });
    let reads = matches!(verb, "get" | "list" | "watch");
    // A create names its object in the body, not in the path; admission compares that name.
    let own = match resource {
        "nodes" => reads || verb == "create" || name == node,
        "leases" => namespace == "kube-node-lease" && (verb == "create" || name == node),
        _ => true,
    };
    ruled && own
}

fn denial(identity: &Identity, attributes: &Attributes<'_>) -> String {
    let user = &identity.user;
    match *attributes {
        Attributes::Path { verb, path } => format!("User \"{user}\" cannot {verb} path \"{path}\""),
        Attributes::Resource { verb, group, resource, subresource, namespace, .. } => {
            let slash = if subresource.is_empty() { "" } else { "/" };
            let scope = if namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace \"{namespace}\"")
            };
            format!(
                "User \"{user}\" cannot {verb} resource \"{resource}{slash}{subresource}\" in API group \"{group}\" {scope}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::identity::{AUTHENTICATED, NODES};

    fn node(name: &str) -> Identity {
        Identity { user: format!("system:node:{name}"), groups: vec![NODES.into(), AUTHENTICATED.into()] }
    }

    fn on<'a>(
        verb: &'a str,
        resource: &'a str,
        subresource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> Attributes<'a> {
        let group = match resource {
            "leases" => "coordination.k8s.io",
            "deployments" => "apps",
            _ => "",
        };
        Attributes::Resource { verb, group, resource, subresource, namespace, name }
    }

    #[test]
    fn masters_may_do_everything_and_strangers_nothing() {
        let delete = on("delete", "nodes", "", "", "n1");
        assert_eq!(authorize(&Identity::control_plane(), &delete), Decision::Allow);
        assert_eq!(
            authorize(&Identity::anonymous(), &on("list", "pods", "", "default", "")),
            Decision::Deny(
                "User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"".into()
            )
        );
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
        ] {
            let decision = authorize(&Identity::anonymous(), &Attributes::Path { verb: "get", path });
            assert_eq!(decision == Decision::Allow, expected, "{path}");
        }
        let post = authorize(&Identity::anonymous(), &Attributes::Path { verb: "post", path: "/version" });
        assert_ne!(post, Decision::Allow);
    }

    #[test]
    fn a_node_touches_its_own_node_and_lease_only() {
        for (attributes, expected) in [
            (on("patch", "nodes", "status", "", "n1"), true),
            (on("patch", "nodes", "status", "", "n2"), false),
            (on("delete", "nodes", "", "", "n1"), false),
            (on("update", "leases", "", "kube-node-lease", "n1"), true),
            (on("update", "leases", "", "kube-node-lease", "n2"), false),
            (on("create", "leases", "", "default", ""), false),
            (on("patch", "pods", "status", "default", "p"), true),
            (on("create", "pods", "", "default", ""), false),
            (on("patch", "pods", "", "default", "p"), false),
            (on("list", "deployments", "", "default", ""), false),
            (on("create", "secrets", "", "default", ""), false),
        ] {
            assert_eq!(authorize(&node("n1"), &attributes) == Decision::Allow, expected, "{attributes:?}");
        }
    }
}
