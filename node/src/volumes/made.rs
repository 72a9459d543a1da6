//! Volumes made of objects: what each is made of, how it is made again, and which of them an object is in.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Pod, Volume};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::{content, swap};
use crate::agent::env::{Host, Inputs, Objects, Reference};
use crate::agent::pod::spec;
use crate::agent::sources::Sources;

/// One volume of one pod.
pub(super) struct Made {
    folder: PathBuf,
    volume: Volume,
    /// As last seen: its labels and annotations may be in the volume.
    pod: Mutex<Arc<Pod>>,
    address: IpAddr,
    /// When a token in it should be replaced.
    renew_at: Mutex<Option<Instant>>,
    /// Whether the volume is gone. Held while its files are fetched, written or removed, so that what is written
    /// last was also fetched last, and nothing is written after the removal.
    gone: Arc<tokio::sync::Mutex<bool>>,
}

impl Made {
    pub(super) fn new(folder: PathBuf, volume: &Volume, inputs: &Inputs<'_>) -> Self {
        Self {
            folder,
            volume: volume.clone(),
            pod: Mutex::new(inputs.pod.clone()),
            address: inputs.address,
            renew_at: Mutex::default(),
            gone: Arc::default(),
        }
    }

    /// The pod as last seen.
    pub(super) fn pod(&self) -> Arc<Pod> {
        lock(&self.pod).clone()
    }

    /// The volume's name in its pod.
    pub(super) fn name(&self) -> &str {
        &self.volume.name
    }

    /// Makes the folder show what the objects hold now.
    pub(super) async fn make(&self, sources: &Sources, host: &Host) -> Result<(), String> {
        let gone = self.gone.clone().lock_owned().await;
        if *gone {
            return Ok(());
        }
        let pod = self.pod();
        let inputs = Inputs {
            pod: &pod,
            // Items of a volume name the container they speak of.
            container: &spec(&pod).containers[0],
            address: self.address,
            host,
            objects: &Objects::default(),
            links: BTreeMap::new(),
            image: &[],
        };
        // From before the token is made: its life begins then at the latest.
        let renew_at = content::renew_after(&self.volume).map(|after| Instant::now() + after);
        let files = content::files(&self.volume, &inputs, sources).await?;
        *lock(&self.renew_at) = renew_at;
        let folder = self.folder.clone();
        // The lock goes with the work, which nobody can stop once it has begun.
        let write = move || {
            let written = swap::replace(&folder, &files);
            drop(gone);
            written
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| error.to_string())
    }

    fn objects(&self) -> impl Iterator<Item = Object> {
        let namespace = self.pod().metadata.namespace.clone().unwrap_or_default();
        content::references(&self.volume).into_iter().map(move |object| (namespace.clone(), object))
    }
}

/// An object and its namespace.
pub(super) type Object = (String, Reference);

type ByFolder = HashMap<PathBuf, Arc<Made>>;

/// All of them. A cheap handle.
#[derive(Clone, Default)]
pub(super) struct Table {
    known: Arc<Mutex<Known>>,
    /// Whether there ever was a volume in it.
    used: watch::Sender<bool>,
    /// Rung when something is due.
    bell: Arc<Notify>,
}

#[derive(Default)]
struct Known {
    /// By the pod's uid.
    pods: HashMap<String, ByFolder>,
    users: HashMap<Object, ByFolder>,
    /// Those that may show something old, each at most once.
    due: ByFolder,
}

impl Table {
    /// Takes up a volume, before it is made: from now on no change of its objects is missed.
    pub(super) fn enter(&self, made: Made) -> Arc<Made> {
        let pod = made.pod();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut known = lock(&self.known);
        let volumes = known.pods.entry(uid).or_default();
        if let Some(earlier) = volumes.get(&made.folder) {
            *lock(&earlier.pod) = pod;
            return earlier.clone();
        }
        let made = Arc::new(made);
        volumes.insert(made.folder.clone(), made.clone());
        for object in made.objects() {
            known.users.entry(object).or_default().insert(made.folder.clone(), made.clone());
        }
        self.used.send_replace(true);
        made
    }

    /// Forgets a pod's volumes. Blocks until nobody writes them any more.
    pub(super) fn remove(&self, uid: &str) {
        let volumes = {
            let mut known = lock(&self.known);
            let volumes = known.pods.remove(uid).unwrap_or_default();
            for made in volumes.values() {
                known.due.remove(&made.folder);
                for object in made.objects() {
                    let Some(users) = known.users.get_mut(&object) else { continue };
                    users.remove(&made.folder);
                    if users.is_empty() {
                        known.users.remove(&object);
                    }
                }
            }
            volumes
        };
        for made in volumes.values() {
            *made.gone.blocking_lock() = true;
        }
    }

    /// The object is another than before.
    pub(super) fn object_changed(&self, object: &Object) {
        let mut known = lock(&self.known);
        if let Some(users) = known.users.get(object).cloned() {
            known.due.extend(users);
            self.bell.notify_one();
        }
    }

    /// The pod may have other labels and annotations than before.
    pub(super) fn pod_changed(&self, pod: &Arc<Pod>) {
        let mut known = lock(&self.known);
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let Some(volumes) = known.pods.get(uid) else { return };
        let mut changed = ByFolder::new();
        for (folder, made) in volumes {
            let before = std::mem::replace(&mut *lock(&made.pod), pod.clone());
            let same = before.metadata.labels == pod.metadata.labels
                && before.metadata.annotations == pod.metadata.annotations;
            if !same {
                changed.insert(folder.clone(), made.clone());
            }
        }
        if !changed.is_empty() {
            known.due.extend(changed);
            self.bell.notify_one();
        }
    }

    /// Volumes whose tokens are to be replaced by now are due.
    pub(super) fn renew(&self, now: Instant) {
        let mut known = lock(&self.known);
        let volumes = known.pods.values().flatten();
        let old = volumes.filter(|(_, made)| {
            let mut renew_at = lock(&made.renew_at);
            // Taken, so that it is not due again while it is made.
            renew_at.take_if(|at| *at <= now).is_some()
        });
        let old: Vec<_> = old.map(|(folder, made)| (folder.clone(), made.clone())).collect();
        if !old.is_empty() {
            known.due.extend(old);
            self.bell.notify_one();
        }
    }

    /// Waits until a volume is due, and takes all that are.
    pub(super) async fn due(&self) -> Vec<Arc<Made>> {
        loop {
            let due = std::mem::take(&mut lock(&self.known).due);
            if !due.is_empty() {
                return due.into_values().collect();
            }
            self.bell.notified().await;
        }
    }

    /// Waits until there is a volume made of objects on this node.
    pub(super) async fn used(&self) {
        // The sender is in `self`.
        self.used.subscribe().wait_for(|used| *used).await.ok();
    }
}

/// The locks are never held while anything can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
