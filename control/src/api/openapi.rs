//! OpenAPI v3: the index of documents, and one document for each group version, under an address that changes
//! with its content, so that clients may keep it for good. And version 2, one document of everything.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{StatusCode, Uri};
use isopod_spec::openapi::Documents;
use isopod_spec::registry::Kinds;
use isopod_spec::status::Status;

use super::call::Call;
use super::discovery::{hash, is_known};
use super::negotiate;
use super::reply::{Content, JSON, Reply};

/// How long a document may be kept under the address that names its content.
const KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// The documents of the kinds that were served when somebody last asked.
#[derive(Default)]
pub(crate) struct Served(ArcSwap<(Arc<Kinds>, Arc<Documents>)>);

impl Served {
    /// The documents of these kinds. What did not change is not made again.
    pub(crate) fn of(&self, kinds: &Arc<Kinds>) -> Arc<Documents> {
        let known = self.0.load();
        if Arc::ptr_eq(&known.0, kinds) {
            return Arc::clone(&known.1);
        }
        let documents = Arc::new(known.1.updated(kinds));
        self.0.store(Arc::new((Arc::clone(kinds), Arc::clone(&documents))));
        documents
    }
}

/// Answers `/openapi/v3`.
pub(crate) async fn index(documents: &Arc<Documents>, call: &Call) -> Result<Reply, Status> {
    takes_json(call)?;
    let body = making(documents, |documents| Some(documents.index())).await?;
    let tag = hash(&body);
    Ok(tagged(body.into(), &tag, call))
}

/// Answers `/openapi/v3/<path>`.
pub(crate) async fn document(documents: &Arc<Documents>, path: &str, call: &Call) -> Result<Reply, Status> {
    takes_json(call)?;
    let wanted = path.to_owned();
    let found = making(documents, move |documents| {
        documents.get(&wanted).map(|document| (document.json.clone(), document.hash.clone()))
    });
    let (json, tag) = found.await?;
    let reply = match call.query.text("hash") {
        Some(asked) if asked != tag => {
            let there = format!("/openapi/v3/{path}?hash={tag}");
            return Ok(moved(&there));
        }
        Some(_) => tagged(json.into(), &tag, call)
            .with(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"))
            .with(header::EXPIRES, expires()),
        None => tagged(json.into(), &tag, call),
    };
    Ok(reply)
}

/// The one form in which client-go asks for version 2.
const VERSION_2: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The same as a media type that can be parsed: `@` may not be in one.
const VERSION_2_SENT: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Answers `/openapi/v2`: in JSON with everything, in protobuf with a document that describes nothing.
///
/// kubectl looks there for kinds that version 3 does not have, in protobuf only. Finding nothing, it goes on to say
/// that there is no such kind; finding no document, it would complain about that instead.
pub(crate) async fn version_2(documents: &Arc<Documents>, call: &Call) -> Result<Reply, Status> {
    let accepted = call.header(&header::ACCEPT).unwrap_or_default();
    if accepted.split(',').any(|range| range.trim().eq_ignore_ascii_case(VERSION_2)) {
        let kind = HeaderValue::from_static(VERSION_2_SENT);
        return Ok(Reply::of(StatusCode::OK, kind, Content::Whole(empty_version_2().into())));
    }
    takes_json(call)?;
    let found = making(documents, |documents| {
        let document = documents.version_2(crate::KUBERNETES_VERSION);
        Some((document.json.clone(), document.hash.clone()))
    });
    let (json, tag) = found.await?;
    Ok(tagged(json.into(), &tag, call))
}

/// `Document { swagger: "2.0", info: { title, version, description }, paths: {} }` of gnostic's `openapi_v2.proto`.
fn empty_version_2() -> Vec<u8> {
    let mut info = field(1, b"Kubernetes");
    info.extend(field(2, crate::KUBERNETES_VERSION.as_bytes()));
    info.extend(field(3, b"described by version 3, at /openapi/v3"));
    let mut document = field(1, b"2.0");
    document.extend(field(2, &info));
    document.extend(field(8, b""));
    document
}

/// A length-delimited field of a protobuf message. Number and length are below 16 and 128: one byte each.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 128);
    let mut field = vec![number << 3 | 2, length.expect("our texts are short")];
    field.extend_from_slice(content);
    field
}

fn takes_json(call: &Call) -> Result<(), Status> {
    match negotiate::takes_plain_json(call.header(&header::ACCEPT)) {
        true => Ok(()),
        false => Err(Status::not_acceptable(&["application/json"])),
    }
}

/// Runs `make` where it may take its time: a document is made when it is first asked for.
async fn making<T: Send + 'static>(
    documents: &Arc<Documents>,
    make: impl FnOnce(&Documents) -> Option<T> + Send + 'static,
) -> Result<T, Status> {
    let documents = Arc::clone(documents);
    let made = tokio::task::spawn_blocking(move || make(&documents)).await;
    made.map_err(|_| Status::internal("the document could not be made"))?.ok_or_else(Status::no_such_resource)
}

fn tagged(body: Bytes, tag: &str, call: &Call) -> Reply {
    let tag = format!("\"{tag}\"");
    let is_known = call.header(&header::IF_NONE_MATCH).is_some_and(|known| is_known(known, &tag));
    let reply = match is_known {
        true => Reply::of(StatusCode::NOT_MODIFIED, JSON, Content::Whole(Bytes::new())),
        false => Reply::json(StatusCode::OK, body),
    };
    reply
        .with(header::ETAG, HeaderValue::from_str(&tag).expect("quoted hexadecimal digits"))
        .with(header::VARY, HeaderValue::from_static("Accept"))
}

fn moved(there: &str) -> Reply {
    let reply = Reply::of(StatusCode::MOVED_PERMANENTLY, JSON, Content::Whole(Bytes::new()));
    match there.parse::<Uri>().ok().and_then(|uri| HeaderValue::from_str(&uri.to_string()).ok()) {
        Some(location) => reply.with(header::LOCATION, location),
        None => Reply::status(&Status::no_such_resource()),
    }
}

fn expires() -> HeaderValue {
    let date = httpdate::fmt_http_date(SystemTime::now() + KEPT);
    HeaderValue::from_str(&date).expect("a date is plain text")
}
