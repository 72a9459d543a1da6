//! What members and administrators ask of a node: the logs of its containers, connections into its pods, and what it
//! counts.
//!
//! HTTPS with a client certificate of the cluster's authority; beyond that the caller must be in one of the groups
//! that the node was told of, so that one node cannot read another's logs.

mod caller;
mod log;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::{Identity, Shown, TlsError, roots};
use crate::forward::Forwarding;
use crate::logs::Logs;
use crate::metrics;
use crate::proxy::Range;
use crate::volumes::Claims;

const WHAT: &str = "the node's server certificate";
/// Connections that are being greeted may take this long.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// At the end, answers under way may take this long.
const DRAIN: Duration = Duration::from_secs(2);

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What the server needs to know.
pub struct Config {
    /// Where it listens; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// The cluster's authority, PEM.
    pub authority_pem: String,
    /// Whom the server shows itself as.
    pub identity: Identity,
    /// Groups (organizations of the certificate) whose members may ask.
    pub groups: BTreeSet<String>,
    /// The range of pod addresses that connections are forwarded to.
    pub pods: Range,
}

/// The server, listening but not yet answering.
pub struct Server {
    listener: TcpListener,
    tls: TlsAcceptor,
    shown: Arc<Shown>,
    groups: Arc<BTreeSet<String>>,
    pods: Range,
    told: Told,
}

/// What can be told.
#[derive(Clone)]
struct Told {
    logs: Logs,
    claims: Claims,
    metrics: Arc<Registry>,
}

/// Why the server cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its certificates.
    #[error("the node's server cannot use its certificates")]
    Tls(#[from] TlsError),
    /// Its address.
    #[error("the node's server cannot listen on {address}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Server {
    /// Opens the listener; answers will be made of `logs` and `metrics`, and volumes removed from `claims`.
    pub async fn bind(config: Config, logs: Logs, claims: Claims, metrics: Registry) -> Result<Self, Error> {
        let shown = Arc::new(Shown::new(&config.identity, WHAT)?);
        let tls = TlsAcceptor::from(Arc::new(tls(&config, shown.clone())?));
        let listen_error = |source| Error::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
        let told = Told { logs, claims, metrics: Arc::new(metrics) };
        Ok(Self { listener, tls, shown, groups: Arc::new(config.groups), pods: config.pods, told })
    }

    /// What the server shows itself as, to be replaced.
    pub fn shown(&self) -> Arc<Shown> {
        self.shown.clone()
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        let forwarding = Forwarding::new(self.pods, shutdown.clone());
        while let Some(accepted) = shutdown.run_until_cancelled(self.listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    let connection = self.connection(stream, forwarding.clone(), shutdown.clone());
                    connections.spawn(connection);
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others must close theirs first.
                    tracing::warn!(%error, "the node's server cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        connections.close();
        let ended = async {
            connections.wait().await;
            forwarding.ended().await;
        };
        tokio::time::timeout(DRAIN, ended).await.ok();
    }

    fn connection(
        &self,
        stream: TcpStream,
        forwarding: Forwarding,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + 'static {
        let (tls, groups, told) = (self.tls.clone(), self.groups.clone(), self.told.clone());
        async move {
            let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else { return };
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let allowed = certificate.is_some_and(|certificate| caller::is_in(certificate, &groups));
            let service = service_fn(move |mut request| {
                let (told, forwarding) = (told.clone(), forwarding.clone());
                async move {
                    Ok::<_, Infallible>(match request.method() {
                        &Method::DELETE if allowed => remove(&told.claims, request.uri().path()).await,
                        _ => answer(&told, &forwarding, allowed, &mut request),
                    })
                }
            });
            let mut server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            server.http1().timer(TokioTimer::new());
            server.http2().timer(TokioTimer::new());
            let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
            // Followed logs have no end of their own: at shutdown they are cut.
            shutdown.run_until_cancelled(connection).await;
        }
    }
}

fn tls(config: &Config, shown: Arc<Shown>) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(roots(&config.authority_pem)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build();
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Unusable { what: WHAT, source })?
        .with_client_cert_verifier(verifier.map_err(TlsError::Verifier)?)
        .with_cert_resolver(shown);
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

fn answer(
    told: &Told,
    forwarding: &Forwarding,
    allowed: bool,
    request: &mut Request<Incoming>,
) -> Response<Body> {
    if !allowed {
        return text(StatusCode::FORBIDDEN, "this certificate may not ask a node");
    }
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered");
    }
    let path = request.uri().path().to_owned();
    let path: Vec<&str> = path.split('/').skip(1).collect();
    match path.as_slice() {
        ["healthz"] => text(StatusCode::OK, "ok"),
        ["metrics"] => counted(&told.metrics),
        ["containerLogs", namespace, pod, container] => {
            log::answer(&told.logs, namespace, pod, container, request.uri().query().unwrap_or_default())
        }
        ["portForward", namespace, pod, address] => forwarding.answer(namespace, pod, address, request),
        _ => text(StatusCode::NOT_FOUND, "no such path"),
    }
}

/// `DELETE /volumes/<name>`: the folder of a volume that is done with.
async fn remove(claims: &Claims, path: &str) -> Response<Body> {
    let Some(name) = path.strip_prefix("/volumes/").map(str::to_owned) else {
        return text(StatusCode::NOT_FOUND, "no such path");
    };
    let claims = claims.clone();
    let removed = tokio::task::spawn_blocking(move || claims.remove(&name)).await;
    match removed.map_err(io::Error::other).flatten() {
        Ok(()) => text(StatusCode::OK, "removed"),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            text(StatusCode::BAD_REQUEST, error.to_string())
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn counted(registry: &Registry) -> Response<Body> {
    match metrics::text(registry) {
        Ok(counted) => {
            let mut response = text(StatusCode::OK, counted);
            let kind = header::HeaderValue::from_static(metrics::CONTENT_TYPE);
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded"),
    }
}

pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests;
