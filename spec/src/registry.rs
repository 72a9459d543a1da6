//! The one list of kinds, and the ways to find one.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use k8s_openapi::api::admissionregistration::v1 as admission;
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::autoscaling::v2 as autoscaling;
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::api::node::v1 as node;
use k8s_openapi::api::policy::v1 as policy;
use k8s_openapi::api::rbac::v1 as rbac;
use k8s_openapi::api::scheduling::v1 as scheduling;
use k8s_openapi::api::storage::v1 as storage;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;

use crate::events;
use crate::resource::{Kind, Resource};
use crate::reviews;

/// The kinds of this build. **A new kind is one line here.**
fn builtin_kinds() -> Kinds {
    let kinds = Kinds::default()
        .with::<core::ConfigMap>()
        .with::<core::Endpoints>()
        .with::<core::Event>()
        .with::<core::LimitRange>()
        .with::<core::Namespace>()
        .with::<core::Node>()
        .with::<core::PersistentVolume>()
        .with::<core::PersistentVolumeClaim>()
        .with::<core::Pod>()
        .with::<core::PodTemplate>()
        .with::<core::ReplicationController>()
        .with::<core::ResourceQuota>()
        .with::<core::Secret>()
        .with::<core::Service>()
        .with::<core::ServiceAccount>()
        .with::<admission::MutatingWebhookConfiguration>()
        .with::<admission::ValidatingWebhookConfiguration>()
        .with::<apiextensions::CustomResourceDefinition>()
        .with::<apps::ControllerRevision>()
        .with::<apps::DaemonSet>()
        .with::<apps::Deployment>()
        .with::<apps::ReplicaSet>()
        .with::<apps::StatefulSet>()
        .with::<autoscaling::HorizontalPodAutoscaler>()
        .with_kind(crate::autoscaling::v1::kind())
        .with::<batch::CronJob>()
        .with::<batch::Job>()
        .with::<coordination::Lease>()
        .with::<discovery::EndpointSlice>()
        .with::<networking::Ingress>()
        .with::<networking::IngressClass>()
        .with::<networking::NetworkPolicy>()
        .with::<node::RuntimeClass>()
        .with::<policy::PodDisruptionBudget>()
        .with::<scheduling::PriorityClass>()
        .with::<storage::StorageClass>()
        .with_kind(events::event::kind())
        .with::<rbac::ClusterRole>()
        .with::<rbac::ClusterRoleBinding>()
        .with::<rbac::Role>()
        .with::<rbac::RoleBinding>();
    reviews::kinds().into_iter().fold(kinds, Kinds::with_kind)
}

static BUILTIN: LazyLock<Kinds> = LazyLock::new(builtin_kinds);

/// All built-in kinds. Where custom resources are served, [`Kinds::with_custom`] adds theirs.
pub fn builtin() -> &'static Kinds {
    &BUILTIN
}

/// The kind of an upstream type.
///
/// # Panics
/// When the type is not in the list of this build, which is a mistake in the code that asks.
pub fn kind_of<T: Resource>() -> &'static Arc<Kind> {
    BUILTIN.of_type(TypeId::of::<T>()).expect("every type that implements Resource is in the registry")
}

/// The slashes of `/registry/group/plural/`.
const ROOT_SLASHES: usize = 4;

/// A set of kinds in the order discovery lists them: by group, then as added.
#[derive(Clone, Default, Debug)]
pub struct Kinds {
    kinds: Vec<Arc<Kind>>,
    by_type: HashMap<TypeId, usize>,
    /// Positions by plural name, of which several groups and versions may have one.
    by_plural: HashMap<String, Vec<usize>>,
    /// The position of the kind under whose name objects are stored, by the beginning of their keys.
    by_root: HashMap<Vec<u8>, usize>,
}

impl Kinds {
    fn with<T: Resource>(mut self) -> Kinds {
        self.by_type.insert(TypeId::of::<T>(), self.kinds.len());
        self.with_kind(Kind::of::<T>())
    }

    fn with_kind(mut self, kind: Kind) -> Kinds {
        self.push(Arc::new(kind));
        self
    }

    fn push(&mut self, kind: Arc<Kind>) {
        let position = self.kinds.len();
        self.by_plural.entry(kind.plural.clone()).or_default().push(position);
        if kind.is_stored() {
            self.by_root.insert(kind.prefix(None), position);
        }
        self.kinds.push(kind);
    }

    /// These kinds and custom ones after them.
    #[must_use]
    pub fn with_custom(&self, custom: impl IntoIterator<Item = Arc<Kind>>) -> Kinds {
        let mut all = self.clone();
        custom.into_iter().for_each(|kind| all.push(kind));
        all
    }

    fn of_type(&self, type_id: TypeId) -> Option<&Arc<Kind>> {
        self.by_type.get(&type_id).map(|index| &self.kinds[*index])
    }

    /// All kinds.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.iter()
    }

    /// Each group with its versions, the preferred one first; core (empty) comes first.
    pub fn groups(&self) -> Vec<(&str, Vec<&str>)> {
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for kind in &self.kinds {
            let (group, version) = (kind.group.as_str(), kind.version.as_str());
            match groups.iter_mut().find(|(known, _)| *known == group) {
                Some((_, versions)) if versions.contains(&version) => {}
                Some((_, versions)) => versions.push(version),
                None => groups.push((group, vec![version])),
            }
        }
        groups
    }

    /// The kinds of one group and version, sorted by plural name.
    pub fn of_version(&self, group: &str, version: &str) -> Vec<&Arc<Kind>> {
        let mut kinds: Vec<&Arc<Kind>> =
            self.kinds.iter().filter(|kind| kind.group == group && kind.version == version).collect();
        kinds.sort_by(|a, b| a.plural.cmp(&b.plural));
        kinds
    }

    /// The kind behind a request path.
    pub fn by_plural(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        let mut named = self.by_plural.get(plural)?.iter().map(|position| &self.kinds[*position]);
        named.find(|kind| kind.group == group && kind.version == version)
    }

    /// The kind under whose name the object of a store key is, and the rest of the key: `namespace/name` or `name`.
    pub fn of_key<'k>(&self, key: &'k [u8]) -> Option<(&Arc<Kind>, &'k [u8])> {
        let slashes = key.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let end = slashes.map(|(at, _)| at + 1).nth(ROOT_SLASHES - 1)?;
        let (root, rest) = key.split_at(end);
        self.by_root.get(root).map(|position| (&self.kinds[*position], rest))
    }

    /// The kind of a body, by its `apiVersion` (`apps/v1`, `v1`) and `kind`.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|known| known.kind == kind && known.api_version() == api_version)
    }

    /// The kind of a group, whatever the version: the preferred one.
    pub fn by_group_kind(&self, group: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|known| known.kind == kind && known.group == group)
    }

    /// What a person may type: plural, singular, short name or kind, in any case, with or without a group
    /// (`deployments.apps`). Core kinds win over others of the same name.
    pub fn by_typed_name(&self, typed: &str) -> Option<&Arc<Kind>> {
        let typed = typed.to_lowercase();
        self.find_named(&typed, None).or_else(|| {
            let (name, group) = typed.split_once('.')?;
            self.find_named(name, Some(group))
        })
    }

    fn find_named(&self, name: &str, group: Option<&str>) -> Option<&Arc<Kind>> {
        self.kinds.iter().filter(|kind| group.is_none_or(|group| kind.group == group)).find(|kind| {
            kind.plural == name
                || kind.singular == name
                || kind.short_names.iter().any(|short| short == name)
                || kind.kind.to_lowercase() == name
        })
    }

    /// The kinds of a category: `all`.
    pub fn in_category<'a>(&'a self, category: &'a str) -> impl Iterator<Item = &'a Arc<Kind>> {
        self.kinds.iter().filter(move |kind| kind.categories.iter().any(|known| known == category))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_list_is_what_discovery_and_storage_are_made_of() {
        let lines: Vec<String> = builtin()
            .iter()
            .map(|kind| {
                let below: Vec<&str> = kind.subresources.iter().map(|subresource| subresource.name).collect();
                let prefix = String::from_utf8(kind.prefix(None)).unwrap();
                format!(
                    "{} {}/{} [{}] {} {:?} below [{}]",
                    prefix,
                    kind.api_version(),
                    kind.kind,
                    kind.short_names.join(" "),
                    kind.categories.join(" "),
                    kind.scope,
                    below.join(" ")
                )
            })
            .collect();
        expect![[r#"
            /registry/core/configmaps/ v1/ConfigMap [cm]  Namespaced below []
            /registry/core/endpoints/ v1/Endpoints [ep]  Namespaced below []
            /registry/core/events/ v1/Event [ev]  Namespaced below []
            /registry/core/limitranges/ v1/LimitRange [limits]  Namespaced below []
            /registry/core/namespaces/ v1/Namespace [ns]  Cluster below [finalize status]
            /registry/core/nodes/ v1/Node [no]  Cluster below [status]
            /registry/core/persistentvolumes/ v1/PersistentVolume [pv]  Cluster below [status]
            /registry/core/persistentvolumeclaims/ v1/PersistentVolumeClaim [pvc]  Namespaced below [status]
            /registry/core/pods/ v1/Pod [po] all Namespaced below [binding eviction log portforward status]
            /registry/core/podtemplates/ v1/PodTemplate []  Namespaced below []
            /registry/core/replicationcontrollers/ v1/ReplicationController [rc] all Namespaced below [scale status]
            /registry/core/resourcequotas/ v1/ResourceQuota [quota]  Namespaced below [status]
            /registry/core/secrets/ v1/Secret []  Namespaced below []
            /registry/core/services/ v1/Service [svc] all Namespaced below [status]
            /registry/core/serviceaccounts/ v1/ServiceAccount [sa]  Namespaced below [token]
            /registry/admissionregistration.k8s.io/mutatingwebhookconfigurations/ admissionregistration.k8s.io/v1/MutatingWebhookConfiguration [] api-extensions Cluster below []
            /registry/admissionregistration.k8s.io/validatingwebhookconfigurations/ admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration [] api-extensions Cluster below []
            /registry/apiextensions.k8s.io/customresourcedefinitions/ apiextensions.k8s.io/v1/CustomResourceDefinition [crd crds] api-extensions Cluster below [status]
            /registry/apps/controllerrevisions/ apps/v1/ControllerRevision []  Namespaced below []
            /registry/apps/daemonsets/ apps/v1/DaemonSet [ds] all Namespaced below [status]
            /registry/apps/deployments/ apps/v1/Deployment [deploy] all Namespaced below [scale status]
            /registry/apps/replicasets/ apps/v1/ReplicaSet [rs] all Namespaced below [scale status]
            /registry/apps/statefulsets/ apps/v1/StatefulSet [sts] all Namespaced below [scale status]
            /registry/autoscaling/horizontalpodautoscalers/ autoscaling/v2/HorizontalPodAutoscaler [hpa] all Namespaced below [status]
            /registry/autoscaling/horizontalpodautoscalers/ autoscaling/v1/HorizontalPodAutoscaler [hpa]  Namespaced below [status]
            /registry/batch/cronjobs/ batch/v1/CronJob [cj] all Namespaced below [status]
            /registry/batch/jobs/ batch/v1/Job [] all Namespaced below [status]
            /registry/coordination.k8s.io/leases/ coordination.k8s.io/v1/Lease []  Namespaced below []
            /registry/discovery.k8s.io/endpointslices/ discovery.k8s.io/v1/EndpointSlice []  Namespaced below []
            /registry/networking.k8s.io/ingresses/ networking.k8s.io/v1/Ingress [ing]  Namespaced below [status]
            /registry/networking.k8s.io/ingressclasses/ networking.k8s.io/v1/IngressClass []  Cluster below []
            /registry/networking.k8s.io/networkpolicies/ networking.k8s.io/v1/NetworkPolicy [netpol]  Namespaced below []
            /registry/node.k8s.io/runtimeclasses/ node.k8s.io/v1/RuntimeClass []  Cluster below []
            /registry/policy/poddisruptionbudgets/ policy/v1/PodDisruptionBudget [pdb]  Namespaced below [status]
            /registry/scheduling.k8s.io/priorityclasses/ scheduling.k8s.io/v1/PriorityClass [pc]  Cluster below []
            /registry/storage.k8s.io/storageclasses/ storage.k8s.io/v1/StorageClass [sc]  Cluster below []
            /registry/core/events/ events.k8s.io/v1/Event [ev]  Namespaced below []
            /registry/rbac.authorization.k8s.io/clusterroles/ rbac.authorization.k8s.io/v1/ClusterRole []  Cluster below []
            /registry/rbac.authorization.k8s.io/clusterrolebindings/ rbac.authorization.k8s.io/v1/ClusterRoleBinding []  Cluster below []
            /registry/rbac.authorization.k8s.io/roles/ rbac.authorization.k8s.io/v1/Role []  Namespaced below []
            /registry/rbac.authorization.k8s.io/rolebindings/ rbac.authorization.k8s.io/v1/RoleBinding []  Namespaced below []
            /registry/authentication.k8s.io/selfsubjectreviews/ authentication.k8s.io/v1/SelfSubjectReview []  Cluster below []
            /registry/authentication.k8s.io/tokenreviews/ authentication.k8s.io/v1/TokenReview []  Cluster below []
            /registry/authorization.k8s.io/localsubjectaccessreviews/ authorization.k8s.io/v1/LocalSubjectAccessReview []  Namespaced below []
            /registry/authorization.k8s.io/selfsubjectaccessreviews/ authorization.k8s.io/v1/SelfSubjectAccessReview []  Cluster below []
            /registry/authorization.k8s.io/selfsubjectrulesreviews/ authorization.k8s.io/v1/SelfSubjectRulesReview []  Cluster below []
            /registry/authorization.k8s.io/subjectaccessreviews/ authorization.k8s.io/v1/SubjectAccessReview []  Cluster below []"#]].assert_eq(&lines.join("\n"));
    }

    #[test]
    fn kinds_are_found_by_every_name_they_have() {
        for (typed, found) in [
            ("pods", "Pod"),
            ("pod", "Pod"),
            ("po", "Pod"),
            ("Pod", "Pod"),
            ("deploy", "Deployment"),
            ("deployments.apps", "Deployment"),
            ("Deployment.apps", "Deployment"),
            ("svc", "Service"),
            ("sa", "ServiceAccount"),
            ("ns", "Namespace"),
            ("lease.coordination.k8s.io", "Lease"),
        ] {
            assert_eq!(builtin().by_typed_name(typed).map(|kind| kind.kind.as_str()), Some(found), "{typed}");
        }
        assert!(builtin().by_typed_name("unicorns").is_none());
        assert!(builtin().by_typed_name("pods.apps").is_none());
        assert_eq!(builtin().by_plural("apps", "v1", "deployments").unwrap().kind, "Deployment");
        assert!(builtin().by_plural("", "v1", "deployments").is_none());
        assert_eq!(builtin().by_kind("apps/v1", "Deployment").unwrap().plural, "deployments");
        assert_eq!(builtin().by_group_kind("apps", "Deployment").unwrap().plural, "deployments");
        assert_eq!(kind_of::<core::Pod>().plural, "pods");
        let (kind, rest) = builtin().of_key(b"/registry/apps/deployments/default/web").unwrap();
        assert_eq!((kind.kind.as_str(), rest), ("Deployment", &b"default/web"[..]));
        let (kind, rest) = builtin().of_key(b"/registry/core/events/default/a.b").unwrap();
        assert_eq!((kind.api_version(), rest), ("v1", &b"default/a.b"[..]));
        assert!(builtin().of_key(b"/registry/apps/deployments").is_none());
        assert!(builtin().of_key(b"/registry/apps/unicorns/default/web").is_none());
        let all: Vec<&str> = builtin().in_category("all").map(|kind| kind.plural.as_str()).collect();
        assert_eq!(
            all,
            [
                "pods",
                "replicationcontrollers",
                "services",
                "daemonsets",
                "deployments",
                "replicasets",
                "statefulsets",
                "horizontalpodautoscalers",
                "cronjobs",
                "jobs"
            ]
        );
    }

    #[test]
    fn groups_are_listed_once_with_core_first() {
        assert_eq!(
            builtin().groups(),
            [
                ("", vec!["v1"]),
                ("admissionregistration.k8s.io", vec!["v1"]),
                ("apiextensions.k8s.io", vec!["v1"]),
                ("apps", vec!["v1"]),
                ("autoscaling", vec!["v2", "v1"]),
                ("batch", vec!["v1"]),
                ("coordination.k8s.io", vec!["v1"]),
                ("discovery.k8s.io", vec!["v1"]),
                ("networking.k8s.io", vec!["v1"]),
                ("node.k8s.io", vec!["v1"]),
                ("policy", vec!["v1"]),
                ("scheduling.k8s.io", vec!["v1"]),
                ("storage.k8s.io", vec!["v1"]),
                ("events.k8s.io", vec!["v1"]),
                ("rbac.authorization.k8s.io", vec!["v1"]),
                ("authentication.k8s.io", vec!["v1"]),
                ("authorization.k8s.io", vec!["v1"])
            ]
        );
        let sorted: Vec<&str> =
            builtin().of_version("apps", "v1").iter().map(|kind| kind.plural.as_str()).collect();
        assert_eq!(
            sorted,
            ["controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"]
        );
    }

    #[test]
    fn the_documentation_says_of_every_kind_what_it_does() {
        let text = include_str!("../../docs/kinds.md");
        let (acting, inert) = text.split_once("## Stored, without effect yet").unwrap();
        let names = |text: &str, kind: &Kind| {
            text.split(|c: char| !c.is_alphanumeric()).any(|word| word == kind.kind)
        };
        for kind in builtin().iter() {
            let (here, there) = if kind.inert.is_some() { (inert, acting) } else { (acting, inert) };
            assert!(names(here, kind), "{kind:?} is missing");
            assert!(
                !there
                    .lines()
                    .any(|line| line.starts_with('|') && names(line.split('|').nth(1).unwrap(), kind)),
                "{kind:?}"
            );
        }
    }
}
