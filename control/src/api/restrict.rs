//! What a caller may write beyond what a path can tell: a node only its own Node, its own Lease and its own pods (as
//! upstream's NodeRestriction), and nobody rights that he lacks (as upstream's `registry/rbac`).

use isopod_spec::resource::{Kind, Object};
use isopod_spec::status::Status;
use k8s_openapi::Resource as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

use crate::security::rbac::escalation::full_authority;
use crate::security::{Access, Attributes, Identity, ResourceAttributes};

/// A caller, and what decides about it.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// Who may do what.
    pub(crate) access: &'a Access,
    /// Who asks.
    pub(crate) identity: &'a Identity,
}

impl Caller<'_> {
    /// May the caller create this object in `namespace`?
    pub(crate) fn may_create(&self, kind: &Kind, namespace: &str, object: &dyn Object) -> Result<(), Status> {
        self.may_grant(kind, namespace, object, None)?;
        let Some(node) = self.identity.node() else { return Ok(()) };
        keeps_marks(node, kind, object, None)?;
        let name = object.name();
        let named_after_it = object.get::<Node>().is_some() || object.get::<Lease>().is_some();
        match named_after_it && name != node {
            true => {
                let what = kind.singular.as_str();
                let why = format!("node {node:?} is not allowed to modify {what} {name:?}");
                Err(Status::forbidden(kind, name, &why))
            }
            false => Ok(()),
        }
    }

    /// May the caller change or delete this object, as it is stored?
    pub(crate) fn may_change(&self, kind: &Kind, stored: &dyn Object) -> Result<(), Status> {
        let (Some(node), Some(pod)) = (self.identity.node(), stored.get::<Pod>()) else { return Ok(()) };
        let bound = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        match bound == node {
            true => Ok(()),
            false => {
                let why = format!("node {node:?} can only change pods with spec.nodeName set to itself");
                Err(Status::forbidden(kind, stored.name(), &why))
            }
        }
    }

    /// May the caller make this of what is stored?
    pub(crate) fn may_replace(
        &self,
        kind: &Kind,
        stored: &dyn Object,
        object: &dyn Object,
    ) -> Result<(), Status> {
        self.may_change(kind, stored)?;
        if let Some(node) = self.identity.node() {
            keeps_marks(node, kind, object, Some(stored))?;
        }
        self.may_grant(kind, stored.namespace(), object, Some(stored))
    }

    /// Whether the caller has all the rights that the object hands on, or a verb that allows handing on any.
    fn may_grant(
        &self,
        kind: &Kind,
        namespace: &str,
        object: &dyn Object,
        stored: Option<&dyn Object>,
    ) -> Result<(), Status> {
        let Some(granted) = Granted::by(object) else { return Ok(()) };
        // Labels count: by them a role becomes part of another. What is left is the garbage collector's.
        let same = |stored: &dyn Object| {
            let (before, after) = (stored.meta(), object.meta());
            (&before.labels, &before.annotations) == (&after.labels, &after.annotations)
                && Granted::by(stored).is_some_and(|before| before == granted)
        };
        if stored.is_some_and(same) {
            return Ok(());
        }
        let name = object.name();
        let refused = |why: String| Status::forbidden(kind, name, &why);
        match granted {
            Granted::Rules { .. } if self.has_verb("escalate", &kind.plural, namespace, name) => Ok(()),
            Granted::Rules { rules, aggregates } => {
                let all = if aggregates { full_authority() } else { Vec::new() };
                let may = |rules: &[PolicyRule]| self.access.may_hand_on(self.identity, namespace, rules);
                may(&all).and_then(|()| may(rules)).map_err(refused)
            }
            Granted::Role { role, .. } => self.may_bind(role, namespace).map_err(refused),
        }
    }

    fn may_bind(&self, role: &RoleRef, namespace: &str) -> Result<(), String> {
        let plural = if role.kind == ClusterRole::KIND { "clusterroles" } else { "roles" };
        if self.has_verb("bind", plural, namespace, &role.name) {
            return Ok(());
        }
        match self.access.rules_of(role, namespace) {
            Some(rules) => self.access.may_hand_on(self.identity, namespace, &rules),
            None => {
                let kind = role.kind.to_lowercase();
                Err(format!("{kind}.{} {:?} not found", isopod_spec::rbac::GROUP, role.name))
            }
        }
    }

    fn has_verb(&self, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let on = ResourceAttributes {
            verb,
            group: isopod_spec::rbac::GROUP,
            resource,
            namespace,
            name,
            ..ResourceAttributes::default()
        };
        self.access.allows(self.identity, &Attributes::Resource(on))
    }
}

/// Labels by which administrators fence nodes off.
const RESTRICTED: &str = "node-restriction.kubernetes.io/";

/// A node chooses neither its taints nor the labels that fence it off, or it could draw other's pods to itself.
fn keeps_marks(
    node: &str,
    kind: &Kind,
    object: &dyn Object,
    stored: Option<&dyn Object>,
) -> Result<(), Status> {
    let Some(after) = object.get::<Node>() else { return Ok(()) };
    let before = stored.and_then(|stored| stored.get::<Node>());
    let restricted = |object: &Node| -> Vec<(String, String)> {
        let labels = object.metadata.labels.clone().into_iter().flatten();
        labels.filter(|(key, _)| key.starts_with(RESTRICTED)).collect()
    };
    let refused = |what: &str| {
        Err(Status::forbidden(kind, object.name(), &format!("node {node:?} is not allowed to modify {what}")))
    };
    if before.map(restricted).unwrap_or_default() != restricted(after) {
        return refused(&format!("labels with the prefix {RESTRICTED}"));
    }
    let taints =
        |object: &Node| object.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    // Upstream's nodes may register with taints too.
    if before.is_some_and(|before| taints(before) != taints(after)) {
        return refused("taints");
    }
    Ok(())
}

/// What an object hands on.
#[derive(PartialEq)]
enum Granted<'a> {
    /// Rules that whoever is bound to the role gets.
    Rules { rules: &'a [PolicyRule], aggregates: bool },
    /// A role, to the subjects of a binding.
    Role { role: &'a RoleRef, subjects: &'a [Subject] },
}

impl<'a> Granted<'a> {
    fn by(object: &'a dyn Object) -> Option<Granted<'a>> {
        if let Some(role) = object.get::<Role>() {
            return Some(Granted::Rules {
                rules: role.rules.as_deref().unwrap_or_default(),
                aggregates: false,
            });
        }
        if let Some(role) = object.get::<ClusterRole>() {
            let aggregates = role.aggregation_rule.is_some();
            return Some(Granted::Rules { rules: role.rules.as_deref().unwrap_or_default(), aggregates });
        }
        let (role, subjects) = match object.get::<RoleBinding>() {
            Some(binding) => (&binding.role_ref, &binding.subjects),
            None => object.get::<ClusterRoleBinding>().map(|own| (&own.role_ref, &own.subjects))?,
        };
        Some(Granted::Role { role, subjects: subjects.as_deref().unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests;
