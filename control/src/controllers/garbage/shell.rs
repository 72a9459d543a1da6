//! The garbage collector: how the graph follows the store, and how verdicts are carried out.

use std::sync::Arc;

use futures::future::join_all;
use isopod_raft_store::KeyRange;
use isopod_spec::resource::{Kind, Target};
use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

use super::graph::{FOREGROUND, Graph, ORPHAN, Object};
use super::{Verdict, judge};
use crate::cache::{Batch, Change, ObjectKey, Raw, View};
use crate::controllers::outcome;
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::events::{Level, Occurrence};
use crate::objects::stored::own_metadata;
use crate::objects::{self, Commit, DeleteOptions, Propagation};

/// Collects what owners leave behind. Its keys are uids.
#[derive(Debug, Default)]
pub(crate) struct GarbageCollector {
    graph: Graph,
}

/// A verdict, and what it is about.
#[derive(Debug)]
pub(crate) struct Job {
    target: Identity,
    verdict: Verdict,
    /// Objects to unlink from the target, when it orphans them.
    dependents: Vec<Identity>,
    /// An owner in another namespace, to be told about.
    misplaced: Option<String>,
}

/// Which object, and that no other is meant.
#[derive(Debug, Clone)]
struct Identity {
    kind: Arc<Kind>,
    key: ObjectKey,
    uid: String,
}

impl Identity {
    fn of(uid: &str, object: &Object) -> Identity {
        Identity { kind: object.kind.clone(), key: object.key.clone(), uid: uid.to_owned() }
    }
}

impl Controller for GarbageCollector {
    const NAME: &'static str = "garbage-collector-controller";
    type Plan = Job;

    fn observe(&mut self, batch: &Batch, wake: &mut dyn FnMut(ObjectKey)) {
        match &batch.raw {
            Raw::Whole(snapshot) => {
                self.graph = Graph::default();
                for kind in batch.kinds.iter().filter(|kind| kind.is_stored()) {
                    let prefix = kind.prefix(None);
                    for (key, entry) in snapshot.range(&KeyRange::prefix(prefix.clone())) {
                        let Some(key) = ObjectKey::from_store(&key[prefix.len()..]) else { continue };
                        self.graph.observe(kind, &key, Some(&own_metadata(&entry.value)));
                    }
                }
                self.graph.serve(&batch.kinds);
                self.graph.uids().for_each(|uid| wake(ObjectKey::new("", uid)));
            }
            Raw::Events(events) => {
                self.graph.serve(&batch.kinds);
                for changed in events {
                    let metadata = changed.entry.as_ref().map(|entry| own_metadata(&entry.value));
                    let touched = self.graph.observe(&changed.kind, &changed.key, metadata.as_deref());
                    touched.iter().for_each(|uid| wake(ObjectKey::new("", uid)));
                }
            }
        }
    }

    fn wakes(&mut self, _change: &Change, _view: &View, _wake: &mut dyn FnMut(ObjectKey)) {}

    fn plan(&mut self, key: &ObjectKey, _view: &View, _now: Timestamp) -> Planned<Job> {
        let uid = key.name();
        let (Some(object), verdict) = (self.graph.get(uid), judge(&self.graph, uid)) else {
            return Planned::nothing();
        };
        if verdict == Verdict::Stays {
            return Planned::nothing();
        }
        let dependents = match &verdict {
            Verdict::Orphan(uids) => {
                uids.iter().filter_map(|uid| Some(Identity::of(uid, self.graph.get(uid)?))).collect()
            }
            _ => Vec::new(),
        };
        let misplaced = self.graph.misplaced_owner(object).map(|owner| {
            format!(
                "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace \"{}\"",
                owner.api_version,
                owner.kind,
                object.key.namespace(),
                owner.name,
                owner.uid,
                object.key.namespace()
            )
        });
        let job = Job { target: Identity::of(uid, object), verdict, dependents, misplaced };
        Planned { plan: Some(job), again_after: None }
    }

    async fn apply(shell: Shell, job: Job) -> Result<(), Status> {
        if let Some(message) = &job.misplaced {
            tell_misplaced(&shell, &job.target, message.clone());
        }
        let done = match job.verdict {
            Verdict::Stays => Ok(()),
            Verdict::Delete => delete(&shell, &job.target, None).await,
            Verdict::DeleteForeground => delete(&shell, &job.target, Some(Propagation::Foreground)).await,
            Verdict::Unlink(owners) => unlink(&shell, &job.target, &owners).await,
            Verdict::RemoveForegroundFinalizer => remove_finalizer(&shell, &job.target, FOREGROUND).await,
            Verdict::Orphan(_) => {
                let owner = [job.target.uid.clone()];
                let unlinked = job.dependents.iter().map(|dependent| unlink(&shell, dependent, &owner));
                let unlinked = join_all(unlinked).await.into_iter().map(outcome::settled);
                unlinked.collect::<Result<(), Status>>()?;
                remove_finalizer(&shell, &job.target, ORPHAN).await
            }
        };
        outcome::settled(done)
    }
}

async fn delete(shell: &Shell, target: &Identity, propagation: Option<Propagation>) -> Result<(), Status> {
    let options = DeleteOptions { uid: Some(target.uid.clone()), propagation, ..DeleteOptions::default() };
    let (namespace, name) = (target.key.namespace(), target.key.name());
    shell.objects.delete_object(&target.kind, namespace, name, &options, Commit::Write).await.map(drop)
}

/// Removes references to owners from the target.
async fn unlink(shell: &Shell, target: &Identity, owners: &[String]) -> Result<(), Status> {
    change(shell, target, |meta| {
        if let Some(references) = &mut meta.owner_references {
            references.retain(|reference| !owners.contains(&reference.uid));
        }
    })
    .await
}

async fn remove_finalizer(shell: &Shell, target: &Identity, finalizer: &str) -> Result<(), Status> {
    change(shell, target, |meta| {
        if let Some(finalizers) = &mut meta.finalizers {
            finalizers.retain(|known| known != finalizer);
        }
    })
    .await
}

/// Changes the target's metadata, whatever else changed meanwhile, as long as it is the same object.
async fn change(
    shell: &Shell,
    target: &Identity,
    edit: impl Fn(&mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) + Send + Sync,
) -> Result<(), Status> {
    let change = objects::Change {
        kind: &target.kind,
        namespace: target.key.namespace(),
        name: target.key.name(),
        target: Target::Main,
        commit: Commit::Write,
    };
    let changed = shell.objects.update_object(&change, |current| {
        if current.object.meta().uid.as_deref() != Some(&target.uid) {
            return Err(Status::not_found(&*target.kind, target.key.name()));
        }
        let mut object = current.object.boxed_clone();
        edit(object.meta_mut());
        Ok(object)
    });
    changed.await.map(drop)
}

fn tell_misplaced(shell: &Shell, target: &Identity, message: String) {
    let about = ObjectReference {
        api_version: Some(target.kind.api_version().to_owned()),
        kind: Some(target.kind.kind.clone()),
        namespace: Some(target.key.namespace().to_owned()),
        name: Some(target.key.name().to_owned()),
        uid: Some(target.uid.clone()),
        ..ObjectReference::default()
    };
    let component = GarbageCollector::NAME;
    let reason = "OwnerRefInvalidNamespace";
    shell.recorder.record(Occurrence { component, about, level: Level::Warning, reason, message });
}
