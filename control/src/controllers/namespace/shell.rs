//! The namespace controller: what wakes it, what it looks at, how its plans are carried out.

use std::sync::Arc;

use futures::future::join_all;
use isopod_raft_store::{KeyRange, Snapshot};
use isopod_spec::registry::Kinds;
use isopod_spec::resource::Target;
use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Content, finalized, is_emptied, plan};
use crate::cache::{Change, ObjectKey, View};
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::{facts, outcome};
use crate::objects::stored::own_metadata;
use crate::objects::{Commit, DeleteOptions};

/// Deletions under way at the same time.
const TOGETHER: usize = 256;

/// Empties namespaces that are being deleted.
#[derive(Debug, Default)]
pub(crate) struct NamespaceController;

impl Controller for NamespaceController {
    const NAME: &'static str = "namespace-controller";
    type Plan = Arc<Namespace>;

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        if let Change::Namespace(delta) = change {
            wake(delta.key.clone());
            return;
        }
        let key = ObjectKey::new("", change.key().namespace());
        if view.namespaces.get(&key).is_some_and(|namespace| facts::is_terminating(&namespace.metadata)) {
            wake(key);
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, _now: Timestamp) -> Planned<Arc<Namespace>> {
        let plan = view.namespaces.get(key).filter(|namespace| is_emptied(namespace)).cloned();
        Planned { plan, again_after: None }
    }

    async fn apply(shell: Shell, namespace: Arc<Namespace>) -> Result<(), Status> {
        // Nothing can be created in the namespace any more, so what this snapshot lacks is gone for good.
        let snapshot = shell.objects.store().snapshot();
        let kinds = shell.objects.kinds_at(&snapshot);
        let content = content(&kinds, &snapshot, facts::name(&namespace.metadata));
        let plan = plan(&namespace, content, Timestamp::now());
        if plan.is_empty {
            return shell.objects.replace(&finalized(&namespace), Target::Finalize).await.map(drop);
        }
        for objects in plan.delete.chunks(TOGETHER) {
            let deleted = join_all(objects.iter().map(|object| delete(&shell, object))).await;
            deleted.into_iter().collect::<Result<(), Status>>()?;
        }
        if let Some(status) = plan.status {
            let namespace = Namespace { status: Some(status), ..(*namespace).clone() };
            shell.objects.update_status(&namespace).await?;
        }
        Ok(())
    }
}

/// Everything that is in a namespace.
fn content(kinds: &Kinds, snapshot: &Snapshot, namespace: &str) -> Vec<Content> {
    let mut content = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.namespaced() && kind.is_stored()) {
        let range = KeyRange::prefix(kind.prefix(Some(namespace)));
        for (_, entry) in snapshot.range(&range) {
            let meta: ObjectMeta = serde_json::from_slice(&own_metadata(&entry.value)).unwrap_or_default();
            content.push(Content {
                kind: kind.clone(),
                key: ObjectKey::of(&meta),
                is_leaving: facts::is_terminating(&meta),
                finalizers: meta.finalizers.unwrap_or_default(),
            });
        }
    }
    content
}

async fn delete(shell: &Shell, object: &Content) -> Result<(), Status> {
    let (namespace, name) = (object.key.namespace(), object.key.name());
    let options = DeleteOptions::default();
    let deleted = shell.objects.delete_object(&object.kind, namespace, name, &options, Commit::Write).await;
    outcome::settled(deleted.map(drop))
}
