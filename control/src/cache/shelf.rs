//! All objects of one kind, decoded, in key order and by owner.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use isopod_spec::resource::Resource;

use super::key::ObjectKey;
use crate::controllers::facts;

/// Decoded objects of one kind. Cloning costs a few pointers; a clone never changes.
#[derive(Clone)]
pub(crate) struct Shelf<T> {
    objects: OrdMap<ObjectKey, Arc<T>>,
    /// (uid of the controller, key); an object without controller stands under `""`, with its namespace.
    by_owner: OrdSet<(Arc<str>, ObjectKey)>,
    /// (what [`super::Cached::place`] says, key).
    by_place: OrdSet<(Arc<str>, ObjectKey)>,
    place: fn(&T) -> Option<String>,
}

impl<T: Resource> Shelf<T> {
    /// An empty shelf whose objects are also found by their `place`.
    pub(crate) fn new(place: fn(&T) -> Option<String>) -> Shelf<T> {
        Shelf { objects: OrdMap::new(), by_owner: OrdSet::new(), by_place: OrdSet::new(), place }
    }

    /// One object.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&Arc<T>> {
        self.objects.get(key)
    }

    /// True when there is such an object.
    pub(crate) fn contains(&self, key: &ObjectKey) -> bool {
        self.objects.contains_key(key)
    }

    /// All objects in key order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<T>)> {
        self.objects.iter()
    }

    /// The number of objects.
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// The objects of one namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<T>> {
        // '0' is the character after '/': the bounds enclose exactly the keys that begin with `namespace/`.
        let (start, end) = (format!("{namespace}/"), format!("{namespace}0"));
        let bounds = (Bound::Included(start.as_str()), Bound::Excluded(end.as_str()));
        self.objects.range::<_, str>(bounds).map(|(_, object)| object).collect::<Vec<_>>().into_iter()
    }

    /// The objects whose controller has this uid.
    pub(crate) fn controlled_by(&self, uid: &str) -> impl Iterator<Item = &Arc<T>> {
        self.indexed(&self.by_owner, uid)
    }

    /// The objects of a namespace that have no controller.
    pub(crate) fn orphans(&self, namespace: &str) -> impl Iterator<Item = &Arc<T>> {
        self.indexed(&self.by_owner, &orphans_of(namespace))
    }

    /// The objects in this place.
    pub(crate) fn in_place(&self, place: &str) -> impl Iterator<Item = &Arc<T>> {
        self.indexed(&self.by_place, place)
    }

    fn indexed<'a>(
        &'a self,
        index: &OrdSet<(Arc<str>, ObjectKey)>,
        value: &str,
    ) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        let first = (Arc::<str>::from(value), ObjectKey::new("", ""));
        let found: Vec<&Arc<T>> = index
            .range(first..)
            .take_while(|(indexed, _)| **indexed == *value)
            .filter_map(|(_, key)| self.objects.get(key))
            .collect();
        found.into_iter()
    }

    /// Puts an object in, or takes it out; returns what was there.
    pub(super) fn set(&mut self, key: &ObjectKey, object: Option<Arc<T>>) -> Option<Arc<T>> {
        let old = match &object {
            Some(object) => self.objects.insert(key.clone(), object.clone()),
            None => self.objects.remove(key),
        };
        let owners = (old.as_deref().map(owner), object.as_deref().map(owner));
        replace(&mut self.by_owner, key, owners.0, owners.1);
        let places = (old.as_deref().and_then(self.place), object.as_deref().and_then(self.place));
        replace(&mut self.by_place, key, places.0, places.1);
        old
    }
}

fn owner<T: Resource>(object: &T) -> String {
    let meta = object.metadata();
    facts::controller_of(meta).map_or_else(|| orphans_of(facts::namespace(meta)), |owner| owner.uid.clone())
}

/// No uid contains a slash.
fn orphans_of(namespace: &str) -> String {
    format!("/{namespace}")
}

fn replace(
    index: &mut OrdSet<(Arc<str>, ObjectKey)>,
    key: &ObjectKey,
    old: Option<String>,
    new: Option<String>,
) {
    if old == new {
        return;
    }
    if let Some(old) = old {
        index.remove(&(Arc::from(old), key.clone()));
    }
    if let Some(new) = new {
        index.insert((Arc::from(new), key.clone()));
    }
}
