//! A SPDY session: each connection into the pod is a pair of streams with the same request id, one for its data and one
//! for the error that ended it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::sink::{Sink, SinkExt as _};
use futures::stream::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::spdy::{self, Decoder, Deflater, Frame, Headers};
use super::{CONNECTIONS_MAX, IDLE_TIMEOUT, QUEUE, SessionError, Target, carry};

/// Serves until the client leaves.
pub(super) async fn run(
    target: Arc<Target>,
    incoming: impl Stream<Item = io::Result<Bytes>> + Unpin,
    outgoing: impl Sink<Bytes, Error = io::Error>,
) -> Result<(), SessionError> {
    let (out, queue) = mpsc::channel(QUEUE);
    let session = Session {
        target,
        out,
        deflater: Deflater::new(),
        streams: HashMap::new(),
        halves: HashMap::new(),
        connections: JoinSet::new(),
    };
    tokio::select! {
        // Cancel-safe: the session ends with whichever ends first.
        read = session.read(incoming) => read,
        written = write(queue, outgoing) => Ok(written?),
    }
}

/// Writes apart from reading, so that neither waits for the other.
pub(super) async fn write(
    mut queue: mpsc::Receiver<Bytes>,
    outgoing: impl Sink<Bytes, Error = io::Error>,
) -> io::Result<()> {
    let mut outgoing = pin!(outgoing);
    while let Some(frame) = queue.recv().await {
        outgoing.send(frame).await?;
    }
    outgoing.close().await
}

struct Session {
    target: Arc<Target>,
    out: mpsc::Sender<Bytes>,
    deflater: Deflater,
    streams: HashMap<u32, Open>,
    /// Streams whose other half has not come yet, by request id.
    halves: HashMap<String, Half>,
    connections: JoinSet<()>,
}

/// A stream that the client may still send on.
enum Open {
    /// Nothing is expected here.
    Error,
    /// A connection's bytes.
    Data { up: Option<mpsc::Sender<Bytes>>, connection: Option<AbortHandle> },
}

enum Half {
    Error { stream: u32 },
    Data { stream: u32, port: u16, up: mpsc::Receiver<Bytes> },
}

impl Open {
    fn is_over(&self) -> bool {
        match self {
            Open::Error => false,
            Open::Data { up, connection } => {
                up.as_ref().is_none_or(mpsc::Sender::is_closed)
                    && connection.as_ref().is_some_and(AbortHandle::is_finished)
            }
        }
    }
}

impl Session {
    async fn read(
        mut self,
        mut incoming: impl Stream<Item = io::Result<Bytes>> + Unpin,
    ) -> Result<(), SessionError> {
        let mut decoder = Decoder::new();
        loop {
            let bytes = tokio::time::timeout(IDLE_TIMEOUT, incoming.next()).await;
            let Some(bytes) = bytes.map_err(|_| SessionError::Idle)? else { return Ok(()) };
            decoder.feed(&bytes?);
            while let Some(frame) = decoder.next()? {
                self.take(frame).await;
            }
        }
    }

    async fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Open { stream, headers, is_last } => {
                self.open(stream, &headers).await;
                if is_last {
                    self.end(stream);
                }
            }
            Frame::Data { stream, bytes, is_last } => {
                if let Some(Open::Data { up: Some(up), .. }) = self.streams.get(&stream)
                    && !bytes.is_empty()
                {
                    // Closed when the connection has ended; its end is on its way to the client.
                    up.send(bytes).await.ok();
                }
                if is_last {
                    self.end(stream);
                }
            }
            Frame::Reset { stream } => {
                if let Some(Open::Data { connection: Some(connection), .. }) = self.streams.remove(&stream) {
                    connection.abort();
                }
                self.halves.retain(|_, half| half.stream() != stream);
            }
            Frame::Ping { number } => self.say(spdy::pong(number)).await,
            Frame::GoAway => {}
        }
    }

    /// The client sends no more on a stream.
    fn end(&mut self, stream: u32) {
        match self.streams.get_mut(&stream) {
            Some(Open::Error) => drop(self.streams.remove(&stream)),
            Some(Open::Data { up, .. }) => *up = None,
            None => {}
        }
    }

    async fn open(&mut self, stream: u32, headers: &Headers) {
        self.streams.retain(|_, open| !open.is_over());
        while self.connections.try_join_next().is_some() {}
        let is_new = stream % 2 == 1 && !self.streams.contains_key(&stream);
        let has_room = self.streams.len() < CONNECTIONS_MAX * 2 && self.halves.len() < CONNECTIONS_MAX;
        let is_data = match headers.get("streamtype") {
            Some("data") => true,
            Some("error") => false,
            _ => return self.say(spdy::refuse(stream)).await,
        };
        let port = headers.get("port").and_then(|port| port.parse().ok()).filter(|port| *port > 0);
        let (true, true, Some(port)) = (is_new, has_room, port) else {
            return self.say(spdy::refuse(stream)).await;
        };
        // Clients that name no request open the error stream first, and the data stream right after it.
        let first = if is_data { stream.saturating_sub(2) } else { stream };
        let request = headers.get("requestid").map_or_else(|| format!("stream {first}"), str::to_owned);
        let accepted = spdy::accept(stream, &mut self.deflater);
        self.say(accepted).await;
        let half = if is_data {
            let (up, rest) = mpsc::channel(QUEUE);
            self.streams.insert(stream, Open::Data { up: Some(up), connection: None });
            Half::Data { stream, port, up: rest }
        } else {
            self.streams.insert(stream, Open::Error);
            Half::Error { stream }
        };
        self.pair(request, half);
    }

    /// Connects once both halves are there.
    fn pair(&mut self, request: String, half: Half) {
        let other = match self.halves.entry(request) {
            Entry::Vacant(place) => {
                place.insert(half);
                return;
            }
            Entry::Occupied(place) => place.remove(),
        };
        let (data, port, up, error) = match (half, other) {
            (Half::Data { stream, port, up }, Half::Error { stream: error })
            | (Half::Error { stream: error }, Half::Data { stream, port, up }) => (stream, port, up, error),
            // Twice the same half: the older one waits for nothing.
            (half, other) => {
                self.streams.remove(&half.stream());
                self.streams.remove(&other.stream());
                return;
            }
        };
        let connection = connect(Arc::clone(&self.target), port, data, error, up, self.out.clone());
        let handle = self.connections.spawn(connection);
        if let Some(Open::Data { connection, .. }) = self.streams.get_mut(&data) {
            *connection = Some(handle);
        }
    }

    async fn say(&self, frame: Bytes) {
        // Closed when the writer has failed, which ends the session.
        self.out.send(frame).await.ok();
    }
}

impl Half {
    fn stream(&self) -> u32 {
        match self {
            Half::Error { stream } | Half::Data { stream, .. } => *stream,
        }
    }
}

async fn connect(
    target: Arc<Target>,
    port: u16,
    data: u32,
    error: u32,
    up: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<Bytes>,
) {
    let carried = carry(&target, port, up, &out, |bytes| spdy::data(data, bytes, false)).await;
    let frames = match carried {
        Ok(()) => [spdy::data(data, b"", true), spdy::data(error, b"", true)],
        Err(why) => [spdy::data(error, why.as_bytes(), true), spdy::cancel(data)],
    };
    for frame in frames {
        out.send(frame).await.ok();
    }
}
