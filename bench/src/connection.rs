//! One HTTP/1.1 connection to the API over TLS, as a client library would keep it.

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::endpoint::Endpoint;

/// A request to the API.
pub(crate) type ApiRequest = Request<Full<Bytes>>;

/// A connection; one request at a time.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    /// Connects, and has TLS done before any clock starts.
    pub(crate) async fn open(endpoint: &Endpoint) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(endpoint.address).await.context("cannot connect to the API")?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(endpoint.address.ip().into());
        let tls = TlsConnector::from(endpoint.tls.clone()).connect(name, stream).await;
        let tls = tls.context("TLS with the API failed")?;
        let (sender, driver) = handshake(TokioIo::new(tls)).await?;
        // Its error comes to whoever waits for an answer.
        let driver = tokio::spawn(async move { drop(driver.await) });
        let host = HeaderValue::from_str(&endpoint.address.to_string())?;
        Ok(Connection { sender, host, _driver: AbortOnDropHandle::new(driver) })
    }

    /// Sends a request; the answer's body is still to be read.
    pub(crate) async fn send(&mut self, mut request: ApiRequest) -> anyhow::Result<Response<Incoming>> {
        request.headers_mut().insert(HOST, self.host.clone());
        self.sender.ready().await.context("the API closed the connection")?;
        self.sender.send_request(request).await.context("the API did not answer")
    }

    /// Sends a request and reads the whole answer, whatever its status.
    pub(crate) async fn answer(&mut self, request: ApiRequest) -> anyhow::Result<(StatusCode, Bytes)> {
        let response = self.send(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// Sends a request that must succeed.
    pub(crate) async fn expect(&mut self, request: ApiRequest) -> anyhow::Result<Bytes> {
        let what = format!("{} {}", request.method(), request.uri());
        let (status, body) = self.answer(request).await?;
        ensure!(status.is_success(), "{what}: {status}: {}", String::from_utf8_lossy(&body).trim());
        Ok(body)
    }

    /// Sends a request that must succeed and lets `take` have each piece of the answer as it comes.
    pub(crate) async fn stream(
        &mut self,
        request: ApiRequest,
        mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let response = self.send(request).await?;
        if !response.status().is_success() {
            bail!("{}", response.status());
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame?.data_ref() {
                take(data)?;
            }
        }
        Ok(())
    }

    /// Creates an object that may be there already.
    pub(crate) async fn ensure(&mut self, request: ApiRequest) -> anyhow::Result<()> {
        let what = request.uri().to_string();
        let (status, body) = self.answer(request).await?;
        let there = status.is_success() || status == StatusCode::CONFLICT;
        ensure!(there, "POST {what}: {status}: {}", String::from_utf8_lossy(&body).trim());
        Ok(())
    }
}

/// GET of JSON.
pub(crate) fn get(path: &str) -> ApiRequest {
    request(Method::GET, path, None, String::new())
}

/// GET in another form.
pub(crate) fn get_as(path: &str, header: http::HeaderName, value: &'static str) -> ApiRequest {
    let mut request = get(path);
    request.headers_mut().insert(header, HeaderValue::from_static(value));
    request
}

/// POST of JSON.
pub(crate) fn post(path: &str, json: String) -> ApiRequest {
    request(Method::POST, path, Some("application/json"), json)
}

/// PATCH by merge.
pub(crate) fn merge(path: &str, json: String) -> ApiRequest {
    request(Method::PATCH, path, Some("application/merge-patch+json"), json)
}

/// DELETE without grace.
pub(crate) fn delete(path: &str) -> ApiRequest {
    let options = r#"{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0}"#;
    request(Method::DELETE, path, Some("application/json"), options.into())
}

fn request(method: Method, path: &str, content_type: Option<&'static str>, body: String) -> ApiRequest {
    let mut builder = Request::builder().method(method).uri(path);
    builder = builder.header(ACCEPT, "application/json");
    if let Some(content_type) = content_type {
        builder = builder.header(CONTENT_TYPE, content_type);
    }
    builder.body(Full::new(body.into())).expect("paths and headers are made here, of plain ASCII")
}
