//! Nobody hands on rights that he lacks.
//!
//! As upstream's `pkg/registry/rbac/validation`: the rules handed on are broken down into the smallest ones, and each
//! must be covered by a rule that the caller has.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::{Policy, rules};
use crate::security::identity::Identity;

/// Smallest rules that one write may be broken down into.
const SMALLEST_MAX: usize = 50_000;

/// Everything. Who may make a ClusterRole whose rules others can add to must have it.
pub(crate) fn full_authority() -> Vec<PolicyRule> {
    let all = || vec!["*".to_owned()];
    vec![
        PolicyRule { verbs: all(), api_groups: Some(all()), resources: Some(all()), ..PolicyRule::default() },
        PolicyRule { verbs: all(), non_resource_urls: Some(all()), ..PolicyRule::default() },
    ]
}

/// `Err` is the clause of a Forbidden answer.
pub(crate) fn may_hand_on(
    policy: &Policy,
    identity: &Identity,
    namespace: &str,
    wanted: &[PolicyRule],
) -> Result<(), String> {
    let mut missing = smallest(wanted).ok_or_else(|| {
        format!("its rules make more than {SMALLEST_MAX} single permissions, which cannot be checked; use fewer words or a *")
    })?;
    policy.visit_rules(identity, namespace, |own| {
        missing.retain(|rule| !rules::covers(own, rule));
        if missing.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match missing.is_empty() {
        true => Ok(()),
        false => Err(denial(identity, &missing)),
    }
}

/// Which of the wanted rules are in none of these: what must be added to a role so that it allows them all.
pub(crate) fn uncovered(own: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let lacks = |rule: &&PolicyRule| {
        let mut single = smallest(std::slice::from_ref(rule)).unwrap_or_default();
        single.retain(|small| !own.iter().any(|own| rules::covers(own, small)));
        !single.is_empty()
    };
    wanted.iter().filter(lacks).cloned().collect()
}

/// The rules of one verb, one group, one resource and at most one name each, or of one verb and one URL; `None` when
/// there are too many of them.
fn smallest(rules: &[PolicyRule]) -> Option<Vec<PolicyRule>> {
    let mut small = Vec::new();
    for rule in rules {
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let (groups, resources) = (list(&rule.api_groups), list(&rule.resources));
        let (names, urls) = (list(&rule.resource_names), list(&rule.non_resource_urls));
        let sizes = [rule.verbs.len(), groups.len(), resources.len(), names.len().max(1)];
        let count = sizes.iter().try_fold(1_usize, |all, size| all.checked_mul(*size))?;
        let count = count.checked_add(rule.verbs.len().checked_mul(urls.len())?)?;
        if small.len().checked_add(count)? > SMALLEST_MAX {
            return None;
        }
        for verb in &rule.verbs {
            let verbs = vec![verb.clone()];
            small.extend(urls.iter().map(|url| PolicyRule {
                verbs: verbs.clone(),
                non_resource_urls: Some(vec![url.clone()]),
                ..PolicyRule::default()
            }));
            for (group, resource) in
                groups.iter().flat_map(|group| resources.iter().map(move |own| (group, own)))
            {
                let one = PolicyRule {
                    verbs: verbs.clone(),
                    api_groups: Some(vec![group.clone()]),
                    resources: Some(vec![resource.clone()]),
                    ..PolicyRule::default()
                };
                match names.is_empty() {
                    true => small.push(one),
                    false => {
                        small.extend(names.iter().map(|name| PolicyRule {
                            resource_names: Some(vec![name.clone()]),
                            ..one.clone()
                        }))
                    }
                }
            }
        }
    }
    Some(small)
}

/// The sentence that upstream answers with; what is missing is put together again by everything but the verb.
fn denial(identity: &Identity, missing: &[PolicyRule]) -> String {
    let mut together: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for rule in missing {
        let named = [
            ("APIGroups", &rule.api_groups),
            ("Resources", &rule.resources),
            ("ResourceNames", &rule.resource_names),
            ("NonResourceURLs", &rule.non_resource_urls),
        ];
        let parts = named.iter().filter_map(|(name, list)| Some(format!("{name}:{:?}", list.as_ref()?)));
        together
            .entry(parts.collect::<Vec<_>>().join(", "))
            .or_default()
            .extend(rule.verbs.iter().map(String::as_str));
    }
    let lines = together.iter().map(|(parts, verbs)| {
        let verbs: Vec<String> = verbs.iter().map(|verb| format!("{verb:?}")).collect();
        format!("{{{parts}, Verbs:[{}]}}", verbs.join(" "))
    });
    let groups: Vec<String> = identity.groups.iter().map(|group| format!("{group:?}")).collect();
    format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        identity.user,
        groups.join(" "),
        lines.collect::<Vec<_>>().join("\n")
    )
}

#[cfg(test)]
mod tests;
