//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Attended, Idle};
use super::patience::Patience;
use super::strangers::Stranger;
use super::{Front, answer};
use crate::api::{Known, ResponseBody};
use crate::security::Identity;
use crate::security::identity::ANONYMOUS;

/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a request's header over HTTP/1, and between two requests there: upstream's.
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);
/// How long a connection may have no request open: upstream's for those who are known.
const IDLE: Idle = Idle { known: Duration::from_secs(90), stranger: Duration::from_secs(10) };
/// What is left of a connection that has nothing to do, or whose place is needed, gets so long to end in good order.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// A client that takes nothing of what it is sent for so long is cut off.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// After so long without a sign of life the kernel asks whether the client's machine is there.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Streams of one HTTP/2 connection: informers of a large operator are some tens, load tests some hundreds.
const STREAMS_MAX: u32 = 1024;
/// Streams that the client took back before they were looked at; more end the connection ("rapid reset").
const RESETS_MAX: usize = 20;
/// Header fields of one request over HTTP/1, and their bytes over either.
const HEADERS_MAX: usize = 128;
const HEADER_BYTES_MAX: u32 = 64 << 10;
/// What a client may send of bodies before they are asked for: of one stream, and of all.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Serves a connection until it ends, is idle for too long, or `shutdown`.
pub(super) async fn run(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: &TlsAcceptor,
    front: Arc<Front>,
    stranger: Stranger,
    shutdown: CancellationToken,
) {
    if let Err(error) = prepare(&stream) {
        tracing::debug!(%peer, %error, "cannot set the options of a connection");
    }
    let must_go = stranger.must_go.clone();
    let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    let tls = match must_go.run_until_cancelled(shaken).await {
        Some(Ok(Ok(tls))) => tls,
        Some(Ok(Err(error))) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        Some(Err(_)) => return tracing::debug!(%peer, "TLS handshake took too long"),
        None => return tracing::debug!(%peer, "closed: too many connections of callers who are not known"),
    };
    let guest = Arc::new(Guest::new(peer_identity(&tls), stranger));
    let host = Arc::clone(&guest);
    let service = service_fn(move |request| {
        let (guest, open) = (Arc::clone(&host), host.activity.begin());
        let answered = answer(&front, guest.identity.clone(), request);
        async move {
            let mut response = answered.await;
            guest.look_at(&mut response);
            Ok::<_, Infallible>(response.map(|body| Attended::new(body, open)))
        }
    });
    let builder = builder();
    let stream = TokioIo::new(Patience::new(tls, WRITE_TIMEOUT));
    let served = builder.serve_connection_with_upgrades(stream, service);
    tokio::pin!(served);
    // Cancel-safe: the connection is pinned outside and polled on after whatever ends it.
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
        () = guest.leaves(&must_go) => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(FAREWELL_TIMEOUT, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, error, "connection ended with an error");
    }
}

/// Who is at the other end, and what they do.
struct Guest {
    identity: Identity,
    activity: Arc<Activity>,
    /// Until somebody is known. Never held while anything waits.
    stranger: Mutex<Option<Stranger>>,
}

impl Guest {
    fn new(identity: Identity, stranger: Stranger) -> Guest {
        let is_known = identity.user != ANONYMOUS;
        let guest = Guest { identity, activity: Activity::new(), stranger: Mutex::new(Some(stranger)) };
        if is_known {
            guest.is_known();
        }
        guest
    }

    /// Notes when an answer went to somebody who is known.
    fn look_at(&self, response: &mut http::Response<ResponseBody>) {
        if response.extensions_mut().remove::<Known>().is_some() {
            self.is_known();
        }
    }

    fn is_known(&self) {
        if self.activity.is_known_now() {
            drop(self.stranger.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }

    /// Returns when the connection should end: it has nothing to do, or a stranger's place is needed.
    async fn leaves(&self, must_go: &CancellationToken) {
        // Cancel-safe: both only look.
        tokio::select! {
            () = self.activity.idle(IDLE) => {}
            () = must_go.cancelled() => {}
        }
    }
}

/// Answers leave at once, and a machine that has vanished is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    Ok(())
}

fn peer_identity(tls: &TlsStream<TcpStream>) -> Identity {
    let certificates = tls.get_ref().1.peer_certificates();
    certificates.and_then(<[_]>::first).map_or_else(Identity::anonymous, Identity::from_certificate)
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(Duration::from_secs(30));
    builder
}
