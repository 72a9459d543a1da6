//! The API's error body and its reasons.
//!
//! [`Status`] is both the error type of everything that serves the API and the JSON a client gets. Codes,
//! reasons and wording follow `k8s.io/apimachinery/pkg/api/errors`: clients branch on the reason and people
//! search for the message.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::field_error::{FieldErrors, quote};

/// Why a request failed, in one word that programs branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the wire words; the constructors of Status explain them")]
pub enum Reason {
    Unknown,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    InternalError,
    ServerTimeout,
    ServiceUnavailable,
    Timeout,
}

impl Reason {
    /// The word on the wire; empty for [`Reason::Unknown`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Unknown => "",
            Reason::BadRequest => "BadRequest",
            Reason::Unauthorized => "Unauthorized",
            Reason::Forbidden => "Forbidden",
            Reason::NotFound => "NotFound",
            Reason::MethodNotAllowed => "MethodNotAllowed",
            Reason::NotAcceptable => "NotAcceptable",
            Reason::AlreadyExists => "AlreadyExists",
            Reason::Conflict => "Conflict",
            Reason::Gone => "Gone",
            Reason::Expired => "Expired",
            Reason::RequestEntityTooLarge => "RequestEntityTooLarge",
            Reason::UnsupportedMediaType => "UnsupportedMediaType",
            Reason::Invalid => "Invalid",
            Reason::TooManyRequests => "TooManyRequests",
            Reason::InternalError => "InternalError",
            Reason::ServerTimeout => "ServerTimeout",
            Reason::ServiceUnavailable => "ServiceUnavailable",
            Reason::Timeout => "Timeout",
        }
    }

    const fn code(self) -> u16 {
        match self {
            Reason::BadRequest => 400,
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Gone | Reason::Expired => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::Unknown | Reason::InternalError | Reason::ServerTimeout => 500,
            Reason::ServiceUnavailable => 503,
            Reason::Timeout => 504,
        }
    }
}

/// A resource and its group, written `deployments.apps` or, in the core group, `pods`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupResource<'a> {
    /// The group; empty for core.
    pub group: &'a str,
    /// The plural name.
    pub resource: &'a str,
}

impl fmt::Display for GroupResource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_qualified(f, self.resource, self.group)
    }
}

/// A kind and its group, written `Deployment.apps` or, in the core group, `Pod`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupKind<'a> {
    /// The group; empty for core.
    pub group: &'a str,
    /// The kind.
    pub kind: &'a str,
}

impl fmt::Display for GroupKind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_qualified(f, self.kind, self.group)
    }
}

fn write_qualified(f: &mut fmt::Formatter<'_>, what: &str, group: &str) -> fmt::Result {
    match group {
        "" => f.write_str(what),
        group => write!(f, "{what}.{group}"),
    }
}

/// One cause among several, for programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cause {
    /// The kind of cause: `FieldValueInvalid`, `NamespaceTerminating`, …
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub message: String,
    /// The field at fault, if it is one.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub field: String,
}

/// What the status is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group; empty for core.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The *resource* (plural) for most reasons, the *Kind* for Invalid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Uid of the object, where there is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Causes, in the order found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Seconds after which the client may try again; 0 = not said.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
    /// `metadata.continue` of an expired list, by which a client may go on inconsistently.
    #[serde(skip)]
    pub continue_token: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A failure as the API reports it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
}

impl Status {
    fn new(reason: Reason, message: String) -> Status {
        Status { code: reason.code(), reason, message, details: None }
    }

    fn about(reason: Reason, what: GroupResource<'_>, name: &str, message: String) -> Status {
        let mut status = Status::new(reason, message);
        let details = status.details_mut();
        name.clone_into(&mut details.name);
        what.group.clone_into(&mut details.group);
        what.resource.clone_into(&mut details.kind);
        status
    }

    /// The details, made if there are none yet.
    pub fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_with(Box::default)
    }

    /// Seconds after which the client may try again; goes to the body and, by the server, to `Retry-After`.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.details.as_ref().map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0)
    }

    fn with_retry_after(mut self, seconds: u32) -> Status {
        self.details_mut().retry_after_seconds = seconds;
        self
    }

    fn with_cause(mut self, reason: &str, message: &str, field: &str) -> Status {
        self.details_mut().causes.push(Cause {
            reason: reason.to_owned(),
            message: message.to_owned(),
            field: field.to_owned(),
        });
        self
    }

    /// 404: no such object.
    pub fn not_found<'a>(what: impl Into<GroupResource<'a>>, name: &str) -> Status {
        let what = what.into();
        Status::about(Reason::NotFound, what, name, format!("{what} {} not found", quote(name)))
    }

    /// 404: no such path, resource or subresource.
    pub fn no_such_resource() -> Status {
        let message = "the server could not find the requested resource".to_owned();
        let mut status = Status::new(Reason::NotFound, message);
        status.details_mut();
        status
    }

    /// 409: the name is taken.
    pub fn already_exists<'a>(what: impl Into<GroupResource<'a>>, name: &str) -> Status {
        let what = what.into();
        Status::about(Reason::AlreadyExists, what, name, format!("{what} {} already exists", quote(name)))
    }

    /// 409: every generated name was taken; the client may try again at once.
    pub fn name_not_generated<'a>(what: impl Into<GroupResource<'a>>, name: &str) -> Status {
        let what = what.into();
        let message = format!(
            "{what} {} already exists, the server was not able to generate a unique name for the object",
            quote(name)
        );
        Status::about(Reason::AlreadyExists, what, name, message).with_retry_after(1)
    }

    /// 409: the write cannot be made on this object as it is now; `why` is a clause.
    pub fn conflict<'a>(what: impl Into<GroupResource<'a>>, name: &str, why: &str) -> Status {
        let what = what.into();
        let message = format!("Operation cannot be fulfilled on {what} {}: {why}", quote(name));
        Status::about(Reason::Conflict, what, name, message)
    }

    /// 409: the resourceVersion of the request is not the stored one.
    pub fn modified<'a>(what: impl Into<GroupResource<'a>>, name: &str) -> Status {
        const WHY: &str =
            "the object has been modified; please apply your changes to the latest version and try again";
        Status::conflict(what, name, WHY)
    }

    /// 409: a precondition (`UID` or `ResourceVersion`) of the request does not hold.
    pub fn precondition_failed<'a>(
        what: impl Into<GroupResource<'a>>,
        name: &str,
        precondition: &str,
        wanted: &str,
        found: &str,
    ) -> Status {
        let why = format!(
            "Precondition failed: {precondition} in precondition: {wanted}, {precondition} in object meta: {found}"
        );
        Status::conflict(what, name, &why)
    }

    /// 403: not allowed; `name` may be empty when the request names no object.
    pub fn forbidden<'a>(what: impl Into<GroupResource<'a>>, name: &str, why: &str) -> Status {
        let what = what.into();
        let message = match (what.resource, name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{what} is forbidden: {why}"),
            (_, name) => format!("{what} {} is forbidden: {why}", quote(name)),
        };
        Status::about(Reason::Forbidden, what, name, message)
    }

    /// 403: the namespace is being deleted, so nothing new may come into it.
    pub fn namespace_terminating<'a>(
        what: impl Into<GroupResource<'a>>,
        name: &str,
        namespace: &str,
    ) -> Status {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let cause = format!("namespace {namespace} is being terminated");
        Status::forbidden(what, name, &why).with_cause("NamespaceTerminating", &cause, "metadata.namespace")
    }

    /// 401: the server does not know who asks.
    pub fn unauthorized() -> Status {
        Status::new(Reason::Unauthorized, "Unauthorized".to_owned())
    }

    /// 422: the object breaks rules of its kind.
    pub fn invalid<'a>(kind: impl Into<GroupKind<'a>>, name: &str, errors: &FieldErrors) -> Status {
        let kind = kind.into();
        let message = match errors.is_empty() {
            true => format!("{kind} {} is invalid", quote(name)),
            false => format!("{kind} {} is invalid: {}", quote(name), errors.message()),
        };
        let what = GroupResource { group: kind.group, resource: kind.kind };
        let mut status = Status::about(Reason::Invalid, what, name, message);
        status.details_mut().causes = errors
            .iter()
            .map(|error| Cause {
                reason: error.problem.reason().to_owned(),
                message: error.body.clone(),
                field: error.field.clone(),
            })
            .collect();
        status
    }

    /// 400: the request does not make sense.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(Reason::BadRequest, message.into())
    }

    /// 405: the resource does not know this verb (`update`, `deletecollection`, …).
    pub fn method_not_allowed<'a>(what: impl Into<GroupResource<'a>>, verb: &str) -> Status {
        let what = what.into();
        let message = format!("{verb} is not supported on resources of kind {}", quote(&what.to_string()));
        Status::about(Reason::MethodNotAllowed, what, "", message)
    }

    /// 406: none of the media types the client accepts can be given.
    pub fn not_acceptable(supported: &[&str]) -> Status {
        let supported = supported.join(", ");
        Status::new(
            Reason::NotAcceptable,
            format!("only the following media types are accepted: {supported}"),
        )
    }

    /// 415: the body's media type is unknown here.
    pub fn unsupported_media_type(supported: &[&str]) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            supported.join(", ")
        );
        Status::new(Reason::UnsupportedMediaType, message)
    }

    /// 413: the body or the object is larger than `limit` bytes.
    pub fn too_large(limit: usize) -> Status {
        let message = format!("Request entity too large: limit is {limit}");
        Status::new(Reason::RequestEntityTooLarge, message)
    }

    /// 410: the state asked for is no longer kept; the client must list anew.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::new(Reason::Expired, message.into())
    }

    /// 410 of a watch from before the kept history.
    pub fn too_old_resource_version(requested: u64, oldest: u64) -> Status {
        Status::expired(format!("too old resource version: {requested} ({oldest})"))
    }

    /// 410 of a page token from before the kept history; `token`, if given, lets the client go on in the present.
    pub fn continue_expired(token: Option<String>) -> Status {
        const START: &str = "The provided continue parameter is too old to display a consistent list result. \
            You can start a new list without the continue parameter";
        const OR: &str = "or use the continue token in this response to retrieve the remainder of the results. \
            Continuing with the provided token results in an inconsistent list - objects that were created, \
            modified, or deleted between the time the first chunk was returned and now may show up in the list.";
        match token {
            None => Status::expired(format!("{START}.")),
            Some(token) => {
                let mut status = Status::expired(format!("{START}, {OR}"));
                status.details_mut().continue_token = token;
                status
            }
        }
    }

    /// 429: try again after `seconds`.
    pub fn too_many_requests(message: impl Into<String>, seconds: u32) -> Status {
        Status::new(Reason::TooManyRequests, message.into()).with_retry_after(seconds)
    }

    /// 500: our fault; `cause` tells what happened without secrets.
    pub fn internal(cause: impl fmt::Display) -> Status {
        let cause = cause.to_string();
        Status::new(Reason::InternalError, format!("Internal error occurred: {cause}"))
            .with_cause("", &cause, "")
    }

    /// 500 ServerTimeout: the operation may or may not have happened; try again.
    pub fn server_timeout<'a>(what: impl Into<GroupResource<'a>>, operation: &str, seconds: u32) -> Status {
        let what = what.into();
        let message = format!(
            "The {operation} operation against {what} could not be completed at this time, please try again."
        );
        Status::about(Reason::ServerTimeout, what, operation, message).with_retry_after(seconds)
    }

    /// 503: not now; try again in a second.
    pub fn unavailable(message: impl Into<String>) -> Status {
        Status::new(Reason::ServiceUnavailable, message.into()).with_retry_after(1)
    }

    /// 504: the request took longer than it may; try again after `seconds`.
    pub fn timeout(message: &str, seconds: u32) -> Status {
        Status::new(Reason::Timeout, format!("Timeout: {message}")).with_retry_after(seconds)
    }

    /// 504: the resourceVersion asked for is in the future.
    pub fn too_large_resource_version(requested: u64, current: u64) -> Status {
        let message = format!("Too large resource version: {requested}, current: {current}");
        Status::timeout(&message, 1).with_cause("ResourceVersionTooLarge", "Too large resource version", "")
    }

    /// The body as a client gets it.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a status has only strings and numbers")
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_struct("Status", 8)?;
        body.serialize_field("kind", "Status")?;
        body.serialize_field("apiVersion", "v1")?;
        let token = self.details.as_ref().map_or("", |details| &details.continue_token);
        body.serialize_field("metadata", &ListMeta { continue_token: token })?;
        body.serialize_field("status", "Failure")?;
        body.serialize_field("message", &self.message)?;
        if self.reason != Reason::Unknown {
            body.serialize_field("reason", self.reason.as_str())?;
        }
        if let Some(details) = &self.details {
            body.serialize_field("details", details)?;
        }
        body.serialize_field("code", &self.code)?;
        body.end()
    }
}

#[derive(serde::Serialize)]
struct ListMeta<'a> {
    #[serde(rename = "continue", skip_serializing_if = "str::is_empty")]
    continue_token: &'a str,
}

/// The body of a DELETE that removed the object at once.
pub fn success<'a>(what: impl Into<GroupResource<'a>>, name: &str, uid: &str) -> Vec<u8> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Success<'a> {
        kind: &'a str,
        api_version: &'a str,
        metadata: ListMeta<'a>,
        status: &'a str,
        #[serde(skip_serializing_if = "is_default")]
        details: Details,
    }
    fn is_default(details: &Details) -> bool {
        *details == Details::default()
    }
    let what = what.into();
    let details = Details {
        name: name.to_owned(),
        group: what.group.to_owned(),
        kind: what.resource.to_owned(),
        uid: uid.to_owned(),
        ..Details::default()
    };
    let metadata = ListMeta { continue_token: "" };
    let body = Success { kind: "Status", api_version: "v1", metadata, status: "Success", details };
    serde_json::to_vec(&body).expect("a status has only strings and numbers")
}

#[cfg(test)]
mod tests;
