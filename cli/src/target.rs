//! Which objects a command means: `deployment/web`, `deploy web`, `pods`, `-n NS`, `-A`, and the API paths for them.

use anyhow::{Context as _, bail};
use isopod_spec::registry;
use isopod_spec::resource::Kind;
use kube::Client;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Namespace options that all commands on objects share.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Scope {
    /// Namespace [default: that of the context]
    #[arg(short, long, value_name = "NS")]
    pub(crate) namespace: Option<String>,
}

impl Scope {
    /// The namespace to use.
    pub(crate) fn resolve<'a>(&'a self, client: &'a Client) -> &'a str {
        self.namespace.as_deref().unwrap_or(client.default_namespace())
    }
}

/// A kind and, unless all are meant, names.
pub(crate) struct Target {
    pub(crate) kind: &'static Kind,
    pub(crate) names: Vec<String>,
}

/// Reads `KIND`, `KIND NAME…` or `KIND/NAME…`.
pub(crate) fn parse(words: &[String]) -> anyhow::Result<Vec<Target>> {
    let (first, rest) =
        words.split_first().context("name a kind, as pods, or an object, as deployment/web")?;
    if !first.contains('/') {
        return Ok(vec![Target { kind: kind(first)?, names: rest.to_vec() }]);
    }
    words.iter().map(|word| one(word)).collect()
}

/// Reads exactly one object, `KIND/NAME`.
pub(crate) fn one(word: &str) -> anyhow::Result<Target> {
    let Some((typed, name)) = word.split_once('/') else {
        bail!("{word:?} names no object: write KIND/NAME, as deployment/web");
    };
    Ok(Target { kind: kind(typed)?, names: vec![name.to_owned()] })
}

/// The kind that a person typed: plural, singular or short name.
pub(crate) fn kind(typed: &str) -> anyhow::Result<&'static Kind> {
    let found = registry::builtin().by_typed_name(typed).map(AsRef::as_ref);
    found.with_context(|| {
        let names = registry::builtin().iter().map(|kind| kind.plural.to_string());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names.dedup();
        format!("no kind is called {typed:?}; there are {}", names.join(", "))
    })
}

/// The API path of a collection; `None` is all namespaces.
pub(crate) fn collection(kind: &Kind, namespace: Option<&str>) -> String {
    let (group, version) = (&kind.group, &kind.version);
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let plural = &kind.plural;
    match namespace.filter(|_| kind.namespaced()) {
        Some(namespace) => format!("{root}/namespaces/{}/{plural}", escape(namespace)),
        None => format!("{root}/{plural}"),
    }
}

/// The API path of one object.
pub(crate) fn object(kind: &Kind, namespace: &str, name: &str) -> String {
    format!("{}/{}", collection(kind, Some(namespace)), escape(name))
}

/// Escapes a path segment or a query value.
pub(crate) fn escape(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(Into::into).collect()
    }

    #[test]
    fn objects_are_named_as_kubectl_users_name_them() {
        let parsed = parse(&words("deploy web api")).expect("valid");
        assert_eq!(parsed[0].kind.plural, "deployments");
        assert_eq!(parsed[0].names, ["web", "api"]);
        let parsed = parse(&words("svc/a po/b")).expect("valid");
        assert_eq!(
            parsed.iter().map(|t| t.kind.plural.to_string()).collect::<Vec<_>>(),
            ["services", "pods"]
        );
    }

    #[test]
    fn an_unknown_kind_lists_what_there_is() {
        let error = parse(&words("podz")).err().expect("refused").to_string();
        assert!(error.contains("\"podz\"") && error.contains("pods"), "{error}");
    }

    #[test]
    fn paths_escape_what_a_person_typed() {
        let pods = kind("pod").expect("known");
        assert_eq!(object(pods, "a", "x/../y"), "/api/v1/namespaces/a/pods/x%2F%2E%2E%2Fy");
        assert_eq!(collection(pods, None), "/api/v1/pods");
        assert_eq!(collection(kind("no").expect("known"), Some("a")), "/api/v1/nodes");
    }
}
