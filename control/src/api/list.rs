//! LIST: the objects of a state, whole or in pages, spliced together while they are sent.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::StatusCode;
use isopod_raft_store::{KeyRange, ReadError, Revision, Snapshot};
use isopod_spec::resource::Kind;
use isopod_spec::status::Status;
use k8s_openapi::jiff::Timestamp;

use super::Api;
use super::call::Call;
use super::cursor::{Cursor, Walked};
use super::options::{self, ListOptions, ReadAt};
use super::page::Token;
use super::reply::{BoxError, Content, JSON, Reply};
use super::selection::Selection;
use super::view::{ListHead, View};

/// A list is sent in chunks of about this size: large enough to cost little, small enough to be bounded.
const CHUNK_BYTES: usize = 128 << 10;

/// Chunks that are made at once, ahead of the client: what a slow one costs at most, besides its snapshot.
const CHUNKS_AT_ONCE: usize = 4;

/// Lists the objects of a namespace, or of all of them.
pub(crate) async fn list(
    api: &Api,
    kind: &Arc<Kind>,
    namespace: Option<&str>,
    call: &Call,
) -> Result<Reply, Status> {
    let (form, include) = call.form()?;
    let options = options::list(&call.query)?;
    let selection = Selection::parse(kind, &call.query)?;
    let prefix = kind.prefix(namespace);
    let snapshot = state(api, &options).await?;
    let mut range = selection.range(kind, namespace);
    if let Some(token) = &options.token {
        let start = Bytes::from([prefix.as_slice(), token.start.as_bytes()].concat());
        range.start = range.start.max(start);
    }
    let mut head = ListHead { revision: snapshot.revision(), ..ListHead::default() };
    if let Some(limit) = options.limit {
        let whole = selection.is_everything();
        let ahead = Cursor::new(Arc::clone(kind), snapshot.clone(), range.clone(), selection.clone());
        if let Some(end) = end_of_page(ahead, limit).await? {
            let rest = KeyRange { start: end.clone(), end: range.end.take() };
            head.remaining = whole.then(|| snapshot.count(&rest));
            let start = String::from_utf8_lossy(&end[prefix.len()..]).into_owned();
            head.token = Some(Token { revision: Some(snapshot.revision()), start }.encode());
            range.end = Some(end);
        }
    }
    let view = View::new(Arc::clone(kind), form, include);
    let cursor = Cursor::new(Arc::clone(kind), snapshot, range, selection);
    answer(view, cursor, &head).await
}

/// The state to be listed.
async fn state(api: &Api, options: &ListOptions) -> Result<Snapshot, Status> {
    match &options.token {
        None => api.state(options.at).await,
        Some(Token { revision: None, .. }) => api.state(ReadAt::Latest).await,
        Some(Token { revision: Some(revision), start }) => {
            api.objects.store().snapshot_at(*revision).map_err(|error| match error {
                ReadError::Compacted { .. } => {
                    let present = Token { revision: None, start: start.clone() };
                    Status::continue_expired(Some(present.encode()))
                }
                error => crate::objects::read_failed(&error),
            })
        }
    }
}

/// The key of the first selected object after the page; `None` when the page is the last one.
async fn end_of_page(mut ahead: Cursor, limit: usize) -> Result<Option<Bytes>, Status> {
    let mut found = 0;
    loop {
        let walked = ahead.walk(|_| {
            found += 1;
            Ok(if found > limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        match walked {
            Walked::ToTheEnd => return Ok(None),
            Walked::Stopped(key) => return Ok(Some(key)),
            Walked::Paused => tokio::task::yield_now().await,
        }
    }
}

/// Writes the list: at once if it is small, else chunk by chunk as the client takes it.
async fn answer(view: View, cursor: Cursor, head: &ListHead) -> Result<Reply, Status> {
    let mut gathering = Gathering { cursor, is_first: true, ended: false };
    let mut first = Vec::with_capacity(CHUNK_BYTES + 4096);
    view.write_list_head(&mut first, head);
    let now = Timestamp::now();
    let batch = gathering.next().await?;
    batch.write(&mut first, &view, now)?;
    if gathering.ended {
        return Ok(Reply::json(StatusCode::OK, first));
    }
    let first: Result<Bytes, BoxError> = Ok(first.into());
    let batches = stream::unfold(gathering, |mut gathering| async {
        if gathering.ended {
            return None;
        }
        // The head is sent: all that an error can still do is to cut the answer short.
        let batch = gathering.next().await.inspect_err(|_| gathering.ended = true);
        Some((batch, gathering))
    });
    let view = Arc::new(view);
    let rest = batches.map(move |batch| chunk(Arc::clone(&view), batch, now)).buffered(CHUNKS_AT_ONCE);
    Ok(Reply::of(StatusCode::OK, JSON, Content::Chunks(stream::iter([first]).chain(rest).boxed())))
}

/// Makes a chunk of a batch. Copying is done on the spot; decoding goes to other threads, several batches at once.
async fn chunk(view: Arc<View>, batch: Result<Batch, Status>, now: Timestamp) -> Result<Bytes, BoxError> {
    let batch = batch?;
    let write = move |view: &View| {
        let mut out = Vec::with_capacity(CHUNK_BYTES + 4096);
        batch.write(&mut out, view, now).map(|()| Bytes::from(out))
    };
    if view.needs_object() {
        return Ok(tokio::task::spawn_blocking(move || write(&view)).await??);
    }
    Ok(write(&view)?)
}

/// Objects that are sent together.
struct Batch {
    entries: Vec<(Bytes, Revision)>,
    is_first: bool,
    is_last: bool,
}

impl Batch {
    fn write(&self, out: &mut Vec<u8>, view: &View, now: Timestamp) -> Result<(), Status> {
        for (index, (value, revision)) in self.entries.iter().enumerate() {
            if index > 0 || !self.is_first {
                out.push(b',');
            }
            view.write_item(out, value, *revision, now)?;
        }
        if self.is_last {
            View::write_list_tail(out);
        }
        Ok(())
    }
}

/// Gathers the list's objects in batches.
struct Gathering {
    cursor: Cursor,
    is_first: bool,
    ended: bool,
}

impl Gathering {
    async fn next(&mut self) -> Result<Batch, Status> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        self.ended = loop {
            let walked = self.cursor.walk(|entry| {
                if bytes >= CHUNK_BYTES {
                    return Ok(ControlFlow::Break(()));
                }
                bytes += entry.value.len();
                entries.push((entry.value.clone(), entry.modified));
                Ok(ControlFlow::Continue(()))
            })?;
            match walked {
                Walked::Stopped(_) => break false,
                Walked::Paused => tokio::task::yield_now().await,
                Walked::ToTheEnd => break true,
            }
        };
        Ok(Batch { entries, is_first: std::mem::take(&mut self.is_first), is_last: self.ended })
    }
}
