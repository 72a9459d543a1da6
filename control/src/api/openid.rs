//! How others may check ServiceAccount tokens by themselves: the key, and where it is found.

use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::reply::{Content, Reply};
use crate::security::SigningKey;
use crate::security::tokens::ISSUER;

/// Answers `/.well-known/openid-configuration`; `address` is where clients reach the API.
pub(crate) fn configuration(address: &str) -> Reply {
    let body = json!({
        "issuer": ISSUER,
        "jwks_uri": format!("https://{address}/openid/v1/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    Reply::json(StatusCode::OK, body.to_string())
}

/// Answers `/openid/v1/jwks`.
pub(crate) fn keys(key: &SigningKey) -> Reply {
    const TYPE: HeaderValue = HeaderValue::from_static("application/jwk-set+json");
    Reply::of(StatusCode::OK, TYPE, Content::Whole(key.key_set().to_string().into()))
}
