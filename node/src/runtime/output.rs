//! A guest's standard output and error, as WASI streams into the container's log.
//!
//! Nothing here blocks: a guest that writes faster than the log takes is suspended until there is room, and only
//! that guest. All handles that one instance opens on a stream share its writer, so that a line stays a line.

use std::cell::OnceCell;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::logs::{LogSink, Stream, Writer};

/// Granted to a write at most, so that what waits of one guest stays small.
const WRITE_BYTES: usize = 64 * 1024;

/// One output stream of one instance. Costs nothing until the guest asks for it.
pub(super) struct Output {
    logs: LogSink,
    stream: Stream,
    writer: OnceCell<Arc<Mutex<Writer>>>,
}

impl Output {
    pub(super) fn new(logs: LogSink, stream: Stream) -> Self {
        Self { logs, stream, writer: OnceCell::new() }
    }

    fn handle(&self) -> Handle {
        let writer = self.writer.get_or_init(|| Arc::new(Mutex::new(self.logs.writer(self.stream))));
        Handle { logs: self.logs.clone(), writer: writer.clone(), rest: Bytes::new(), room: None }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.handle())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.handle())
    }
}

/// What the guest holds.
struct Handle {
    logs: LogSink,
    writer: Arc<Mutex<Writer>>,
    /// Of a write that was granted more room than the log had when it came, because another wrote meanwhile.
    rest: Bytes,
    /// Being waited for, as an `AsyncWrite`. In a mutex only to be `Sync`.
    room: Option<Mutex<BoxFuture<'static, ()>>>,
}

impl Handle {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&mut self) {
        if !self.rest.is_empty() {
            let taken = self.writer().write(&self.rest);
            self.rest.advance(taken);
        }
    }
}

#[async_trait]
impl Pollable for Handle {
    async fn ready(&mut self) {
        self.push();
        while !self.rest.is_empty() || self.logs.room() == 0 {
            self.logs.has_room().await;
            self.push();
        }
    }
}

impl OutputStream for Handle {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.rest = bytes;
        self.push();
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.push();
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.push();
        Ok(if self.rest.is_empty() { self.logs.room().min(WRITE_BYTES) } else { 0 })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.push();
    }
}

impl AsyncWrite for Handle {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, chunk: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let taken = self.writer().write(chunk);
            if taken > 0 || chunk.is_empty() {
                self.room = None;
                return Poll::Ready(Ok(taken));
            }
            let logs = self.logs.clone();
            let room =
                self.room.get_or_insert_with(|| Mutex::new(Box::pin(async move { logs.has_room().await })));
            let room = room.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::task::ready!(room.as_mut().poll(cx));
            self.room = None;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
