//! What one rule allows.
//!
//! The rules of upstream's `pkg/apis/rbac/v1/evaluation_helpers.go` and `component-helpers/auth/rbac/validation`.

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::security::authorize::{Attributes, ResourceAttributes};

/// Matches everything of its list.
const ALL: &str = "*";

/// Whether the rule allows the request.
pub(crate) fn allows(rule: &PolicyRule, attributes: &Attributes<'_>) -> bool {
    match attributes {
        Attributes::Resource(resource) => allows_resource(rule, resource),
        Attributes::Path { verb, path } => {
            has_or_all(&rule.verbs, verb)
                && rule.non_resource_urls.iter().flatten().any(|url| covers_url(url, path))
        }
    }
}

fn allows_resource(rule: &PolicyRule, on: &ResourceAttributes<'_>) -> bool {
    let names = rule.resource_names.as_deref().unwrap_or_default();
    has_or_all(&rule.verbs, on.verb)
        && has_or_all(rule.api_groups.as_deref().unwrap_or_default(), on.group)
        && rule.resources.iter().flatten().any(|own| names_resource(own, on.resource, on.subresource))
        && (names.is_empty() || names.iter().any(|name| name == on.name))
}

fn has_or_all(list: &[String], wanted: &str) -> bool {
    list.iter().any(|own| own == ALL || own == wanted)
}

/// `*` is every resource and subresource, `*/x` the subresource of every resource.
fn names_resource(own: &str, resource: &str, subresource: &str) -> bool {
    match own.split_once('/') {
        _ if own == ALL => true,
        None => subresource.is_empty() && own == resource,
        Some((ALL, below)) => !subresource.is_empty() && below == subresource,
        Some((above, below)) => above == resource && below == subresource && !subresource.is_empty(),
    }
}

/// Whether what `own` stands for includes `url`, which may end with a `*` itself.
pub(super) fn covers_url(own: &str, url: &str) -> bool {
    own == ALL || own == url || own.strip_suffix('*').is_some_and(|prefix| url.starts_with(prefix))
}

/// Whether one rule allows at least what another does that has one verb, one group, one resource and at most one
/// name, or one verb and one URL.
pub(super) fn covers(own: &PolicyRule, wanted: &PolicyRule) -> bool {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let all_in = |own: &[String], wanted: &[String]| wanted.iter().all(|word| has_or_all(own, word));
    let verbs = all_in(&own.verbs, &wanted.verbs);
    let (urls, wanted_urls) = (list(&own.non_resource_urls), list(&wanted.non_resource_urls));
    if !wanted_urls.is_empty() {
        return verbs && wanted_urls.iter().all(|url| urls.iter().any(|own| covers_url(own, url)));
    }
    let (names, wanted_names) = (list(&own.resource_names), list(&wanted.resource_names));
    verbs
        && all_in(&list(&own.api_groups), &list(&wanted.api_groups))
        && list(&wanted.resources).iter().all(|wanted| covers_resource(&list(&own.resources), wanted))
        && (names.is_empty()
            || !wanted_names.is_empty() && wanted_names.iter().all(|name| names.contains(name)))
}

fn covers_resource(own: &[String], wanted: &str) -> bool {
    let below = wanted.split_once('/').map(|(_, below)| format!("*/{below}"));
    own.iter().any(|own| own == ALL || own == wanted || Some(own) == below.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> PolicyRule {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        PolicyRule {
            verbs: list(verbs),
            api_groups: Some(list(groups)),
            resources: Some(list(resources)),
            resource_names: Some(list(names)),
            non_resource_urls: None,
        }
    }

    /// `verb group resource[/subresource] name`, with `-` for what is empty.
    fn on(words: &str) -> Attributes<'_> {
        let parts: Vec<&str> = words.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
        let (resource, subresource) = parts[2].split_once('/').unwrap_or((parts[2], ""));
        let (verb, group, name) = (parts[0], parts[1], parts[3]);
        Attributes::Resource(ResourceAttributes {
            verb,
            group,
            resource,
            subresource,
            name,
            ..ResourceAttributes::default()
        })
    }

    #[test]
    fn a_rule_allows_what_it_names_and_nothing_else() {
        let pods = rule(&["get", "list"], &[""], &["pods", "*/scale", "deployments/status"], &[]);
        let named = rule(&["*"], &["apps"], &["deployments"], &["web"]);
        let all = rule(&["*"], &["*"], &["*"], &[]);
        for (rule, words, expected) in [
            (&pods, "get - pods p", true),
            (&pods, "list - pods -", true),
            (&pods, "watch - pods -", false),
            (&pods, "get apps pods p", false),
            (&pods, "get - pods/log p", false),
            (&pods, "get - anything/scale p", true),
            (&pods, "get - anything/scales p", false),
            (&pods, "get - deployments d", false),
            (&pods, "get - deployments/status d", true),
            (&named, "delete apps deployments web", true),
            (&named, "delete apps deployments other", false),
            (&named, "list apps deployments -", false),
            (&named, "get apps deployments/scale web", false),
            (&all, "patch x.io things/anything t", true),
        ] {
            assert_eq!(allows(rule, &on(words)), expected, "{words}");
        }
        assert!(!allows(&all, &Attributes::Path { verb: "get", path: "/metrics" }));
    }

    #[test]
    fn paths_are_matched_whole_or_by_their_beginning() {
        let urls = PolicyRule {
            verbs: vec!["get".into()],
            non_resource_urls: Some(vec!["/metrics".into(), "/apis/*".into()]),
            ..PolicyRule::default()
        };
        for (verb, path, expected) in [
            ("get", "/metrics", true),
            ("get", "/metrics/", false),
            ("post", "/metrics", false),
            ("get", "/apis/apps", true),
            ("get", "/apis", false),
        ] {
            assert_eq!(allows(&urls, &Attributes::Path { verb, path }), expected, "{path}");
        }
        assert!(!allows(&urls, &on("get - pods p")));
    }

    #[test]
    fn a_rule_covers_what_is_no_wider_than_itself() {
        let pods = rule(&["get", "list"], &[""], &["pods"], &[]);
        let one = rule(&["get"], &[""], &["pods"], &["p"]);
        let all = rule(&["*"], &["*"], &["*"], &[]);
        let below = rule(&["get"], &[""], &["*/log"], &[]);
        let log = rule(&["get"], &[""], &["pods/log"], &[]);
        for (own, wanted, expected) in [
            (&pods, &one, true),
            (&one, &pods, false),
            (&all, &pods, true),
            (&pods, &all, false),
            (&below, &log, true),
            (&log, &below, false),
            (&pods, &log, false),
            (&one, &one, true),
        ] {
            assert_eq!(covers(own, wanted), expected, "{own:?} {wanted:?}");
        }
        let urls = |url: &str| PolicyRule {
            verbs: vec!["get".into()],
            non_resource_urls: Some(vec![url.into()]),
            ..PolicyRule::default()
        };
        assert!(covers(&urls("/a*"), &urls("/ab*")));
        assert!(!covers(&urls("/ab*"), &urls("/a*")));
        assert!(!covers(&all, &urls("/a")));
    }
}
