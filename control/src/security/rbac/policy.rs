//! All roles and bindings, by the subject that has them: what a request asks for costs as much as the caller has
//! roles, however many there are in the cluster.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use imbl::{HashMap, OrdMap};
use isopod_spec::rbac::binding::{GROUP_KIND, SERVICE_ACCOUNT, USER};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

use super::rules;
use crate::security::authorize::Attributes;
use crate::security::identity::{Identity, service_account_user};

/// The role of a binding, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum RoleKey {
    Cluster(String),
    In(String, String),
}

/// One binding, of a namespace or (`None`) of the cluster.
#[derive(Debug)]
struct Binding {
    namespace: Option<String>,
    name: String,
    role: RoleKey,
    users: Vec<String>,
    groups: Vec<String>,
}

/// Bindings by whom they name, and by their own name.
#[derive(Debug, Clone, Default)]
struct Bindings {
    all: HashMap<String, Arc<Binding>>,
    users: HashMap<String, OrdMap<String, Arc<Binding>>>,
    groups: HashMap<String, OrdMap<String, Arc<Binding>>>,
}

/// An index of the four kinds. Cloning costs a few pointers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    roles: HashMap<RoleKey, Arc<Vec<PolicyRule>>>,
    everywhere: Bindings,
    namespaces: HashMap<String, Bindings>,
}

/// Why something is allowed.
#[derive(Debug)]
pub(crate) struct Grant<'a>(&'a Binding);

impl fmt::Display for Grant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Grant(binding) = self;
        match &binding.namespace {
            Some(namespace) => write!(f, "RBAC: allowed by RoleBinding \"{}/{namespace}\"", binding.name)?,
            None => write!(f, "RBAC: allowed by ClusterRoleBinding \"{}\"", binding.name)?,
        }
        match &binding.role {
            RoleKey::Cluster(name) => write!(f, " of ClusterRole \"{name}\""),
            RoleKey::In(_, name) => write!(f, " of Role \"{name}\""),
        }
    }
}

impl Bindings {
    fn set(&mut self, name: &str, binding: Option<Binding>) {
        if let Some(old) = self.all.remove(name) {
            remove(&mut self.users, &old.users, name);
            remove(&mut self.groups, &old.groups, name);
        }
        let Some(binding) = binding.map(Arc::new) else { return };
        insert(&mut self.users, &binding.users, &binding);
        insert(&mut self.groups, &binding.groups, &binding);
        self.all.insert(name.to_owned(), binding);
    }

    /// The bindings that name the caller, by name or by one of the groups.
    fn of<'p>(&'p self, identity: &Identity) -> impl Iterator<Item = &'p Binding> {
        let by_user = self.users.get(&identity.user);
        let by_group = identity.groups.iter().filter_map(|group| self.groups.get(group));
        by_user.into_iter().chain(by_group).flat_map(|bindings| bindings.values()).map(|binding| &**binding)
    }
}

type BySubject = HashMap<String, OrdMap<String, Arc<Binding>>>;

fn insert(map: &mut BySubject, subjects: &[String], binding: &Arc<Binding>) {
    for subject in subjects {
        map.entry(subject.clone()).or_default().insert(binding.name.clone(), binding.clone());
    }
}

fn remove(map: &mut BySubject, subjects: &[String], name: &str) {
    for subject in subjects {
        let Some(bindings) = map.get_mut(subject) else { continue };
        bindings.remove(name);
        if bindings.is_empty() {
            map.remove(subject);
        }
    }
}

impl Policy {
    /// A Role as it is now; `None` when it is gone.
    pub(crate) fn set_role(&mut self, namespace: &str, name: &str, role: Option<Role>) {
        self.set_rules(RoleKey::In(namespace.to_owned(), name.to_owned()), role.map(|role| role.rules));
    }

    /// A ClusterRole as it is now.
    pub(crate) fn set_cluster_role(&mut self, name: &str, role: Option<ClusterRole>) {
        self.set_rules(RoleKey::Cluster(name.to_owned()), role.map(|role| role.rules));
    }

    /// A RoleBinding as it is now.
    pub(crate) fn set_binding(&mut self, namespace: &str, name: &str, binding: Option<RoleBinding>) {
        let binding = binding
            .map(|binding| made(Some(namespace), name, &binding.role_ref, binding.subjects.as_deref()));
        self.namespaces.entry(namespace.to_owned()).or_default().set(name, binding);
        if self.namespaces.get(namespace).is_some_and(|bindings| bindings.all.is_empty()) {
            self.namespaces.remove(namespace);
        }
    }

    /// A ClusterRoleBinding as it is now.
    pub(crate) fn set_cluster_binding(&mut self, name: &str, binding: Option<ClusterRoleBinding>) {
        let binding = binding.map(|binding| made(None, name, &binding.role_ref, binding.subjects.as_deref()));
        self.everywhere.set(name, binding);
    }

    fn set_rules(&mut self, key: RoleKey, rules: Option<Option<Vec<PolicyRule>>>) {
        match rules {
            Some(rules) => self.roles.insert(key, Arc::new(rules.unwrap_or_default())),
            None => self.roles.remove(&key),
        };
    }

    /// The binding by which the caller may do it.
    pub(crate) fn grant(&self, identity: &Identity, attributes: &Attributes<'_>) -> Option<Grant<'_>> {
        let namespace = match attributes {
            Attributes::Resource(resource) => resource.namespace,
            Attributes::Path { .. } => "",
        };
        let own = Some(namespace).filter(|namespace| !namespace.is_empty());
        let inside = own.and_then(|namespace| self.namespaces.get(namespace));
        let allows = |binding: &&Binding| {
            self.rules(binding).is_some_and(|rules| rules.iter().any(|rule| rules::allows(rule, attributes)))
        };
        let everywhere = self.everywhere.of(identity).find(allows);
        everywhere.or_else(|| inside?.of(identity).find(allows)).map(Grant)
    }

    fn rules(&self, binding: &Binding) -> Option<&Arc<Vec<PolicyRule>>> {
        self.roles.get(&binding.role)
    }

    /// The rules that a binding in `namespace` (empty: of the cluster) to this role hands on.
    pub(crate) fn rules_of(&self, role: &RoleRef, namespace: &str) -> Option<&Arc<Vec<PolicyRule>>> {
        self.roles.get(&key(role, namespace))
    }

    /// Calls `visit` with all rules that the caller has in a namespace, or (`""`) in all of them.
    pub(crate) fn visit_rules(
        &self,
        identity: &Identity,
        namespace: &str,
        mut visit: impl FnMut(&PolicyRule) -> ControlFlow<()>,
    ) {
        let inside = self.namespaces.get(namespace).filter(|_| !namespace.is_empty());
        let bindings =
            self.everywhere.of(identity).chain(inside.into_iter().flat_map(|own| own.of(identity)));
        for binding in bindings {
            for rule in self.rules(binding).into_iter().flat_map(|rules| rules.iter()) {
                if visit(rule).is_break() {
                    return;
                }
            }
        }
    }

    /// Roles that bindings of the caller name and that do not exist, as the sentence says it that a denial ends with.
    pub(crate) fn missing_roles(&self, identity: &Identity, namespace: &str) -> Vec<String> {
        let inside = self.namespaces.get(namespace).filter(|_| !namespace.is_empty());
        let bindings =
            self.everywhere.of(identity).chain(inside.into_iter().flat_map(|own| own.of(identity)));
        let missing = bindings.filter(|binding| self.rules(binding).is_none()).map(|binding| {
            let (kind, name) = match &binding.role {
                RoleKey::Cluster(name) => ("clusterrole", name),
                RoleKey::In(_, name) => ("role", name),
            };
            format!("{kind}.rbac.authorization.k8s.io \"{name}\" not found")
        });
        missing.collect()
    }
}

fn key(role: &RoleRef, namespace: &str) -> RoleKey {
    match role.kind.as_str() {
        "ClusterRole" => RoleKey::Cluster(role.name.clone()),
        _ => RoleKey::In(namespace.to_owned(), role.name.clone()),
    }
}

fn made(namespace: Option<&str>, name: &str, role: &RoleRef, subjects: Option<&[Subject]>) -> Binding {
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    for subject in subjects.unwrap_or_default() {
        match subject.kind.as_str() {
            USER => users.push(subject.name.clone()),
            GROUP_KIND => groups.push(subject.name.clone()),
            SERVICE_ACCOUNT => {
                let own = subject.namespace.as_deref().filter(|own| !own.is_empty());
                let place = own.or(namespace);
                users.extend(place.map(|place| service_account_user(place, &subject.name)));
            }
            _ => {}
        }
    }
    Binding {
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        role: key(role, namespace.unwrap_or_default()),
        users,
        groups,
    }
}

#[cfg(test)]
mod tests;
