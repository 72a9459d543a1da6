//! What the proxy answers with: a pod's response as it comes, or a short text of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::endpoint::InFlight;
use super::remote::Received;
use crate::local::{Body, BoxError};

/// The body of an answer. It is not boxed once more, and holds what the request occupies until it is sent.
pub(crate) struct Answer {
    source: Source,
    _in_flight: Option<InFlight>,
    _open: Option<Open>,
}

enum Source {
    Text(Option<Bytes>),
    Local(Body),
    Remote(Received),
}

/// Counts the requests that a connection has open.
pub(crate) struct Open(Arc<AtomicU32>);

impl Open {
    /// One more, until dropped.
    pub(crate) fn new(count: Arc<AtomicU32>) -> Open {
        count.fetch_add(1, Ordering::Relaxed);
        Open(count)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Answer {
    /// The response of a pod that runs in process.
    pub(crate) fn local(body: Body, in_flight: InFlight) -> Answer {
        Answer { source: Source::Local(body), _in_flight: Some(in_flight), _open: None }
    }

    /// The response that came over a connection.
    pub(crate) fn remote(body: Received, in_flight: InFlight) -> Answer {
        Answer { source: Source::Remote(body), _in_flight: Some(in_flight), _open: None }
    }

    /// The same, counted as open on its connection until it is sent.
    pub(crate) fn counted(self, open: Open) -> Answer {
        Answer { _open: Some(open), ..self }
    }
}

/// An answer of the proxy itself: one line that says what is wrong.
pub(crate) fn text(status: StatusCode, mut line: String) -> Response<Answer> {
    line.push('\n');
    let source = Source::Text(Some(line.into()));
    let mut response = Response::new(Answer { source, _in_flight: None, _open: None });
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.source {
            Source::Text(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Local(body) => Pin::new(body).poll_frame(cx),
            Source::Remote(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Text(bytes) => bytes.is_none(),
            Source::Local(body) => body.is_end_stream(),
            Source::Remote(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Text(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Local(body) => body.size_hint(),
            Source::Remote(body) => body.size_hint(),
        }
    }
}
