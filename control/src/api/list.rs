//! LIST: the objects of a state, whole or in pages, spliced together while they are sent.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::StatusCode;
use isopod_raft_store::{KeyRange, ReadError, Snapshot};
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
    let mut first = Vec::with_capacity(CHUNK_BYTES + 4096);
    view.write_list_head(&mut first, head);
    let mut writer = Writer { view, cursor, now: Timestamp::now(), is_first: true, ended: false };
    writer.fill(&mut first).await?;
    if writer.ended {
        return Ok(Reply::json(StatusCode::OK, first));
    }
    let first: Result<Bytes, BoxError> = Ok(first.into());
    let rest = stream::unfold(writer, |mut writer| async {
        if writer.ended {
            return None;
        }
        let mut chunk = Vec::with_capacity(CHUNK_BYTES + 4096);
        // The head is sent: all that an error can still do is to cut the answer short.
        let filled = writer.fill(&mut chunk).await.inspect_err(|_| writer.ended = true);
        Some((filled.map(|()| chunk.into()).map_err(Into::into), writer))
    });
    let chunks = stream::iter([first]).chain(rest).boxed();
    Ok(Reply::of(StatusCode::OK, JSON, Content::Chunks(chunks)))
}

/// Writes items and the end of a list.
struct Writer {
    view: View,
    cursor: Cursor,
    now: Timestamp,
    is_first: bool,
    ended: bool,
}

impl Writer {
    /// Fills one chunk.
    async fn fill(&mut self, chunk: &mut Vec<u8>) -> Result<(), Status> {
        loop {
            let Writer { view, cursor, now, is_first, .. } = self;
            let walked = cursor.walk(|entry| {
                if chunk.len() >= CHUNK_BYTES {
                    return Ok(ControlFlow::Break(()));
                }
                if !std::mem::take(is_first) {
                    chunk.push(b',');
                }
                view.write_item(chunk, &entry.value, entry.modified, *now)?;
                Ok(ControlFlow::Continue(()))
            })?;
            match walked {
                Walked::Stopped(_) => return Ok(()),
                Walked::Paused => tokio::task::yield_now().await,
                Walked::ToTheEnd => {
                    View::write_list_tail(chunk);
                    self.ended = true;
                    return Ok(());
                }
            }
        }
    }
}
