//! The client's connection as pieces of bytes, whatever they are wrapped in.

use std::io;

use bytes::Bytes;
use futures::sink::{self, Sink, SinkExt as _};
use futures::stream::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_util::io::ReaderStream;

/// Largest WebSocket message that is read; clients send some tens of kilobytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Bytes as they come.
pub(super) fn plain<T>(
    connection: T,
) -> (impl Stream<Item = io::Result<Bytes>> + Send + Unpin, impl Sink<Bytes, Error = io::Error> + Send)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(connection);
    let outgoing = sink::unfold(write, |mut write, bytes: Bytes| async move {
        write.write_all(&bytes).await?;
        write.flush().await?;
        Ok(write)
    });
    (ReaderStream::new(read), outgoing)
}

/// The content of binary messages; pings are answered on the way.
pub(super) async fn web_socket<T>(
    connection: T,
) -> (impl Stream<Item = io::Result<Bytes>> + Send + Unpin, impl Sink<Bytes, Error = io::Error> + Send)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let (outgoing, incoming) =
        WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await.split();
    let incoming = incoming.filter_map(|message| async {
        match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(Message::Text(_)) => {
                Some(Err(io::Error::other("a text message, where binary ones are spoken")))
            }
            Ok(_) => None,
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        }
    });
    let outgoing = outgoing.sink_map_err(io::Error::other).with(async |bytes| Ok(Message::Binary(bytes)));
    (incoming.boxed(), outgoing)
}
