//! A stream whose peer must take what is written to it: one that reads nothing for long is cut off.
//!
//! Without this a client that stopped in the middle of a watch or a large list would hold its connection, and what
//! waits to be sent on it, for ever: over HTTP/1 nothing else would notice.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Wraps a stream; writes fail with [`io::ErrorKind::TimedOut`] once none was taken for so long.
pub(super) struct Patience<S> {
    stream: S,
    limit: Duration,
    /// Set while the peer does not take what it is sent.
    gives_up: Option<Pin<Box<Sleep>>>,
}

impl<S> Patience<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, gives_up: None }
    }

    /// Passes on what a write came to, unless it has waited too long.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.gives_up = None;
            return written;
        }
        let limit = self.limit;
        let gives_up =
            self.gives_up.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        ready!(gives_up.as_mut().poll(cx));
        let message = format!("the peer took nothing for {} s", limit.as_secs());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.bounded(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.bounded(cx, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (near, far) = tokio::io::duplex(16);
        let mut stream = Patience::new(near, Duration::from_millis(20));
        stream.write_all(&[0; 16]).await.unwrap();
        let error = stream.write_all(&[0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }

    #[tokio::test]
    async fn each_write_that_is_taken_gives_the_peer_its_time_anew() {
        let (near, mut far) = tokio::io::duplex(16);
        let mut stream = Patience::new(near, Duration::from_secs(3600));
        stream.write_all(&[0; 16]).await.unwrap();
        assert!(stream.gives_up.is_none(), "a peer that has nothing to read is not waited for");
        let blocked = tokio::time::timeout(Duration::from_millis(1), stream.write_all(&[0; 16])).await;
        assert!(blocked.is_err());
        assert!(stream.gives_up.is_some());
        assert_eq!(far.read(&mut [0; 16]).await.unwrap(), 16);
        stream.write_all(b"more").await.unwrap();
        assert!(stream.gives_up.is_none());
    }
}
