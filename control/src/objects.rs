//! Typed objects over the store, under the same rules as the HTTP API.
//!
//! Controllers, the scheduler, the registry and the bootstrap hold an [`Objects`] and never touch the store's
//! bytes; the HTTP verbs call the erased functions of the same handle after decoding. So there is one set of
//! rules: prepare, admit, validate, then one transaction compared against what the decision was made on.

mod accounts;
mod apply;
mod bind;
mod create;
mod delete;
mod error;
mod evict;
pub(crate) mod stored;
mod update;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use isopod_raft_store::{Compare, Entry, KeyRange, Revision, Snapshot, Store, Txn, TxnResponse};
use isopod_spec::registry::{self, Kinds};
use isopod_spec::resource::{self, Kind, Object, Resource, Target, Typed};
use isopod_spec::status::Status;
use tokio_util::sync::CancellationToken;

pub(crate) use self::accounts::Ownership;
pub(crate) use self::apply::{Configuration, untyped};
pub use self::bind::Binding;
pub(crate) use self::delete::Deleted;
pub use self::delete::{DeleteOptions, Propagation};
pub(crate) use self::error::{corrupt, propose_failed, read_failed};
pub(crate) use self::update::{Change, Current};
pub use crate::admission::Policy;
use crate::custom::{Definitions, ServedKinds};

/// Tries of one write before the client is asked to come back: each means that another write came between.
const TRIES_MAX: usize = 16;

/// Largest stored object: etcd's limit, which clients know.
const OBJECT_BYTES_MAX: usize = 3 << 19;

/// Whether a write is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    /// Yes.
    Write,
    /// No: all rules run, nothing is stored (`dryRun=All`).
    DryRun,
}

/// The state of an object after a write.
pub(crate) struct Written {
    /// The object, with its resourceVersion.
    pub(crate) object: Box<dyn Object>,
    /// Its stored form.
    pub(crate) value: Bytes,
    /// When it was last written; `None` when a dry run would have created it.
    pub(crate) revision: Option<Revision>,
    /// Whether the write made the object.
    pub(crate) created: bool,
}

/// Typed access to the store. Cloning costs a pointer.
#[derive(Clone)]
pub struct Objects {
    store: Store,
    kinds: Arc<ServedKinds>,
    policy: Arc<Policy>,
    term: Option<u64>,
    manager: Arc<str>,
}

impl Objects {
    /// Objects over `store`, with the cluster's settings that admission needs.
    pub fn new(store: Store, policy: Policy) -> Objects {
        let (kinds, manager) = (Arc::new(ServedKinds::new()), Arc::from("isopod"));
        Objects { store, kinds, policy: Arc::new(policy), term: None, manager }
    }

    /// The same, but every write lands only while the Raft term is still `term`: what singletons use, so that a
    /// deposed leader's late write does nothing.
    #[must_use]
    pub fn in_term(&self, term: u64) -> Objects {
        Objects { term: Some(term), ..self.clone() }
    }

    /// The same, but what it writes belongs to the field manager `manager`.
    #[must_use]
    pub fn managed_by(&self, manager: &str) -> Objects {
        Objects { manager: Arc::from(manager), ..self.clone() }
    }

    /// The store below.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The kinds that are served, as this member last saw them.
    pub fn kinds(&self) -> Arc<Kinds> {
        self.kinds.current()
    }

    /// The kinds of this state, or of a newer one.
    pub(crate) fn kinds_at(&self, snapshot: &Snapshot) -> Arc<Kinds> {
        self.kinds.at(snapshot)
    }

    /// The kinds of the newest state of the cluster, or of this member's while nobody leads.
    pub(crate) async fn kinds_now(&self) -> Arc<Kinds> {
        let newest = self.store.linearizable().await;
        self.kinds.at(&newest.unwrap_or_else(|_| self.store.snapshot()))
    }

    /// The definitions of custom kinds, as this member last saw them.
    pub(crate) fn definitions(&self) -> Definitions {
        self.kinds.definitions()
    }

    /// Keeps the kinds at the store's state until `shutdown`, or until the store is closed.
    pub async fn follow_kinds(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.kinds.follow(&self.store)).await;
    }

    /// The object as this member has it now; `namespace` is empty for cluster-scoped kinds.
    pub async fn get<T: Resource>(&self, namespace: &str, name: &str) -> Result<Option<T>, Status> {
        let kind = registry::kind_of::<T>();
        let snapshot = self.store.snapshot();
        snapshot.get(&kind.key(namespace, name)).map(|entry| try_decode(entry)).transpose()
    }

    /// All objects of a namespace, or of all of them, in key order. What cannot be decoded is left out and logged.
    pub fn list<T: Resource>(&self, snapshot: &Snapshot, namespace: Option<&str>) -> Vec<T> {
        let range = KeyRange::prefix(registry::kind_of::<T>().prefix(namespace));
        let decoded = snapshot.range(&range).filter_map(|(key, entry)| {
            try_decode(entry)
                .inspect_err(
                    |error| tracing::error!(key = %key.escape_ascii(), %error, "stored object is damaged"),
                )
                .ok()
        });
        decoded.collect()
    }

    /// Stores a new object and returns it as stored.
    pub async fn create<T: Resource>(&self, object: T) -> Result<T, Status> {
        let kind = registry::kind_of::<T>();
        let namespace = object.metadata().namespace.clone().unwrap_or_default();
        let written = self.create_object(kind, &namespace, Box::new(Typed(object)), Commit::Write).await?;
        Ok(typed(written))
    }

    /// Replaces an object; a `metadata.resourceVersion` that is no longer current is a Conflict. Status is kept
    /// as stored.
    pub async fn update<T: Resource>(&self, object: &T) -> Result<T, Status> {
        self.replace(object, Target::Main).await
    }

    /// Replaces an object's status, under the same rule.
    pub async fn update_status<T: Resource>(&self, object: &T) -> Result<T, Status> {
        self.replace(object, Target::Status).await
    }

    /// Replaces the part of an object that `target` names.
    pub async fn replace<T: Resource>(&self, object: &T, target: Target) -> Result<T, Status> {
        let meta = object.metadata();
        let change = Change {
            kind: registry::kind_of::<T>(),
            namespace: meta.namespace.as_deref().unwrap_or_default(),
            name: meta.name.as_deref().unwrap_or_default(),
            target,
            commit: Commit::Write,
        };
        let written = self.update_object(&change, |_| Ok(Box::new(Typed(object.clone())))).await?;
        Ok(typed(written))
    }

    /// Deletes an object, or starts its deletion where finalizers or a grace period hold it.
    pub async fn delete<T: Resource>(
        &self,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<(), Status> {
        self.delete_object(registry::kind_of::<T>(), namespace, name, options, Commit::Write).await.map(drop)
    }

    /// [`Objects::create`] for many at once: the writes share Raft entries. Answers are in the order given.
    pub async fn create_many<T: Resource>(&self, objects: Vec<T>) -> Vec<Result<T, Status>> {
        join_all(objects.into_iter().map(|object| self.create(object))).await
    }

    /// [`Objects::update`] for many at once.
    pub async fn update_many<T: Resource>(&self, objects: &[T]) -> Vec<Result<T, Status>> {
        join_all(objects.iter().map(|object| self.update(object))).await
    }

    /// [`Objects::update_status`] for many at once.
    pub async fn update_status_many<T: Resource>(&self, objects: &[T]) -> Vec<Result<T, Status>> {
        join_all(objects.iter().map(|object| self.update_status(object))).await
    }

    /// Proposes a transaction under this handle's term.
    async fn propose(&self, mut txn: Txn) -> Result<TxnResponse, Status> {
        let own = txn.compares.len();
        txn.compares.extend(self.term.map(Compare::Term));
        let response = self.store.propose(txn).await.map_err(|error| propose_failed(&error))?;
        match response.failed {
            Some(failed) if failed >= own => {
                Err(Status::unavailable("this member no longer leads the cluster"))
            }
            _ => Ok(response),
        }
    }

    /// The state after a transaction that another write got ahead of.
    async fn caught_up(&self, response: &TxnResponse) -> Result<Snapshot, Status> {
        self.store.wait_applied(response.revision, CATCH_UP).await.map_err(|error| read_failed(&error))
    }

    async fn linearizable(&self) -> Result<Snapshot, Status> {
        self.store.linearizable().await.map_err(|error| read_failed(&error))
    }
}

/// How long a member waits for a revision that the leader has already committed.
const CATCH_UP: std::time::Duration = std::time::Duration::from_secs(3);

/// A stored object in its upstream type, with its resourceVersion.
///
/// # Errors
/// The entry is damaged, or was written by a newer version: never a client's fault.
pub fn try_decode<T: Resource>(entry: &Entry) -> Result<T, Status> {
    let plain = resource::split(&entry.value).plain;
    let mut object: T = serde_json::from_slice(&plain).map_err(|error| corrupt(&error))?;
    object.metadata_mut().resource_version = Some(entry.modified.0.to_string());
    Ok(object)
}

fn typed<T: Resource>(written: Written) -> T {
    written.object.take::<T>().expect("a write returns an object of the kind it was given")
}

/// The object as it was decoded or has become, with its resourceVersion.
fn at_revision(mut object: Box<dyn Object>, revision: Option<Revision>) -> Box<dyn Object> {
    object.meta_mut().resource_version = revision.map(|revision| revision.0.to_string());
    object
}

/// A stored object of any kind, with its resourceVersion.
pub(crate) fn decode_stored(kind: &Kind, entry: &Entry) -> Result<Box<dyn Object>, Status> {
    kind.decode_stored(&entry.value, entry.modified.0).map_err(|error| corrupt(&error))
}

#[cfg(test)]
mod tests;
