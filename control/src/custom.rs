//! The kinds that a member serves: those of the build, and those of the CustomResourceDefinitions in its store.
//!
//! [`ServedKinds`] is what everybody asks. It is brought to a state of the store whenever it matters that it is not
//! older than that state (discovery, a kind that is not known), and follows the store besides, so that the usual
//! request only loads a pointer.

pub(crate) mod controller;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use isopod_raft_store::{Entry, KeyRange, Revision, Snapshot, Store, WatchEnd};
use isopod_spec::apiextensions;
use isopod_spec::registry::{self, Kinds};
use isopod_spec::resource::Kind;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::objects::try_decode;

/// How the keys of definitions begin.
pub(crate) fn prefix() -> Vec<u8> {
    registry::kind_of::<CustomResourceDefinition>().prefix(None)
}

/// The definitions of one state, each with its kinds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Definitions {
    compiled: BTreeMap<Bytes, Compiled>,
}

#[derive(Clone, Debug)]
struct Compiled {
    modified: Revision,
    kinds: Arc<[Arc<Kind>]>,
}

impl Definitions {
    /// Takes a definition over, or that it is gone. `known` may have compiled it already.
    pub(crate) fn set(&mut self, key: &Bytes, entry: Option<&Entry>, known: &Definitions) {
        let Some(entry) = entry else {
            self.compiled.remove(key);
            return;
        };
        let same = |compiled: &&Compiled| compiled.modified == entry.modified;
        let compiled = known.compiled.get(key).filter(same).cloned().unwrap_or_else(|| compile(key, entry));
        self.compiled.insert(key.clone(), compiled);
    }

    /// The definitions of a state; what is the same in `known` is taken from there.
    pub(crate) fn of(snapshot: &Snapshot, known: &Definitions) -> Definitions {
        let mut definitions = Definitions::default();
        for (key, entry) in snapshot.range(&KeyRange::prefix(prefix())) {
            definitions.set(key, Some(entry), known);
        }
        definitions
    }

    /// All kinds that are served with these definitions.
    pub(crate) fn kinds(&self) -> Kinds {
        let mut custom: Vec<Arc<Kind>> =
            self.compiled.values().flat_map(|compiled| compiled.kinds.iter().cloned()).collect();
        custom.sort_by_cached_key(|kind| {
            (kind.group.clone(), apiextensions::preference(&kind.version), kind.plural.clone())
        });
        registry::builtin().with_custom(custom)
    }

    fn is_same(&self, other: &Definitions) -> bool {
        let revisions = |own: &Definitions| -> Vec<(Bytes, Revision)> {
            own.compiled.iter().map(|(key, compiled)| (key.clone(), compiled.modified)).collect()
        };
        revisions(self) == revisions(other)
    }
}

fn compile(key: &Bytes, entry: &Entry) -> Compiled {
    let kinds = match try_decode::<CustomResourceDefinition>(entry) {
        Ok(definition) => apiextensions::kinds(&definition).into_iter().map(Arc::new).collect(),
        Err(error) => {
            tracing::error!(key = %key.escape_ascii(), %error, "a stored definition is damaged: its kind is not served");
            Arc::from([])
        }
    };
    Compiled { modified: entry.modified, kinds }
}

/// The kinds of the newest state that anybody has looked at.
pub(crate) struct ServedKinds {
    current: ArcSwap<Kinds>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    revision: Revision,
    definitions: Definitions,
}

impl ServedKinds {
    /// Those of the build.
    pub(crate) fn new() -> ServedKinds {
        ServedKinds { current: ArcSwap::from_pointee(registry::builtin().clone()), known: Mutex::default() }
    }

    /// The kinds as they were last seen.
    pub(crate) fn current(&self) -> Arc<Kinds> {
        self.current.load_full()
    }

    /// The kinds of this state, or of a newer one.
    pub(crate) fn at(&self, snapshot: &Snapshot) -> Arc<Kinds> {
        // What is in there is whole between any two of its assignments.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if snapshot.revision() > known.revision {
            let definitions = Definitions::of(snapshot, &known.definitions);
            known.revision = snapshot.revision();
            if !definitions.is_same(&known.definitions) {
                self.current.store(Arc::new(definitions.kinds()));
                known.definitions = definitions;
            }
        }
        self.current.load_full()
    }

    /// The definitions as they were last seen.
    pub(crate) fn definitions(&self) -> Definitions {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).definitions.clone()
    }

    /// Follows the store until it is closed.
    pub(crate) async fn follow(&self, store: &Store) {
        loop {
            let snapshot = store.snapshot();
            self.at(&snapshot);
            let end = match store.watch(KeyRange::prefix(prefix()), snapshot.revision()) {
                Ok(mut watch) => loop {
                    match watch.next().await {
                        Ok(_) => drop(self.at(&store.snapshot())),
                        Err(end) => break end,
                    }
                },
                Err(end) => end,
            };
            if matches!(end, WatchEnd::Closed) {
                return;
            }
            tracing::warn!(%end, "the custom kinds lag behind the store and are read again");
        }
    }
}
