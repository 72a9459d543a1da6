//! One request after its path is read: what every verb gets to see.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, request};
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use hyper::upgrade::OnUpgrade;
use isopod_spec::field_error::{FieldErrors, Path};
use isopod_spec::managed::MANAGER_BYTES_MAX;
use isopod_spec::status::{GroupKind, Status};

use super::negotiate::{self, Form, IncludeObject, MediaType};
use super::query::Query;
use super::reply::{BoxError, Wishes};
use crate::fairness::{Account, Held, turned_away};
use crate::objects::Commit;
use crate::security::Identity;

/// Body of a request.
pub(crate) type RequestBody = BoxBody<Bytes, BoxError>;

/// Largest request body: upstream's bound.
pub(crate) const BODY_BYTES_MAX: usize = 3 << 20;

/// A body counts as so many times its size while it is decoded, checked and admitted.
const DECODED_GROWTH: usize = 4;

/// Time in which a body must have arrived.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// So much of a body that is too large is read and thrown away.
const DISCARDED_BYTES_MAX: usize = 16 << 20;

/// Media types of request bodies, as 415 and 406 list them.
pub(crate) const MEDIA_TYPES: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// One request.
pub(crate) struct Call {
    pub(crate) identity: Identity,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    /// The connection, where the client asks to take it over.
    pub(crate) upgrade: Option<OnUpgrade>,
    /// What is held for the caller; `None` until it is known who that is.
    pub(crate) account: Option<Arc<Account>>,
    /// The body, counted until the request is answered.
    held: Option<Held>,
    body: Body,
}

/// How far a body has come.
enum Body {
    /// Nobody has asked for it.
    Unread(RequestBody),
    /// It is here, and counts as held until the request is answered.
    Here(Bytes),
    /// It was handed out.
    Taken,
}

/// How unknown and duplicate fields of a body are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl Call {
    pub(crate) fn new(identity: Identity, mut parts: request::Parts, body: RequestBody) -> Call {
        Call {
            upgrade: parts.extensions.remove(),
            identity,
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: Query::parse(parts.uri.query()),
            headers: parts.headers,
            account: None,
            held: None,
            body: Body::Unread(body),
        }
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The client's id for this request, or a fresh one.
    pub(crate) fn audit_id(&self) -> HeaderValue {
        let sent = self.headers.get("audit-id").filter(|value| value.len() <= 64);
        sent.cloned().unwrap_or_else(|| {
            HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).expect("a UUID is a header value")
        })
    }

    /// How the client wants its answer.
    pub(crate) fn wishes(&self) -> Wishes {
        let agent = self.header(&header::USER_AGENT).unwrap_or_default();
        // People who look with these want to read.
        let reads = ["curl/", "Wget/", "Mozilla/5.0"].iter().any(|own| agent.starts_with(own));
        let encodings = self.header(&header::ACCEPT_ENCODING).unwrap_or_default();
        let gzip =
            encodings.split(',').filter_map(|entry| entry.split(';').next()).any(|own| own.trim() == "gzip");
        Wishes { pretty: self.query.flag("pretty").unwrap_or(reads), gzip, head: self.method == Method::HEAD }
    }

    /// The form in which objects are answered; 406 when there is none that the client takes.
    pub(crate) fn form(&self) -> Result<(Form, IncludeObject), Status> {
        let form = negotiate::object_form(self.header(&header::ACCEPT))
            .ok_or_else(|| Status::not_acceptable(&MEDIA_TYPES))?;
        let include = negotiate::include_object(self.query.get("includeObject")).ok_or_else(|| {
            Status::bad_request("includeObject must be one of None, Metadata and Object".to_owned())
        })?;
        Ok((form, include))
    }

    /// `dryRun` of the query: `All`, or nothing.
    pub(crate) fn commit(&self) -> Result<Commit, Status> {
        commit(self.query.all("dryRun"))
    }

    /// `fieldValidation`; Warn when absent.
    pub(crate) fn field_validation(&self) -> Result<FieldValidation, Status> {
        match self.query.text("fieldValidation") {
            None | Some("Warn") => Ok(FieldValidation::Warn),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some(other) => Err(invalid_option("fieldValidation", other, &["Ignore", "Strict", "Warn", ""])),
        }
    }

    /// Who owns the fields that the request writes: the manager it names, else the program that sent it.
    pub(crate) fn field_manager(&self) -> Result<String, Status> {
        let Some(named) = self.query.text("fieldManager") else {
            let agent = self.header(&header::USER_AGENT).unwrap_or_default();
            return Ok(of_agent(agent));
        };
        let mut errors = FieldErrors::new();
        if named.len() > MANAGER_BYTES_MAX {
            errors.too_long(&MANAGER, MANAGER_BYTES_MAX);
        }
        if let Some((position, found)) = named.char_indices().find(|(_, found)| found.is_control()) {
            let code = u32::from(found);
            let detail = format!("invalid character U+{code:04X} (at position {position})");
            errors.invalid(&MANAGER, named, &detail);
        }
        match errors.is_empty() {
            true => Ok(named.to_owned()),
            false => Err(Status::invalid(WRITE_OPTIONS, "", &errors)),
        }
    }

    /// The body's type by its header; 415 when it is none of ours.
    pub(crate) fn media_type(&self) -> Result<MediaType, Status> {
        negotiate::media_type(self.header(&header::CONTENT_TYPE))
            .ok_or_else(|| Status::unsupported_media_type(&MEDIA_TYPES))
    }

    /// Waits until the body is here, within bounds of size, time, and what may be held for the caller. A connection that
    /// is to be taken over has none.
    pub(crate) async fn fetch_body(&mut self) -> Result<(), Status> {
        if self.headers.contains_key(header::UPGRADE) || !matches!(self.body, Body::Unread(_)) {
            return Ok(());
        }
        let Body::Unread(mut body) = std::mem::replace(&mut self.body, Body::Taken) else { return Ok(()) };
        let announced = self.header(&header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        if announced.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
            // Whoever asks before sending is told before.
            if !self.headers.contains_key(header::EXPECT) {
                let _ = tokio::time::timeout(BODY_TIMEOUT, discard(&mut body)).await;
            }
            return Err(Status::too_large(BODY_BYTES_MAX));
        }
        let mut held = self.account.as_ref().map(|account| account.hold(0));
        let collected = collect(body, BODY_BYTES_MAX, |bytes| match &mut held {
            Some(held) => held.grow(bytes * DECODED_GROWTH),
            None => true,
        });
        let bytes = match tokio::time::timeout(BODY_TIMEOUT, collected).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(Uncollected::TooLarge)) => return Err(Status::too_large(BODY_BYTES_MAX)),
            Ok(Err(Uncollected::NoRoom)) => {
                return Err(turned_away("the bodies of requests take as much memory as they may"));
            }
            Ok(Err(Uncollected::Broken(error))) => {
                return Err(Status::bad_request(format!("the body could not be read: {error}")));
            }
            Err(_) => return Err(Status::timeout("the request's body did not arrive in time", 1)),
        };
        (self.held, self.body) = (held, Body::Here(bytes));
        Ok(())
    }

    /// The whole body. The second call gets nothing.
    pub(crate) async fn read_body(&mut self) -> Result<Bytes, Status> {
        self.fetch_body().await?;
        match std::mem::replace(&mut self.body, Body::Taken) {
            Body::Here(bytes) => Ok(bytes),
            Body::Unread(_) | Body::Taken => Ok(Bytes::new()),
        }
    }
}

/// Why a body is not there as a whole.
pub(crate) enum Uncollected {
    /// It has more bytes than it may have.
    TooLarge,
    /// No more may be held.
    NoRoom,
    /// The connection broke.
    Broken(BoxError),
}

/// Reads a body of at most `bytes_max` bytes; `may_hold` is asked before each piece is kept.
pub(crate) async fn collect<B>(
    mut body: B,
    bytes_max: usize,
    mut may_hold: impl FnMut(usize) -> bool,
) -> Result<Bytes, Uncollected>
where
    B: http_body::Body<Data = Bytes, Error = BoxError> + Unpin,
{
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Uncollected::Broken)?.into_data() else { continue };
        if collected.len() + data.len() > bytes_max {
            discard(&mut body).await;
            return Err(Uncollected::TooLarge);
        }
        if !may_hold(data.len()) {
            return Err(Uncollected::NoRoom);
        }
        if collected.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

/// Reads on for a while: a client hears no answer while it sends, and is cut off if it is not heard out.
async fn discard<B>(body: &mut B)
where
    B: http_body::Body<Data = Bytes, Error = BoxError> + Unpin,
{
    let mut left = DISCARDED_BYTES_MAX;
    while left > 0
        && let Some(Ok(frame)) = body.frame().await
    {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
    }
}

/// Reads `dryRun` values; anything but `All` is Invalid.
pub(crate) fn commit<'a>(values: impl Iterator<Item = &'a str>) -> Result<Commit, Status> {
    let mut commit = Commit::Write;
    for value in values.filter(|value| !value.is_empty()) {
        if value != "All" {
            return Err(invalid_option("dryRun", value, &["All"]));
        }
        commit = Commit::DryRun;
    }
    Ok(commit)
}

const MANAGER: Path<'static> = Path::new("fieldManager");

const WRITE_OPTIONS: GroupKind<'static> = GroupKind { group: "meta.k8s.io", kind: "WriteOptions" };

/// A program's name, as it says it before the first slash.
fn of_agent(agent: &str) -> String {
    let mut name = String::new();
    for character in agent.split('/').next().unwrap_or_default().chars().filter(|found| !found.is_control()) {
        if name.len() + character.len_utf8() > MANAGER_BYTES_MAX {
            break;
        }
        name.push(character);
    }
    if name.is_empty() { "unknown".to_owned() } else { name }
}

fn invalid_option(name: &'static str, value: &str, supported: &[&str]) -> Status {
    let mut errors = FieldErrors::new();
    errors.not_supported(&Path::new(name), value, supported);
    Status::invalid(WRITE_OPTIONS, "", &errors)
}
