//! Everything about a kind that is data.

use k8s_openapi::{ClusterResourceScope, ListableResource, NamespaceResourceScope, Resource, ResourceScope};

use super::Target;

/// Where objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the cluster.
    Cluster,
}

/// What a name of this kind must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// `a.b-c.d`, at most 253 bytes: most kinds.
    Dns1123Subdomain,
    /// `a-b-c`, at most 63 bytes: namespaces.
    Dns1123Label,
    /// As the label, and beginning with a letter: services.
    Dns1035Label,
    /// Anything that can stand between two slashes of a path: RBAC.
    PathSegment,
}

/// The verbs of a fully writable resource, sorted as discovery lists them.
pub const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// A path below an object: `pods/x/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// The path segment.
    pub name: &'static str,
    /// What a write through it changes; `None` when it writes nothing to the object (`log`).
    pub target: Option<Target>,
    /// Verbs, sorted.
    pub verbs: &'static [&'static str],
    /// Group, version and kind of its bodies, where they differ from the object's.
    pub body: Option<(&'static str, &'static str, &'static str)>,
    /// It answers with text, or takes over the connection, where others answer with an object.
    pub streams: bool,
}

impl Subresource {
    /// The observed state, written by controllers and agents.
    pub const STATUS: Subresource = Subresource {
        name: "status",
        target: Some(Target::Status),
        verbs: &["get", "patch", "update"],
        body: None,
        streams: false,
    };

    /// The number of replicas of a workload.
    pub const SCALE: Subresource = Subresource {
        name: "scale",
        target: Some(Target::Scale),
        verbs: &["get", "patch", "update"],
        body: Some(("autoscaling", "v1", "Scale")),
        streams: false,
    };

    /// A token that says who the bearer is.
    pub const TOKEN: Subresource = Subresource {
        name: "token",
        target: None,
        verbs: &["create"],
        body: Some(("authentication.k8s.io", "v1", "TokenRequest")),
        streams: false,
    };

    /// Output of a container.
    pub const LOG: Subresource =
        Subresource { name: "log", target: None, verbs: &["get"], body: None, streams: true };

    /// Connections into the pod, over an upgraded connection of the client.
    pub const PORT_FORWARD: Subresource = Subresource {
        name: "portforward",
        target: None,
        verbs: &["create", "get"],
        body: Some(("", "v1", "PodPortForwardOptions")),
        streams: true,
    };

    /// The scheduler's decision.
    pub const BINDING: Subresource = Subresource {
        name: "binding",
        target: Some(Target::Binding),
        verbs: &["create"],
        body: Some(("", "v1", "Binding")),
        streams: false,
    };

    /// Deleting the pod as far as its disruption budget allows.
    pub const EVICTION: Subresource = Subresource {
        name: "eviction",
        target: None,
        verbs: &["create"],
        body: Some(("policy", "v1", "Eviction")),
        streams: false,
    };

    /// The finalizers that hold a namespace until its content is gone.
    pub const FINALIZE: Subresource = Subresource {
        name: "finalize",
        target: Some(Target::Finalize),
        verbs: &["update"],
        body: None,
        streams: false,
    };
}

/// Names and abilities of a kind. Built by [`Declaration::of`] and the methods that follow it.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// API group; empty for core.
    pub group: String,
    /// Version in the group.
    pub version: String,
    /// `Pod`.
    pub kind: String,
    /// `PodList`.
    pub list_kind: String,
    /// `pods`: the path segment and the resource's name everywhere.
    pub plural: String,
    /// `pod`.
    pub singular: String,
    /// What people may type instead: `po`.
    pub short_names: Vec<String>,
    /// Sets of kinds this one belongs to: `all`.
    pub categories: Vec<String>,
    /// Where its objects live.
    pub scope: Scope,
    /// Verbs of the resource itself, sorted.
    pub verbs: &'static [&'static str],
    /// Paths below an object.
    pub subresources: Vec<Subresource>,
    /// What names must look like.
    pub name_rule: NameRule,
    /// `metadata.generation` counts changes of the desired state.
    pub has_generation: bool,
    /// PUT without resourceVersion overwrites whatever is stored.
    pub unconditional_update: bool,
    /// PUT creates when nothing is stored.
    pub create_on_update: bool,
    /// DELETE answers with the object also when it is gone at once.
    pub delete_returns_object: bool,
    /// DELETE lets the object live on for a grace period (pods).
    pub graceful_delete: bool,
    /// Warning for clients: stored, without effect yet.
    pub inert: Option<&'static str>,
    /// Objects are questions: answered at once, and never stored.
    pub is_review: bool,
    /// The CustomResourceDefinition that makes the kind; `None` for built-in kinds.
    pub defined_by: Option<String>,
}

impl Declaration {
    /// Names from the upstream type; the abilities most built-in kinds have.
    pub fn of<T>(singular: &str) -> Declaration
    where
        T: ListableResource,
        T::Scope: KnownScope,
    {
        Declaration {
            list_kind: T::LIST_KIND.to_owned(),
            verbs: VERBS,
            ..Declaration::named::<T>(singular.to_owned())
        }
    }

    /// A kind of questions, from the upstream type.
    pub fn of_review<T>() -> Declaration
    where
        T: Resource,
        T::Scope: KnownScope,
    {
        Declaration { verbs: &["create"], is_review: true, ..Declaration::named::<T>(T::KIND.to_lowercase()) }
    }

    fn named<T>(singular: String) -> Declaration
    where
        T: Resource,
        T::Scope: KnownScope,
    {
        Declaration {
            group: T::GROUP.to_owned(),
            version: T::VERSION.to_owned(),
            kind: T::KIND.to_owned(),
            list_kind: String::new(),
            plural: T::URL_PATH_SEGMENT.to_owned(),
            singular,
            short_names: Vec::new(),
            categories: Vec::new(),
            scope: T::Scope::SCOPE,
            verbs: &[],
            subresources: Vec::new(),
            name_rule: NameRule::Dns1123Subdomain,
            has_generation: false,
            unconditional_update: true,
            create_on_update: false,
            delete_returns_object: false,
            graceful_delete: false,
            inert: None,
            is_review: false,
            defined_by: None,
        }
    }

    /// Sets the short names.
    #[must_use]
    pub fn short_names(mut self, names: &[&str]) -> Declaration {
        self.short_names = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Makes the kind a part of `kubectl get all`.
    #[must_use]
    pub fn in_category_all(mut self) -> Declaration {
        self.categories = vec!["all".to_owned()];
        self
    }

    /// Sets the paths below an object.
    #[must_use]
    pub fn subresources(mut self, subresources: &[Subresource]) -> Declaration {
        self.subresources = subresources.to_vec();
        self
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// True when `/status` is a subresource, so that a create drops the status.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }
}

/// A scope of the upstream types that objects can have.
pub trait KnownScope: ResourceScope {
    /// The same as a value.
    const SCOPE: Scope;
}

impl KnownScope for NamespaceResourceScope {
    const SCOPE: Scope = Scope::Namespaced;
}

impl KnownScope for ClusterResourceScope {
    const SCOPE: Scope = Scope::Cluster;
}
