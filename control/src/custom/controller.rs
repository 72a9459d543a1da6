//! The controller of CustomResourceDefinitions: accepts their names, and empties those that are being deleted.

use std::collections::BTreeMap;

use futures::future::join_all;
use isopod_raft_store::{Entry, KeyRange};
use isopod_spec::apiextensions::names::Outline;
use isopod_spec::apiextensions::{CLEANUP_FINALIZER, stored_kind};
use isopod_spec::registry;
use isopod_spec::resource::{Kind, Target};
use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::prefix;
use crate::cache::{Batch, Change, ObjectKey, Raw, View};
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::{facts, outcome};
use crate::objects::stored::own_metadata;
use crate::objects::{self, Commit, DeleteOptions};

/// Deletions under way at the same time.
const TOGETHER: usize = 256;

/// Keeps the status of definitions.
#[derive(Debug, Default)]
pub(crate) struct DefinitionController {
    definitions: BTreeMap<ObjectKey, Known>,
}

/// What is kept of a definition: not its schemas.
#[derive(Debug)]
struct Known {
    outline: Outline,
    resource_version: String,
    is_terminating: bool,
    has_finalizer: bool,
}

/// What to do about a definition.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Its status becomes this, if it is still at this resourceVersion.
    Status(ObjectKey, String, Box<CustomResourceDefinitionStatus>),
    /// Its objects are deleted, and then its finalizer.
    Empty(ObjectKey),
}

impl DefinitionController {
    fn observe_definition(&mut self, key: ObjectKey, entry: Option<&Entry>, wake: &mut dyn FnMut(ObjectKey)) {
        let known = entry.and_then(|entry| Known::read(&key, entry));
        let group = |known: &Known| known.outline.spec.group.clone();
        let groups = [known.as_ref().map(group), self.definitions.get(&key).map(group)];
        match known {
            Some(known) => drop(self.definitions.insert(key.clone(), known)),
            None => drop(self.definitions.remove(&key)),
        }
        // Names that were taken may be free now.
        let waiting = self.definitions.iter().filter(|(_, own)| {
            !own.outline.is_accepted()
                && groups.iter().flatten().any(|group| own.outline.spec.group == *group)
        });
        waiting.for_each(|(key, _)| wake(key.clone()));
        wake(key);
    }
}

impl Known {
    fn read(key: &ObjectKey, entry: &Entry) -> Option<Known> {
        let outline = serde_json::from_slice(&entry.value);
        let meta = serde_json::from_slice::<ObjectMeta>(&own_metadata(&entry.value));
        let (outline, meta) = match (outline, meta) {
            (Ok(outline), Ok(meta)) => (outline, meta),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%key, %error, "a stored definition is damaged");
                return None;
            }
        };
        Some(Known {
            outline,
            resource_version: entry.modified.to_string(),
            is_terminating: facts::is_terminating(&meta),
            has_finalizer: meta.finalizers.iter().flatten().any(|own| own == CLEANUP_FINALIZER),
        })
    }
}

impl Controller for DefinitionController {
    const NAME: &'static str = "customresourcedefinition-controller";
    type Plan = Plan;

    fn observe(&mut self, batch: &Batch, wake: &mut dyn FnMut(ObjectKey)) {
        match &batch.raw {
            Raw::Whole(snapshot) => {
                self.definitions.clear();
                let prefix = prefix();
                for (key, entry) in snapshot.range(&KeyRange::prefix(prefix.clone())) {
                    if let Some(key) = ObjectKey::from_store(&key[prefix.len()..]) {
                        self.observe_definition(key, Some(entry), wake);
                    }
                }
            }
            Raw::Events(events) => {
                let own = registry::kind_of::<CustomResourceDefinition>();
                for event in events {
                    if event.kind.serial() == own.serial() {
                        self.observe_definition(event.key.clone(), event.entry.as_deref(), wake);
                    } else if let (Some(name), None) = (&event.kind.defined_by, &event.entry) {
                        let key = ObjectKey::new("", name);
                        if self.definitions.get(&key).is_some_and(|known| known.is_terminating) {
                            wake(key);
                        }
                    }
                }
            }
        }
    }

    fn wakes(&mut self, _change: &Change, _view: &View, _wake: &mut dyn FnMut(ObjectKey)) {}

    fn plan(&mut self, key: &ObjectKey, _view: &View, now: Timestamp) -> Planned<Plan> {
        let Some(known) = self.definitions.get(key) else { return Planned::nothing() };
        if known.is_terminating {
            let plan = known.has_finalizer.then(|| Plan::Empty(key.clone()));
            return Planned { plan, again_after: None };
        }
        let group = &known.outline.spec.group;
        let others =
            self.definitions.iter().filter(|(other, own)| *other != key && own.outline.spec.group == *group);
        let others = others.map(|(_, own)| &own.outline);
        let next = known.outline.next(others, registry::builtin(), now);
        let plan =
            next.map(|status| Plan::Status(key.clone(), known.resource_version.clone(), Box::new(status)));
        Planned { plan, again_after: None }
    }

    async fn apply(shell: Shell, plan: Plan) -> Result<(), Status> {
        match plan {
            Plan::Status(key, version, status) => write_status(&shell, &key, version, *status).await,
            Plan::Empty(key) => empty(&shell, &key).await,
        }
    }
}

async fn write_status(
    shell: &Shell,
    key: &ObjectKey,
    version: String,
    status: CustomResourceDefinitionStatus,
) -> Result<(), Status> {
    let stored = shell.objects.get::<CustomResourceDefinition>("", key.name()).await?;
    let Some(mut definition) = stored else { return Ok(()) };
    definition.metadata.resource_version = Some(version);
    definition.status = Some(status);
    // Another version is seen, and planned for, soon.
    outcome::settled(shell.objects.update_status(&definition).await.map(drop))
}

/// Deletes all objects of a definition that is being deleted; once none is left, lets it go.
async fn empty(shell: &Shell, key: &ObjectKey) -> Result<(), Status> {
    // Nothing of the kind can be created any more, so what this snapshot lacks is gone for good.
    let snapshot = shell.objects.store().snapshot();
    let own = registry::kind_of::<CustomResourceDefinition>();
    let Some(entry) = snapshot.get(&own.key("", key.name())) else { return Ok(()) };
    let definition = objects::try_decode::<CustomResourceDefinition>(entry)?;
    let Some(kind) = stored_kind(&definition).map(std::sync::Arc::new) else { return Ok(()) };
    let prefix = kind.prefix(None);
    let (mut leaving, mut staying) = (0, Vec::new());
    for (key, entry) in snapshot.range(&KeyRange::prefix(prefix.clone())) {
        let Some(key) = ObjectKey::from_store(&key[prefix.len()..]) else { continue };
        match objects::stored::MetadataView::of(&entry.value).deletion_timestamp {
            Some(_) => leaving += 1,
            None => staying.push(key),
        }
    }
    if leaving == 0 && staying.is_empty() {
        return let_go(shell, key).await;
    }
    for keys in staying.chunks(TOGETHER) {
        let deletions = keys.iter().map(|key| delete(shell, &kind, key));
        join_all(deletions).await.into_iter().collect::<Result<(), Status>>()?;
    }
    Ok(())
}

async fn delete(shell: &Shell, kind: &std::sync::Arc<Kind>, key: &ObjectKey) -> Result<(), Status> {
    let options = DeleteOptions::default();
    let deleted =
        shell.objects.delete_object(kind, key.namespace(), key.name(), &options, Commit::Write).await;
    outcome::settled(deleted.map(drop))
}

/// Removes the finalizer that waited for the objects.
async fn let_go(shell: &Shell, key: &ObjectKey) -> Result<(), Status> {
    let change = objects::Change {
        kind: registry::kind_of::<CustomResourceDefinition>(),
        namespace: "",
        name: key.name(),
        target: Target::Main,
        commit: Commit::Write,
    };
    let changed = shell.objects.update_object(&change, |current| {
        let mut object = current.object.boxed_clone();
        if let Some(finalizers) = &mut object.meta_mut().finalizers {
            finalizers.retain(|own| own != CLEANUP_FINALIZER);
        }
        Ok(object)
    });
    outcome::settled(changed.await.map(drop))
}
