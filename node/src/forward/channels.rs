//! `v4.channel.k8s.io`: for each port of the request a channel for its bytes and one for the error that ended it. The
//! first byte of a message is the channel's number; the first message of each channel holds its port, low byte first.

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::sink::Sink;
use futures::stream::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{IDLE_TIMEOUT, QUEUE, SessionError, Target, carry, session};

/// Serves until the client leaves or all of its connections have ended.
pub(super) async fn run(
    target: Arc<Target>,
    ports: &[u16],
    incoming: impl Stream<Item = io::Result<Bytes>> + Unpin,
    outgoing: impl Sink<Bytes, Error = io::Error>,
) -> Result<(), SessionError> {
    let (out, queue) = mpsc::channel(QUEUE);
    let (mut connections, mut ups) = (JoinSet::new(), Vec::new());
    for (at, port) in (0_u8..).step_by(2).zip(ports) {
        let (up, rest) = mpsc::channel(QUEUE);
        ups.push(up);
        connections.spawn(connect(Arc::clone(&target), *port, at, rest, out.clone()));
    }
    drop(out);
    tokio::select! {
        // Cancel-safe: the session ends with whichever ends first; the writer when all connections have ended.
        read = read(incoming, ups) => read,
        written = session::write(queue, outgoing) => Ok(written?),
    }
}

async fn read(
    mut incoming: impl Stream<Item = io::Result<Bytes>> + Unpin,
    ups: Vec<mpsc::Sender<Bytes>>,
) -> Result<(), SessionError> {
    loop {
        let bytes = tokio::time::timeout(IDLE_TIMEOUT, incoming.next()).await;
        let Some(bytes) = bytes.map_err(|_| SessionError::Idle)? else { return Ok(()) };
        let mut bytes = bytes?;
        let Ok(channel) = bytes.try_get_u8() else { continue };
        // Nothing is expected on the channels of errors.
        let up = ups.get(usize::from(channel / 2)).filter(|_| channel % 2 == 0 && !bytes.is_empty());
        if let Some(up) = up {
            up.send(bytes).await.ok();
        }
    }
}

async fn connect(
    target: Arc<Target>,
    port: u16,
    channel: u8,
    up: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<Bytes>,
) {
    for own in [channel, channel + 1] {
        out.send(message(own, &port.to_le_bytes())).await.ok();
    }
    let carried = carry(&target, port, up, &out, |bytes| message(channel, bytes)).await;
    if let Err(why) = carried {
        out.send(message(channel + 1, why.as_bytes())).await.ok();
    }
}

fn message(channel: u8, bytes: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(1 + bytes.len());
    message.put_u8(channel);
    message.put_slice(bytes);
    message.freeze()
}
