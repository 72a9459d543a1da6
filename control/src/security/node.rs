//! What a node may do: what its agent needs, for the pods that are bound to it, and nothing to other nodes.
//!
//! As upstream's node authorizer. What a request's body decides (whose name is created, whose pod is changed) is
//! checked by the verbs, as upstream's NodeRestriction.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, LocalObjectReference, Volume};
use serde::Deserialize;

use super::authorize::{Attributes, ResourceAttributes};
use crate::membership::protocol::NODES;

/// What an agent does, as (group, resource, subresource, verbs).
const RULES: &[(&str, &str, &str, &[&str])] = &[
    ("", "nodes", "", &["get", "list", "watch", "create", "update", "patch"]),
    ("", "nodes", "status", &["get", "update", "patch"]),
    ("", "pods", "", &["get", "list", "watch", "delete"]),
    ("", "pods", "status", &["get", "update", "patch"]),
    ("", "services", "", &["get", "list", "watch"]),
    ("", "configmaps", "", &["get", "list", "watch"]),
    ("", "secrets", "", &["get", "list", "watch"]),
    ("", "persistentvolumeclaims", "", &["get"]),
    // Says where data is, and holds no secret.
    ("", "persistentvolumes", "", &["get"]),
    ("", "serviceaccounts", "", &["get"]),
    ("", "serviceaccounts", "token", &["create"]),
    ("", "events", "", &["create", "update", "patch", "get", "list"]),
    ("events.k8s.io", "events", "", &["create", "update", "patch"]),
    ("discovery.k8s.io", "endpointslices", "", &["get", "list", "watch"]),
    ("coordination.k8s.io", "leases", "", &["get", "create", "update", "patch"]),
    ("authentication.k8s.io", "selfsubjectreviews", "", &["create"]),
    ("authorization.k8s.io", "selfsubjectaccessreviews", "", &["create"]),
];

/// Whether the node's agent needs this.
pub(crate) fn may(pods: &Pods, node: &str, attributes: &Attributes<'_>) -> bool {
    let on = match attributes {
        Attributes::Path { verb, path } => return may_path(node, verb, path),
        Attributes::Resource(on) => on,
    };
    let ruled = RULES.iter().any(|(group, resource, subresource, verbs)| {
        (*group, *resource, *subresource) == (on.group, on.resource, on.subresource)
            && verbs.contains(&on.verb)
    });
    ruled && is_own(pods, node, on)
}

fn may_path(node: &str, verb: &str, path: &str) -> bool {
    let own = path.strip_prefix(NODES).and_then(|rest| rest.strip_prefix('/')?.strip_prefix(node));
    let known = matches!(path, "/api" | "/apis")
        || ["/api/", "/apis/", "/openapi/", "/v2/"].iter().any(|known| path.starts_with(known));
    match verb {
        "get" | "head" if known => true,
        "get" => own == Some("/connection"),
        "post" => own == Some("/certificates"),
        _ => false,
    }
}

/// Whether what is asked for belongs to the node, as far as a path and its parameters tell.
fn is_own(pods: &Pods, node: &str, on: &ResourceAttributes<'_>) -> bool {
    let lists = matches!(on.verb, "list" | "watch");
    match (on.resource, on.subresource) {
        // A create names its object in the body.
        ("nodes", _) => on.verb == "create" || on.name == node,
        ("leases", _) => on.namespace == "kube-node-lease" && (on.verb == "create" || on.name == node),
        ("pods", "") if lists => on.of_node == node,
        ("pods", _) => pods.uses(node, "pods", on.namespace, on.name),
        ("configmaps" | "secrets", _) if lists && on.metadata_only => true,
        ("configmaps" | "secrets" | "serviceaccounts" | "persistentvolumeclaims", _) => {
            pods.uses(node, on.resource, on.namespace, on.name)
        }
        _ => true,
    }
}

/// Which objects the pods of each node use.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    /// By `namespace/name`.
    pods: HashMap<String, Used>,
    /// By node, then by `resource/namespace/name`: how many of its pods use it.
    nodes: HashMap<String, HashMap<String, usize>>,
}

/// What one pod uses, itself among it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Used {
    node: String,
    objects: BTreeSet<String>,
}

impl Used {
    /// By a pod as it is stored; `None` while it is bound to no node. One that cannot be read gives no rights.
    pub(crate) fn by(stored: &[u8]) -> Option<Used> {
        serde_json::from_slice::<Pod>(stored).ok().and_then(used)
    }
}

impl Pods {
    /// What the pod of this key uses from now on; `None` when it is gone.
    pub(crate) fn set(&mut self, key: &str, used: Option<Used>) {
        if self.pods.get(key) == used.as_ref() {
            return;
        }
        if let Some(old) = self.pods.remove(key) {
            self.forget(&old);
        }
        let Some(used) = used else { return };
        let counts = self.nodes.entry(used.node.clone()).or_default();
        for object in &used.objects {
            *counts.entry(object.clone()).or_default() += 1;
        }
        self.pods.insert(key.to_owned(), used);
    }

    fn forget(&mut self, used: &Used) {
        let Some(counts) = self.nodes.get_mut(&used.node) else { return };
        for object in &used.objects {
            if let Some(count) = counts.get_mut(object) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(object);
                }
            }
        }
        if counts.is_empty() {
            self.nodes.remove(&used.node);
        }
    }

    /// Whether a pod of the node uses the object.
    fn uses(&self, node: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let key = format!("{resource}/{namespace}/{name}");
        self.nodes.get(node).is_some_and(|counts| counts.contains_key(&key))
    }
}

/// The parts of a Pod that name other objects.
#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    service_account_name: Option<String>,
    #[serde(default)]
    image_pull_secrets: Vec<LocalObjectReference>,
    #[serde(default)]
    volumes: Vec<Volume>,
    #[serde(default)]
    containers: Vec<Container>,
    #[serde(default)]
    init_containers: Vec<Container>,
    #[serde(default)]
    ephemeral_containers: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default)]
    env: Vec<EnvVar>,
    #[serde(default)]
    env_from: Vec<EnvFromSource>,
}

/// What a bound pod uses; `None` while it is bound to no node.
fn used(pod: Pod) -> Option<Used> {
    let Pod { metadata, spec } = pod;
    let node = spec.node_name.clone().filter(|node| !node.is_empty())?;
    let namespace = &metadata.namespace;
    let mut objects = BTreeSet::from([format!("pods/{namespace}/{}", metadata.name)]);
    let mut add = |resource: &str, name: &str| {
        objects.insert(format!("{resource}/{namespace}/{name}"));
    };
    spec.service_account_name.iter().for_each(|name| add("serviceaccounts", name));
    spec.image_pull_secrets.iter().for_each(|secret| add("secrets", &secret.name));
    spec.volumes.iter().for_each(|volume| add_volume(&metadata.name, volume, &mut add));
    let containers = [&spec.containers, &spec.init_containers, &spec.ephemeral_containers];
    containers.into_iter().flatten().for_each(|container| add_environment(container, &mut add));
    Some(Used { node, objects })
}

fn add_volume(pod: &str, volume: &Volume, add: &mut impl FnMut(&str, &str)) {
    volume.persistent_volume_claim.iter().for_each(|claim| add("persistentvolumeclaims", &claim.claim_name));
    if volume.ephemeral.is_some() {
        add("persistentvolumeclaims", &format!("{pod}-{}", volume.name));
    }
    volume.config_map.iter().for_each(|map| add("configmaps", &map.name));
    let secret = volume.secret.iter().flat_map(|secret| &secret.secret_name);
    secret.for_each(|name| add("secrets", name));
    for source in volume.projected.iter().flat_map(|projected| &projected.sources).flatten() {
        source.config_map.iter().for_each(|map| add("configmaps", &map.name));
        source.secret.iter().for_each(|secret| add("secrets", &secret.name));
    }
}

fn add_environment(container: &Container, add: &mut impl FnMut(&str, &str)) {
    for source in container.env.iter().filter_map(|variable| variable.value_from.as_ref()) {
        source.config_map_key_ref.iter().for_each(|key| add("configmaps", &key.name));
        source.secret_key_ref.iter().for_each(|key| add("secrets", &key.name));
    }
    for source in &container.env_from {
        source.config_map_ref.iter().for_each(|map| add("configmaps", &map.name));
        source.secret_ref.iter().for_each(|secret| add("secrets", &secret.name));
    }
}

#[cfg(test)]
mod tests;
