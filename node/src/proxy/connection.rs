//! One connection of a client: HTTP answered request by request, or bytes passed on.
//!
//! A connection ends gracefully when its listener does: what it has open is finished, nothing new is taken.
//! Time limits are kept by one timer per connection, which looks now and then at what happened since: a timer
//! per request would cost the hot path two turns through the runtime's timer wheel.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, Open, text};
use super::endpoint::Endpoint;
use super::facts::AppProtocol;
use super::headers::asks_to_leave_http;
use super::path::DataPath;
use super::routes::Route;
use super::spawn::Spawn;
use super::{ingress, splice};
use crate::local::{Caller, empty_body};

/// A connection that has not brought a whole request head by now is closed.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// A connection without a request for this long, and at most twice as long, is closed. Longer than the
/// minute and a half that common clients keep theirs, so that it is they who close.
const IDLE: Duration = Duration::from_secs(100);

/// How long a connection may take to end once asked to.
const GRACE: Duration = Duration::from_secs(30);

/// The most bytes a request's head may have; the number of headers is limited to hyper's 100.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The most requests that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 256;

/// What a listener's connections are for.
#[derive(Clone)]
pub(crate) enum Target {
    /// Whatever Service has the address.
    Service(SocketAddr),
    /// One pod of this node.
    Pod(Arc<Endpoint>),
    /// The Service that the host name says.
    Ingress,
}

/// The HTTP server's settings, for all connections.
pub(crate) struct Server(auto::Builder<Spawn>);

impl Server {
    pub(crate) fn new(path: &DataPath) -> Server {
        let mut builder = auto::Builder::new(Spawn(path.tasks.clone()));
        builder.http1().max_buf_size(MAX_HEAD_BYTES);
        builder
            .http2()
            .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).expect("64 KiB fit"))
            .max_concurrent_streams(MAX_STREAMS);
        Server(builder)
    }
}

/// What a connection's requests have in common.
struct Connection {
    path: Arc<DataPath>,
    target: Target,
    peer: SocketAddr,
    /// Requests whose answers are not all sent.
    open: Arc<AtomicU32>,
    /// Requests since the beginning; may wrap.
    seen: AtomicU32,
}

/// Serves a connection to its end, or gracefully to an earlier one once `stop` is cancelled.
pub(crate) async fn serve(
    path: Arc<DataPath>,
    server: &Server,
    stream: TcpStream,
    peer: SocketAddr,
    target: Target,
    stop: CancellationToken,
) {
    // Answers are written whole; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    if let Target::Service(addr) = &target
        && let Some(route) = bytes_route(&path, *addr)
    {
        return splice::splice(&path, route, stream, peer, stop).await;
    }
    let connection =
        Arc::new(Connection { path, target, peer, open: Arc::default(), seen: AtomicU32::new(0) });
    serve_http(connection, server, stream, stop).await;
}

/// The route, where the bytes of a connection are to be passed on unread.
fn bytes_route(path: &DataPath, addr: SocketAddr) -> Option<Route> {
    let routes = path.routes();
    let route = routes.by_addr(addr)?;
    let endpoints = &route.backends().endpoints;
    let bytes = match route.port.protocol {
        AppProtocol::Http | AppProtocol::Http2 => false,
        AppProtocol::Opaque => true,
        // HTTP if any pod answers in process, or may do so in a moment. Without any endpoint, HTTP can at
        // least say so.
        AppProtocol::Unsaid => {
            !endpoints.is_empty()
                && endpoints
                    .iter()
                    .all(|endpoint| endpoint.is_connected_to() && !endpoint.answers_in_process())
        }
    };
    bytes.then(|| route.clone())
}

async fn serve_http(
    connection: Arc<Connection>,
    server: &Server,
    stream: TcpStream,
    stop: CancellationToken,
) {
    let requests = Arc::clone(&connection);
    let service = service_fn(move |request| {
        let connection = Arc::clone(&requests);
        async move { Ok::<_, Infallible>(connection.answer(request).await) }
    });
    let mut serving = std::pin::pin!(server.0.serve_connection(TokioIo::new(stream), service));
    let mut timer = std::pin::pin!(tokio::time::sleep(FIRST_REQUEST));
    let mut seen_before = 0;
    let mut ending = false;
    loop {
        // All branches are polled in place and lose nothing when another comes first.
        tokio::select! {
            biased;
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %connection.peer, error, "connection ended early");
                }
                return;
            }
            () = stop.cancelled(), if !ending => ending = true,
            () = timer.as_mut() => {
                let seen = connection.seen.load(Ordering::Relaxed);
                if ending {
                    return;
                }
                ending = seen == seen_before && connection.open.load(Ordering::Relaxed) == 0;
                seen_before = seen;
                timer.as_mut().reset(tokio::time::Instant::now() + IDLE);
            }
        }
        if ending {
            serving.as_mut().graceful_shutdown();
            timer.as_mut().reset(tokio::time::Instant::now() + GRACE);
        }
    }
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        self.seen.fetch_add(1, Ordering::Relaxed);
        let open = Open::new(Arc::clone(&self.open));
        self.dispatch(request).await.map(|answer| answer.counted(open))
    }

    async fn dispatch(&self, request: Request<Incoming>) -> Response<Answer> {
        if asks_to_leave_http(&request) {
            let line = "CONNECT and upgrades to other protocols are not offered here";
            return text(StatusCode::NOT_IMPLEMENTED, line.to_owned());
        }
        let caller = Caller { addr: self.peer.ip() };
        let request = request.map(|body| {
            if body.is_end_stream() { empty_body() } else { body.map_err(Into::into).boxed_unsync() }
        });
        match &self.target {
            Target::Service(addr) => {
                let route = self.path.routes().by_addr(*addr).cloned();
                match route {
                    Some(route) => self.path.forward(route, caller, request).await,
                    None => text(
                        StatusCode::SERVICE_UNAVAILABLE,
                        format!("no service has the address {addr} any more"),
                    ),
                }
            }
            Target::Pod(endpoint) => self.path.call_pod(endpoint, caller, request).await,
            Target::Ingress => ingress::answer(&self.path, caller, request).await,
        }
    }
}
