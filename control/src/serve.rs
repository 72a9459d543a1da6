//! The member's listener: TCP, TLS, HTTP/1.1 and HTTP/2, and who is calling.
//!
//! Data goes one way: connection → identity → route. Everything that a client can make wait or grow has a
//! bound here: connections, the handshake, the header, the streams of one connection, the time that an answer may
//! wait to be taken.

mod patience;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use self::patience::Patience;
use crate::api::{self, Api};
use crate::membership::{self, Membership};
use crate::registry::{self, Registry};
use crate::security::{Access, Attributes, Decision, Identity};

/// Connections at once. Each costs some tens of kilobytes; past the bound new ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 8192;
/// Time for a TLS handshake and for a request's header: what a slow or hostile client may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that takes nothing of what it is sent for so long is cut off.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Streams of one HTTP/2 connection: informers of a large operator are some tens, load tests some hundreds.
const STREAMS_MAX: u32 = 1024;
/// Bytes of one request's header fields.
const HEADER_BYTES_MAX: u32 = 64 << 10;
/// Flow-control window of HTTP/2: a LIST of many megabytes should not wait for window updates.
const WINDOW_BYTES: u32 = 4 << 20;
/// Time that requests in flight get when the member stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// What a connection is answered with.
pub(crate) struct Front {
    pub(crate) api: Arc<Api>,
    pub(crate) access: Access,
    pub(crate) registry: Registry,
    pub(crate) membership: Arc<Membership>,
}

/// Serves until `shutdown`, then lets requests in flight finish for a short while.
pub(crate) async fn run(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    front: Arc<Front>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(tls);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let permit = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        // Cancel-safe: `accept` takes no connection when dropped.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_momentary(&error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let (acceptor, front, shutdown) = (acceptor.clone(), Arc::clone(&front), shutdown.clone());
        connections.spawn(async move {
            connection(stream, peer, &acceptor, front, shutdown).await;
            drop(permit);
        });
    }
    let drained =
        tokio::time::timeout(DRAIN_TIMEOUT, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::info!(open = connections.len(), "connections were cut after the drain time");
    }
    Ok(())
}

/// Out of descriptors, or the client has gone already: the listener itself is sound.
pub(crate) fn is_momentary(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(code) if code == rustix::io::Errno::MFILE.raw_os_error() || code == rustix::io::Errno::NFILE.raw_os_error())
        || matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: &TlsAcceptor,
    front: Arc<Front>,
    shutdown: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let tls = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
    };
    let identity = peer_identity(&tls);
    let service = service_fn(move |request| {
        let answered = answer(&front, identity.clone(), request);
        async move { Ok::<_, std::convert::Infallible>(answered.await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT).max_headers(128);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES * 4)
        .keep_alive_interval(Duration::from_secs(30));
    let served =
        builder.serve_connection_with_upgrades(TokioIo::new(Patience::new(tls, WRITE_TIMEOUT)), service);
    tokio::pin!(served);
    // Cancel-safe: the connection is pinned outside and polled on after the signal.
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, error, "connection ended with an error");
    }
}

fn peer_identity(tls: &TlsStream<TcpStream>) -> Identity {
    let certificates = tls.get_ref().1.peer_certificates();
    certificates.and_then(<[_]>::first).map_or_else(Identity::anonymous, Identity::from_certificate)
}

/// One request. Boxed, so that the connection's own future does not carry every verb's inside.
fn answer(
    front: &Front,
    identity: Identity,
    request: http::Request<Incoming>,
) -> BoxFuture<'static, http::Response<api::ResponseBody>> {
    let path = request.uri().path();
    let is_registry = path == "/v2" || path.starts_with("/v2/");
    let is_membership = path.starts_with("/isopod/");
    if !is_registry && !is_membership {
        return api::handle(Arc::clone(&front.api), identity, request).boxed();
    }
    let (access, method) = (front.access.clone(), request.method().clone());
    let is_open = membership::serve::is_open(&method, path);
    let (registry, membership) = (front.registry.clone(), Arc::clone(&front.membership));
    async move {
        let verb = method.as_str().to_ascii_lowercase();
        let decision = match access.identify(&identity, request.headers()).await {
            Ok(caller) => {
                let path = request.uri().path();
                access.authorize(&caller, &Attributes::Path { verb: &verb, path }).await
            }
            Err(status) => Decision::Deny(status.message),
        };
        match decision {
            Decision::Allow if is_registry => registry.handle(request).await,
            Decision::Deny(reason) if is_registry => registry::denied(&reason),
            Decision::Deny(reason) if !is_open => membership::serve::denied(&reason),
            _ => membership::serve::handle(membership, request).await,
        }
    }
    .boxed()
}
