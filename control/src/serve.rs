//! The member's listener: TCP, TLS, HTTP/1.1 and HTTP/2, and who is calling.
//!
//! Data goes one way: connection → identity → route. Everything that a client can make wait or grow has a
//! bound here: connections, those of strangers, the handshake, the header, the streams of one connection, the time that
//! an answer may wait to be taken, and that a connection may have nothing to do.

mod activity;
mod connection;
mod patience;
mod strangers;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::strangers::Strangers;
use crate::api::{self, Api};
use crate::membership::{self, Membership};
use crate::registry::{self, Registry};
use crate::security::identity::ANONYMOUS;
use crate::security::{Access, Attributes, Decision, Identity};

/// Connections at once, if the system gives so many descriptors. Each costs some tens of kilobytes; past the bound new
/// ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 16_384;
/// Connections of callers who are not known: in their handshake, or anonymous.
const STRANGERS_MAX: usize = 1024;
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
    let room = Arc::new(Semaphore::new(connections_max()));
    let strangers = Strangers::new(STRANGERS_MAX);
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
        let stranger = strangers.enter();
        connections.spawn(async move {
            connection::run(stream, peer, &acceptor, front, stranger, shutdown).await;
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

/// Raises the limit of open files as far as may be, and leaves half of it to everything that is no connection: a store
/// that cannot open a file stops.
fn connections_max() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, wanted).is_ok() {
        limit = wanted;
    }
    let files = limit.current.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    let max = CONNECTIONS_MAX.min(files / 2);
    if max < CONNECTIONS_MAX {
        tracing::info!(max, "fewer connections than could be are taken: the limit of open files is low");
    }
    max
}

/// Out of descriptors, or the client has gone already: the listener itself is sound.
pub(crate) fn is_momentary(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(code) if code == rustix::io::Errno::MFILE.raw_os_error() || code == rustix::io::Errno::NFILE.raw_os_error())
        || matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
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
        let mut is_known = false;
        let decision = match access.identify(&identity, request.headers()).await {
            Ok(caller) => {
                let path = request.uri().path();
                is_known = caller.user != ANONYMOUS;
                access.authorize(&caller, &Attributes::Path { verb: &verb, path }).await
            }
            Err(status) => Decision::Deny(status.message),
        };
        let mut response = match decision {
            Decision::Allow if is_registry => registry.handle(request).await,
            Decision::Deny(reason) if is_registry => registry::denied(&reason),
            Decision::Deny(reason) if !is_open => membership::serve::denied(&reason),
            _ => membership::serve::handle(membership, request).await,
        };
        if is_known {
            response.extensions_mut().insert(api::Known);
        }
        response
    }
    .boxed()
}

#[cfg(test)]
mod tests;
