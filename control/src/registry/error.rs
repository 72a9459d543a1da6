//! Errors as the distribution specification words them: a code, a sentence, a status.

use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};

use super::Body;

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Error {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Error {
        Error { status, code, message: message.into() }
    }

    pub(super) fn name_invalid(name: &str) -> Error {
        Error::new(StatusCode::BAD_REQUEST, "NAME_INVALID", format!("invalid repository name {name:?}"))
    }

    pub(super) fn digest_invalid(message: impl Into<String>) -> Error {
        Error::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
    }

    pub(super) fn tag_invalid(tag: &str) -> Error {
        Error::new(StatusCode::BAD_REQUEST, "TAG_INVALID", format!("invalid tag or digest {tag:?}"))
    }

    pub(super) fn name_unknown(name: &str) -> Error {
        Error::new(
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            format!("repository {name} is not known to this registry"),
        )
    }

    pub(super) fn manifest_unknown(name: &str, reference: &str) -> Error {
        Error::new(
            StatusCode::NOT_FOUND,
            "MANIFEST_UNKNOWN",
            format!("no manifest {reference} in repository {name}"),
        )
    }

    pub(super) fn manifest_invalid(message: impl Into<String>) -> Error {
        Error::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
    }

    pub(super) fn manifest_blob_unknown(digest: &str) -> Error {
        Error::new(
            StatusCode::BAD_REQUEST,
            "MANIFEST_BLOB_UNKNOWN",
            format!("the manifest names blob {digest}, which was not pushed"),
        )
    }

    pub(super) fn blob_unknown(digest: &str) -> Error {
        Error::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", format!("no blob {digest}"))
    }

    pub(super) fn upload_unknown() -> Error {
        Error::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "no such upload; start a new one")
    }

    pub(super) fn upload_invalid(message: impl Into<String>) -> Error {
        Error::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message)
    }

    pub(super) fn size_invalid(message: impl Into<String>) -> Error {
        Error::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", message)
    }

    pub(super) fn too_many_uploads() -> Error {
        Error::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TOOMANYREQUESTS",
            "too many uploads are open; try again later",
        )
    }

    pub(super) fn unsupported() -> Error {
        Error::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            "this registry does not support the operation",
        )
    }

    pub(super) fn not_found() -> Error {
        Error::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "no such path in the distribution API")
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Error {
        Error::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
    }

    pub(super) fn interrupted(message: impl Into<String>) -> Error {
        Error::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", message)
    }

    pub(super) fn denied(reason: &str) -> Error {
        Error::new(StatusCode::FORBIDDEN, "DENIED", reason)
    }

    /// Something on our side; logged here, where the cause is still at hand.
    pub(super) fn internal(doing: &str, cause: &(dyn std::error::Error + 'static)) -> Error {
        tracing::error!(error = cause, "registry: cannot {doing}");
        Error::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", format!("cannot {doing}: {cause}"))
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let body = serde_json::json!({ "errors": [{ "code": self.code, "message": self.message }] });
        let mut response = Response::new(whole(body.to_string()));
        *response.status_mut() = self.status;
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

/// A body that is all there.
pub(super) fn whole(bytes: impl Into<bytes::Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
