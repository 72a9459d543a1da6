//! Response bodies: of a guest that still runs, and of one that has ended.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use wasmtime_wasi_http::WasiBody;

use super::reuse::Asking;
use super::{Admitted, Running};
use crate::local::{Body, BoxError, empty_body, full_body};

/// A body whose guest is still writing it, and runs whenever the body is asked for more.
pub(super) struct GuestBody {
    body: WasiBody,
    /// Gone once it has ended.
    guest: Option<Running>,
    failed: bool,
}

/// The container failed after its response had begun.
#[derive(Debug, thiserror::Error)]
#[error("the container failed while responding")]
struct Broken;

impl GuestBody {
    pub(super) fn new(body: WasiBody, guest: Running) -> Self {
        Self { body, guest: Some(guest), failed: false }
    }
}

impl HttpBody for GuestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(guest) = &mut self.guest
            && let Poll::Ready(ended) = Pin::new(guest).poll(cx)
        {
            self.failed = ended.is_err();
            self.guest = None;
        }
        match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            // A guest that fails lets go of its body, which then looks whole.
            None if self.failed => Poll::Ready(Some(Err(Box::new(Broken)))),
            None => Poll::Ready(None),
            Some(frame) => Poll::Ready(Some(frame.map_err(Into::into))),
        }
    }
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        if let Some(guest) = self.guest.take() {
            guest.finish();
        }
    }
}

/// A body written by an instance that others use as well, and that runs by itself.
pub(super) struct SharedBody {
    body: WasiBody,
    asking: Asking,
    _admitted: Admitted,
}

impl SharedBody {
    pub(super) fn new(body: WasiBody, asking: Asking, admitted: Admitted) -> Self {
        Self { body, asking, _admitted: admitted }
    }
}

impl HttpBody for SharedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None if self.asking.has_failed() => Poll::Ready(Some(Err(Box::new(Broken)))),
            None => Poll::Ready(None),
            Some(frame) => Poll::Ready(Some(frame.map_err(Into::into))),
        }
    }
}

/// The body of a guest that has ended: all of it is here, so its length is known.
pub(super) async fn whole(mut body: WasiBody) -> Body {
    let mut frames = VecDeque::new();
    loop {
        // All is here already, so a task that has done much without a pause must not be told to wait.
        match tokio::task::unconstrained(body.frame()).now_or_never() {
            Some(Some(Ok(frame))) => frames.push_back(frame),
            Some(None) => break,
            // The guest gave its body up, or wrote less than it said.
            Some(Some(Err(error))) => return Rest { frames, error: Some(error.into()) }.boxed_unsync(),
            None => return Rest { frames, error: Some(Box::new(Broken)) }.boxed_unsync(),
        }
    }
    if frames.len() > 1 {
        return Rest { frames, error: None }.boxed_unsync();
    }
    match frames.pop_front().map(Frame::into_data) {
        None => empty_body(),
        Some(Ok(data)) => full_body(data),
        Some(Err(trailers)) => Rest { frames: VecDeque::from([trailers]), error: None }.boxed_unsync(),
    }
}

/// Frames that wait to be sent, and how they end.
struct Rest {
    frames: VecDeque<Frame<Bytes>>,
    error: Option<BoxError>,
}

impl HttpBody for Rest {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Poll::Ready(self.error.take().map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.error.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // Bytes are exact only if nothing else comes: trailers need chunks, and a failure must not look complete.
        let mut bytes = 0;
        for frame in &self.frames {
            match frame.data_ref() {
                Some(data) => bytes += data.len() as u64,
                None => return SizeHint::new(),
            }
        }
        if self.error.is_some() { SizeHint::new() } else { SizeHint::with_exact(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http_body_util::StreamBody;
    use wasmtime_wasi_http::Error;

    use super::*;

    fn body(frames: Vec<Result<Frame<Bytes>, Error>>) -> WasiBody {
        StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
    }

    fn data(text: &'static str) -> Result<Frame<Bytes>, Error> {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    #[tokio::test]
    async fn length_of_a_whole_body_is_known_unless_more_than_bytes_comes() {
        let trailers = || Ok(Frame::trailers(HeaderMap::new()));
        let cases = [
            (vec![], Some(0)),
            (vec![data("abc")], Some(3)),
            (vec![data("abc"), data("de")], Some(5)),
            (vec![data("abc"), trailers()], None),
            (vec![trailers()], None),
            (vec![data("abc"), Err(Error::HttpProtocolError)], None),
        ];
        for (frames, expected) in cases {
            let shown = format!("{frames:?}");
            assert_eq!(whole(body(frames)).await.size_hint().exact(), expected, "{shown}");
        }
    }

    #[tokio::test]
    async fn a_body_given_up_ends_with_an_error() {
        let whole = whole(body(vec![data("abc"), Err(Error::HttpProtocolError)])).await;
        assert!(whole.collect().await.is_err());
    }
}
