//! Request bodies to JSON: strict checks, YAML, protobuf.
//!
//! All decoders take bytes from the network. None panics, recurses without limit, or allocates more than a small
//! multiple of its input. Errors speak as upstream's Go decoders do, since clients' users know those words.

pub mod cursor;
pub mod protobuf;
pub mod strict;
pub mod yaml;

use thiserror::Error;

/// How deep arrays and objects may nest. Upstream's limit is 10,000; no type of the API comes near a hundred, and
/// `serde_json` stops at 128.
pub const MAX_DEPTH: usize = 120;

/// Why a body is not an object of the API. All of these are the client's fault (400).
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not JSON, or not a JSON object.
    #[error("couldn't get version/kind; json parse error: {0}")]
    Json(String),
    /// A value whose type is not the field's.
    #[error("{0}")]
    Type(String),
    /// A malformed protobuf body, or one made to grow.
    #[error("{0}")]
    Protobuf(String),
    /// Not YAML, or more of it than is allowed.
    #[error("error converting YAML to JSON: {0}")]
    Yaml(String),
    /// The envelope of a protobuf body names a kind that the schema has not.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind {
        /// Such as `apps/v1`.
        api_version: String,
        /// Such as `Deployment`.
        kind: String,
    },
}

impl DecodeError {
    fn protobuf(text: &str) -> DecodeError {
        DecodeError::Protobuf(text.to_owned())
    }

    /// What is wrong, without what was being done.
    pub fn detail(&self) -> String {
        match self {
            DecodeError::Json(detail) | DecodeError::Yaml(detail) => detail.clone(),
            other => other.to_string(),
        }
    }

    /// The `message` of the Status to answer with, when an object of kind `expected` was asked for.
    ///
    /// `found` is the kind and version that the body names, as far as it could be read; `body` is quoted in part.
    pub fn message(&self, expected: &str, found: Option<(&str, &str)>, body: &[u8]) -> String {
        match (self, found) {
            (DecodeError::Type(_) | DecodeError::Protobuf(_), Some((kind, version))) => {
                format!("{kind} in version {version:?} cannot be handled as a {expected}: {self}")
            }
            _ => {
                let body = summary(body);
                format!("the object provided is unrecognized (must be of type {expected}): {self} ({body})")
            }
        }
    }
}

/// The beginning of a body, for an error message: text if it looks like JSON, hexadecimal digits otherwise.
fn summary(body: &[u8]) -> String {
    const SHOWN_BYTES: usize = 30;
    let shown = &body[..body.len().min(SHOWN_BYTES)];
    let rest = if body.len() > SHOWN_BYTES { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{rest}", String::from_utf8_lossy(shown)),
        Some(_) => {
            let digits: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{digits}{rest}")
        }
    }
}
