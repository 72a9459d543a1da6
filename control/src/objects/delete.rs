//! Deleting: at once, after a grace period, or once the last finalizer is gone.
//!
//! [`plan`] decides and is pure; its rules are those of upstream's generic registry. A deletion only ever moves
//! forward: a second request may shorten a grace period, never lengthen it or take the deletion back.

use std::sync::Arc;

use bytes::Bytes;
use isopod_raft_store::{Compare, Op, Revision, Txn};
use isopod_spec::resource::{self, Kind, Object};
use isopod_spec::status::Status;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::accounts::put_together;
use super::{Commit, Objects, TRIES_MAX, at_revision, decode_stored};
use crate::admission;

/// What becomes of an object's dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They go after the object: the default.
    Background,
    /// They go first.
    Foreground,
    /// They stay, without their owner.
    Orphan,
}

/// How to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds that the object may take to end; the kind's own default when absent. Pods only.
    pub grace_period_seconds: Option<i64>,
    /// What becomes of dependents; what the object's finalizers say when absent.
    pub propagation: Option<Propagation>,
    /// Only if the object still has this uid.
    pub uid: Option<String>,
    /// Only if the object is still at this resourceVersion.
    pub resource_version: Option<String>,
}

/// What became of the object.
pub(crate) struct Deleted {
    /// Its last state, or the state in which it lives on.
    pub(crate) object: Box<dyn Object>,
    /// The same, stored form.
    pub(crate) value: Bytes,
    /// When that was, or when it was removed.
    pub(crate) revision: Revision,
    /// Whether it is gone.
    pub(crate) gone: bool,
}

/// What a delete request does to an object.
enum Step {
    /// It goes now.
    Remove,
    /// It is marked and lives on.
    Mark(Box<dyn Object>),
    /// It is being deleted already, and this request adds nothing.
    Stand,
}

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

impl Objects {
    /// Deletes an object of any kind, or starts its deletion.
    pub(crate) async fn delete_object(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
        commit: Commit,
    ) -> Result<Deleted, Status> {
        let key = Bytes::from(kind.key(namespace, name));
        let (mut snapshot, mut is_current) = (self.store.snapshot(), false);
        for _ in 0..TRIES_MAX {
            let Some(entry) = snapshot.get(&key) else {
                if is_current {
                    return Err(Status::not_found(&**kind, name));
                }
                (snapshot, is_current) = (self.linearizable().await?, true);
                continue;
            };
            let old = decode_stored(kind, entry)?;
            if let Err(status) =
                admission::may_delete(kind, name).and_then(|()| check(kind, old.as_ref(), options))
            {
                if is_current {
                    return Err(status);
                }
                (snapshot, is_current) = (self.linearizable().await?, true);
                continue;
            }
            let mut deleted =
                Deleted { object: old, value: entry.value.clone(), revision: entry.modified, gone: false };
            let mut txn =
                Txn { compares: vec![Compare::Modified(key.clone(), entry.modified)], ops: Vec::new() };
            match plan(kind, deleted.object.as_ref(), options, Timestamp::now()) {
                Step::Stand => return Ok(deleted),
                Step::Remove => {
                    deleted.gone = true;
                    let additions = admission::delete(deleted.object.as_ref());
                    txn.ops.push(Op::Delete(key.clone()));
                    txn.ops.extend(additions.ops);
                }
                Step::Mark(object) => {
                    let account = resource::split(&entry.value).managed;
                    deleted.value = put_together(object.to_stored(), account)?;
                    deleted.object = object;
                    txn.ops.push(Op::Put(key.clone(), deleted.value.clone()));
                }
            }
            if commit == Commit::DryRun {
                return Ok(deleted);
            }
            let response = self.propose(txn).await?;
            if response.failed.is_none() {
                deleted.revision = response.revision;
                deleted.object = at_revision(deleted.object, Some(response.revision));
                return Ok(deleted);
            }
            (snapshot, is_current) = (self.caught_up(&response).await?, true);
        }
        Err(Status::server_timeout(&**kind, "delete", 1))
    }
}

/// Preconditions of the request.
fn check(kind: &Kind, old: &dyn Object, options: &DeleteOptions) -> Result<(), Status> {
    let meta = old.meta();
    for (what, wanted, found) in [
        ("UID", &options.uid, &meta.uid),
        ("ResourceVersion", &options.resource_version, &meta.resource_version),
    ] {
        if let Some(wanted) = wanted
            && Some(wanted) != found.as_ref()
        {
            let found = found.as_deref().unwrap_or_default();
            return Err(Status::precondition_failed(kind, old.name(), what, wanted, found));
        }
    }
    Ok(())
}

fn plan(kind: &Kind, old: &dyn Object, options: &DeleteOptions, now: Timestamp) -> Step {
    let grace = if kind.graceful_delete { old.deletion_grace(options.grace_period_seconds) } else { 0 };
    if let Some(step) = plan_again(kind, old, options, grace, now) {
        return step;
    }
    let mut object = old.boxed_clone();
    object.meta_mut().finalizers = finalizers(old.meta(), options.propagation);
    let held = is_held(object.as_ref());
    if grace == 0 && !held {
        return Step::Remove;
    }
    mark(kind, object.as_mut(), grace, now);
    Step::Mark(object)
}

/// The same for an object that is being deleted already; `None` when this request may go through as a first one.
fn plan_again(
    kind: &Kind,
    old: &dyn Object,
    options: &DeleteOptions,
    grace: i64,
    now: Timestamp,
) -> Option<Step> {
    old.meta().deletion_timestamp.as_ref()?;
    let left = old.meta().deletion_grace_period_seconds.unwrap_or(0);
    let shortens = kind.graceful_delete && options.grace_period_seconds.is_some() && grace < left;
    if !shortens {
        return Some(Step::Stand);
    }
    if grace == 0 && !is_held(old) {
        return Some(Step::Remove);
    }
    let mut object = old.boxed_clone();
    let meta = object.meta_mut();
    let began = meta.deletion_timestamp.as_ref().map_or(now, |end| end.0 - SignedDuration::from_secs(left));
    meta.deletion_timestamp = Some(Time(began + SignedDuration::from_secs(grace)));
    meta.deletion_grace_period_seconds = Some(grace);
    Some(Step::Mark(object))
}

/// Marks the object as being deleted: it ends after `grace` seconds, or when its finalizers are gone.
fn mark(kind: &Kind, object: &mut dyn Object, grace: i64, now: Timestamp) {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let meta = object.meta_mut();
    meta.deletion_timestamp = Some(Time(now + SignedDuration::from_secs(grace)));
    meta.deletion_grace_period_seconds = Some(grace);
    if kind.has_generation {
        meta.generation = Some(meta.generation.unwrap_or(0) + 1);
    }
    object.begin_deletion();
}

/// The finalizers that make the garbage collector do what the request asks for.
fn finalizers(meta: &ObjectMeta, propagation: Option<Propagation>) -> Option<Vec<String>> {
    let wanted = match propagation {
        // What an earlier request or the object's author chose stands.
        None => return meta.finalizers.clone(),
        Some(Propagation::Background) => None,
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Orphan) => Some(ORPHAN),
    };
    let others = meta.finalizers.iter().flatten().filter(|own| *own != ORPHAN && *own != FOREGROUND).cloned();
    let all: Vec<String> = others.chain(wanted.map(str::to_owned)).collect();
    if all.is_empty() { None } else { Some(all) }
}

fn is_held(object: &dyn Object) -> bool {
    object.meta().finalizers.as_ref().is_some_and(|own| !own.is_empty()) || object.holds_deletion()
}

/// Whether the update from `old` to `object` takes away the last thing that held a deleted object.
pub(super) fn may_vanish(old: &dyn Object, object: &dyn Object) -> bool {
    let meta = old.meta();
    meta.deletion_timestamp.is_some()
        && meta.deletion_grace_period_seconds.unwrap_or(0) == 0
        && !is_held(object)
}

#[cfg(test)]
mod tests;
