//! Updating: read, let the caller make the new object, prepare, admit, validate, and store it if nobody came
//! between; else once more from what is stored then.

use std::sync::Arc;

use bytes::Bytes;
use isopod_raft_store::{Compare, Entry, Op, Snapshot, Txn};
use isopod_spec::resource::{self, Kind, Object, Target, write};
use isopod_spec::status::Status;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use super::accounts::{Stored, account_of_changed, put_together};
use super::delete::may_vanish;
use super::{Commit, Objects, Ownership, TRIES_MAX, Written, at_revision, corrupt};
use crate::admission::{self, Additions};

/// Which object is updated, and how.
pub(crate) struct Change<'a> {
    /// Its kind.
    pub(crate) kind: &'a Arc<Kind>,
    /// Its namespace; empty for cluster-scoped kinds.
    pub(crate) namespace: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// Which part of it.
    pub(crate) target: Target,
    /// Whether it is stored.
    pub(crate) commit: Commit,
}

/// The object as stored when a try begins.
pub(crate) struct Current<'a> {
    /// The stored bytes and their revision.
    pub(crate) entry: &'a Entry,
    /// The stored bytes without the account of who owns what.
    pub(crate) plain: &'a [u8],
    /// That account: `managedFields`, as JSON.
    pub(crate) managed: Option<&'a str>,
    /// The object, decoded, with its resourceVersion.
    pub(crate) object: &'a dyn Object,
}

/// What a try wants to be stored.
pub(crate) struct Made {
    /// The object.
    pub(crate) object: Box<dyn Object>,
    /// How it changes who owns what.
    pub(crate) ownership: Ownership,
}

impl From<Box<dyn Object>> for Made {
    fn from(object: Box<dyn Object>) -> Made {
        Made { object, ownership: Ownership::Updated }
    }
}

/// What one try decided.
enum Decided {
    /// Nothing differs: the stored object stands.
    Unchanged(Written),
    /// This is to be stored.
    Replace(Written, Additions),
    /// The last thing that held a deleted object is gone.
    Remove(Written, Additions),
}

impl Objects {
    /// Replaces an object by what `make` makes of the stored one. `make` runs again when another write came
    /// between, so a resourceVersion that it insists on turns into a Conflict.
    pub(crate) async fn update_object(
        &self,
        change: &Change<'_>,
        mut make: impl FnMut(&Current<'_>) -> Result<Box<dyn Object>, Status>,
    ) -> Result<Written, Status> {
        self.update_owned(change, |current| make(current).map(Made::from)).await
    }

    /// The same for a `make` that may decide about ownership itself.
    pub(crate) async fn update_owned(
        &self,
        change: &Change<'_>,
        mut make: impl FnMut(&Current<'_>) -> Result<Made, Status>,
    ) -> Result<Written, Status> {
        let key = change.kind.key(change.namespace, change.name);
        let (mut snapshot, mut is_current) = (self.store.snapshot(), false);
        for _ in 0..TRIES_MAX {
            let Some(entry) = snapshot.get(&key) else {
                if is_current {
                    return Err(Status::not_found(&**change.kind, change.name));
                }
                (snapshot, is_current) = (self.linearizable().await?, true);
                continue;
            };
            let decided = match self.decide(change, entry, &snapshot, &mut make) {
                Ok(decided) => decided,
                Err(status) if is_current => return Err(status),
                Err(_) => {
                    (snapshot, is_current) = (self.linearizable().await?, true);
                    continue;
                }
            };
            match self.commit(change, &key, entry, decided).await? {
                Ok(written) => return Ok(written),
                Err(newer) => (snapshot, is_current) = (newer, true),
            }
        }
        Err(Status::server_timeout(&**change.kind, "update", 1))
    }

    fn decide(
        &self,
        change: &Change<'_>,
        entry: &Entry,
        snapshot: &Snapshot,
        make: &mut impl FnMut(&Current<'_>) -> Result<Made, Status>,
    ) -> Result<Decided, Status> {
        let (kind, target) = (&**change.kind, change.target);
        let resource::Split { managed, plain } = resource::split(&entry.value);
        let old = kind.decode_stored(&plain, entry.modified.0).map_err(|error| corrupt(&error))?;
        let Made { mut object, ownership } =
            make(&Current { entry, plain: &plain, managed, object: old.as_ref() })?;
        let given = object.meta_mut().managed_fields.take();
        write::prepare_update(kind, object.as_mut(), old.as_ref(), target)?;
        let additions =
            admission::update(&self.policy, snapshot, kind, object.as_mut(), old.as_ref(), rand::random())?;
        write::validate_update(kind, object.as_ref(), old.as_ref(), target)?;
        let value =
            self.stored_form(change, object.as_ref(), given, &ownership, &Stored { managed, plain: &plain })?;
        let mut written = Written { object, value, revision: Some(entry.modified), created: false };
        if may_vanish(old.as_ref(), written.object.as_ref()) {
            return Ok(Decided::Remove(written, admission::delete(old.as_ref())));
        }
        if written.value == entry.value {
            written.object = at_revision(written.object, written.revision);
            return Ok(Decided::Unchanged(written));
        }
        Ok(Decided::Replace(written, additions))
    }

    /// The object with the account of who owns what, as it is to be stored.
    fn stored_form(
        &self,
        change: &Change<'_>,
        object: &dyn Object,
        given: Option<Vec<ManagedFieldsEntry>>,
        ownership: &Ownership,
        stored: &Stored<'_>,
    ) -> Result<Bytes, Status> {
        let plain = object.to_stored();
        let writer = self.writer(change.kind, change.target);
        let account = account_of_changed(&writer, change.kind, given.as_deref(), ownership, stored, &plain);
        put_together(plain, account.as_deref())
    }

    /// `Err` is the state after another write came between.
    async fn commit(
        &self,
        change: &Change<'_>,
        key: &[u8],
        entry: &Entry,
        decided: Decided,
    ) -> Result<Result<Written, Snapshot>, Status> {
        let key = Bytes::copy_from_slice(key);
        let (mut written, additions, op) = match decided {
            Decided::Unchanged(written) => return Ok(Ok(written)),
            Decided::Replace(written, additions) => {
                let put = Op::Put(key.clone(), written.value.clone());
                (written, additions, put)
            }
            Decided::Remove(written, additions) => (written, additions, Op::Delete(key.clone())),
        };
        if change.commit == Commit::DryRun {
            written.object = at_revision(written.object, written.revision);
            return Ok(Ok(written));
        }
        let mut txn = Txn { compares: vec![Compare::Modified(key, entry.modified)], ops: vec![op] };
        txn.compares.extend(additions.compares);
        txn.ops.extend(additions.ops);
        let response = self.propose(txn).await?;
        if response.failed.is_some() {
            return Ok(Err(self.caught_up(&response).await?));
        }
        written.revision = Some(response.revision);
        written.object = at_revision(written.object, written.revision);
        Ok(Ok(written))
    }
}
