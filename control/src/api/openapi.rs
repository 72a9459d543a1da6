//! OpenAPI v3: the index of documents, and one document for each group version, under an address that changes
//! with its content, so that clients may keep it for good.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{StatusCode, Uri};
use isopod_spec::openapi::Documents;
use isopod_spec::status::Status;

use super::call::Call;
use super::discovery::{hash, is_known};
use super::negotiate;
use super::reply::{Content, JSON, Reply};

/// How long a document may be kept under the address that names its content.
const KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Answers `/openapi/v3`.
pub(crate) async fn index(documents: &Arc<Documents<'static>>, call: &Call) -> Result<Reply, Status> {
    takes_json(call)?;
    let body = making(documents, |documents| Some(documents.index())).await?;
    let tag = hash(&body);
    Ok(tagged(body.into(), &tag, call))
}

/// Answers `/openapi/v3/<path>`.
pub(crate) async fn document(
    documents: &Arc<Documents<'static>>,
    path: &str,
    call: &Call,
) -> Result<Reply, Status> {
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

/// What clients of `/openapi/v2` are told: most ask for protobuf only and turn to version 3 on this answer.
pub(crate) fn version_2(call: &Call) -> Status {
    match takes_json(call) {
        Err(status) => status,
        Ok(()) => Status::no_such_resource(),
    }
}

fn takes_json(call: &Call) -> Result<(), Status> {
    match negotiate::takes_plain_json(call.header(&header::ACCEPT)) {
        true => Ok(()),
        false => Err(Status::not_acceptable(&["application/json"])),
    }
}

/// Runs `make` where it may take its time: a document is made when it is first asked for.
async fn making<T: Send + 'static>(
    documents: &Arc<Documents<'static>>,
    make: impl FnOnce(&Documents<'static>) -> Option<T> + Send + 'static,
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
