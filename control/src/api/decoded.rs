//! Objects of recent events, decoded once for all the watchers that look into them.
//!
//! A field selector (each node's agent has one) and a Table need the object, not its bytes. The watchers of one
//! event come one after the other within a moment, so a small memory of the latest objects serves nearly all.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use isopod_raft_store::{Entry, Revision};
use isopod_spec::resource::{Kind, Object};
use isopod_spec::status::Status;

use crate::objects::corrupt;

/// Objects that are remembered: some megabytes at most for usual ones.
const OBJECTS_MAX: usize = 512;

/// A key of the store at a revision, which is one immutable value, and the kind that it is read as.
type Id = (Bytes, Revision, u64);

/// The latest decoded objects.
#[derive(Default)]
pub(crate) struct Decoded {
    latest: Mutex<Latest>,
}

#[derive(Default)]
struct Latest {
    objects: HashMap<Id, Arc<dyn Object>>,
    order: VecDeque<Id>,
}

impl Decoded {
    /// The object that `entry` holds under `key`.
    pub(crate) fn get(&self, kind: &Kind, key: &Bytes, entry: &Entry) -> Result<Arc<dyn Object>, Status> {
        let id = (key.clone(), entry.modified, kind.serial());
        if let Some(object) = self.lock().objects.get(&id) {
            return Ok(Arc::clone(object));
        }
        let object = kind.decode_stored(&entry.value, entry.modified.0).map_err(|error| corrupt(&error))?;
        let object: Arc<dyn Object> = object.into();
        self.lock().insert(id, Arc::clone(&object));
        Ok(object)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Latest> {
        // A map and a queue are whole between any two of their calls.
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latest {
    fn insert(&mut self, id: Id, object: Arc<dyn Object>) {
        if self.objects.insert(id.clone(), object).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > OBJECTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.objects.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use isopod_spec::registry;
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    #[test]
    fn an_object_is_decoded_once_and_forgotten_in_turn() {
        let decoded = Decoded::default();
        let kind = registry::kind_of::<ConfigMap>();
        let entry = |revision: u64| Entry {
            value: Bytes::from_static(br#"{"metadata":{"name":"a"}}"#),
            created: Revision(1),
            modified: Revision(revision),
        };
        let key = Bytes::from_static(b"/a");
        let first = decoded.get(kind, &key, &entry(1)).expect("decodes");
        assert!(Arc::ptr_eq(&first, &decoded.get(kind, &key, &entry(1)).expect("remembered")));
        for revision in 2..2000 {
            decoded.get(kind, &key, &entry(revision)).expect("decodes");
        }
        assert_eq!(decoded.lock().objects.len(), OBJECTS_MAX);
        assert!(!Arc::ptr_eq(&first, &decoded.get(kind, &key, &entry(1)).expect("decodes again")));
    }
}
