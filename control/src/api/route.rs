//! From a URL path to what it names. Pure: no registry, no store.
//!
//! `/api/v1/…` is the core group, `/apis/<group>/<version>/…` every other; below that
//! `[namespaces/<ns>/]<resource>[/<name>[/<subresource>[/…]]]`. Segments are percent-decoded after the split, so an
//! encoded slash stays inside its segment.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/`
    Root,
    /// `/version`
    Version,
    /// `/healthz`, `/livez`, `/readyz` and a single check of them.
    Health(Probe, Option<String>),
    /// `/metrics`
    Metrics,
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/<group>`
    Group(String),
    /// `/api/v1`, `/apis/<group>/<version>`
    GroupVersion(String, String),
    /// `/openapi/v3`
    OpenApiIndex,
    /// `/openapi/v3/<api/v1 or apis/group/version>`
    OpenApiDocument(String),
    /// `/openapi/v2`
    OpenApiV2,
    /// `/.well-known/openid-configuration`
    OpenIdConfiguration,
    /// `/openid/v1/jwks`
    OpenIdKeys,
    /// An object, a collection or a subresource.
    Resource(ResourcePath),
    /// Nothing of ours.
    Unknown,
}

/// Which of the health endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// The old name of liveness.
    Healthz,
    /// Should the process be restarted?
    Livez,
    /// Should it get traffic?
    Readyz,
}

impl Probe {
    /// The path without its slash, as the answers print it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Probe::Healthz => "healthz",
            Probe::Livez => "livez",
            Probe::Readyz => "readyz",
        }
    }
}

/// The parts of a resource path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResourcePath {
    /// API group, empty for core.
    pub(crate) group: String,
    /// API version.
    pub(crate) version: String,
    /// Plural name of the resource.
    pub(crate) resource: String,
    /// Namespace the path is in; `None` for all namespaces and for cluster-scoped resources.
    pub(crate) namespace: Option<String>,
    /// Name of the object; `None` for a collection.
    pub(crate) name: Option<String>,
    /// Subresource.
    pub(crate) subresource: Option<String>,
    /// What follows the subresource (`proxy` paths).
    pub(crate) rest: Vec<String>,
}

/// Longest path that is looked at; a longer one names nothing.
const PATH_BYTES_MAX: usize = 4096;

/// Subresources of a Namespace itself; any other word after a namespace is a resource inside it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// Reads a path. A segment that is no UTF-8, or an empty one in the middle, names nothing.
pub(crate) fn parse(path: &str) -> Route {
    if path.len() > PATH_BYTES_MAX {
        return Route::Unknown;
    }
    let Some(segments) = split(path) else { return Route::Unknown };
    let words: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [] => Route::Root,
        ["version"] => Route::Version,
        ["metrics"] => Route::Metrics,
        ["healthz", check @ ..] => health(Probe::Healthz, check),
        ["livez", check @ ..] => health(Probe::Livez, check),
        ["readyz", check @ ..] => health(Probe::Readyz, check),
        ["openapi", "v2"] => Route::OpenApiV2,
        ["openapi", "v3"] => Route::OpenApiIndex,
        ["openapi", "v3", document @ ..] => Route::OpenApiDocument(document.join("/")),
        [".well-known", "openid-configuration"] => Route::OpenIdConfiguration,
        ["openid", "v1", "jwks"] => Route::OpenIdKeys,
        ["api"] => Route::CoreVersions,
        ["api", version] => Route::GroupVersion(String::new(), (*version).to_owned()),
        ["api", version, rest @ ..] => resource("", version, rest),
        ["apis"] => Route::Groups,
        ["apis", group] => Route::Group((*group).to_owned()),
        ["apis", group, version] => Route::GroupVersion((*group).to_owned(), (*version).to_owned()),
        ["apis", group, version, rest @ ..] => resource(group, version, rest),
        _ => Route::Unknown,
    }
}

/// The decoded segments; a trailing slash is forgiven.
fn split(path: &str) -> Option<Vec<Cow<'_, str>>> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Vec::new());
    }
    path.split('/')
        .map(|raw| if raw.is_empty() { None } else { percent_decode_str(raw).decode_utf8().ok() })
        .collect()
}

fn health(probe: Probe, check: &[&str]) -> Route {
    match check {
        [] => Route::Health(probe, None),
        [name] => Route::Health(probe, Some((*name).to_owned())),
        _ => Route::Unknown,
    }
}

fn resource(group: &str, version: &str, rest: &[&str]) -> Route {
    let mut path =
        ResourcePath { group: group.to_owned(), version: version.to_owned(), ..ResourcePath::default() };
    let in_namespace = match rest {
        ["namespaces", _] => None,
        ["namespaces", _, word, ..] if NAMESPACE_SUBRESOURCES.contains(word) && group.is_empty() => None,
        ["namespaces", namespace, inside @ ..] => Some((*namespace, inside)),
        _ => None,
    };
    let parts = match in_namespace {
        Some((namespace, inside)) => {
            path.namespace = Some(namespace.to_owned());
            inside
        }
        None => rest,
    };
    let mut parts = parts.iter().map(|part| (*part).to_owned());
    path.resource = parts.next().unwrap_or_default();
    path.name = parts.next();
    path.subresource = parts.next();
    path.rest = parts.collect();
    Route::Resource(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource_of(path: &str) -> ResourcePath {
        match parse(path) {
            Route::Resource(found) => found,
            other => panic!("{path} is {other:?}"),
        }
    }

    /// `group/version resource namespace name subresource`, with `-` for what is absent.
    fn shown(path: &str) -> String {
        let found = resource_of(path);
        let or_dash = |part: Option<String>| part.unwrap_or_else(|| "-".into());
        format!(
            "{}/{} {} {} {} {}",
            found.group,
            found.version,
            found.resource,
            or_dash(found.namespace),
            or_dash(found.name),
            or_dash(found.subresource)
        )
    }

    #[test]
    fn resource_paths_fall_into_their_parts() {
        for (path, expected) in [
            ("/api/v1/pods", "/v1 pods - - -"),
            ("/api/v1/namespaces", "/v1 namespaces - - -"),
            ("/api/v1/namespaces/a", "/v1 namespaces - a -"),
            ("/api/v1/namespaces/a/status", "/v1 namespaces - a status"),
            ("/api/v1/namespaces/a/finalize", "/v1 namespaces - a finalize"),
            ("/api/v1/namespaces/a/pods", "/v1 pods a - -"),
            ("/api/v1/namespaces/a/pods/", "/v1 pods a - -"),
            ("/api/v1/namespaces/a/pods/p", "/v1 pods a p -"),
            ("/api/v1/namespaces/a/pods/p/log", "/v1 pods a p log"),
            ("/api/v1/nodes/n/status", "/v1 nodes - n status"),
            ("/apis/apps/v1/namespaces/a/deployments/d/scale", "apps/v1 deployments a d scale"),
            ("/apis/x.io/v1/namespaces/a/status/s", "x.io/v1 status a s -"),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                "rbac.authorization.k8s.io/v1 clusterroles - system:node -",
            ),
            ("/api/v1/namespaces/a/pods/x%2Fy", "/v1 pods a x/y -"),
        ] {
            assert_eq!(shown(path), expected, "{path}");
        }
    }

    #[test]
    fn other_paths_name_what_they_should() {
        for (path, expected) in [
            ("/", Route::Root),
            ("/version", Route::Version),
            ("/version/", Route::Version),
            ("/readyz", Route::Health(Probe::Readyz, None)),
            ("/livez/storage", Route::Health(Probe::Livez, Some("storage".into()))),
            ("/api", Route::CoreVersions),
            ("/api/v1", Route::GroupVersion(String::new(), "v1".into())),
            ("/apis", Route::Groups),
            ("/apis/apps", Route::Group("apps".into())),
            ("/apis/apps/v1", Route::GroupVersion("apps".into(), "v1".into())),
            ("/openapi/v3", Route::OpenApiIndex),
            ("/openapi/v3/apis/apps/v1", Route::OpenApiDocument("apis/apps/v1".into())),
            ("/nothing", Route::Unknown),
            ("//api", Route::Unknown),
            ("/api//v1", Route::Unknown),
            ("/api/v1/%ff", Route::Unknown),
            ("api", Route::Unknown),
            ("", Route::Unknown),
        ] {
            assert_eq!(parse(path), expected, "{path}");
        }
    }

    #[test]
    fn a_path_beyond_the_limit_names_nothing() {
        let path = format!("/api/v1/namespaces/{}", "a".repeat(PATH_BYTES_MAX));
        assert_eq!(parse(&path), Route::Unknown);
    }
}
