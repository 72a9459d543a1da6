//! Requests to hosts outside the cluster, where a rule allows them.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, vec};

use http::header::{HOST, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

use super::egress::Egress;
use super::headers::strip_connection;
use super::spawn::Spawn;
use crate::local::{Body, BoxError, OutboundError};

/// Time for the connection to a host that may be far away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The client for the world outside, by the rules.
pub(crate) struct Outside {
    egress: Egress,
    spawn: Spawn,
    /// Made for the first request that is allowed: it reads the host's root certificates.
    client: OnceLock<Client<HttpsConnector<HttpConnector<Resolver>>, Body>>,
}

impl Outside {
    pub(crate) fn new(egress: Egress, spawn: Spawn) -> Outside {
        Outside { egress, spawn, client: OnceLock::new() }
    }

    /// Sends a request to this host, whatever host its URI names.
    pub(crate) async fn send(
        &self,
        host: &str,
        port: u16,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, OutboundError> {
        let shown = format!("{host}:{port}");
        if !self.egress.allows(host, port) {
            return Err(OutboundError::Denied { host: shown });
        }
        readdress(&mut request, host, port)?;
        strip_connection(request.headers_mut());
        match self.client()?.request(request).await {
            Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
            Err(error) if error.is_connect() => {
                Err(OutboundError::Connect { host: shown, source: error.into() })
            }
            Err(error) => Err(OutboundError::NoResponse { host: shown, source: error.into() }),
        }
    }

    fn client(&self) -> Result<&Client<HttpsConnector<HttpConnector<Resolver>>, Body>, OutboundError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut http = HttpConnector::new_with_resolver(Resolver);
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let roots = rustls::ClientConfig::builder()
            .with_native_roots()
            .map_err(|_| OutboundError::BadRequest("this host has no root certificates to trust"))?;
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(roots.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(http);
        let client = Client::builder(self.spawn.clone()).build(https);
        Ok(self.client.get_or_init(|| client))
    }
}

/// Has a request go to this host. The host it was made for stays in its `host` header.
fn readdress(request: &mut Request<Body>, host: &str, port: u16) -> Result<(), OutboundError> {
    let invalid = OutboundError::BadRequest("its URI is not one of a host");
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    let made_for = parts.authority.take().ok_or(invalid)?;
    if !request.headers().contains_key(HOST)
        && let Ok(name) = HeaderValue::from_str(made_for.as_str())
    {
        request.headers_mut().insert(HOST, name);
    }
    let invalid = |_| OutboundError::BadRequest("its URI is not one of a host");
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let authority: Authority = format!("{host}:{port}").parse().map_err(invalid)?;
    parts.authority = Some(authority);
    parts.scheme.get_or_insert(Scheme::HTTP);
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    *request.uri_mut() =
        Uri::from_parts(parts).map_err(|_| OutboundError::BadRequest("its URI is not one of a host"))?;
    Ok(())
}

/// Resolves names by the host's resolver, and leaves out addresses that a name may not lead to: this host, and
/// its link. The connection is made to an address that was checked.
#[derive(Clone)]
struct Resolver;

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<_> = found.filter(|addr| Egress::allows_resolved(addr.ip())).collect();
            if allowed.is_empty() {
                let why = "the name leads to this host or its link only";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why).into());
            }
            Ok(allowed.into_iter())
        })
    }
}
