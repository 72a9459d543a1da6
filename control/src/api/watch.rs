//! WATCH: the state, if asked for, then every change of it, in order and without gaps.
//!
//! A watch is a cursor into the store's history and holds no queue: the client's own pace pulls events through,
//! and one that falls behind the history is cut off, to begin again from the last revision that it saw.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::StatusCode;
use isopod_raft_store::{Entry, Event, Revision, Watch, WatchEnd};
use isopod_spec::resource::Kind;
use isopod_spec::status::Status;
use k8s_openapi::jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Api;
use super::call::Call;
use super::cursor::{Cursor, Walked};
use super::decoded::Decoded;
use super::metrics::{Open, Subject};
use super::options::{self, ReadAt, WatchFrom};
use super::reply::{BoxError, Content, JSON, Reply};
use super::selection::Selection;
use super::view::{Bookmark, Columns, Item, View};

/// The initial state is sent in chunks of about this size.
const CHUNK_BYTES: usize = 64 << 10;
/// How often a client that takes bookmarks learns how far the watch has come.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// How long a watch lives when the client does not say: upstream's half to a full hour, spread so that clients
/// do not all come back at once.
const LIFETIME_SECONDS: std::ops::Range<u64> = 1800..3600;

/// Watches the objects of a namespace, or of all of them.
pub(crate) async fn watch(
    api: &Api,
    kind: &Arc<Kind>,
    namespace: Option<&str>,
    call: &Call,
) -> Result<Reply, Status> {
    let (form, include) = call.form()?;
    let options = options::watch(&call.query)?;
    let selection = Selection::parse(kind, &call.query)?;
    let range = selection.range(kind, namespace);
    let (initial, from) = match options.from {
        WatchFrom::State(at) => {
            let snapshot = api.state(at).await?;
            let from = snapshot.revision();
            (Some(Cursor::new(Arc::clone(kind), snapshot, range.clone(), selection.clone())), from)
        }
        WatchFrom::Now => (None, api.state(ReadAt::Latest).await?.revision()),
        WatchFrom::Revision(revision) => {
            api.state(ReadAt::NotOlderThan(revision)).await?;
            (None, revision)
        }
    };
    let events = match api.objects.store().watch(range, from) {
        Ok(events) => events,
        Err(end) => return ended_already(end),
    };
    let lifetime =
        options.timeout.unwrap_or_else(|| Duration::from_secs(rand::random_range(LIFETIME_SECONDS)));
    let now = Instant::now();
    let subject = Subject {
        verb: "WATCH",
        group: kind.group.clone(),
        version: kind.version.clone(),
        resource: kind.plural.clone(),
        scope: if namespace.is_some() { "namespace" } else { "cluster" },
        component: "apiserver",
        ..Subject::default()
    };
    let watching = Watching {
        view: View::new(Arc::clone(kind), form, include),
        selection,
        initial,
        initial_events_end: options.initial_events_end.then_some(from),
        events,
        bookmark_at: options.bookmarks.then(|| now + BOOKMARK_INTERVAL),
        ends_at: now + lifetime,
        columns: Columns::Shown,
        decoded: Arc::clone(&api.decoded),
        shutdown: api.shutdown.clone(),
        has_ended: false,
        sent: api.metrics.events_of(&kind.group, &kind.version, &kind.plural),
        _open: api.metrics.begin_longrunning(&subject),
    };
    let events = stream::unfold(watching, |mut watching| async {
        let chunk = watching.next_chunk().await?;
        Some((chunk, watching))
    });
    Ok(Reply::of(StatusCode::OK, JSON, Content::Live(events.boxed())))
}

/// A watch that cannot begin: one ERROR event, which every client understands, as after the beginning.
fn ended_already(end: WatchEnd) -> Result<Reply, Status> {
    match error_frame(end) {
        Some(frame) => {
            let only = stream::once(async { Ok(Bytes::from(frame)) });
            Ok(Reply::of(StatusCode::OK, JSON, Content::Live(only.boxed())))
        }
        None => Err(Status::unavailable("the store is closed")),
    }
}

/// The last frame of a watch that lost its place; `None` when the client should simply come again.
fn error_frame(end: WatchEnd) -> Option<Vec<u8>> {
    let WatchEnd::Compacted { from, oldest } = end else { return None };
    let status = Status::too_old_resource_version(from.0, oldest.0);
    let mut frame = b"{\"type\":\"ERROR\",\"object\":".to_vec();
    frame.extend(status.to_json());
    frame.extend_from_slice(b"}\n");
    Some(frame)
}

/// A watch in progress.
struct Watching {
    view: View,
    selection: Selection,
    initial: Option<Cursor>,
    /// Revision of the bookmark that closes the initial state.
    initial_events_end: Option<Revision>,
    events: Watch,
    bookmark_at: Option<Instant>,
    ends_at: Instant,
    columns: Columns,
    decoded: Arc<Decoded>,
    shutdown: CancellationToken,
    has_ended: bool,
    sent: Counter,
    _open: Open,
}

/// What a watcher waits for.
enum Woken {
    Events(Result<Vec<Arc<Event>>, WatchEnd>),
    Bookmark,
    End,
}

impl Watching {
    async fn next_chunk(&mut self) -> Option<Result<Bytes, BoxError>> {
        if self.has_ended {
            return None;
        }
        let mut chunk = Vec::new();
        let filled = self.fill(&mut chunk).await;
        match filled {
            Ok(()) if chunk.is_empty() => None,
            Ok(()) => Some(Ok(chunk.into())),
            Err(status) => {
                self.has_ended = true;
                Some(Err(status.into()))
            }
        }
    }

    /// Writes the next frames; leaves the chunk empty only at the end.
    async fn fill(&mut self, chunk: &mut Vec<u8>) -> Result<(), Status> {
        while self.initial.is_some() && chunk.is_empty() {
            self.fill_initial(chunk)?;
            tokio::task::yield_now().await;
        }
        if self.initial.is_none()
            && let Some(revision) = self.initial_events_end.take()
        {
            self.write_bookmark(chunk, revision, Bookmark::InitialEventsEnd);
        }
        while chunk.is_empty() && !self.has_ended {
            match self.wake().await {
                Woken::Events(Ok(events)) => {
                    for event in &events {
                        self.write_event(chunk, event)?;
                    }
                }
                Woken::Events(Err(end)) => {
                    tracing::debug!(kind = %self.view.kind().kind, %end, "watch ended");
                    chunk.extend(error_frame(end).unwrap_or_default());
                    self.has_ended = true;
                }
                Woken::Bookmark => {
                    self.bookmark_at = Some(Instant::now() + BOOKMARK_INTERVAL);
                    self.write_bookmark(chunk, self.events.progress(), Bookmark::Progress);
                }
                Woken::End => {
                    if self.bookmark_at.is_some() {
                        self.write_bookmark(chunk, self.events.progress(), Bookmark::Progress);
                    }
                    self.has_ended = true;
                }
            }
        }
        Ok(())
    }

    /// Waits for the next thing to do.
    async fn wake(&mut self) -> Woken {
        let until = self.bookmark_at.map_or(self.ends_at, |at| at.min(self.ends_at));
        // Cancel-safe: a store's watch hands out nothing before it returns, a sleep and a token hold nothing.
        tokio::select! {
            events = self.events.next() => Woken::Events(events),
            () = tokio::time::sleep_until(until) => match until == self.ends_at {
                true => Woken::End,
                false => Woken::Bookmark,
            },
            () = self.shutdown.cancelled() => Woken::End,
        }
    }

    /// Writes a chunk of the initial state as ADDED events.
    fn fill_initial(&mut self, chunk: &mut Vec<u8>) -> Result<(), Status> {
        let Some(mut cursor) = self.initial.take() else { return Ok(()) };
        let now = Timestamp::now();
        let walked = cursor.walk(|entry| {
            if chunk.len() >= CHUNK_BYTES {
                return Ok(ControlFlow::Break(()));
            }
            let item = Item { value: &entry.value, revision: Some(entry.modified), object: None };
            self.write_frame(chunk, "ADDED", item, now)?;
            Ok(ControlFlow::Continue(()))
        })?;
        self.initial = (walked != Walked::ToTheEnd).then_some(cursor);
        Ok(())
    }

    /// Writes one change as this watcher sees it: what enters its selection is ADDED, what leaves it DELETED.
    fn write_event(&mut self, chunk: &mut Vec<u8>, event: &Event) -> Result<(), Status> {
        let kind = Arc::clone(self.view.kind());
        let decode = |entry: &Entry| self.decoded.get(&kind, &event.key, entry);
        let selected = |entry: &Option<Arc<Entry>>| match entry {
            Some(entry) => self.selection.matches(entry, || decode(entry)),
            None => Ok(false),
        };
        let (was, is) = (selected(&event.previous)?, selected(&event.entry)?);
        let (name, entry) = match (was, is) {
            (false, true) => ("ADDED", &event.entry),
            (true, true) => ("MODIFIED", &event.entry),
            (true, false) => ("DELETED", &event.previous),
            (false, false) => return Ok(()),
        };
        let Some(entry) = entry else { return Ok(()) };
        let object = self.view.needs_object().then(|| decode(entry)).transpose()?;
        let item = Item { value: &entry.value, revision: Some(event.revision), object: object.as_deref() };
        self.write_frame(chunk, name, item, Timestamp::now())
    }

    fn write_frame(
        &mut self,
        chunk: &mut Vec<u8>,
        name: &str,
        item: Item<'_>,
        now: Timestamp,
    ) -> Result<(), Status> {
        begin(chunk, name);
        let columns = std::mem::replace(&mut self.columns, Columns::Known);
        self.view.write_single(chunk, item, now, columns)?;
        chunk.extend_from_slice(b"}\n");
        self.sent.inc();
        Ok(())
    }

    fn write_bookmark(&self, chunk: &mut Vec<u8>, revision: Revision, mark: Bookmark) {
        begin(chunk, "BOOKMARK");
        self.view.write_bookmark(chunk, revision, mark);
        chunk.extend_from_slice(b"}\n");
    }
}

fn begin(chunk: &mut Vec<u8>, name: &str) {
    chunk.extend_from_slice(b"{\"type\":\"");
    chunk.extend_from_slice(name.as_bytes());
    chunk.extend_from_slice(b"\",\"object\":");
}
