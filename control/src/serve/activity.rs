//! What a connection is doing: how many of its requests are open, since when there is none, and whether anybody who is
//! known has asked anything on it.
//!
//! A connection without a request is closed after a while, and one of a stranger soon: sending pings, settings or half
//! a header is no request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::api::{BoxError, ResponseBody};

/// How long connections may have no request open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Idle {
    /// One on which somebody is known.
    pub(super) known: Duration,
    /// One of a stranger.
    pub(super) stranger: Duration,
}

/// What a connection is doing.
pub(super) struct Activity {
    began: Instant,
    open: AtomicUsize,
    /// Milliseconds from `began` to the end of the last request.
    last: AtomicU64,
    is_known: AtomicBool,
}

impl Activity {
    /// A connection that begins now.
    pub(super) fn new() -> Arc<Activity> {
        Arc::new(Activity {
            began: Instant::now(),
            open: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            is_known: AtomicBool::new(false),
        })
    }

    /// Counts a request until the guard is dropped.
    pub(super) fn begin(self: &Arc<Activity>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// Somebody on this connection has shown who they are; whether that is news.
    pub(super) fn is_known_now(&self) -> bool {
        !self.is_known.swap(true, Ordering::Relaxed)
    }

    /// Returns when no request was open for too long.
    pub(super) async fn idle(&self, limits: Idle) {
        loop {
            let limit = if self.is_known.load(Ordering::Relaxed) { limits.known } else { limits.stranger };
            let last = self.began + Duration::from_millis(self.last.load(Ordering::Relaxed));
            let is_busy = self.open.load(Ordering::Relaxed) > 0;
            let since = if is_busy { Instant::now() } else { last };
            if !is_busy && last.elapsed() >= limit {
                return;
            }
            tokio::time::sleep_until(since + limit).await;
        }
    }
}

/// A request that is not answered to its end.
pub(super) struct Open(Arc<Activity>);

impl Drop for Open {
    fn drop(&mut self) {
        let at = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(at, Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer, whose request is open until it was sent.
pub(super) struct Attended {
    body: ResponseBody,
    _open: Open,
}

impl Attended {
    /// This body of that request.
    pub(super) fn new(body: ResponseBody, open: Open) -> Attended {
        Attended { body, _open: open }
    }
}

impl Body for Attended {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Idle = Idle { known: Duration::from_secs(3600), stranger: Duration::from_millis(2) };

    async fn is_idle(activity: &Activity) -> bool {
        tokio::time::timeout(Duration::from_millis(50), activity.idle(LIMITS)).await.is_ok()
    }

    #[tokio::test]
    async fn a_connection_is_idle_when_no_request_is_open_for_long() {
        let activity = Activity::new();
        let (first, second) = (activity.begin(), activity.begin());
        drop(first);
        assert!(!is_idle(&activity).await, "one is open");
        drop(second);
        assert!(is_idle(&activity).await);
        assert!(activity.is_known_now() && !activity.is_known_now());
        assert!(!is_idle(&activity).await, "who is known has more time");
    }
}
