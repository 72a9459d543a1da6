//! Join tokens: `<id>.<secret>.<hash of the authority's certificate>`.
//!
//! A token is a Secret of the type that Kubernetes uses for such, `bootstrap-token-<id>` in `kube-system`, with an
//! expiration and the one role that it lets in. Only a digest of the secret is stored, so reading Secrets lets nobody
//! in. The hash lets the joining machine know the cluster before it says anything.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use isopod_raft_store::{Revision, Snapshot};
use isopod_spec::registry;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rand::RngExt as _;
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

use crate::objects;

/// Namespace of the Secrets.
pub const NAMESPACE: &str = "kube-system";
/// Type of the Secrets.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// What their names begin with; the rest is the token's id.
pub const NAME_PREFIX: &str = "bootstrap-token-";

const ID_CHARS: usize = 6;
const SECRET_CHARS: usize = 16;
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Keys of the Secret's data.
const ID: &str = "token-id";
const DIGEST: &str = "token-secret-sha256";
const EXPIRATION: &str = "expiration";

/// What a token lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// One member of the control plane.
    Server,
    /// Nodes, as many as come before it expires.
    Node,
}

impl Role {
    /// The word that people use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Server => "server",
            Role::Node => "node",
        }
    }

    /// The key of the Secret's data that grants it.
    const fn usage(self) -> &'static str {
        match self {
            Role::Server => "usage-isopod-server",
            Role::Node => "usage-isopod-node",
        }
    }
}

/// SHA-256 of an authority's certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuthorityHash(pub [u8; 32]);

impl AuthorityHash {
    /// The hash of this certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> AuthorityHash {
        AuthorityHash(Sha256::digest(certificate.as_ref()).into())
    }
}

impl fmt::Display for AuthorityHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuthorityHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The half of a token that the cluster checks.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// Which token it is; no secret.
    pub id: String,
    secret: String,
}

/// A whole token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// What is shown to the cluster.
    pub credential: Credential,
    /// What the cluster must show.
    pub authority: AuthorityHash,
}

/// A text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a join token: `isopod token create` prints one, of the form <id>.<secret>.<hash>")]
pub struct NotAToken;

/// Why a token does not let its owner in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is none of this id, or its secret is another.
    #[error(
        "the cluster does not know the token: it was mistyped, used up or deleted; `isopod token create` on a machine of the cluster makes a new one"
    )]
    Unknown,
    /// Its time is over.
    #[error("the token expired at {at}; `isopod token create` on a machine of the cluster makes a new one")]
    Expired {
        /// When it did.
        at: Timestamp,
    },
    /// It lets in something else.
    #[error("the token is not for a {}; make one with `isopod token create --role {}`", .wanted.as_str(), .wanted.as_str())]
    OtherRole {
        /// What was asked for.
        wanted: Role,
    },
}

impl Credential {
    /// A new one, drawn at random.
    pub fn draw() -> Credential {
        Credential { id: draw(ID_CHARS), secret: draw(SECRET_CHARS) }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.secret)
    }
}

/// The secret stays out of logs.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.id)
    }
}

impl FromStr for Credential {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Credential, NotAToken> {
        let (id, secret) = text.split_once('.').ok_or(NotAToken)?;
        let is_word =
            |word: &str, length| word.len() == length && word.bytes().all(|b| ALPHABET.contains(&b));
        let sound = is_word(id, ID_CHARS) && is_word(secret, SECRET_CHARS);
        sound.then(|| Credential { id: id.to_owned(), secret: secret.to_owned() }).ok_or(NotAToken)
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.credential, self.authority)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.credential, f)
    }
}

impl FromStr for JoinToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<JoinToken, NotAToken> {
        let (credential, hash) = text.trim().rsplit_once('.').ok_or(NotAToken)?;
        if hash.len() != 64 || !hash.is_ascii() {
            return Err(NotAToken);
        }
        let mut authority = [0; 32];
        for (at, byte) in authority.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hash[2 * at..2 * at + 2], 16).map_err(|_| NotAToken)?;
        }
        Ok(JoinToken { credential: credential.parse()?, authority: AuthorityHash(authority) })
    }
}

/// The Secret that stands for a token.
pub fn secret(credential: &Credential, role: Role, expires: Timestamp) -> Secret {
    let data = [
        (ID, credential.id.clone()),
        (DIGEST, digest(&credential.secret)),
        (EXPIRATION, expires.to_string()),
        (role.usage(), "true".to_owned()),
    ];
    let data: BTreeMap<_, _> =
        data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect();
    Secret {
        metadata: ObjectMeta {
            name: Some(format!("{NAME_PREFIX}{}", credential.id)),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(SECRET_TYPE.to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

/// What a stored token says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its id.
    pub id: String,
    /// The roles it lets in.
    pub roles: Vec<Role>,
    /// When it stops to; `None` for one that says nothing readable, which lets nobody in.
    pub expires: Option<Timestamp>,
}

/// Reads a token's Secret; `None` for one that is not of that type.
pub fn describe(secret: &Secret) -> Option<Described> {
    if secret.type_.as_deref() != Some(SECRET_TYPE) {
        return None;
    }
    let roles = [Role::Server, Role::Node];
    Some(Described {
        id: secret.metadata.name.as_deref()?.strip_prefix(NAME_PREFIX)?.to_owned(),
        roles: roles.into_iter().filter(|role| text(secret, role.usage()) == Some("true")).collect(),
        expires: text(secret, EXPIRATION).and_then(|text| text.parse().ok()),
    })
}

/// Checks a credential against its Secret.
pub fn check(secret: &Secret, shown: &Credential, wanted: Role, now: Timestamp) -> Result<(), Refused> {
    let described = describe(secret).filter(|described| described.id == shown.id).ok_or(Refused::Unknown)?;
    let stored = text(secret, DIGEST).ok_or(Refused::Unknown)?;
    if !same(stored.as_bytes(), digest(&shown.secret).as_bytes()) {
        return Err(Refused::Unknown);
    }
    match described.expires {
        None => return Err(Refused::Unknown),
        Some(at) if at <= now => return Err(Refused::Expired { at }),
        Some(_) => {}
    }
    if described.roles.contains(&wanted) { Ok(()) } else { Err(Refused::OtherRole { wanted }) }
}

/// The key of a token's Secret and when it was last written, if the token lets its owner in.
pub(crate) fn check_stored(
    state: &Snapshot,
    shown: &Credential,
    wanted: Role,
    now: Timestamp,
) -> Result<(Vec<u8>, Revision), Refused> {
    let key = registry::kind_of::<Secret>().key(NAMESPACE, &format!("{NAME_PREFIX}{}", shown.id));
    let entry = state.get(&key).ok_or(Refused::Unknown)?;
    let secret = objects::try_decode::<Secret>(entry).map_err(|_| Refused::Unknown)?;
    check(&secret, shown, wanted, now)?;
    Ok((key, entry.modified))
}

/// What tells the machine that used a token from all others: the hash of the token and of its own key.
pub(crate) fn proof(shown: &Credential, key: &str) -> String {
    digest(&format!("{shown}.{key}"))
}

fn text<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()
}

fn digest(secret: &str) -> String {
    AuthorityHash(Sha256::digest(secret.as_bytes()).into()).to_string()
}

/// Takes as long whichever byte differs.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

fn draw(length: usize) -> String {
    let mut random = rand::rng();
    (0..length).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_is_read_as_it_is_printed() {
        let token = JoinToken { credential: Credential::draw(), authority: AuthorityHash([0xa5; 32]) };
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        assert_eq!(format!(" {token}\n").parse(), Ok(token.clone()));
        for text in ["", "a.b.c", "abcdef.0123456789abcdef", &format!("{token}0"), &token.to_string()[1..]] {
            assert_eq!(text.parse::<JoinToken>(), Err(NotAToken), "{text:?}");
        }
        assert!(!format!("{token:?}").contains(&token.credential.secret));
    }

    #[test]
    fn a_token_lets_in_whom_it_is_for_until_it_expires() {
        let credential = Credential::draw();
        let secret = secret(&credential, Role::Server, at(100));
        assert_eq!(check(&secret, &credential, Role::Server, at(99)), Ok(()));
        let refused = |shown: &Credential, role, now| check(&secret, shown, role, now).unwrap_err();
        assert_eq!(refused(&credential, Role::Server, at(100)), Refused::Expired { at: at(100) });
        assert_eq!(refused(&credential, Role::Node, at(0)), Refused::OtherRole { wanted: Role::Node });
        let other = Credential { id: credential.id.clone(), secret: "x".repeat(SECRET_CHARS) };
        assert_eq!(refused(&other, Role::Server, at(0)), Refused::Unknown);
        assert_eq!(refused(&Credential::draw(), Role::Server, at(0)), Refused::Unknown);
    }

    #[test]
    fn the_secret_itself_is_not_stored() {
        let credential = Credential::draw();
        let stored = serde_json::to_string(&secret(&credential, Role::Node, at(0))).unwrap();
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &credential.secret);
        assert!(!stored.contains(&credential.secret) && !stored.contains(encoded.trim_end_matches('=')));
    }

    #[test]
    fn a_secret_of_another_type_or_without_expiration_is_no_token() {
        let credential = Credential::draw();
        let mut token = secret(&credential, Role::Server, at(100));
        token.data.as_mut().unwrap().remove(EXPIRATION);
        assert_eq!(check(&token, &credential, Role::Server, at(0)), Err(Refused::Unknown));
        let mut opaque = secret(&credential, Role::Server, at(100));
        opaque.type_ = Some("Opaque".into());
        assert_eq!(check(&opaque, &credential, Role::Server, at(0)), Err(Refused::Unknown));
    }
}
