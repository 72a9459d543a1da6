//! The continue token of a paged list: which state is being listed, and where the next page begins.
//!
//! Clients treat it as opaque. It says nothing that the client could not see: a revision and the key, below the
//! listed prefix, of the first object that was not shown.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use isopod_raft_store::Revision;
use isopod_spec::status::Status;
use serde::{Deserialize, Serialize};

/// Longer tokens are refused unread; names and namespaces together have at most 507 bytes.
const TOKEN_BYTES_MAX: usize = 2048;

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// The state being listed; `None` = the present, after the first state had expired.
    pub(crate) revision: Option<Revision>,
    /// First key of the next page, without the prefix of the list.
    pub(crate) start: String,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: String,
    rv: i64,
    start: String,
}

const VERSION: &str = "meta.k8s.io/v1";

impl Token {
    /// The token as the client gets it.
    pub(crate) fn encode(&self) -> String {
        let rv = self.revision.map_or(-1, |revision| i64::try_from(revision.0).unwrap_or(i64::MAX));
        let wire = Wire { v: VERSION.to_owned(), rv, start: self.start.clone() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).expect("two strings and a number"))
    }

    /// Reads a token back; 400 when it is not one of ours.
    pub(crate) fn decode(text: &str) -> Result<Token, Status> {
        let invalid = |why: &str| Status::bad_request(format!("continue key is not valid: {why}"));
        if text.len() > TOKEN_BYTES_MAX {
            return Err(invalid("too long"));
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|error| invalid(&error.to_string()))?;
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
        if wire.v != VERSION {
            return Err(invalid("server does not recognize this encoded version"));
        }
        let revision = match wire.rv {
            -1 => None,
            rv if rv > 0 => Some(Revision(rv.unsigned_abs())),
            _ => return Err(invalid("incorrect encoded start resourceVersion")),
        };
        Ok(Token { revision, start: wire.start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_went() {
        for token in [
            Token { revision: Some(Revision(12)), start: "default/web\0".into() },
            Token { revision: None, start: String::new() },
        ] {
            assert_eq!(Token::decode(&token.encode()), Ok(token));
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for text in [
            "!".to_owned(),
            "x".repeat(TOKEN_BYTES_MAX + 1),
            encode("{}"),
            encode(r#"{"v":"other","rv":1,"start":""}"#),
            encode(r#"{"v":"meta.k8s.io/v1","rv":0,"start":""}"#),
            encode(r#"{"v":"meta.k8s.io/v1","rv":-2,"start":""}"#),
        ] {
            assert_eq!(Token::decode(&text).expect_err("refused").code, 400, "{text}");
        }
    }
}
