//! TLS as every listener and client of the cluster uses it.

mod own;
mod pinned;

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

pub use self::own::Own;
use super::ca::{self, CertificateAuthority};
use crate::membership::token::AuthorityHash;

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The authority's certificate is not one.
    #[error("the certificate authority cannot be used as a trust root")]
    Root(#[source] rustls::Error),
    /// The authority cannot sign.
    #[error("a certificate cannot be made")]
    Issue(#[from] ca::Error),
    /// The client verifier could not be built.
    #[error("client certificates cannot be verified with this authority")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// Certificate and key do not belong together, or are of a kind that TLS does not take.
    #[error("certificate and key cannot be used")]
    Certificate(#[source] rustls::Error),
}

/// Application protocols of the API, preferred first.
const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];

/// The API's listener: a client certificate is checked against the authority when shown, and may be absent
/// (the caller is then anonymous).
pub fn server(authority: &CertificateAuthority, own: Own) -> Result<Arc<ServerConfig>, Error> {
    let roots = Arc::new(roots(authority.certificate_pem())?);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots, provider()).allow_unauthenticated().build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Certificate)?
        .with_client_cert_verifier(verifier)
        // The authority's own certificate is for those who know only its hash: machines that join.
        .with_cert_resolver(Arc::new(own.followed_by(authority.certificate_der())?));
    config.alpn_protocols = ALPN.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// A client that trusts the cluster's authority only and shows `own`.
pub fn client(authority_pem: &str, own: Own) -> Result<ClientConfig, Error> {
    client_of(authority_pem, Arc::new(own))
}

fn client_of(authority_pem: &str, own: Arc<Own>) -> Result<ClientConfig, Error> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Certificate)?
        .with_root_certificates(roots(authority_pem)?)
        .with_client_cert_resolver(own))
}

/// Both ends of the connections between members.
#[derive(Clone)]
pub struct PeerTls {
    /// Takes connections of members of this cluster only.
    pub server: Arc<ServerConfig>,
    /// Connects to members of this cluster only.
    pub client: Arc<ClientConfig>,
}

/// Connections between members: both sides must show a certificate of the authority; `own` is this member's.
pub fn peers(authority: &CertificateAuthority, own: Own) -> Result<PeerTls, Error> {
    let own = Arc::new(own);
    let trusted = Arc::new(roots(authority.certificate_pem())?);
    let verifier = WebPkiClientVerifier::builder_with_provider(trusted, provider()).build()?;
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Certificate)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(own.clone());
    let mut client = client_of(authority.certificate_pem(), own)?;
    server.alpn_protocols = vec![b"h2".to_vec()];
    client.alpn_protocols = vec![b"h2".to_vec()];
    Ok(PeerTls { server: Arc::new(server), client: Arc::new(client) })
}

/// Names by which clients reach the API inside the cluster and on a member's machine.
pub const API_NAMES: &[&str] = &[
    "localhost",
    "kubernetes",
    "kubernetes.default",
    API_NAME,
    "kubernetes.default.svc.cluster.local",
    "registry.local",
];

/// Whether whoever has a certificate for this name is taken for a member: no node may be called so.
pub fn is_a_members_name(name: &str) -> bool {
    API_NAMES.contains(&name) || name.ends_with(ca::PEER_DOMAIN)
}

/// The name by which a machine that joins knows the API, whatever the address: every member's certificate has it, and
/// no node's.
pub const API_NAME: &str = "kubernetes.default.svc";

/// A client that shows no certificate and trusts the authority whose certificate has this hash.
pub fn pinned_client(authority: AuthorityHash) -> Result<ClientConfig, Error> {
    let verifier = pinned::Verifier::new(authority, provider());
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Certificate)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

fn roots(authority_pem: &str) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority_pem.as_bytes())
        .map_err(|_| Error::Root(rustls::Error::General("not a PEM certificate".into())))?;
    roots.add(certificate).map_err(Error::Root)?;
    Ok(roots)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_members_are_known_by_are_told_from_others() {
        for name in [API_NAME, "localhost", "registry.local", &ca::peer_name(7)] {
            assert!(is_a_members_name(name), "{name}");
        }
        for name in ["n1", "kubernetes.example", "member-7"] {
            assert!(!is_a_members_name(name), "{name}");
        }
    }
}
