//! Somebody who watches the ConfigMaps of the namespace `default`, and goes on at the next member whenever a watch ends,
//! and now and then of its own accord: it must see every change once and in order, or be told that it cannot.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::client::client;
use crate::wait::eventually;

/// After so many changes it goes on at another member.
const MOVES_AFTER: usize = 40;

/// Between two attempts, when a member is gone.
const PAUSE: Duration = Duration::from_millis(10);

/// The code of "too old resource version".
const GONE: u16 = 410;

/// One change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The `resourceVersion`.
    pub revision: u64,
    /// The object's name.
    pub name: String,
    /// What it has under `v`.
    pub value: Option<String>,
    /// It was deleted.
    pub deleted: bool,
}

/// What was seen.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// In the order in which it came.
    pub changes: Vec<Change>,
    /// Everything up to here.
    pub revision: u64,
    /// How often it went on at another member, for whatever reason.
    pub moves: usize,
    /// How often it was told that its place is gone, and listed anew.
    pub compacted: usize,
    /// What must not be.
    wrong: Option<String>,
}

/// A watcher that runs until it is told to end.
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Observer {
    /// Watches from this revision on, the members in turn.
    pub fn start(runtime: &Handle, kubeconfigs: Vec<PathBuf>, from: u64) -> Observer {
        let seen = Arc::new(Mutex::new(Seen { revision: from, ..Seen::default() }));
        let task = runtime.spawn(follow(kubeconfigs, seen.clone()));
        Observer { seen, task }
    }

    /// Waits until everything up to `revision` was seen, and returns it.
    #[track_caller]
    pub fn end_at(self, revision: u64) -> Seen {
        eventually("the watch comes to the last change", || {
            let seen = lock(&self.seen);
            match &seen.wrong {
                Some(wrong) => panic!("{wrong}"),
                None if seen.revision >= revision => Ok(()),
                None => Err(format!("it has come to {}, and should to {revision}", seen.revision)),
            }
        });
        self.task.abort();
        lock(&self.seen).clone()
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().expect("nobody panics under the lock")
}

/// The `resourceVersion` of an object, as a number.
pub fn revision_of(object: &ConfigMap) -> u64 {
    let version = object.metadata.resource_version.as_deref().unwrap_or_default();
    version.parse().unwrap_or_else(|_| panic!("{version:?} is no resourceVersion of ours"))
}

async fn follow(kubeconfigs: Vec<PathBuf>, seen: Arc<Mutex<Seen>>) {
    let mut members = Vec::new();
    for kubeconfig in &kubeconfigs {
        members.push(Api::<ConfigMap>::namespaced(client(kubeconfig).await, "default"));
    }
    for api in members.iter().cycle() {
        let from = lock(&seen).revision;
        let ended = watch(api, from, &seen).await;
        lock(&seen).moves += 1;
        match ended {
            Ok(()) => {}
            Err(kube::Error::Api(status)) if status.code == GONE => begin_anew(api, &seen).await,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Watches on one member until it is time to go on, or the watch ends.
async fn watch(api: &Api<ConfigMap>, from: u64, seen: &Mutex<Seen>) -> Result<(), kube::Error> {
    let params = WatchParams::default().timeout(60);
    let mut events = pin!(api.watch(&params, &from.to_string()).await?);
    for _ in 0..MOVES_AFTER {
        let Some(event) = events.try_next().await? else { return Ok(()) };
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => note(seen, &object, false),
            WatchEvent::Deleted(object) => note(seen, &object, true),
            WatchEvent::Bookmark(bookmark) => {
                let revision = bookmark.metadata.resource_version.parse().unwrap_or_default();
                let mut seen = lock(seen);
                seen.revision = seen.revision.max(revision);
            }
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
    }
    Ok(())
}

fn note(seen: &Mutex<Seen>, object: &ConfigMap, deleted: bool) {
    let mut seen = lock(seen);
    let revision = revision_of(object);
    let name = object.metadata.name.clone().unwrap_or_default();
    if revision <= seen.revision {
        let place = seen.revision;
        seen.wrong.get_or_insert(format!("a watch from {place} on shows {name} at {revision}"));
    }
    let value = object.data.as_ref().and_then(|data| data.get("v").cloned());
    seen.changes.push(Change { revision, name, value, deleted });
    seen.revision = revision.max(seen.revision);
}

/// What lies between is gone: reads everything and goes on from there.
async fn begin_anew(api: &Api<ConfigMap>, seen: &Mutex<Seen>) {
    let Ok(list) = api.list(&ListParams::default()).await else { return };
    let revision = list.metadata.resource_version.and_then(|version| version.parse().ok());
    let mut seen = lock(seen);
    seen.compacted += 1;
    seen.revision = seen.revision.max(revision.unwrap_or_default());
}
