//! Follows the store and tells subscribers what changed, with the decoded state after it.

use std::sync::Arc;

use isopod_raft_store::{Entry, Event, KeyRange, ReadError, Snapshot, Watch, WatchEnd};
use isopod_spec::registry::{self, Kinds};
use isopod_spec::resource::Kind;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Batch, Cached, Change, Delta, Located, ObjectKey, Raw, View};
use crate::custom::{self, Definitions};
use crate::objects::{Objects, try_decode};

/// Batches that may wait for a subscriber. When one lags further, the feed waits for it; when the store then forgets
/// what the feed has not read, the feed reads the whole state again.
const BATCHES_WAITING: usize = 16;

/// Why the feed ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    /// The first read was not answered.
    #[error("cannot read the state of the store")]
    Read(#[source] ReadError),
    /// The store was closed.
    #[error("cannot follow the store")]
    Watch(#[source] WatchEnd),
}

/// Reads the store for everybody who wants [`Batch`]es.
pub(crate) struct Feed {
    objects: Objects,
    follower: Follower,
    subscribers: Vec<mpsc::Sender<Arc<Batch>>>,
}

impl Feed {
    /// A feed that has read nothing yet.
    pub(crate) fn new(objects: Objects) -> Feed {
        Feed { objects, follower: Follower::new(super::sources()), subscribers: Vec::new() }
    }

    /// A receiver of every batch. The first one holds the whole state as changes.
    pub(crate) fn subscribe(&mut self) -> mpsc::Receiver<Arc<Batch>> {
        let (sender, receiver) = mpsc::channel(BATCHES_WAITING);
        self.subscribers.push(sender);
        receiver
    }

    /// Runs until `shutdown`, or until the store is closed.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), FeedError> {
        match shutdown.run_until_cancelled(self.follow()).await {
            // The store hears of the shutdown too, and may close before this does.
            Some(Err(_)) if shutdown.is_cancelled() => Ok(()),
            ended => ended.unwrap_or(Ok(())),
        }
    }

    async fn follow(&mut self) -> Result<(), FeedError> {
        let store = self.objects.store().clone();
        let mut snapshot = store.linearizable().await.map_err(FeedError::Read)?;
        loop {
            self.objects.kinds_at(&snapshot);
            let changes = self.follower.resync(&snapshot, &self.objects.definitions());
            self.publish(changes, Raw::Whole(snapshot.clone())).await;
            let end = match store.watch(KeyRange::all(), snapshot.revision()) {
                Ok(watch) => self.follow_watch(watch).await,
                Err(end) => end,
            };
            match end {
                WatchEnd::Closed => return Err(FeedError::Watch(end)),
                WatchEnd::Compacted { .. } | WatchEnd::TooSlow { .. } => {
                    tracing::warn!(%end, "controllers lag behind the store and read it again");
                }
            }
            snapshot = store.snapshot();
        }
    }

    async fn follow_watch(&mut self, mut watch: Watch) -> WatchEnd {
        loop {
            match watch.next().await {
                Ok(events) => {
                    let (changes, located) = self.follower.apply(&events, &self.objects);
                    self.publish(changes, Raw::Events(located)).await;
                }
                Err(end) => return end,
            }
        }
    }

    async fn publish(&mut self, changes: Vec<Change>, raw: Raw) {
        let (view, kinds) = (self.follower.view.clone(), Arc::clone(&self.follower.kinds));
        let batch = Arc::new(Batch { view, changes, kinds, raw });
        for subscriber in &self.subscribers {
            // One that is gone has ended, and its end is handled where it runs.
            let _ = subscriber.send(batch.clone()).await;
        }
    }
}

/// One cached kind, erased.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    kind: &'static Arc<Kind>,
    apply: fn(&mut View, &ObjectKey, Option<&Entry>) -> Option<Change>,
    resync: fn(&mut View, &KeyRange, usize, &Snapshot, &mut Vec<Change>),
}

impl Source {
    pub(crate) fn of<T: Cached>(kind: &'static Arc<Kind>) -> Source {
        Source { kind, apply: apply::<T>, resync: resync::<T> }
    }
}

/// The view, and how events change it.
pub(super) struct Follower {
    view: View,
    sources: Vec<Source>,
    definitions: Definitions,
    /// The kinds at the view's revision, so that no event of a kind is missed or taken for another's.
    kinds: Arc<Kinds>,
}

impl Follower {
    pub(super) fn new(sources: Vec<Source>) -> Follower {
        let kinds = Arc::new(registry::builtin().clone());
        Follower { view: View::default(), sources, definitions: Definitions::default(), kinds }
    }

    /// Brings the view to the snapshot; returns what differs.
    pub(super) fn resync(&mut self, snapshot: &Snapshot, known: &Definitions) -> Vec<Change> {
        self.definitions = Definitions::of(snapshot, known);
        self.kinds = Arc::new(self.definitions.kinds());
        let mut changes = Vec::new();
        for source in &self.sources {
            let prefix = source.kind.prefix(None);
            let (length, range) = (prefix.len(), KeyRange::prefix(prefix));
            (source.resync)(&mut self.view, &range, length, snapshot, &mut changes);
        }
        self.view.revision = snapshot.revision();
        changes
    }

    /// Brings the view past `events`; returns what changed.
    fn apply(&mut self, events: &[Arc<Event>], objects: &Objects) -> (Vec<Change>, Vec<Located>) {
        let prefix = custom::prefix();
        let mut changes = Vec::with_capacity(events.len());
        let mut located = Vec::with_capacity(events.len());
        for event in events {
            if event.key.starts_with(&prefix) {
                // Whoever serves requests may have compiled it already.
                self.definitions.set(&event.key, event.entry.as_deref(), &objects.definitions());
                self.kinds = Arc::new(self.definitions.kinds());
            }
            if let Some((object, change)) = self.apply_one(event) {
                located.push(object);
                changes.extend(change);
            }
            self.view.revision = event.revision;
        }
        (changes, located)
    }

    fn apply_one(&mut self, event: &Event) -> Option<(Located, Option<Change>)> {
        let (kind, rest) = self.kinds.of_key(&event.key)?;
        let kind = Arc::clone(kind);
        let key = ObjectKey::from_store(rest)?;
        let change = match self.sources.iter().find(|source| Arc::ptr_eq(source.kind, &kind)) {
            Some(source) => (source.apply)(&mut self.view, &key, event.entry.as_deref()),
            None => Some(Change::Other { kind: kind.clone(), key: key.clone() }),
        };
        Some((Located { kind, key, entry: event.entry.clone() }, change))
    }
}

fn apply<T: Cached>(view: &mut View, key: &ObjectKey, entry: Option<&Entry>) -> Option<Change> {
    let new = entry.and_then(|entry| decode::<T>(key, entry)).map(Arc::new);
    let old = T::shelf_mut(view).set(key, new.clone());
    (old.is_some() || new.is_some()).then(|| T::change(Delta { key: key.clone(), old, new }))
}

fn resync<T: Cached>(
    view: &mut View,
    range: &KeyRange,
    prefix_length: usize,
    snapshot: &Snapshot,
    changes: &mut Vec<Change>,
) {
    let mut gone: std::collections::BTreeSet<ObjectKey> =
        T::shelf(view).iter().map(|(key, _)| key.clone()).collect();
    for (store_key, entry) in snapshot.range(range) {
        let Some(key) = ObjectKey::from_store(&store_key[prefix_length..]) else { continue };
        gone.remove(&key);
        let known = T::shelf(view).get(&key).and_then(|object| object.metadata().resource_version.clone());
        if known != Some(entry.modified.to_string()) {
            changes.extend(apply::<T>(view, &key, Some(entry)));
        }
    }
    for key in gone {
        changes.extend(apply::<T>(view, &key, None));
    }
}

/// An object that cannot be decoded counts as absent: nothing can be decided about it.
fn decode<T: Cached>(key: &ObjectKey, entry: &Entry) -> Option<T> {
    try_decode(entry).inspect_err(|error| tracing::error!(%key, %error, "a stored object is damaged")).ok()
}
