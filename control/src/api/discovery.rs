//! What is served: `/version`, `/api`, `/apis` and the lists below them, all made from the registry of kinds.

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderValue};
use isopod_spec::registry::Kinds;
use isopod_spec::resource::{Kind, Scope, Subresource};
use isopod_spec::status::Status;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::call::{Call, MEDIA_TYPES};
use super::negotiate::{self, DiscoveryForm};
use super::reply::{Content, Reply};

/// The Kubernetes minor version whose API this is. Clients compare it with their own, charts with what they need.
const MINOR: u32 = 36;

/// Paths that `/` lists besides those of the group versions.
const PATHS: [&str; 13] = [
    "/api",
    "/apis",
    "/healthz",
    "/healthz/ping",
    "/livez",
    "/livez/ping",
    "/metrics",
    "/openapi/v3",
    "/readyz",
    "/readyz/ping",
    "/readyz/raft-quorum",
    "/readyz/shutdown",
    "/version",
];

/// What this build is, for `/version`.
#[derive(Debug, Clone)]
pub struct Build {
    /// Isopod's version, such as `0.1.0`.
    pub version: String,
    /// The commit it was built from; empty when unknown.
    pub commit: String,
}

/// What is known of the build, by the names of the metric `kubernetes_build_info`.
pub(crate) fn build_facts(build: &Build) -> [(&'static str, String); 9] {
    [
        ("major", "1".to_owned()),
        ("minor", MINOR.to_string()),
        ("git_version", format!("v1.{MINOR}.0+isopod.{}", build.version)),
        ("git_commit", build.commit.clone()),
        ("git_tree_state", "clean".to_owned()),
        ("build_date", "1970-01-01T00:00:00Z".to_owned()),
        ("go_version", "none".to_owned()),
        ("compiler", "rustc".to_owned()),
        ("platform", format!("{}/{}", std::env::consts::OS, architecture())),
    ]
}

/// Answers `/version`.
pub(crate) fn version(build: &Build) -> Reply {
    let mut body = json!({
        "emulationMajor": "1",
        "emulationMinor": MINOR.to_string(),
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": (MINOR - 1).to_string(),
    });
    for (name, value) in build_facts(build) {
        body[in_camel_case(name)] = value.into();
    }
    Reply::json(StatusCode::OK, body.to_string())
}

/// `git_version` as `gitVersion`.
fn in_camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |all, word| all + &word[..1].to_ascii_uppercase() + &word[1..])
}

/// The machine's architecture in Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Answers `/`.
pub(crate) fn root(kinds: &Kinds) -> Reply {
    let mut paths: Vec<String> = PATHS.iter().map(|path| (*path).to_owned()).collect();
    for (group, versions) in kinds.groups() {
        let group_path = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
        paths.extend(versions.iter().map(|version| format!("{group_path}/{version}")));
        paths.push(group_path);
    }
    paths.sort_unstable();
    paths.dedup();
    Reply::json(StatusCode::OK, json!({ "paths": paths }).to_string())
}

/// Answers `/api` (the core group) and `/apis` (every other).
pub(crate) fn groups(kinds: &Kinds, core: Groups<'_>, call: &Call) -> Result<Reply, Status> {
    let form = negotiate::discovery_form(call.header(&header::ACCEPT));
    let form = form.ok_or_else(|| Status::not_acceptable(&MEDIA_TYPES))?;
    let reply = match (form, core) {
        (DiscoveryForm::Aggregated, core) => aggregated(kinds, &core, call),
        (DiscoveryForm::Plain, Groups::Core { address }) => {
            let address = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]);
            let body =
                json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": address});
            Reply::json(StatusCode::OK, body.to_string())
        }
        (DiscoveryForm::Plain, Groups::Named) => {
            let named = kinds.groups().into_iter().filter(|(group, _)| !group.is_empty());
            let groups: Vec<Value> = named.map(|(group, versions)| group_entry(group, &versions)).collect();
            let body = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups});
            Reply::json(StatusCode::OK, body.to_string())
        }
    };
    Ok(reply.with(header::VARY, HeaderValue::from_static("Accept")))
}

/// Which groups a list is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Groups<'a> {
    /// The core group, under `/api`.
    Core {
        /// Where the API listens.
        address: &'a str,
    },
    /// All others, under `/apis`.
    Named,
}

/// Answers `/apis/<group>`.
pub(crate) fn group(kinds: &Kinds, name: &str) -> Result<Reply, Status> {
    let groups = kinds.groups();
    let (group, versions) = groups
        .iter()
        .find(|(group, _)| *group == name && !name.is_empty())
        .ok_or_else(Status::no_such_resource)?;
    let mut body = group_entry(group, versions);
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    Ok(Reply::json(StatusCode::OK, body.to_string()))
}

fn group_entry(group: &str, versions: &[&str]) -> Value {
    let entry = |version: &str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let versions: Vec<Value> = versions.iter().map(|version| entry(version)).collect();
    json!({"name": group, "preferredVersion": versions[0], "versions": versions})
}

/// Answers `/api/v1` and `/apis/<group>/<version>`.
pub(crate) fn resources(kinds: &Kinds, group: &str, version: &str) -> Result<Reply, Status> {
    let kinds = kinds.of_version(group, version);
    let first = kinds.first().ok_or_else(Status::no_such_resource)?;
    let resources: Vec<Value> = kinds.iter().flat_map(|kind| resource_entries(kind)).collect();
    let body = json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": resources
    });
    Ok(Reply::json(StatusCode::OK, body.to_string()))
}

fn resource_entries(kind: &Kind) -> Vec<Value> {
    let mut own = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced(), "kind": kind.kind,
        "verbs": kind.verbs,
    });
    name_sets(kind, &mut own);
    let below = kind.subresources.iter().map(|subresource| {
        let mut entry = json!({
            "name": format!("{}/{}", kind.plural, subresource.name), "singularName": "",
            "namespaced": kind.namespaced(), "kind": kind.kind, "verbs": subresource.verbs,
        });
        if let Some((group, version, body)) = subresource.body {
            entry["kind"] = body.into();
            if (group, version) != (kind.group.as_str(), kind.version.as_str()) {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
        }
        entry
    });
    std::iter::once(own).chain(below).collect()
}

fn name_sets(kind: &Kind, entry: &mut Value) {
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
}

/// Everything about a set of groups in one document, with a tag by which clients keep their copy.
fn aggregated(kinds: &Kinds, which: &Groups<'_>, call: &Call) -> Reply {
    const TYPE: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let is_core = matches!(which, Groups::Core { .. });
    let groups: Vec<Value> = kinds
        .groups()
        .into_iter()
        .filter(|(group, _)| group.is_empty() == is_core)
        .map(|(group, versions)| {
            let versions: Vec<Value> =
                versions.iter().map(|version| aggregated_version(kinds, group, version)).collect();
            json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
        })
        .collect();
    let body = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": groups
    });
    let body = Bytes::from(body.to_string());
    let tag = format!("\"{}\"", hash(&body));
    let tagged = |reply: Reply| {
        let tag = HeaderValue::from_str(&tag).expect("quoted hexadecimal digits");
        reply.with(header::ETAG, tag).with(header::CACHE_CONTROL, HeaderValue::from_static("public"))
    };
    if call.header(&header::IF_NONE_MATCH).is_some_and(|known| is_known(known, &tag)) {
        return tagged(Reply::of(
            StatusCode::NOT_MODIFIED,
            HeaderValue::from_static(TYPE),
            Content::Whole(Bytes::new()),
        ));
    }
    tagged(Reply::of(StatusCode::OK, HeaderValue::from_static(TYPE), Content::Whole(body)))
}

/// Whether an `If-None-Match` header names the tag.
pub(crate) fn is_known(header: &str, tag: &str) -> bool {
    header.split(',').map(|own| own.trim().trim_start_matches("W/")).any(|own| own == tag || own == "*")
}

/// A short name for content, in hexadecimal digits.
pub(crate) fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02X}")).collect()
}

fn aggregated_version(kinds: &Kinds, group: &str, version: &str) -> Value {
    let resources: Vec<Value> =
        kinds.of_version(group, version).iter().map(|kind| aggregated_resource(kind)).collect();
    json!({"version": version, "freshness": "Current", "resources": resources})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let own = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let mut entry = json!({
        "resource": kind.plural,
        "responseKind": own,
        "scope": match kind.scope { Scope::Namespaced => "Namespaced", Scope::Cluster => "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    name_sets(kind, &mut entry);
    let below: Vec<Value> =
        kind.subresources.iter().map(|below| aggregated_subresource(below, &own)).collect();
    if !below.is_empty() {
        entry["subresources"] = below.into();
    }
    entry
}

fn aggregated_subresource(subresource: &Subresource, own: &Value) -> Value {
    let body = subresource
        .body
        .map(|(group, version, kind)| json!({"group": group, "version": version, "kind": kind}));
    json!({
        "subresource": subresource.name,
        "responseKind": body.unwrap_or_else(|| own.clone()),
        "verbs": subresource.verbs,
    })
}
