//! ServiceAccount tokens: signed statements of who the bearer is, made for a limited time and bound to objects of
//! the cluster, so that a token ends with its pod.
//!
//! JSON Web Tokens signed with ES256 by a key that all members share. A signature is checked once and remembered by the
//! token's hash; time and objects are looked at on every use.

mod claims;
mod key;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use isopod_raft_store::Snapshot;
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::identity::Identity;
pub(crate) use claims::{Bound, Claims, Reference};
pub use key::SigningKey;

/// Who signs: also the audience of tokens that are made for the API itself.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Longer ones are refused unread.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Tokens whose signature is remembered.
const REMEMBERED_MAX: usize = 8192;

/// Why a token is not accepted. Callers learn no more than that; a TokenReview tells whoever may ask.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Refused {
    #[error("the token is not a signed token of this cluster")]
    Malformed,
    #[error("the token's signature does not hold")]
    Signature,
    #[error("the token is for other audiences: {0:?}")]
    Audience(Vec<String>),
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    Early,
    #[error("{0} that the token is bound to is gone")]
    Gone(String),
}

/// Makes and checks tokens.
pub(crate) struct Tokens {
    key: SigningKey,
    /// Of tokens whose signature holds. Never held while anything waits.
    remembered: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

/// A token that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// Who the bearer is.
    pub(crate) identity: Identity,
    /// Which of the wanted audiences it is for.
    pub(crate) audiences: Vec<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

impl Tokens {
    /// Signs with this key, and takes what it has signed.
    pub(crate) fn new(key: SigningKey) -> Tokens {
        Tokens { key, remembered: Mutex::default() }
    }

    /// The key, to tell others how tokens are checked.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// A token that says this.
    pub(crate) fn sign(&self, claims: &Claims) -> String {
        let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.key.id());
        let claims = serde_json::to_vec(claims).expect("claims are plain JSON");
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// Who the bearer of `token` is, by the state of the cluster; one of `audiences` must be among the token's.
    pub(crate) fn check(
        &self,
        token: &str,
        audiences: &[&str],
        state: &Snapshot,
        now: Timestamp,
    ) -> Result<Accepted, Refused> {
        let claims = self.verified(token)?;
        let wanted = audiences.iter().filter(|wanted| claims.aud.iter().any(|own| own == **wanted));
        let audiences: Vec<String> = wanted.map(|&wanted| wanted.to_owned()).collect();
        if audiences.is_empty() {
            return Err(Refused::Audience(claims.aud.clone()));
        }
        claims.hold(state, now)?;
        Ok(Accepted { identity: claims.identity(), audiences })
    }

    /// What the token says, once it is known that this cluster has said it.
    pub(crate) fn verified(&self, token: &str) -> Result<Arc<Claims>, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::Malformed);
        }
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some(known) = self.remembered().get(&hash) {
            return Ok(known.clone());
        }
        let claims = Arc::new(self.read(token)?);
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED_MAX {
            // Rare, and what is still in use comes back at the price of one check.
            remembered.clear();
        }
        remembered.insert(hash, claims.clone());
        Ok(claims)
    }

    fn read(&self, token: &str) -> Result<Claims, Refused> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Refused::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Refused::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Refused::Malformed)?;
        // The algorithm is ours, never the token's choice.
        if header.alg != "ES256" || !self.key.has_signed(signed.as_bytes(), &decode(signature)?) {
            return Err(Refused::Signature);
        }
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| Refused::Malformed)?;
        if claims.iss == ISSUER { Ok(claims) } else { Err(Refused::Malformed) }
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Arc<Claims>>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
