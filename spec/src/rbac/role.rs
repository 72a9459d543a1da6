//! Role and ClusterRole: sets of rules, each of which allows something.
//!
//! A ClusterRole with an `aggregationRule` has the rules of all ClusterRoles that its selectors match; a controller
//! writes them.

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use crate::field_error::{FieldErrors, Path, Shown};
use crate::resource::{Declaration, NameRule, Resource, Scope};
use crate::selector;
use crate::table::{Cell, Column};

impl Resource for Role {
    fn declaration() -> Declaration {
        declared(Declaration::of::<Self>("role"))
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validate_rules(self.rules.as_deref(), Scope::Namespaced, errors);
    }

    fn columns() -> Vec<Column> {
        columns()
    }

    fn cells(&self, _now: Timestamp) -> Vec<Cell> {
        cells(&self.metadata)
    }
}

impl Resource for ClusterRole {
    fn declaration() -> Declaration {
        declared(Declaration::of::<Self>("clusterrole"))
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validate_rules(self.rules.as_deref(), Scope::Cluster, errors);
        let Some(aggregation) = &self.aggregation_rule else { return };
        let path = Path::new("aggregationRule");
        let path = path.child("clusterRoleSelectors");
        let selectors = aggregation.cluster_role_selectors.as_deref().unwrap_or_default();
        if selectors.is_empty() {
            errors.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
        }
        for (index, selector) in selectors.iter().enumerate() {
            selector::validate(selector, &path.index(index), errors);
        }
    }

    fn columns() -> Vec<Column> {
        columns()
    }

    fn cells(&self, _now: Timestamp) -> Vec<Cell> {
        cells(&self.metadata)
    }
}

/// What the four kinds have in common.
pub(super) fn declared(declaration: Declaration) -> Declaration {
    Declaration { name_rule: NameRule::PathSegment, create_on_update: true, ..declaration }
}

fn columns() -> Vec<Column> {
    vec![Column::NAME, Column::text("Created At", "When the object was created.")]
}

fn cells(meta: &ObjectMeta) -> Vec<Cell> {
    let created = meta.creation_timestamp.as_ref().map(|time| time.0.to_string());
    vec![Cell::from(meta.name.as_deref()), Cell::from(created.as_deref())]
}

fn validate_rules(rules: Option<&[PolicyRule]>, scope: Scope, errors: &mut FieldErrors) {
    let path = Path::new("rules");
    for (index, rule) in rules.unwrap_or_default().iter().enumerate() {
        validate_rule(rule, scope, &path.index(index), errors);
    }
}

fn validate_rule(rule: &PolicyRule, scope: Scope, path: &Path<'_>, errors: &mut FieldErrors) {
    let is_empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    if rule.verbs.is_empty() {
        errors.required(&path.child("verbs"), "verbs must contain at least one value");
    }
    if let Some(urls) = rule.non_resource_urls.as_ref().filter(|urls| !urls.is_empty()) {
        let path = path.child("nonResourceURLs");
        if scope == Scope::Namespaced {
            let why = "namespaced rules cannot apply to non-resource URLs";
            errors.invalid(&path, Shown::json(urls), why);
        }
        let with_resources =
            !is_empty(&rule.api_groups) || !is_empty(&rule.resources) || !is_empty(&rule.resource_names);
        if with_resources {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.invalid(&path, Shown::json(urls), why);
        }
        return;
    }
    if is_empty(&rule.api_groups) {
        errors.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
    }
    if is_empty(&rule.resources) {
        errors.required(&path.child("resources"), "resource rules must supply at least one resource");
    }
}

#[cfg(test)]
mod tests;
