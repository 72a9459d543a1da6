//! May this caller do this? One pure decision over the caller's identity, what the request asks for, and the index of
//! roles and of nodes' pods.
//!
//! `system:masters` may do everything; a node may do what its agent needs for its own pods; everybody else what RBAC
//! grants. Health and version are open to all, also before there are roles.

use super::identity::{Identity, MASTERS};
use super::node::{self, Pods};
use super::rbac::Policy;

/// What a request wants to do, in the words of Kubernetes' authorization API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes<'a> {
    /// An API object or collection.
    Resource(ResourceAttributes<'a>),
    /// Any other path.
    Path {
        /// HTTP method in lower case.
        verb: &'a str,
        /// The path.
        path: &'a str,
    },
}

/// What is done with which objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResourceAttributes<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or a verb that only rules
    /// know (`bind`, `escalate`, `impersonate`).
    pub verb: &'a str,
    /// API group, empty for core.
    pub group: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace, or empty.
    pub namespace: &'a str,
    /// Object name, or empty.
    pub name: &'a str,
    /// The node to whose pods a list or watch is narrowed, or empty.
    pub of_node: &'a str,
    /// Only metadata is answered with.
    pub metadata_only: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// Refuse, with the sentence that the client reads after `… is forbidden: `.
    Deny(String),
}

/// Paths that anybody may read.
const PUBLIC: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];

/// Why `identity` may do it; `None` when it may not.
pub(crate) fn grant(
    policy: &Policy,
    pods: &Pods,
    identity: &Identity,
    attributes: &Attributes<'_>,
) -> Option<String> {
    if identity.is_in(MASTERS) {
        return Some(format!("{MASTERS} may do everything"));
    }
    if is_public(attributes) {
        return Some("anybody may read this".to_owned());
    }
    if let Some(node) = identity.node()
        && node::may(pods, node, attributes)
    {
        return Some("a node's agent needs it".to_owned());
    }
    policy.grant(identity, attributes).map(|grant| grant.to_string())
}

/// Decides, as [`grant`] does, without saying why. Denials word themselves as Kubernetes does:
/// `User "u" cannot list resource "pods" in API group "" in the namespace "n"`.
pub(crate) fn authorize(
    policy: &Policy,
    pods: &Pods,
    identity: &Identity,
    attributes: &Attributes<'_>,
) -> Decision {
    let allowed = identity.is_in(MASTERS)
        || is_public(attributes)
        || identity.node().is_some_and(|node| node::may(pods, node, attributes))
        || policy.grant(identity, attributes).is_some();
    if allowed { Decision::Allow } else { Decision::Deny(denial(policy, identity, attributes)) }
}

fn is_public(attributes: &Attributes<'_>) -> bool {
    let Attributes::Path { verb: "get" | "head", path } = attributes else { return false };
    PUBLIC
        .iter()
        .any(|own| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

fn denial(policy: &Policy, identity: &Identity, attributes: &Attributes<'_>) -> String {
    let user = &identity.user;
    let (mut text, namespace) = match *attributes {
        Attributes::Path { verb, path } => (format!("User \"{user}\" cannot {verb} path \"{path}\""), ""),
        Attributes::Resource(ResourceAttributes {
            verb, group, resource, subresource, namespace, ..
        }) => {
            let slash = if subresource.is_empty() { "" } else { "/" };
            let scope = if namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace \"{namespace}\"")
            };
            let what = format!("\"{resource}{slash}{subresource}\" in API group \"{group}\" {scope}");
            (format!("User \"{user}\" cannot {verb} resource {what}"), namespace)
        }
    };
    let missing = policy.missing_roles(identity, namespace);
    if !missing.is_empty() {
        text.push_str(": RBAC: ");
        text.push_str(&missing.join(", "));
    }
    text
}

#[cfg(test)]
mod matrix;
#[cfg(test)]
mod tests;
