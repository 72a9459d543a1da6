//! HTTP to an endpoint that is not in process: over a TCP connection, used again and again.
//!
//! Idle connections wait in their endpoint's [`Pool`], each bound to the address of the pod that calls, so
//! that the called one sees who it is. What fails before anything was sent gives the request back.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::endpoint::{Endpoint, InFlight};
use super::headers::to_origin_form;
use super::spawn::Spawn;
use crate::local::{Body, BoxError, LocalPods, empty_body};

/// Connections an endpoint keeps idle; more are closed. A caller with more requests at once than this opens
/// some anew.
const MAX_IDLE: usize = 64;

/// How requests travel over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    Http2,
}

/// The idle connections to one endpoint.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    source: Option<IpAddr>,
    since: Instant,
    sender: Sender,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// Makes connections, and owns the tasks that drive them.
#[derive(Clone)]
pub(crate) struct Connector {
    /// The way into pods of this node that have networks of their own.
    pub(crate) local: LocalPods,
    pub(crate) tasks: TaskTracker,
    pub(crate) timeout: Duration,
}

/// Why there is no response.
pub(crate) enum Failed {
    /// No connection: nothing was sent.
    Connect(Box<Request<Body>>, ConnectError),
    /// The connection ended early: what was sent may have been acted on.
    Lost(BoxError),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("timed out connecting")]
    Timeout,
    #[error("cannot connect")]
    Io(#[from] io::Error),
    #[error("the connection failed at once")]
    Handshake(#[from] hyper::Error),
}

impl Pool {
    /// Closes what nobody used for this long.
    pub(crate) fn close_idle(&self, unused: Duration) {
        self.idle().retain(|idle| idle.since.elapsed() < unused && !idle.sender.is_closed());
    }

    /// A connection from this source that can take a request at once.
    fn take(&self, source: Option<IpAddr>, wire: Wire) -> Option<Sender> {
        let mut idle = self.idle();
        idle.retain(|idle| !idle.sender.is_closed());
        let found = idle.iter().rposition(|idle| {
            idle.source == source && idle.sender.wire() == wire && idle.sender.is_ready()
        })?;
        if let Sender::Http2(sender) = &idle[found].sender {
            let shared = sender.clone();
            idle[found].since = Instant::now();
            return Some(Sender::Http2(shared));
        }
        Some(idle.swap_remove(found).sender)
    }

    fn put(&self, source: Option<IpAddr>, sender: Sender) {
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push(Idle { source, since: Instant::now(), sender });
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    fn wire(&self) -> Wire {
        match self {
            Sender::Http1(_) => Wire::Http1,
            Sender::Http2(_) => Wire::Http2,
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            Sender::Http1(sender) => sender.is_ready(),
            Sender::Http2(sender) => sender.is_ready(),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// Sends; a request that was never written comes back with the error.
    async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Request<Body>>)> {
        let sent = match self {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|mut failed| {
            let unsent = failed.take_message();
            (failed.into_error(), unsent)
        })
    }
}

impl Connector {
    /// Sends a request to the endpoint that `in_flight` counts it for.
    pub(crate) async fn exchange(
        &self,
        in_flight: &InFlight,
        wire: Wire,
        source: Option<IpAddr>,
        mut request: Request<Body>,
    ) -> Result<Response<Received>, Failed> {
        let endpoint = in_flight.endpoint();
        if wire == Wire::Http1 {
            to_origin_form(&mut request);
        }
        while let Some(mut sender) = endpoint.pool.take(source, wire) {
            let again = repeatable(&request);
            match sender.send(request).await {
                Ok(response) => return Ok(received(response, endpoint, source, sender)),
                // The server closed the connection just as it was to be used again, as servers may at any
                // time (RFC 9112 §9.3.1): try the next.
                Err((_, Some(unsent))) => request = unsent,
                Err((error, None)) => match again {
                    Some(again) if is_closed_by_server(&error) => request = again,
                    _ => return Err(Failed::Lost(error.into())),
                },
            }
        }
        let mut sender = match self.connect(endpoint.addr, source, wire).await {
            Ok(sender) => sender,
            Err(error) => return Err(Failed::Connect(Box::new(request), error)),
        };
        if let Sender::Http2(shared) = &sender {
            endpoint.pool.put(source, Sender::Http2(shared.clone()));
        }
        match sender.send(request).await {
            Ok(response) => Ok(received(response, endpoint, source, sender)),
            Err((error, Some(unsent))) => Err(Failed::Connect(Box::new(unsent), error.into())),
            Err((error, None)) => Err(Failed::Lost(error.into())),
        }
    }

    /// Opens a TCP connection, from the source address if there is one.
    pub(crate) async fn open(
        &self,
        addr: SocketAddr,
        source: Option<IpAddr>,
    ) -> Result<TcpStream, ConnectError> {
        if let Some(network) = self.local.network(addr.ip()) {
            let connected = tokio::time::timeout(self.timeout, network.connect(addr, source)).await;
            return Ok(connected.map_err(|_| ConnectError::Timeout)??);
        }
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = source.filter(|source| source.is_ipv4() == addr.is_ipv4()) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = tokio::time::timeout(self.timeout, socket.connect(addr))
            .await
            .map_err(|_| ConnectError::Timeout)??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn connect(
        &self,
        addr: SocketAddr,
        source: Option<IpAddr>,
        wire: Wire,
    ) -> Result<Sender, ConnectError> {
        let io = TokioIo::new(self.open(addr, source).await?);
        Ok(match wire {
            Wire::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                self.tasks.spawn(connection);
                Sender::Http1(sender)
            }
            Wire::Http2 => {
                let (sender, connection) = http2::handshake(Spawn(self.tasks.clone()), io).await?;
                self.tasks.spawn(connection);
                Sender::Http2(sender)
            }
        })
    }
}

/// Whether a used connection ended as one does that the server had closed already.
fn is_closed_by_server(error: &hyper::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    error.is_incomplete_message()
        || error.is_closed()
        || cause.is_some_and(|cause| matches!(cause.kind(), BrokenPipe | ConnectionReset))
}

/// A copy of a request that may be sent twice without harm: of an idempotent method, without a body.
fn repeatable(request: &Request<Body>) -> Option<Request<Body>> {
    let idempotent = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::TRACE];
    if !idempotent.contains(request.method()) || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(empty_body());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// A response's body; its end gives the connection back to the pool.
pub(crate) struct Received {
    body: Incoming,
    lease: Option<Lease>,
}

/// An HTTP/1 connection, which has one request at a time. (HTTP/2 connections stay in the pool.)
struct Lease {
    endpoint: Arc<Endpoint>,
    source: Option<IpAddr>,
    sender: http1::SendRequest<Body>,
}

fn received(
    response: Response<Incoming>,
    endpoint: &Arc<Endpoint>,
    source: Option<IpAddr>,
    sender: Sender,
) -> Response<Received> {
    let lease = match sender {
        Sender::Http1(sender) => Some(Lease { endpoint: Arc::clone(endpoint), source, sender }),
        Sender::Http2(_) => None,
    };
    response.map(|body| Received { body, lease })
}

impl Drop for Received {
    fn drop(&mut self) {
        // A connection whose response was not read to its end cannot be used again.
        if let Some(Lease { endpoint, source, sender }) = self.lease.take()
            && self.body.is_end_stream()
        {
            endpoint.pool.put(source, Sender::Http1(sender));
        }
    }
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
