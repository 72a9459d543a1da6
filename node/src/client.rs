//! The node's connection to the API: one HTTP/2 connection over mutual TLS, to whichever of the members answers. Who they
//! are, and the certificate that is shown to them, may change while the node runs: connections that there are go on.

mod servers;
mod shown;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tower::Service;

pub use self::servers::ServerList;
use self::servers::Servers;
pub use self::shown::Shown;

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
#[derive(Clone, PartialEq, Eq)]
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

/// The way to the API.
pub struct ApiClient {
    /// Asks it.
    pub client: kube::Client,
    /// Where it is asked.
    pub servers: ServerList,
    /// As whom.
    pub shown: Arc<Shown>,
}

/// A client for the API servers at `servers`, of which the first that answers is used until it does not.
pub fn api_client(servers: &[Uri], authority_pem: &str, identity: &Identity) -> Result<ApiClient, TlsError> {
    const WHAT: &str = "the node's client certificate";
    if servers.is_empty() {
        return Err(TlsError::NoServer);
    }
    let shown = Arc::new(Shown::new(identity, WHAT)?);
    let tls = ClientConfig::builder_with_provider(shown::provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Unusable { what: WHAT, source })?
        .with_root_certificates(roots(authority_pem)?)
        .with_client_cert_resolver(shown.clone());
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
    let servers = ServerList::new(servers.to_vec());
    let client = kube::Client::new(Servers { list: servers.clone(), http }, "default");
    Ok(ApiClient { client, servers, shown })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_named() {
        let identity = Identity { certificate_pem: String::new(), key_pem: "x".into() };
        let server: Uri = "https://127.0.0.1:6443".parse().unwrap();
        let error = |servers: &[Uri]| api_client(servers, "", &identity).err().unwrap().to_string();
        assert_eq!(error(&[]), "no API server is given");
        assert_eq!(error(&[server]), "the node's client certificate is not a PEM private key");
    }
}
