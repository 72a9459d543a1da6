//! The node's connection to the API: one HTTP/2 connection over mutual TLS, to whichever of the members answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tower::Service;

/// A connection on which nothing moves is asked for a sign of life this often ...
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// ... and given up when none comes: a member that was stopped keeps its connections.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// A member that does not take a connection in this time, TLS included, is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// What may be under way before the receiver must take it: lists of many pods come over one connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, and those between it and the authority.
    pub certificate_pem: String,
    /// The private key.
    pub key_pem: String,
}

/// Why TLS cannot be set up with what was given.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A certificate is not PEM.
    #[error("{what} is not a PEM certificate")]
    Certificate {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The key is not PEM.
    #[error("{what} is not a PEM private key")]
    Key {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// They are well-formed but cannot be used.
    #[error("{what} cannot be used for TLS")]
    Unusable {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// Client certificates cannot be checked with this authority.
    #[error("client certificates cannot be checked with the cluster's authority")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// No API server was named.
    #[error("no API server is given")]
    NoServer,
}

impl Identity {
    pub(crate) fn certificates(&self, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates = CertificateDer::pem_slice_iter(self.certificate_pem.as_bytes());
        certificates.collect::<Result<_, _>>().map_err(|source| TlsError::Certificate { what, source })
    }

    pub(crate) fn key(&self, what: &'static str) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|source| TlsError::Key { what, source })
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// The cluster's authority as the only one to trust.
pub(crate) fn roots(authority_pem: &str) -> Result<RootCertStore, TlsError> {
    const WHAT: &str = "the cluster's authority";
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
        let certificate = certificate.map_err(|source| TlsError::Certificate { what: WHAT, source })?;
        roots.add(certificate).map_err(|source| TlsError::Unusable { what: WHAT, source })?;
    }
    Ok(roots)
}

/// A client for the API servers at `servers`, of which the first that answers is used until it does not.
pub fn api_client(
    servers: &[Uri],
    authority_pem: &str,
    identity: &Identity,
) -> Result<kube::Client, TlsError> {
    const WHAT: &str = "the node's client certificate";
    if servers.is_empty() {
        return Err(TlsError::NoServer);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |source| TlsError::Unusable { what: WHAT, source };
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots(authority_pem)?)
        .with_client_auth_cert(identity.certificates(WHAT)?, identity.key(WHAT)?)
        .map_err(unusable)?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http2().wrap_connector(tcp);
    let http = HttpClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_only(true)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .build(InTime(connector));
    let servers = Servers { all: servers.into(), current: Arc::default(), http };
    Ok(kube::Client::new(servers, "default"))
}

/// Connects, or fails after [`CONNECT_TIMEOUT`].
#[derive(Clone)]
struct InTime(HttpsConnector<HttpConnector>);

impl Service<Uri> for InTime {
    type Response = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
    type Error = tower::BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let connecting = self.0.call(server);
        async move { tokio::time::timeout(CONNECT_TIMEOUT, connecting).await? }.boxed()
    }
}

/// Sends each request to the current server, and turns to the next one when it cannot be reached or a connection to it
/// breaks. The request that found out fails: only whoever sent it knows whether it may be sent twice.
#[derive(Clone)]
struct Servers {
    all: Arc<[Uri]>,
    current: Arc<AtomicUsize>,
    http: HttpClient<InTime, Body>,
}

impl Service<Request<Body>> for Servers {
    type Response = Response<Incoming>;
    type Error = hyper_util::client::legacy::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let index = self.current.load(Ordering::Relaxed);
        *request.uri_mut() = at(&self.all[index % self.all.len()], request.uri());
        let (current, http) = (self.current.clone(), self.http.clone());
        async move {
            let answer = http.request(request).await;
            if answer.is_err() {
                // Only one step, however many requests found out.
                current
                    .compare_exchange(index, index.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed)
                    .ok();
            }
            answer
        }
        .boxed()
    }
}

/// The path and query of `uri` at this server.
fn at(server: &Uri, uri: &Uri) -> Uri {
    let mut parts = server.clone().into_parts();
    parts.path_and_query = uri.path_and_query().cloned();
    Uri::from_parts(parts).unwrap_or_else(|_| server.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_to_the_server() {
        let server: Uri = "https://127.0.0.1:6443".parse().unwrap();
        let path: Uri = "/api/v1/pods?watch=true".parse().unwrap();
        assert_eq!(at(&server, &path).to_string(), "https://127.0.0.1:6443/api/v1/pods?watch=true");
    }

    #[test]
    fn what_is_no_certificate_is_named() {
        let identity = Identity { certificate_pem: String::new(), key_pem: "x".into() };
        let server: Uri = "https://127.0.0.1:6443".parse().unwrap();
        let error = |servers: &[Uri]| api_client(servers, "", &identity).err().unwrap().to_string();
        assert_eq!(error(&[]), "no API server is given");
        assert_eq!(error(&[server]), "the node's client certificate is not a PEM private key");
    }
}
