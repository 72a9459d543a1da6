//! Blobs across members: each blob is on a majority of them before a manifest may name it, and a member that lacks
//! one fetches it from another and keeps it.
//!
//! Manifests and tags need none of this: they are keys of the replicated store. Requests between members carry
//! `from=member` in their query and are answered from what is there, so that nobody asks in circles.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::blobs::Blobs;
use super::error::{Error, whole};
use super::reference::{Digest, RepositoryName};
use super::{Body, BoxError, serve};

/// What the query of a request between members holds.
pub(super) const FROM_MEMBER: (&str, &str) = ("from", "member");
/// How long a member may take to begin an answer. One that was stopped takes connections and never does.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A blob under way may take this, and a second more for each [`BYTES_PER_SECOND`].
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(10);
const BYTES_PER_SECOND: u64 = 4 << 20;

/// The registries of the other members.
pub trait Others: Send + Sync {
    /// `host:port` of every other member's API.
    fn addresses(&self) -> Vec<String>;

    /// Sends a request, whose URI is a path, to one of them.
    fn ask(&self, address: String, request: Request<Body>) -> Asked;
}

/// An answer under way.
pub type Asked = BoxFuture<'static, Result<Response<Body>, BoxError>>;

/// The one member of a cluster has no others.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Others for Nobody {
    fn addresses(&self) -> Vec<String> {
        Vec::new()
    }

    fn ask(&self, address: String, _: Request<Body>) -> Asked {
        async move { Err(format!("{address} is not a member").into()) }.boxed()
    }
}

/// Asks the other members over mutual TLS.
pub struct OverTls<F> {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    addresses: F,
}

impl<F: Fn() -> Vec<String> + Send + Sync> OverTls<F> {
    /// `tls` shows the member's certificate; `addresses` tells where the others are now.
    pub fn new(tls: rustls::ClientConfig, addresses: F) -> OverTls<F> {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        OverTls { client: Client::builder(TokioExecutor::new()).build(connector), addresses }
    }
}

impl<F: Fn() -> Vec<String> + Send + Sync> Others for OverTls<F> {
    fn addresses(&self) -> Vec<String> {
        (self.addresses)()
    }

    fn ask(&self, address: String, mut request: Request<Body>) -> Asked {
        let client = self.client.clone();
        async move {
            *request.uri_mut() = format!("https://{address}{}", request.uri()).parse()?;
            let response = client.request(request).await?;
            Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
        }
        .boxed()
    }
}

/// Whether the blob is here, or was just fetched from another member.
pub(super) async fn ensure(
    others: &Arc<dyn Others>,
    blobs: &Blobs,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<bool, Error> {
    if blobs.length(digest).await.is_some() {
        return Ok(true);
    }
    for address in others.addresses() {
        match fetch(others, &address, blobs, name, digest).await {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(address, %digest, error, "registry: cannot fetch a blob from a member");
            }
        }
    }
    Ok(false)
}

/// Fetches a blob from one member; `false` when it has none.
async fn fetch(
    others: &Arc<dyn Others>,
    address: &str,
    blobs: &Blobs,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<bool, BoxError> {
    let request = request(Method::GET, &blob_path(name, digest), empty());
    let response = tokio::time::timeout(ANSWER_TIMEOUT, others.ask(address.to_owned(), request)).await??;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(false),
        status => return Err(format!("it answered {status}").into()),
    }
    let length = response.headers().get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
    let id = blobs.start().await.map_err(|error| error.message)?;
    let receive = async {
        blobs.append(&id, None, response.into_body()).await?;
        blobs.finish(&id, digest).await
    };
    let received = tokio::time::timeout(transfer_timeout(length), receive).await;
    match received {
        Ok(Ok(())) => Ok(true),
        Ok(Err(error)) => {
            // Ended already when the digest was wrong.
            blobs.cancel(&id).await.ok();
            Err(error.message.into())
        }
        Err(slow) => {
            blobs.forget(&id).await;
            Err(slow.into())
        }
    }
}

/// Returns when a majority of the members has all of the blobs.
pub(super) async fn spread(
    others: &Arc<dyn Others>,
    blobs: &Blobs,
    name: &RepositoryName,
    digests: &[Digest],
) -> Result<(), Error> {
    let addresses = others.addresses();
    let needed = addresses.len().div_ceil(2);
    let mut giving = Vec::with_capacity(addresses.len());
    for address in &addresses {
        giving.push(give(others, address, blobs, name, digests));
    }
    let given = join_all(giving).await;
    let holding = given.iter().filter(|given| given.is_ok()).count();
    for (address, error) in
        addresses.iter().zip(&given).filter_map(|(a, given)| Some((a, given.as_ref().err()?)))
    {
        tracing::warn!(address, error, "registry: cannot give a blob to a member");
    }
    if holding < needed {
        return Err(Error::unavailable(format!(
            "only {} of {} members could store the content; try again when more of them are there",
            holding + 1,
            addresses.len() + 1
        )));
    }
    Ok(())
}

/// Gives one member what it lacks.
async fn give(
    others: &Arc<dyn Others>,
    address: &str,
    blobs: &Blobs,
    name: &RepositoryName,
    digests: &[Digest],
) -> Result<(), BoxError> {
    for digest in digests {
        let head = request(Method::HEAD, &blob_path(name, digest), empty());
        let head = tokio::time::timeout(ANSWER_TIMEOUT, others.ask(address.to_owned(), head)).await??;
        if head.status() == StatusCode::OK {
            continue;
        }
        let length = blobs.length(digest).await.unwrap_or(0);
        let content = serve::file_body(blobs, digest).await.map_err(|error| error.message)?;
        let path = format!("/v2/{}/blobs/uploads/?digest={digest}", name.as_str());
        let upload = others.ask(address.to_owned(), request(Method::POST, &path, content));
        let answer = tokio::time::timeout(transfer_timeout(length), upload).await??;
        if answer.status() != StatusCode::CREATED {
            return Err(format!("it answered {} to the upload of {digest}", answer.status()).into());
        }
    }
    Ok(())
}

fn transfer_timeout(bytes: u64) -> Duration {
    TRANSFER_TIMEOUT + Duration::from_secs(bytes / BYTES_PER_SECOND)
}

fn blob_path(name: &RepositoryName, digest: &Digest) -> String {
    format!("/v2/{}/blobs/{digest}", name.as_str())
}

fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    let (key, value) = FROM_MEMBER;
    let join = if path.contains('?') { '&' } else { '?' };
    let request = Request::builder().method(method).uri(format!("{path}{join}{key}={value}"));
    request.body(body).expect("repository names and digests are valid in a path")
}

fn empty() -> Body {
    whole(Bytes::new())
}
