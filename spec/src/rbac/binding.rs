//! RoleBinding and ClusterRoleBinding: a role, and who has it. The role can never be changed: it would be another
//! grant.

use k8s_openapi::Resource as _;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::GROUP;
use super::role::declared;
use crate::field_error::{FieldErrors, Path, Shown};
use crate::meta;
use crate::resource::{Declaration, NameRule, Resource, Scope, Target};
use crate::table::{Cell, Column, age};
use crate::validation;

/// Kinds that a subject can be of.
pub const USER: &str = "User";
/// See [`USER`].
pub const GROUP_KIND: &str = "Group";
/// See [`USER`].
pub const SERVICE_ACCOUNT: &str = "ServiceAccount";

macro_rules! binding {
    ($kind:ident, $singular:literal, $scope:expr) => {
        impl Resource for $kind {
            fn declaration() -> Declaration {
                declared(Declaration::of::<Self>($singular))
            }

            fn set_defaults(&mut self) {
                set_defaults(&mut self.role_ref, self.subjects.as_mut());
            }

            fn validate(&self, errors: &mut FieldErrors) {
                validate_role(&self.role_ref, $scope, errors);
                validate_subjects(self.subjects.as_deref(), $scope, errors);
            }

            fn validate_update(&self, old: &Self, _target: Target, errors: &mut FieldErrors) {
                if self.role_ref != old.role_ref {
                    let path = Path::new("roleRef");
                    errors.invalid(&path, Shown::json(&self.role_ref), "cannot change roleRef");
                }
            }

            fn columns() -> Vec<Column> {
                columns()
            }

            fn cells(&self, now: Timestamp) -> Vec<Cell> {
                cells(&self.metadata, &self.role_ref, self.subjects.as_deref(), now)
            }
        }
    };
}

binding!(RoleBinding, "rolebinding", Scope::Namespaced);
binding!(ClusterRoleBinding, "clusterrolebinding", Scope::Cluster);

fn set_defaults(role: &mut RoleRef, subjects: Option<&mut Vec<Subject>>) {
    let group = role.api_group.get_or_insert_default();
    if group.is_empty() {
        GROUP.clone_into(group);
    }
    for subject in subjects.into_iter().flatten() {
        if subject.api_group.as_deref().unwrap_or_default().is_empty()
            && matches!(subject.kind.as_str(), USER | GROUP_KIND)
        {
            subject.api_group = Some(GROUP.to_owned());
        }
    }
}

fn validate_role(role: &RoleRef, scope: Scope, errors: &mut FieldErrors) {
    let path = Path::new("roleRef");
    if role.api_group.as_deref() != Some(GROUP) {
        let given = role.api_group.as_deref().unwrap_or_default();
        errors.not_supported(&path.child("apiGroup"), given, &[GROUP]);
    }
    let kinds: &[&str] = match scope {
        Scope::Namespaced => &[Role::KIND, ClusterRole::KIND],
        Scope::Cluster => &[ClusterRole::KIND],
    };
    if !kinds.contains(&role.kind.as_str()) {
        errors.not_supported(&path.child("kind"), &role.kind, kinds);
    }
    if role.name.is_empty() {
        errors.required(&path.child("name"), "");
        return;
    }
    for fault in meta::name_faults(NameRule::PathSegment, &role.name) {
        errors.invalid(&path.child("name"), &role.name, &fault);
    }
}

fn validate_subjects(subjects: Option<&[Subject]>, scope: Scope, errors: &mut FieldErrors) {
    let path = Path::new("subjects");
    for (index, subject) in subjects.unwrap_or_default().iter().enumerate() {
        validate_subject(subject, scope, &path.index(index), errors);
    }
}

fn validate_subject(subject: &Subject, scope: Scope, path: &Path<'_>, errors: &mut FieldErrors) {
    let group = subject.api_group.as_deref().unwrap_or_default();
    if subject.name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    match subject.kind.as_str() {
        SERVICE_ACCOUNT => {
            if !subject.name.is_empty() {
                let faults = |name: &str| meta::name_faults(NameRule::Dns1123Subdomain, name);
                validation::syntax(&path.child("name"), &subject.name, faults, errors);
            }
            if !group.is_empty() {
                errors.not_supported(&path.child("apiGroup"), group, &[""]);
            }
            if scope == Scope::Cluster && subject.namespace.as_deref().unwrap_or_default().is_empty() {
                errors.required(&path.child("namespace"), "");
            }
        }
        USER | GROUP_KIND => {
            if group != GROUP {
                errors.not_supported(&path.child("apiGroup"), group, &[GROUP]);
            }
        }
        kind => errors.not_supported(&path.child("kind"), kind, &[GROUP_KIND, SERVICE_ACCOUNT, USER]),
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::NAME,
        Column::text("Role", "The role that is granted."),
        Column::AGE,
        Column::text("Users", "Users who have the role.").wide(),
        Column::text("Groups", "Groups that have the role.").wide(),
        Column::text("ServiceAccounts", "Service accounts that have the role.").wide(),
    ]
}

fn cells(meta: &ObjectMeta, role: &RoleRef, subjects: Option<&[Subject]>, now: Timestamp) -> Vec<Cell> {
    let named = |kind: &str| {
        let of_kind = subjects.unwrap_or_default().iter().filter(|subject| subject.kind == kind);
        let names = of_kind.map(|subject| match kind {
            SERVICE_ACCOUNT => {
                format!("{}/{}", subject.namespace.as_deref().unwrap_or_default(), subject.name)
            }
            _ => subject.name.clone(),
        });
        Cell::from(names.collect::<Vec<_>>().join(", "))
    };
    vec![
        Cell::from(meta.name.as_deref()),
        Cell::from(format!("{}/{}", role.kind, role.name)),
        Cell::from(age(meta.creation_timestamp.as_ref(), now)),
        named(USER),
        named(GROUP_KIND),
        named(SERVICE_ACCOUNT),
    ]
}

#[cfg(test)]
mod tests;
