//! The one list of kinds, and the ways to find one.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;

use crate::resource::{Kind, Resource};

/// The kinds of this build. **A new kind is one line here.**
fn builtin_kinds() -> Kinds {
    Kinds::default()
        .with::<core::ConfigMap>()
        .with::<core::Endpoints>()
        .with::<core::Event>()
        .with::<core::Namespace>()
        .with::<core::Node>()
        .with::<core::Pod>()
        .with::<core::Secret>()
        .with::<core::Service>()
        .with::<core::ServiceAccount>()
        .with::<apps::Deployment>()
        .with::<apps::ReplicaSet>()
        .with::<coordination::Lease>()
        .with::<discovery::EndpointSlice>()
}

static BUILTIN: LazyLock<Kinds> = LazyLock::new(builtin_kinds);

/// All built-in kinds. Cloned and extended by custom resources where those are served.
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

/// A set of kinds in the order discovery lists them: by group, then as added.
#[derive(Clone, Default, Debug)]
pub struct Kinds {
    kinds: Vec<Arc<Kind>>,
    by_type: HashMap<TypeId, usize>,
}

impl Kinds {
    fn with<T: Resource>(mut self) -> Kinds {
        self.by_type.insert(TypeId::of::<T>(), self.kinds.len());
        self.kinds.push(Arc::new(Kind::of::<T>()));
        self
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
        self.kinds.iter().find(|kind| kind.plural == plural && kind.group == group && kind.version == version)
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
