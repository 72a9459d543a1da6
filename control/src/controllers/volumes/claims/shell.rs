//! The controller of claims: what wakes it, what it looks at, how its plans are carried out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::{Action, Observed, User, plan};
use crate::cache::{Change, ObjectKey, View};
use crate::controllers::pods::Acting;
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::volumes::{
    SELECTED_NODE, claim_ref, claims_of, class_of, class_of_volume, volume_name,
};
use crate::controllers::{facts, outcome};

/// Gives claims their volumes.
#[derive(Debug, Default)]
pub(crate) struct ClaimController {
    /// The pods that use a claim, ended ones included.
    users: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
}

/// A claim, and what to do for it.
#[derive(Debug)]
pub(crate) struct Task {
    claim: Arc<PersistentVolumeClaim>,
    actions: Vec<Action>,
}

impl Controller for ClaimController {
    const NAME: &'static str = "persistentvolume-controller";
    type Plan = Task;

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::PersistentVolumeClaim(delta) => wake(delta.key.clone()),
            Change::PersistentVolume(delta) => {
                for reference in delta.both().filter_map(|volume| claim_ref(volume)) {
                    let text = |text: &Option<String>| text.clone().unwrap_or_default();
                    wake(ObjectKey::new(&text(&reference.namespace), &text(&reference.name)));
                }
                let free = delta.new.as_ref().filter(|volume| claim_ref(volume).is_none());
                free.into_iter().for_each(|volume| wake_waiting(class_of_volume(volume), view, wake));
            }
            Change::StorageClass(delta) => wake_waiting(delta.key.name(), view, wake),
            Change::Pod(delta) => {
                let claims = |pod: &Pod| -> Vec<ObjectKey> {
                    claims_of(pod).map(|claim| ObjectKey::new(delta.key.namespace(), &claim)).collect()
                };
                for claim in delta.old.iter().flat_map(|pod| claims(pod)) {
                    self.forget_user(&claim, &delta.key);
                    wake(claim);
                }
                for claim in delta.new.iter().flat_map(|pod| claims(pod)) {
                    self.users.entry(claim.clone()).or_default().insert(delta.key.clone());
                    wake(claim);
                }
            }
            Change::Node(delta) if delta.new.is_none() => {
                for (key, claim) in view.persistent_volume_claims.iter() {
                    if facts::annotation(&claim.metadata, SELECTED_NODE) == Some(delta.key.name()) {
                        wake(key.clone());
                    }
                }
            }
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, _now: Timestamp) -> Planned<Task> {
        let Some(claim) = view.persistent_volume_claims.get(key) else { return Planned::nothing() };
        let actions = plan(claim, &self.look(claim, view));
        let plan = (!actions.is_empty()).then(|| Task { claim: claim.clone(), actions });
        Planned { plan, again_after: None }
    }

    async fn apply(shell: Shell, Task { claim, actions }: Task) -> Result<(), Status> {
        let acting = Acting::of(&shell, Self::NAME, &*claim);
        for action in actions {
            match action {
                Action::PutVolume(volume) => drop(shell.objects.update(&*volume).await?),
                Action::CreateVolume(volume) => match shell.objects.create(*volume).await {
                    Err(status) if outcome::is_taken(&status) => {}
                    created => drop(created?),
                },
                Action::PutClaim(claim) => drop(shell.objects.update(&*claim).await?),
                Action::PutStatus(claim) => drop(shell.objects.update_status(&*claim).await?),
                Action::Tell(level, reason, message) => acting.tell(level, reason, message),
            }
        }
        Ok(())
    }
}

fn wake_waiting(class: &str, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
    let waiting = view.persistent_volume_claims.in_place(class);
    waiting.for_each(|claim| wake(ObjectKey::of(&claim.metadata)));
}

impl ClaimController {
    fn forget_user(&mut self, claim: &ObjectKey, pod: &ObjectKey) {
        let Some(users) = self.users.get_mut(claim) else { return };
        users.remove(pod);
        if users.is_empty() {
            self.users.remove(claim);
        }
    }

    fn look(&self, claim: &PersistentVolumeClaim, view: &View) -> Observed {
        let users = self.users.get(&ObjectKey::of(&claim.metadata)).into_iter().flatten();
        let users = users.filter_map(|pod| view.pods.get(pod)).filter(|pod| !facts::is_finished(pod));
        let users = users.map(|pod| User {
            name: facts::name(&pod.metadata).to_owned(),
            has_node: facts::node_name(pod).is_some(),
        });
        let (volumes, named) = (&view.persistent_volumes, volume_name(claim));
        let of_class = match named {
            Some(_) => Vec::new(),
            None => volumes.in_place(class_of(claim)).cloned().collect(),
        };
        let selected = facts::annotation(&claim.metadata, SELECTED_NODE);
        Observed {
            named: named.and_then(|name| volumes.get(&ObjectKey::new("", name))).cloned(),
            of_class,
            class: view.storage_classes.get(&ObjectKey::new("", class_of(claim))).cloned(),
            node: selected.and_then(|node| view.nodes.get(&ObjectKey::new("", node))).cloned(),
            user: users.min_by_key(|user| user.has_node),
        }
    }
}
