//! Each operation of the distribution API, from request to answer.

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Limited, StreamBody};
use tokio_util::io::ReaderStream;

use super::blobs::Blobs;
use super::catalog::Manifest;
use super::error::{Error, whole};
use super::others;
use super::reference::{Digest, Reference, RepositoryName};
use super::route::{Operation, route};
use super::{Body, MANIFEST_BYTES_MAX, Registry};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// Most names in one page of tags or repositories.
const PAGE_MAX: usize = 1000;

pub(super) async fn answer<B>(registry: &Registry, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let head = request.method() == Method::HEAD;
    let mut response = operate(registry, request).await.unwrap_or_else(Error::into_response);
    if head {
        *response.body_mut() = whole(Bytes::new());
    }
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

async fn operate<B>(registry: &Registry, request: Request<B>) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let query = Query(parts.uri.query().unwrap_or(""));
    match route(&parts.method, parts.uri.path())? {
        Operation::Base => Ok(json(StatusCode::OK, &serde_json::json!({}))),
        Operation::Catalog => {
            let names = query.page(registry.catalog.repositories());
            Ok(json(StatusCode::OK, &serde_json::json!({ "repositories": names })))
        }
        Operation::Tags(name) => {
            let tags = registry.catalog.tags(&name).ok_or_else(|| Error::name_unknown(name.as_str()))?;
            let page = query.page(tags);
            Ok(json(StatusCode::OK, &serde_json::json!({ "name": name.as_str(), "tags": page })))
        }
        Operation::Referrers => Ok(no_referrers()),
        Operation::GetManifest { name, reference } => get_manifest(registry, &name, &reference).await,
        Operation::PutManifest { name, reference } => {
            put_manifest(registry, &name, &reference, &parts.headers, body).await
        }
        Operation::DeleteManifest { name, reference } => {
            if registry.catalog.delete(&name, &reference).await? {
                Ok(empty(StatusCode::ACCEPTED))
            } else {
                Err(Error::manifest_unknown(name.as_str(), &shown(&reference)))
            }
        }
        Operation::GetBlob { name, digest } => {
            if !query.is_from_member() {
                others::ensure(&registry.others, &registry.blobs, &name, &digest).await?;
            }
            get_blob(registry, &digest, parts.method == Method::HEAD).await
        }
        Operation::StartUpload { name } => start_upload(registry, &name, query, body).await,
        Operation::UploadStatus { name, id } => {
            let length = registry.blobs.progress(&id)?;
            Ok(upload_answer(StatusCode::NO_CONTENT, &name, &id, length))
        }
        Operation::AppendUpload { name, id } => {
            let length = registry.blobs.append(&id, content_range(&parts.headers)?, body).await?;
            Ok(upload_answer(StatusCode::ACCEPTED, &name, &id, length))
        }
        Operation::FinishUpload { name, id } => {
            let digest =
                query.digest()?.ok_or_else(|| Error::digest_invalid("the query needs digest=sha256:…"))?;
            registry.blobs.append(&id, content_range(&parts.headers)?, body).await?;
            registry.blobs.finish(&id, &digest).await?;
            Ok(created(&format!("/v2/{}/blobs/{digest}", name.as_str()), &digest))
        }
        Operation::CancelUpload { id } => {
            registry.blobs.cancel(&id).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
    }
}

async fn get_manifest(
    registry: &Registry,
    name: &RepositoryName,
    reference: &Reference,
) -> Result<Response<Body>, Error> {
    let found = registry.catalog.manifest(name, reference).await?;
    let manifest = found.ok_or_else(|| Error::manifest_unknown(name.as_str(), &shown(reference)))?;
    let mut response = Response::new(whole(manifest.content.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, text(&manifest.media_type));
    headers.insert(header::CONTENT_LENGTH, manifest.content.len().into());
    headers.insert(CONTENT_DIGEST, text(manifest.digest.as_str()));
    Ok(response)
}

async fn put_manifest<B>(
    registry: &Registry,
    name: &RepositoryName,
    reference: &Reference,
    headers: &HeaderMap,
    body: B,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limited = Limited::new(body, MANIFEST_BYTES_MAX).collect().await;
    let content = limited
        .map_err(|_| Error::size_invalid(format!("a manifest may have {MANIFEST_BYTES_MAX} bytes at most")))?
        .to_bytes();
    let digest = Digest::of(&content);
    if let Reference::Digest(expected) = reference
        && *expected != digest
    {
        return Err(Error::digest_invalid(format!("the manifest has digest {digest}, not {expected}")));
    }
    let (media_type, blobs) = check_manifest(registry, name, headers, &content).await?;
    others::spread(&registry.others, &registry.blobs, name, &blobs).await?;
    let tag = match reference {
        Reference::Tag(tag) => Some(tag.as_str()),
        Reference::Digest(_) => None,
    };
    registry.catalog.put(name, tag, &Manifest { digest: digest.clone(), media_type, content }).await?;
    Ok(created(&format!("/v2/{}/manifests/{digest}", name.as_str()), &digest))
}

/// The manifest must be JSON, say its type, and name only blobs that the cluster has. Returns type and blobs.
async fn check_manifest(
    registry: &Registry,
    name: &RepositoryName,
    headers: &HeaderMap,
    content: &[u8],
) -> Result<(String, Vec<Digest>), Error> {
    let manifest: serde_json::Value = serde_json::from_slice(content)
        .map_err(|e| Error::manifest_invalid(format!("not a JSON manifest: {e}")))?;
    let stated = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = stated.or_else(|| manifest["mediaType"].as_str());
    let media_type = media_type.filter(|stated| !stated.contains('\n'));
    let media_type = media_type.ok_or_else(|| Error::manifest_invalid("Content-Type is missing"))?;
    let layers = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = layers.iter().chain(manifest.get("config")).filter_map(|part| part["digest"].as_str());
    let blobs = named.map(Digest::parse).collect::<Result<Vec<_>, _>>()?;
    for digest in &blobs {
        if !others::ensure(&registry.others, &registry.blobs, name, digest).await? {
            return Err(Error::manifest_blob_unknown(digest.as_str()));
        }
    }
    Ok((media_type.to_owned(), blobs))
}

async fn get_blob(registry: &Registry, digest: &Digest, head: bool) -> Result<Response<Body>, Error> {
    let length = registry.blobs.length(digest).await.ok_or_else(|| Error::blob_unknown(digest.as_str()))?;
    let body = if head { whole(Bytes::new()) } else { file_body(&registry.blobs, digest).await? };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(CONTENT_DIGEST, text(digest.as_str()));
    Ok(response)
}

/// The content of a blob that is here.
pub(super) async fn file_body(blobs: &Blobs, digest: &Digest) -> Result<Body, Error> {
    let file = tokio::fs::File::open(blobs.path(digest)).await;
    let file = file.map_err(|e| Error::internal("open a blob", &e))?;
    let frames = ReaderStream::with_capacity(file, 64 << 10);
    let frames = frames.map(|chunk| chunk.map(Frame::data).map_err(Into::into));
    Ok(BodyExt::boxed_unsync(StreamBody::new(frames)))
}

/// A plain start, a whole blob in one request (`?digest=`), or a mount, which here means the blob is there
/// already: blobs are shared by all repositories.
async fn start_upload<B>(
    registry: &Registry,
    name: &RepositoryName,
    query: Query<'_>,
    body: B,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let Some(mounted) = query.get("mount") {
        let digest = Digest::parse(&mounted)?;
        if others::ensure(&registry.others, &registry.blobs, name, &digest).await? {
            return Ok(created(&format!("/v2/{}/blobs/{digest}", name.as_str()), &digest));
        }
    }
    let id = registry.blobs.start().await?;
    let Some(digest) = query.digest()? else {
        return Ok(upload_answer(StatusCode::ACCEPTED, name, &id, 0));
    };
    if let Err(error) = registry.blobs.append(&id, None, body).await {
        registry.blobs.cancel(&id).await?;
        return Err(error);
    }
    registry.blobs.finish(&id, &digest).await?;
    Ok(created(&format!("/v2/{}/blobs/{digest}", name.as_str()), &digest))
}

/// `Content-Range: <start>-<end>` of a chunk; absent in a streamed upload.
fn content_range(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let Some(range) = headers.get(header::CONTENT_RANGE) else { return Ok(None) };
    let start = range
        .to_str()
        .ok()
        .and_then(|range| range.trim_start_matches("bytes ").split('-').next()?.parse().ok());
    start.map(Some).ok_or_else(|| Error::upload_invalid("Content-Range must be <start>-<end>"))
}

fn no_referrers() -> Response<Body> {
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [],
    });
    let mut response = json(StatusCode::OK, &index);
    let kind = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn upload_answer(status: StatusCode, name: &RepositoryName, id: &str, length: u64) -> Response<Body> {
    let mut response = empty(status);
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, text(&format!("/v2/{}/blobs/uploads/{id}", name.as_str())));
    headers.insert(header::RANGE, text(&format!("0-{}", length.saturating_sub(1))));
    headers.insert(UPLOAD_UUID, text(id));
    response
}

fn created(location: &str, digest: &Digest) -> Response<Body> {
    let mut response = empty(StatusCode::CREATED);
    response.headers_mut().insert(header::LOCATION, text(location));
    response.headers_mut().insert(CONTENT_DIGEST, text(digest.as_str()));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(whole(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Header text from what was validated to be plain ASCII, or from a client's own media type.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))
}

fn shown(reference: &Reference) -> String {
    match reference {
        Reference::Tag(tag) => tag.clone(),
        Reference::Digest(digest) => digest.to_string(),
    }
}

/// A query string, read by name.
#[derive(Clone, Copy)]
struct Query<'a>(&'a str);

impl Query<'_> {
    fn get(self, name: &str) -> Option<String> {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()?;
        Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
    }

    /// Whether another member asks.
    fn is_from_member(self) -> bool {
        let (key, value) = others::FROM_MEMBER;
        self.get(key).as_deref() == Some(value)
    }

    fn digest(self) -> Result<Option<Digest>, Error> {
        self.get("digest").map(|digest| Digest::parse(&digest)).transpose()
    }

    /// `n` names after `last`.
    fn page(self, names: Vec<String>) -> Vec<String> {
        let most = self.get("n").and_then(|n| n.parse().ok()).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let last = self.get("last").unwrap_or_default();
        names.into_iter().filter(|name| *name > last).take(most).collect()
    }
}
