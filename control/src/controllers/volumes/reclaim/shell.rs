//! The controller of volumes: what wakes it, what it looks at, how its plans are carried out.

use std::sync::Arc;

use http::StatusCode;
use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolume};

use super::{Action, Observed, plan};
use crate::cache::{Change, ObjectKey, View};
use crate::controllers::pods::Acting;
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::volumes::{claim_ref, home_of, volume_name};
use crate::controllers::{facts, outcome};
use crate::events::Level;
use crate::objects::DeleteOptions;

/// Keeps the phases of volumes, and removes those that are done with.
#[derive(Debug, Default)]
pub(crate) struct VolumeController;

/// A volume, and what to do about it.
#[derive(Debug)]
pub(crate) struct Task {
    volume: Arc<PersistentVolume>,
    actions: Vec<Action>,
}

impl Controller for VolumeController {
    const NAME: &'static str = "persistentvolume-reclaimer";
    type Plan = Task;

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::PersistentVolume(delta) => wake(delta.key.clone()),
            Change::PersistentVolumeClaim(delta) => {
                let named = delta.both().filter_map(|claim| volume_name(claim));
                named.for_each(|name| wake(ObjectKey::new("", name)));
                // A volume may be kept for a claim that does not name it yet.
                let class = delta.latest().map(|claim| crate::controllers::volumes::class_of(claim));
                for volume in class.into_iter().flat_map(|class| view.persistent_volumes.in_place(class)) {
                    let reference = claim_ref(volume);
                    if reference.is_some_and(|own| own.name.as_deref() == Some(delta.key.name()))
                        && delta.new.is_none()
                    {
                        wake(ObjectKey::of(&volume.metadata));
                    }
                }
            }
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, _now: Timestamp) -> Planned<Task> {
        let Some(volume) = view.persistent_volumes.get(key) else { return Planned::nothing() };
        let claim = claim_ref(volume).and_then(|reference| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let key = ObjectKey::new(&text(&reference.namespace), &text(&reference.name));
            view.persistent_volume_claims.get(&key).cloned()
        });
        let node = home_of(volume).and_then(|node| view.nodes.get(&ObjectKey::new("", node))).cloned();
        let actions = plan(volume, &Observed { claim, node });
        let plan = (!actions.is_empty()).then(|| Task { volume: volume.clone(), actions });
        Planned { plan, again_after: None }
    }

    async fn apply(shell: Shell, Task { volume, actions }: Task) -> Result<(), Status> {
        let acting = Acting::of(&shell, "persistentvolume-controller", &*volume);
        for action in actions {
            match action {
                Action::PutStatus(volume) => drop(shell.objects.update_status(&*volume).await?),
                Action::Put(volume) => drop(shell.objects.update(&*volume).await?),
                Action::Tell(reason, message) => acting.tell(Level::Warning, reason, message),
                Action::RemoveFolder(node) => {
                    let removed = remove_folder(&shell, &volume, node.as_deref()).await;
                    if let Err(why) = removed {
                        acting.tell(Level::Warning, "VolumeFailedDelete", why.clone());
                        return Err(Status::unavailable(why));
                    }
                }
                Action::Delete => {
                    let meta = &volume.metadata;
                    let options = DeleteOptions { uid: meta.uid.clone(), ..DeleteOptions::default() };
                    let name = facts::name(meta);
                    let deleted = shell.objects.delete::<PersistentVolume>("", name, &options).await;
                    outcome::settled(deleted)?;
                }
            }
        }
        Ok(())
    }
}

/// Asks the node to remove the folder. One that is no part of the cluster any more has taken it along.
async fn remove_folder(shell: &Shell, volume: &PersistentVolume, node: Option<&Node>) -> Result<(), String> {
    let Some(node) = node else { return Ok(()) };
    let path = format!("/volumes/{}", facts::name(&volume.metadata));
    match shell.nodes.delete(node, &path).await {
        Ok(StatusCode::OK | StatusCode::NOT_FOUND) => Ok(()),
        Ok(code) => Err(format!("node {} answered {code}", facts::name(&node.metadata))),
        Err(error) => Err(error.to_string()),
    }
}
