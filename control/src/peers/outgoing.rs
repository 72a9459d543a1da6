//! The way to one peer: connect, send what is queued until the connection ends, connect again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use isopod_raft_store::MemberId;
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::frames::Outbox;
use super::{ADDRESS_HEADER, PATH, Peer, Shared};
use crate::security::ca;

/// First wait before a connection is tried again; it doubles up to the greatest. Short, because a member that comes
/// back should take part within an election timeout or two.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Time to connect, shake hands and be admitted.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection is asked for a sign of life this often, and given up after this long without one: a machine that went
/// away without a word is not waited for.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a connection could not be made or ended.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("the member was not reached or did not answer in time")]
    TimedOut,
    #[error("the member's name cannot be used")]
    Name(#[from] InvalidDnsNameError),
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    #[error("the connection failed")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
    #[error("it answered {0}")]
    Refused(StatusCode),
    #[error("this member was removed from the cluster")]
    Removed,
    #[error("the connection was closed")]
    Closed,
}

/// Sends to `peer` until `shutdown`.
pub(super) async fn run(shared: Arc<Shared>, peer: Arc<Peer>, shutdown: CancellationToken) {
    let mut address = peer.address.subscribe();
    let mut backoff = BACKOFF_MIN;
    let mut reported = false;
    loop {
        let target = address.borrow_and_update().clone();
        // Cancel-safe: what was under way is lost, as with any connection that ends.
        let error = tokio::select! {
            () = shutdown.cancelled() => return peer.disconnected(),
            _ = address.changed() => Error::Closed,
            error = exchange(&shared, &peer, &target) => error,
        };
        if peer.disconnected_after_use() {
            (backoff, reported) = (BACKOFF_MIN, false);
        }
        peer.queue.clear();
        report(&peer, &target, &error, &mut reported);
        if matches!(error, Error::Removed) {
            shared.removed_by.send_replace(Some(peer.member));
        }
        // Cancel-safe: all only wait.
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = address.changed() => {}
            () = tokio::time::sleep(backoff.mul_f64(0.5 + rand::random::<f64>() / 2.0)) => {}
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Said once until it changes: a peer that is down for a day must not fill the log.
fn report(peer: &Peer, address: &str, error: &Error, reported: &mut bool) {
    let (member, error) = (peer.member, error as &dyn std::error::Error);
    if std::mem::replace(reported, true) {
        tracing::debug!(peer = %member, address, error, "no connection to the member");
    } else {
        tracing::warn!(peer = %member, address, error, "no connection to the member; it is tried again");
    }
}

/// Connects and sends until the connection ends; returns why it did.
async fn exchange(shared: &Shared, peer: &Peer, address: &str) -> Error {
    match tokio::time::timeout(CONNECT_TIMEOUT, connect(shared, peer.member, address)).await {
        Ok(Ok(stream)) => send(shared, peer, stream).await.err().unwrap_or(Error::Closed),
        Ok(Err(error)) => error,
        Err(_) => Error::TimedOut,
    }
}

async fn connect(shared: &Shared, member: MemberId, address: &str) -> Result<TlsStream<TcpStream>, Error> {
    let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
    stream.set_nodelay(true).map_err(Error::Connect)?;
    let name = ServerName::try_from(ca::peer_name(member.0))?;
    TlsConnector::from(Arc::clone(&shared.tls.client)).connect(name, stream).await.map_err(Error::Handshake)
}

async fn send(shared: &Shared, peer: &Peer, stream: TlsStream<TcpStream>) -> Result<(), Error> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://{}{PATH}", ca::peer_name(peer.member.0)))
        .header(ADDRESS_HEADER, &shared.advertised)
        .body(Outbox::new(Arc::clone(&peer.queue)))?;
    let talk = async {
        let answer = tokio::time::timeout(CONNECT_TIMEOUT, sender.send_request(request)).await;
        let answer = answer.map_err(|_| Error::TimedOut)??;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::GONE => return Err(Error::Removed),
            other => return Err(Error::Refused(other)),
        }
        tracing::info!(peer = %peer.member, "connected to the member");
        peer.connected.store(true, Ordering::Relaxed);
        // The other side says nothing more; the answer ends when it wants no more messages.
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Err(Error::Closed)
    };
    // Cancel-safe: either end is the end of the connection.
    tokio::select! {
        ended = connection => ended.map_err(Into::into),
        ended = talk => ended,
    }
}

impl Peer {
    fn disconnected(&self) {
        self.connected.store(false, Ordering::Relaxed);
    }

    /// Whether the peer had taken messages.
    fn disconnected_after_use(&self) -> bool {
        self.connected.swap(false, Ordering::Relaxed)
    }
}
