//! Creating: prepare, admit, validate, store if the name is free.

use std::sync::Arc;

use bytes::Bytes;
use isopod_raft_store::{Compare, Op, Snapshot, Txn};
use isopod_spec::resource::write::{self, NewObject};
use isopod_spec::resource::{Kind, Object};
use isopod_spec::status::Status;
use k8s_openapi::jiff::Timestamp;

use super::accounts::put_together;
use super::{Commit, Objects, Ownership, TRIES_MAX, Written, at_revision};
use crate::admission::{self, Additions};

/// Names that are tried for one `generateName` before the client is told.
const NAMES_MAX: usize = 8;

/// An object that only needs a free name.
struct Prepared {
    object: Box<dyn Object>,
    key: Bytes,
    value: Bytes,
    additions: Additions,
}

/// What became of one try.
enum Tried {
    Done(Box<Written>),
    NameTaken(Snapshot),
    Overtaken(Snapshot),
}

impl Objects {
    /// Stores a new object of any kind in `namespace` (empty for cluster-scoped kinds).
    pub(crate) async fn create_object(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        object: Box<dyn Object>,
        commit: Commit,
    ) -> Result<Written, Status> {
        self.create_owned(kind, namespace, object, &Ownership::Updated, commit).await
    }

    /// The same, with what is known of who owns the object's fields.
    pub(crate) async fn create_owned(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        object: Box<dyn Object>,
        ownership: &Ownership,
        commit: Commit,
    ) -> Result<Written, Status> {
        let names = if object.name().is_empty() { NAMES_MAX } else { 1 };
        // A try fills in a name or addresses; the next one must start from what the client sent.
        let mut draft = Draft::new(kind, object, names > 1);
        let (mut snapshot, mut names_tried) = (self.store.snapshot(), 0);
        let mut is_current = false;
        for _ in 0..TRIES_MAX {
            let prepared = match self.prepare_create(kind, namespace, draft.take(), ownership, &snapshot) {
                Ok(prepared) => prepared,
                // This member's state may lag; only the newest may refuse.
                Err(refusal) if is_current => return Err(refusal.status),
                Err(refusal) => {
                    draft.put_back(refusal.object);
                    snapshot = self.linearizable().await?;
                    is_current = true;
                    continue;
                }
            };
            let name = prepared.object.name().to_owned();
            match self.try_create(prepared, &snapshot, commit, &mut draft).await? {
                Tried::Done(written) => return Ok(*written),
                Tried::Overtaken(newer) => snapshot = newer,
                Tried::NameTaken(newer) => {
                    names_tried += 1;
                    snapshot = newer;
                    match names {
                        1 => return Err(Status::already_exists(&**kind, &name)),
                        _ if names_tried == names => return Err(Status::name_not_generated(&**kind, &name)),
                        _ => {}
                    }
                }
            }
            is_current = true;
        }
        Err(Status::server_timeout(&**kind, "create", 1))
    }

    fn prepare_create(
        &self,
        kind: &Kind,
        namespace: &str,
        mut object: Box<dyn Object>,
        ownership: &Ownership,
        snapshot: &Snapshot,
    ) -> Result<Prepared, Refusal> {
        let new = NewObject {
            namespace,
            uid: uuid::Uuid::new_v4().to_string(),
            now: Timestamp::now(),
            name_seed: rand::random(),
        };
        let mut account = None;
        let ready = write::prepare_create(kind, object.as_mut(), new)
            .map(|()| account = self.account_of_new(kind, object.as_ref(), ownership))
            .and_then(|()| admission::create(&self.policy, snapshot, kind, object.as_mut(), rand::random()))
            .and_then(|additions| write::validate_create(kind, object.as_ref()).map(|()| additions))
            .and_then(|additions| {
                put_together(object.to_stored(), account.as_deref()).map(|value| (additions, value))
            });
        match ready {
            Ok((additions, value)) => {
                let key = kind.key(namespace, object.name()).into();
                Ok(Prepared { object, key, value, additions })
            }
            Err(status) => Err(Refusal { status, object }),
        }
    }

    async fn try_create(
        &self,
        prepared: Prepared,
        snapshot: &Snapshot,
        commit: Commit,
        draft: &mut Draft,
    ) -> Result<Tried, Status> {
        let Prepared { object, key, value, additions } = prepared;
        if commit == Commit::DryRun {
            if snapshot.get(&key).is_some() {
                draft.put_back(object);
                return Ok(Tried::NameTaken(self.linearizable().await?));
            }
            let object = at_revision(object, None);
            return Ok(Tried::Done(Box::new(Written { object, value, revision: None, created: true })));
        }
        let mut txn =
            Txn { compares: vec![Compare::Absent(key.clone())], ops: vec![Op::Put(key, value.clone())] };
        txn.compares.extend(additions.compares);
        txn.ops.extend(additions.ops);
        let response = self.propose(txn).await?;
        match response.failed {
            None => {
                let revision = Some(response.revision);
                let object = at_revision(object, revision);
                Ok(Tried::Done(Box::new(Written { object, value, revision, created: true })))
            }
            Some(failed) => {
                draft.put_back(object);
                let newer = self.caught_up(&response).await?;
                Ok(if failed == 0 { Tried::NameTaken(newer) } else { Tried::Overtaken(newer) })
            }
        }
    }
}

/// Why an object was not admitted, and the object as far as it got.
struct Refusal {
    status: Status,
    object: Box<dyn Object>,
}

/// The object as the client sent it, kept for another try where a try changes it for good.
struct Draft {
    original: Option<Box<dyn Object>>,
    next: Option<Box<dyn Object>>,
}

impl Draft {
    fn new(kind: &Kind, object: Box<dyn Object>, has_generated_name: bool) -> Draft {
        let original = (has_generated_name || admission::assigns(kind)).then(|| object.clone());
        Draft { original, next: Some(object) }
    }

    fn take(&mut self) -> Box<dyn Object> {
        self.next.take().or_else(|| self.original.clone()).expect("put back before the next try")
    }

    fn put_back(&mut self, object: Box<dyn Object>) {
        self.next = Some(self.original.clone().unwrap_or(object));
    }
}
