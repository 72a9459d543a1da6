//! Who owns whom: every object of the store by uid, with its owners and dependents.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use isopod_spec::registry::Kinds;
use isopod_spec::resource::Kind;
use serde::Deserialize;

use super::OwnerState;
use crate::cache::ObjectKey;

/// Finalizer of an owner that goes after its dependents.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner that gives its dependents up before it goes.
pub(super) const ORPHAN: &str = "orphan";

/// What ownership depends on in an object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) kind: Arc<Kind>,
    pub(crate) key: ObjectKey,
    pub(crate) owners: Vec<Owner>,
    pub(crate) is_terminating: bool,
    /// It has the finalizer `foregroundDeletion`.
    pub(crate) waits_for_dependents: bool,
    /// It has the finalizer `orphan`.
    pub(crate) orphans_dependents: bool,
}

/// A reference to an owner.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Owner {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    #[serde(default)]
    pub(crate) block_owner_deletion: Option<bool>,
}

/// The part of an object's metadata that the graph is made of.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    uid: String,
    owner_references: Vec<Owner>,
    finalizers: Vec<String>,
    deletion_timestamp: Option<String>,
}

/// An object that names another as its owner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dependent<'a> {
    pub(crate) uid: &'a str,
    reference: &'a Owner,
}

impl Dependent<'_> {
    /// True when the owner's foreground deletion has to wait for it.
    pub(crate) fn blocks(&self) -> bool {
        self.reference.block_owner_deletion == Some(true)
    }
}

/// All objects, at one revision.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    objects: HashMap<Arc<str>, Object>,
    /// By kind (a position of `roots`) and key.
    by_key: HashMap<(usize, ObjectKey), Arc<str>>,
    dependents: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// How the keys of each kind begin, which says which kind it is: a custom one is compiled anew when it changes.
    roots: HashMap<String, usize>,
    /// The kinds that are served; those of the build until somebody says.
    kinds: Option<Arc<Kinds>>,
}

impl Graph {
    /// Takes over an object's new state (`metadata` as JSON), or that it is gone. Returns the uids of which the verdict
    /// may have changed.
    pub(crate) fn observe(
        &mut self,
        kind: &Arc<Kind>,
        key: &ObjectKey,
        metadata: Option<&[u8]>,
    ) -> BTreeSet<Arc<str>> {
        let parsed = match metadata.map(serde_json::from_slice::<Metadata>).transpose() {
            Ok(parsed) => parsed,
            // Nothing may be concluded from what cannot be read, least of all that the object is gone.
            Err(error) => {
                tracing::error!(%key, %error, "stored metadata is damaged");
                return BTreeSet::new();
            }
        };
        let slot = (self.root(kind), key.clone());
        let mut touched = BTreeSet::new();
        let new_uid = parsed.as_ref().map(|metadata| Arc::<str>::from(metadata.uid.as_str()));
        if let Some(old_uid) = self.by_key.get(&slot).cloned().filter(|old| Some(old) != new_uid.as_ref()) {
            self.remove(&old_uid, &mut touched);
            self.by_key.remove(&slot);
        }
        if let (Some(metadata), Some(uid)) = (parsed, new_uid) {
            self.by_key.insert(slot, uid.clone());
            self.insert(uid, kind, key, metadata, &mut touched);
        }
        touched
    }

    /// Takes over which kinds are served.
    pub(crate) fn serve(&mut self, kinds: &Arc<Kinds>) {
        self.kinds = Some(Arc::clone(kinds));
    }

    fn root(&mut self, kind: &Kind) -> usize {
        if let Some(known) = self.roots.get(kind.root()) {
            return *known;
        }
        let next = self.roots.len();
        self.roots.insert(kind.root().to_owned(), next);
        next
    }

    fn insert(
        &mut self,
        uid: Arc<str>,
        kind: &Arc<Kind>,
        key: &ObjectKey,
        metadata: Metadata,
        touched: &mut BTreeSet<Arc<str>>,
    ) {
        let has = |finalizer: &str| metadata.finalizers.iter().any(|known| known == finalizer);
        let object = Object {
            kind: kind.clone(),
            key: key.clone(),
            is_terminating: metadata.deletion_timestamp.is_some(),
            waits_for_dependents: has(FOREGROUND),
            orphans_dependents: has(ORPHAN),
            owners: metadata.owner_references,
        };
        let old = self.objects.get(&uid);
        let is_news = old.is_none_or(|old| {
            old.owners != object.owners
                || old.is_terminating != object.is_terminating
                || old.waits_for_dependents != object.waits_for_dependents
                || old.orphans_dependents != object.orphans_dependents
        });
        if !is_news {
            return;
        }
        let old_owners = old.map(|old| old.owners.clone()).unwrap_or_default();
        self.unlink(&uid, &old_owners, touched);
        for owner in &object.owners {
            let owner_uid: Arc<str> = Arc::from(owner.uid.as_str());
            self.dependents.entry(owner_uid.clone()).or_default().insert(uid.clone());
            touched.insert(owner_uid);
        }
        if object.is_terminating {
            touched.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
        }
        touched.insert(uid.clone());
        self.objects.insert(uid, object);
    }

    fn remove(&mut self, uid: &Arc<str>, touched: &mut BTreeSet<Arc<str>>) {
        let Some(object) = self.objects.remove(uid) else { return };
        self.unlink(uid, &object.owners, touched);
        touched.extend(self.dependents.get(uid).into_iter().flatten().cloned());
    }

    fn unlink(&mut self, uid: &Arc<str>, owners: &[Owner], touched: &mut BTreeSet<Arc<str>>) {
        for owner in owners {
            let Some(dependents) = self.dependents.get_mut(owner.uid.as_str()) else { continue };
            dependents.remove(uid);
            if dependents.is_empty() {
                self.dependents.remove(owner.uid.as_str());
            }
            touched.insert(Arc::from(owner.uid.as_str()));
        }
    }

    /// The object with this uid.
    pub(crate) fn get(&self, uid: &str) -> Option<&Object> {
        self.objects.get(uid)
    }

    /// All uids.
    pub(crate) fn uids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.objects.keys()
    }

    /// The objects that name this one as an owner.
    pub(crate) fn dependents<'a>(&'a self, uid: &str) -> impl Iterator<Item = Dependent<'a>> {
        let owner = uid.to_owned();
        self.dependents.get(uid).into_iter().flatten().filter_map(move |dependent| {
            let object = self.objects.get(dependent)?;
            let reference = object.owners.iter().find(|reference| reference.uid == owner)?;
            Some(Dependent { uid: dependent, reference })
        })
    }

    /// How a reference of `dependent` stands.
    pub(crate) fn owner_state(&self, dependent: &Object, owner: &Owner) -> OwnerState {
        let kinds = self.kinds.as_deref().unwrap_or(isopod_spec::registry::builtin());
        self.state_among(kinds, dependent, owner)
    }

    fn state_among(&self, kinds: &Kinds, dependent: &Object, owner: &Owner) -> OwnerState {
        let Some(kind) = kinds.by_group_kind(group_of(&owner.api_version), &owner.kind) else {
            return OwnerState::Unknown;
        };
        if kind.namespaced() && !dependent.kind.namespaced() {
            // A mistake that Kubernetes leaves alone too: the owner could be in any namespace.
            return OwnerState::Unknown;
        }
        match self.objects.get(owner.uid.as_str()) {
            Some(found) if found.kind.namespaced() && found.key.namespace() != dependent.key.namespace() => {
                OwnerState::Absent
            }
            Some(found) if found.is_terminating && found.waits_for_dependents => {
                OwnerState::WaitsForDependents
            }
            Some(_) => OwnerState::Present,
            None => OwnerState::Absent,
        }
    }

    /// The first owner that lives in another namespace than its dependent, where it cannot own anything.
    pub(crate) fn misplaced_owner<'a>(&self, dependent: &'a Object) -> Option<&'a Owner> {
        dependent.owners.iter().find(|owner| {
            let found = self.objects.get(owner.uid.as_str());
            found.is_some_and(|found| {
                found.kind.namespaced() && found.key.namespace() != dependent.key.namespace()
            })
        })
    }
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}
