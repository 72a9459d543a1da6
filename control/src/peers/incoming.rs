//! The peers' listener: who connects, and the messages they send.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use isopod_raft_store::MemberId;
use isopod_raft_store::transport::MessageError;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::frames::Parser;
use super::{ADDRESS_HEADER, Admission, Inbound, PATH, Peers};
use crate::security::Identity;
use crate::serve::is_momentary;

/// Connections at once: each member has one, and may have a few that it does not know to be dead yet.
const CONNECTIONS_MAX: usize = 256;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams of one connection; a member uses one.
const STREAMS_MAX: u32 = 4;
/// What a peer may send ahead: a full message should not wait for window updates.
const WINDOW_BYTES: u32 = 4 << 20;
const FRAME_BYTES: u32 = 256 << 10;
/// A peer that went away without a word is forgotten after this.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

type AnswerBody = UnsyncBoxBody<Bytes, hyper::Error>;

/// Accepts until `shutdown`.
pub(super) async fn run(
    listener: TcpListener,
    peers: Peers,
    inbound: Arc<dyn Inbound>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::clone(&peers.shared.tls.server));
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let permit = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        // Cancel-safe: `accept` takes no connection when dropped.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return Ok(()),
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_momentary(&error) => {
                tracing::warn!(%error, "cannot accept a member's connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let (acceptor, peers, inbound) = (acceptor.clone(), peers.clone(), Arc::clone(&inbound));
        connections.spawn(async move {
            connection(stream, from, &acceptor, peers, inbound).await;
            drop(permit);
        });
    }
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    acceptor: &TlsAcceptor,
    peers: Peers,
    inbound: Arc<dyn Inbound>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%from, %error, "cannot set TCP_NODELAY");
    }
    let tls = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            return tracing::warn!(%from, %error, "a connection that is no member's was refused");
        }
        Err(_) => return tracing::debug!(%from, "TLS handshake took too long"),
    };
    let certificates = tls.get_ref().1.peer_certificates();
    let identity = certificates.and_then(<[_]>::first).map(Identity::from_certificate);
    let Some(member) = identity.and_then(|identity| identity.member()).map(MemberId) else {
        return tracing::warn!(%from, "the certificate shown is no member's: connection closed");
    };
    let service = service_fn(move |request| {
        let answered = answer(&peers, &inbound, member, request);
        std::future::ready(Ok::<_, std::convert::Infallible>(answered))
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES * 2)
        .max_frame_size(FRAME_BYTES)
        .keep_alive_interval(KEEP_ALIVE);
    if let Err(error) = builder.serve_connection(TokioIo::new(tls), service).await {
        tracing::debug!(%from, %member, %error, "a member's connection ended");
    }
}

fn answer(
    peers: &Peers,
    inbound: &Arc<dyn Inbound>,
    member: MemberId,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    if request.method() != Method::POST || request.uri().path() != PATH {
        return refusal(StatusCode::NOT_FOUND, "this release knows no such stream");
    }
    if inbound.admit(member) == Admission::Removed {
        return refusal(StatusCode::GONE, "the member was removed from the cluster");
    }
    if let Some(address) = request.headers().get(ADDRESS_HEADER).and_then(|value| value.to_str().ok()) {
        peers.heard_from(member, address);
    }
    let inbox =
        Inbox { member, inbound: Arc::clone(inbound), body: request.into_body(), parser: Parser::default() };
    Response::new(inbox.boxed_unsync())
}

fn refusal(code: StatusCode, why: &'static str) -> Response<AnswerBody> {
    let mut response = Response::new(
        Full::from(why).map_err(|error: std::convert::Infallible| match error {}).boxed_unsync(),
    );
    *response.status_mut() = code;
    response
}

/// The answer to a stream of messages: it has no bytes, and lasts as long as messages are taken. Whoever drives the
/// answer thereby reads the request.
struct Inbox {
    member: MemberId,
    inbound: Arc<dyn Inbound>,
    body: Incoming,
    parser: Parser,
}

impl Body for Inbox {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            if let Ok(data) = frame.into_data()
                && self.take(&data).is_break()
            {
                return Poll::Ready(None);
            }
        }
    }
}

impl Inbox {
    /// Hands on the messages that are whole now; breaks when no more are wanted from this stream.
    fn take(&mut self, data: &[u8]) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        self.parser.push(data);
        let from = self.member;
        loop {
            let message = match self.parser.next() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%from, %error, "a member's stream cannot be read");
                    return Break(());
                }
            };
            match self.inbound.receive(from, &message) {
                Ok(()) => {}
                Err(error @ MessageError::Overloaded) => tracing::debug!(%from, %error, "message dropped"),
                Err(MessageError::Closed) => return Break(()),
                Err(error) => {
                    tracing::warn!(%from, %error, "a member's message was refused");
                    return Break(());
                }
            }
        }
        match self.inbound.admit(from) {
            Admission::Welcome => Continue(()),
            Admission::Removed => Break(()),
        }
    }
}
