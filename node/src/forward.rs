//! Port forwarding: TCP connections to a pod's ports, all carried by one connection of the client.
//!
//! The member hands the client's connection through, so the words are the client's: SPDY/3.1 inside a WebSocket (kubectl),
//! WebSocket channels (`v4.channel.k8s.io`: browsers and some libraries), or SPDY/3.1 as it is (older clients).

mod channels;
mod session;
mod spdy;
mod wire;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::proxy::Range;
use crate::server::{Body, text};

/// Clients' connections at once on this node.
const SESSIONS_MAX: usize = 256;
/// Connections into pods at once, and ports of one request.
const CONNECTIONS_MAX: usize = 128;
/// How long a pod may take to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that says nothing for so long has gone: a client that lives sends pings or bytes, or comes again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4 * 60 * 60);
/// Pieces of data that wait for the client, and for each connection into a pod.
const QUEUE: usize = 16;
/// How much is read from a pod at once.
const PIECE_BYTES: usize = 32 << 10;

const SPDY_IN_WEBSOCKET: &str = "SPDY/3.1+portforward.k8s.io";
const CHANNELS: &str = "v4.channel.k8s.io";
const SPDY: &str = "SPDY/3.1";
const SPDY_PROTOCOL: &str = "portforward.k8s.io";
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// Takes clients' connections into this node's pods.
#[derive(Clone)]
pub(crate) struct Forwarding {
    pods: Range,
    room: Arc<Semaphore>,
    sessions: TaskTracker,
    shutdown: CancellationToken,
}

/// The pod that a client wants to reach.
#[derive(Clone, Debug)]
struct Target {
    /// As messages name it.
    pod: String,
    address: IpAddr,
}

/// What the client's connection carries.
#[derive(Debug, PartialEq, Eq)]
enum Protocol {
    SpdyInWebSocket,
    Spdy,
    Channels(Vec<u16>),
}

impl Forwarding {
    /// Into pods whose addresses are in this range; sessions end with `shutdown`.
    pub(crate) fn new(pods: Range, shutdown: CancellationToken) -> Self {
        let room = Arc::new(Semaphore::new(SESSIONS_MAX));
        Self { pods, room, sessions: TaskTracker::new(), shutdown }
    }

    /// Waits until all sessions have ended.
    pub(crate) async fn ended(&self) {
        self.sessions.close();
        self.sessions.wait().await;
    }

    /// Takes over the connection of a request for `/portForward/<namespace>/<pod>/<address>`.
    pub(crate) fn answer(
        &self,
        namespace: &str,
        pod: &str,
        address: &str,
        request: &mut Request<Incoming>,
    ) -> Response<Body> {
        let Some(address) = address.parse().ok().filter(|address| self.pods.contains(*address)) else {
            return text(StatusCode::NOT_FOUND, format!("{address} is no address of a pod of this node"));
        };
        let protocol = match agreed(request.headers(), request.uri().query().unwrap_or_default()) {
            Ok(protocol) => protocol,
            Err(why) => return text(StatusCode::BAD_REQUEST, why),
        };
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            return text(StatusCode::TOO_MANY_REQUESTS, "the node forwards for as many clients as it may");
        };
        let response = switching(&protocol, request.headers());
        let target = Arc::new(Target { pod: format!("{namespace}/{pod}"), address });
        let upgraded = hyper::upgrade::on(request);
        let shutdown = self.shutdown.clone();
        self.sessions.spawn(async move {
            let served = async {
                match upgraded.await {
                    Ok(upgraded) => serve(protocol, target, TokioIo::new(upgraded)).await,
                    Err(error) => tracing::debug!(%error, "a connection was not upgraded"),
                }
            };
            shutdown.run_until_cancelled(served).await;
            drop(place);
        });
        response
    }
}

/// Which protocol the client's headers ask for.
fn agreed(headers: &HeaderMap, query: &str) -> Result<Protocol, String> {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if upgrade.eq_ignore_ascii_case(SPDY) {
        return Ok(Protocol::Spdy);
    }
    if !upgrade.eq_ignore_ascii_case("websocket") || !headers.contains_key(header::SEC_WEBSOCKET_KEY) {
        return Err(format!("port forwarding needs a connection that is upgraded to WebSocket or {SPDY}"));
    }
    let offered =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offered = offered.flat_map(|list| list.split(',')).map(str::trim).peekable();
    if offered.peek().is_none() {
        return Err(format!(
            "no WebSocket protocol is offered: {SPDY_IN_WEBSOCKET} and {CHANNELS} are spoken"
        ));
    }
    let mut seen = Vec::new();
    for own in offered {
        match own {
            SPDY_IN_WEBSOCKET => return Ok(Protocol::SpdyInWebSocket),
            CHANNELS => return ports(query).map(Protocol::Channels),
            other => seen.push(other),
        }
    }
    let seen = seen.join(", ");
    Err(format!("the WebSocket protocol {seen} is not spoken: {SPDY_IN_WEBSOCKET} and {CHANNELS} are"))
}

/// The ports of `?ports=80&ports=81,82`.
fn ports(query: &str) -> Result<Vec<u16>, String> {
    let given = query.split('&').filter_map(|pair| pair.strip_prefix("ports="));
    let given = given.flat_map(|value| value.split(',')).flat_map(|value| value.split("%2C"));
    let ports: Result<Vec<u16>, String> = given
        .map(|text| {
            let port = text.parse().ok().filter(|port| *port > 0);
            port.ok_or_else(|| format!("{text:?} is no port"))
        })
        .collect();
    match ports? {
        ports if ports.is_empty() => Err("the ports are missing: ?ports=80".to_owned()),
        ports if ports.len() > CONNECTIONS_MAX => Err(format!("more than {CONNECTIONS_MAX} ports")),
        ports => Ok(ports),
    }
}

/// Tells the client that its connection is taken over.
fn switching(protocol: &Protocol, headers: &HeaderMap) -> Response<Body> {
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let out = response.headers_mut();
    out.remove(header::CONTENT_TYPE);
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let (upgrade, name, spoken) = match protocol {
        Protocol::Spdy => (SPDY, STREAM_PROTOCOL, SPDY_PROTOCOL),
        Protocol::SpdyInWebSocket => ("websocket", header::SEC_WEBSOCKET_PROTOCOL, SPDY_IN_WEBSOCKET),
        Protocol::Channels(_) => ("websocket", header::SEC_WEBSOCKET_PROTOCOL, CHANNELS),
    };
    out.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
    out.insert(name, HeaderValue::from_static(spoken));
    if let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| *protocol != Protocol::Spdy) {
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
        out.insert(header::SEC_WEBSOCKET_ACCEPT, accept.expect("base64 is a header value"));
    }
    response
}

async fn serve<T>(protocol: Protocol, target: Arc<Target>, connection: T)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let pod = target.pod.clone();
    let served = match protocol {
        Protocol::Spdy => {
            let (incoming, outgoing) = wire::plain(connection);
            session::run(target, incoming, outgoing).await
        }
        Protocol::SpdyInWebSocket => {
            let (incoming, outgoing) = wire::web_socket(connection).await;
            session::run(target, incoming, outgoing).await
        }
        Protocol::Channels(ports) => {
            let (incoming, outgoing) = wire::web_socket(connection).await;
            channels::run(target, &ports, incoming, outgoing).await
        }
    };
    match served {
        Ok(()) => tracing::debug!(pod, "forwarding ended"),
        Err(error) => tracing::debug!(pod, error = &error as &dyn std::error::Error, "forwarding broke off"),
    }
}

/// Why a session ended before its client ended it.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    /// The client's connection.
    #[error("the client's connection failed")]
    Connection(#[from] io::Error),
    /// What the client said.
    #[error("the client breaks the protocol")]
    Protocol(#[from] spdy::ProtocolError),
    /// Nothing came for too long.
    #[error("the client said nothing for four hours")]
    Idle,
}

/// Carries bytes between one connection into the pod and the client, until the pod ends it. `up` gives what the client
/// sends; its end is passed on. `frame` makes what goes to the client.
async fn carry(
    target: &Target,
    port: u16,
    mut up: mpsc::Receiver<Bytes>,
    down: &mpsc::Sender<Bytes>,
    frame: impl Fn(&[u8]) -> Bytes,
) -> Result<(), String> {
    let failed = |error: io::Error| format!("error forwarding port {port} to pod {}: {error}", target.pod);
    let connecting = TcpStream::connect(SocketAddr::new(target.address, port));
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let (mut read, mut write) = stream.into_split();
    let upward = async {
        while let Some(bytes) = up.recv().await {
            // The pod may have closed this direction; what it still says is worth having.
            if write.write_all(&bytes).await.is_err() {
                break;
            }
        }
        write.shutdown().await.ok();
        std::future::pending::<()>().await;
    };
    let downward = async {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = read.read(&mut piece).await.map_err(failed)?;
            // The client has gone when nobody takes its frames any more.
            if read == 0 || down.send(frame(&piece[..read])).await.is_err() {
                return Ok(());
            }
        }
    };
    tokio::select! {
        // Cancel-safe: both are given up together.
        () = upward => Ok(()),
        result = downward => result,
    }
}

#[cfg(test)]
mod tests;
