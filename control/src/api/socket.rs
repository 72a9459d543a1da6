//! Answers that go on for long, watches and logs, over a WebSocket: for browsers, which can read no other stream so.
//!
//! A page cannot set headers either, so its token comes as one of the protocols that it offers.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{SinkExt as _, StreamExt as _};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use isopod_spec::status::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::call::Call;
use super::reply::{BoxError, Content, JSON, Reply, TEXT};

/// WebSockets open at once on one member; each costs some tens of kilobytes.
const SOCKETS_MAX: usize = 1024;
/// Clients have nothing to say but pings and goodbye.
const HEARD_BYTES_MAX: usize = 4 << 10;
/// How long a client may take nothing of what it is sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take to answer a goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// How a client's protocols begin that carry its token.
const TOKEN: &str = "base64url.bearer.authorization.k8s.io.";
const BINARY: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";

/// The WebSockets that are open now.
pub(crate) struct Sockets {
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Sockets {
    /// None yet; all end with `shutdown`.
    pub(crate) fn new(shutdown: CancellationToken) -> Sockets {
        Sockets { room: Arc::new(Semaphore::new(SOCKETS_MAX)), tasks: TaskTracker::new(), shutdown }
    }

    /// The same answer, over a WebSocket if the client asks for one and there is a stream to be read.
    pub(crate) fn carry(&self, call: &mut Call, reply: Reply) -> Result<Reply, Status> {
        let (Content::Live(_), Some(accept)) = (&reply.content, accept_key(call)) else { return Ok(reply) };
        let Some(upgrade) = call.upgrade.take() else { return Ok(reply) };
        let (framing, protocol) = agree(&reply.content_type, &call.headers)?;
        let room = Arc::clone(&self.room).try_acquire_owned();
        let room =
            room.map_err(|_| Status::too_many_requests("this member has as many WebSockets as it may", 1))?;
        if let Content::Live(stream) = reply.content {
            self.begin(upgrade, framing, stream, room);
        }
        let nothing = Content::Whole(Bytes::new());
        let mut switched = Reply::of(StatusCode::SWITCHING_PROTOCOLS, TEXT, nothing)
            .with(header::CONNECTION, HeaderValue::from_static("Upgrade"))
            .with(header::UPGRADE, HeaderValue::from_static("websocket"))
            .with(header::SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(protocol) = protocol {
            switched = switched.with(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        Ok(switched)
    }

    fn begin(&self, upgrade: OnUpgrade, framing: Framing, stream: Stream, room: OwnedSemaphorePermit) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            let sent = async {
                let connection = TokioIo::new(upgrade.await?);
                let config = WebSocketConfig::default()
                    .max_message_size(Some(HEARD_BYTES_MAX))
                    .max_frame_size(Some(HEARD_BYTES_MAX));
                let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
                send(socket, framing, stream).await
            };
            if let Some(Err(error)) = shutdown.run_until_cancelled(sent).await {
                tracing::debug!(error, "a WebSocket ended");
            }
            drop(room);
        });
    }
}

type Stream = BoxStream<'static, Result<Bytes, BoxError>>;

/// What becomes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Each line, as text.
    Lines,
    /// Bytes as they come.
    Binary,
    /// Bytes as they come, in base64.
    Base64,
}

impl Framing {
    /// The messages that carry a piece of the stream. Lines come whole.
    fn messages(self, piece: Bytes) -> Vec<Message> {
        match self {
            Framing::Binary => vec![Message::Binary(piece)],
            Framing::Base64 => vec![Message::text(STANDARD.encode(&piece))],
            Framing::Lines => {
                let lines = piece.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                let text = |line: &[u8]| Utf8Bytes::try_from(piece.slice_ref(line));
                lines.filter_map(|line| text(line).ok().map(Message::Text)).collect()
            }
        }
    }
}

/// Sends the stream until one side ends.
async fn send<S>(mut socket: WebSocketStream<S>, framing: Framing, mut stream: Stream) -> Result<(), BoxError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        // Cancel-safe: both streams keep what they have not handed out.
        tokio::select! {
            heard = socket.next() => match heard {
                None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => return Ok(()),
                Some(Err(error)) => return Err(error.into()),
                // Pings and goodbyes are answered below us, once more is sent.
                Some(Ok(_)) => tokio::time::timeout(SEND_TIMEOUT, socket.flush()).await??,
            },
            piece = stream.next() => match piece {
                Some(piece) => {
                    let messages = framing.messages(piece?);
                    let sent = async {
                        for message in messages {
                            socket.feed(message).await?;
                        }
                        socket.flush().await
                    };
                    tokio::time::timeout(SEND_TIMEOUT, sent).await??;
                }
                None => {
                    tokio::time::timeout(SEND_TIMEOUT, socket.close(None)).await??;
                    // A connection that ends before the client has answered looks to it like a failure.
                    let answered = async { while let Some(Ok(_)) = socket.next().await {} };
                    return Ok(tokio::time::timeout(GOODBYE_TIMEOUT, answered).await?);
                }
            },
        }
    }
}

/// The answer to the client's key, if it asks for a WebSocket.
fn accept_key(call: &Call) -> Option<HeaderValue> {
    let has = |name, word: &str| {
        let words = call.header(name).unwrap_or_default();
        words.split(',').any(|own| own.trim().eq_ignore_ascii_case(word))
    };
    let asks = call.method == Method::GET
        && has(&header::CONNECTION, "upgrade")
        && has(&header::UPGRADE, "websocket")
        && has(&header::SEC_WEBSOCKET_VERSION, "13");
    let key = call.headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asks)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

/// How the stream is sent, and which of the client's protocols that is.
fn agree(content_type: &HeaderValue, headers: &HeaderMap) -> Result<(Framing, Option<HeaderValue>), Status> {
    let offered = protocols(headers);
    // Events are text under whatever name.
    let agreed = if *content_type == JSON {
        offered.first().map(|first| (Framing::Lines, *first)).or(Some((Framing::Lines, "")))
    } else if offered.is_empty() {
        Some((Framing::Binary, ""))
    } else {
        offered.iter().find_map(|own| match *own {
            BINARY => Some((Framing::Binary, BINARY)),
            BASE64 => Some((Framing::Base64, BASE64)),
            _ => None,
        })
    };
    let (framing, protocol) = agreed.ok_or_else(|| {
        Status::bad_request(format!("none of the protocols is known here, which are {BINARY} and {BASE64}"))
    })?;
    Ok((framing, HeaderValue::from_str(protocol).ok().filter(|protocol| !protocol.is_empty())))
}

/// The protocols that a client offers.
fn protocols(headers: &HeaderMap) -> Vec<&str> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|own| !own.is_empty()).collect()
}

/// Makes of the token among a client's protocols the header that it stands for.
pub(crate) fn take_token(headers: &mut HeaderMap) -> Result<(), Status> {
    if !headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) || headers.contains_key(header::AUTHORIZATION) {
        return Ok(());
    }
    let (tokens, others): (Vec<&str>, Vec<&str>) =
        protocols(headers).into_iter().partition(|own| own.starts_with(TOKEN));
    let Some(token) = tokens.first().and_then(|own| own.strip_prefix(TOKEN)) else { return Ok(()) };
    let token = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok();
    let value = token.and_then(|token| HeaderValue::from_bytes(&[b"Bearer ", &*token].concat()).ok());
    // The token must not be answered as the protocol that was agreed on.
    let rest = HeaderValue::from_str(&others.join(", ")).ok().filter(|rest| !rest.is_empty());
    let (Some(mut value), Some(rest), 1) = (value, rest, tokens.len()) else {
        return Err(Status::bad_request(format!(
            "a token among the protocols of a WebSocket must be one, {TOKEN}<base64url>, beside another protocol"
        )));
    };
    value.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, value);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(protocols: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for list in protocols {
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(list).expect("text"));
        }
        headers
    }

    #[test]
    fn a_token_among_the_protocols_becomes_the_header_that_it_stands_for() {
        let token = format!("{TOKEN}{}", URL_SAFE_NO_PAD.encode("a.b-c"));
        for lists in [&[&*format!("{token}, v4.channel.k8s.io")][..], &["v4.channel.k8s.io", &token]] {
            let mut headers = offering(lists);
            take_token(&mut headers).expect("a token and a protocol");
            assert_eq!(headers[header::AUTHORIZATION], "Bearer a.b-c");
            assert_eq!(protocols(&headers), ["v4.channel.k8s.io"]);
        }
        let mut headers = offering(&["v4.channel.k8s.io"]);
        take_token(&mut headers).expect("no token is fine");
        assert!(!headers.contains_key(header::AUTHORIZATION));
    }

    #[test]
    fn a_token_that_is_alone_or_none_is_refused() {
        let token = format!("{TOKEN}{}", URL_SAFE_NO_PAD.encode("a"));
        for list in
            [token.clone(), format!("{token}, {token}, x"), format!("{TOKEN}%, x"), format!("{TOKEN}Cg, x")]
        {
            let refused = take_token(&mut offering(&[&list])).expect_err(&list);
            assert_eq!(refused.code, 400, "{list}");
        }
    }

    #[test]
    fn events_are_text_and_logs_are_what_the_client_can_read() {
        for (content_type, offered, expected) in [
            (JSON, &[][..], Some((Framing::Lines, None))),
            (JSON, &["anything, else"], Some((Framing::Lines, Some("anything")))),
            (TEXT, &[], Some((Framing::Binary, None))),
            (TEXT, &["x, base64.binary.k8s.io"], Some((Framing::Base64, Some(BASE64)))),
            (TEXT, &["binary.k8s.io"], Some((Framing::Binary, Some(BINARY)))),
            (TEXT, &["x"], None),
        ] {
            let agreed = agree(&content_type, &offering(offered)).ok();
            let expected = expected.map(|(framing, name)| (framing, name.map(HeaderValue::from_static)));
            assert_eq!(agreed, expected, "{offered:?}");
        }
    }

    #[tokio::test]
    async fn each_event_is_a_message_and_the_end_is_a_goodbye() {
        let (client, server) = tokio::io::duplex(1 << 12);
        let pieces =
            [&b"{\"a\":1}\n{\"b\":2}\n"[..], b"{\"c\":3}\n"].map(|piece| Ok(Bytes::from_static(piece)));
        let stream = futures::stream::iter(pieces).boxed();
        let server = WebSocketStream::from_raw_socket(server, Role::Server, None).await;
        let sending = tokio::spawn(send(server, Framing::Lines, stream));
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        for expected in ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"] {
            let message = client.next().await.expect("goes on").expect("well formed");
            assert_eq!(message, Message::text(expected));
        }
        assert!(client.next().await.expect("a goodbye").expect("well formed").is_close());
        assert!(client.next().await.is_none(), "the goodbye is answered, and that is all");
        sending.await.expect("does not panic").expect("ends well");
    }
}
