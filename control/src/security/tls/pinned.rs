//! Trust in a server by the hash of its cluster's authority: what a machine knows that has only a join token.
//!
//! The server sends its authority's certificate along. When its hash is the expected one, the server's own certificate
//! is verified with it as usual, under a name that only members have.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::membership::token::AuthorityHash;

/// What is wrong with a server, for the person who wants to join.
#[derive(Debug, thiserror::Error)]
enum Distrust {
    #[error("it does not belong to the cluster that the token is for")]
    OtherCluster,
    #[error(
        "its certificate is not valid at the time that this machine's clock shows: set the clocks (for instance by NTP) and try again"
    )]
    Clock,
}

impl From<Distrust> for rustls::Error {
    fn from(distrust: Distrust) -> rustls::Error {
        rustls::Error::Other(OtherError(Arc::new(distrust)))
    }
}

#[derive(Debug)]
pub(super) struct Verifier {
    authority: AuthorityHash,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(super) fn new(authority: AuthorityHash, provider: Arc<CryptoProvider>) -> Verifier {
        Verifier { authority, provider }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates.iter().find(|sent| AuthorityHash::of(sent) == self.authority);
        let authority = authority.ok_or(Distrust::OtherCluster)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        usual.verify_server_cert(end_entity, &[], server_name, ocsp_response, now).map_err(
            |error| match error {
                rustls::Error::InvalidCertificate(
                    CertificateError::NotValidYet
                    | CertificateError::NotValidYetContext { .. }
                    | CertificateError::Expired
                    | CertificateError::ExpiredContext { .. },
                ) => Distrust::Clock.into(),
                rustls::Error::InvalidCertificate(
                    CertificateError::UnknownIssuer
                    | CertificateError::BadSignature
                    | CertificateError::NotValidForName
                    | CertificateError::NotValidForNameContext { .. },
                ) => Distrust::OtherCluster.into(),
                other => other,
            },
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::security::CertificateAuthority;
    use crate::security::tls::API_NAME;

    fn verify(
        pinned: &CertificateAuthority,
        server: &CertificateAuthority,
        names: &[&str],
        now: UnixTime,
    ) -> Result<ServerCertVerified, String> {
        let hash = AuthorityHash::of(&pinned.certificate_der());
        let verifier = Verifier::new(hash, Arc::new(rustls::crypto::ring::default_provider()));
        let own = server.issue_server("api", &[], names).expect("issued");
        let name = ServerName::try_from(API_NAME).expect("a name");
        let sent = [server.certificate_der(), pinned.certificate_der()];
        verifier
            .verify_server_cert(&own.certificate_der(), &sent, &name, &[], now)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_member_of_the_tokens_cluster_is_trusted_and_nobody_else() {
        let [ours, theirs] = [(); 2].map(|()| CertificateAuthority::generate().expect("a fresh key"));
        verify(&ours, &ours, &[API_NAME], UnixTime::now()).expect("it is one of the cluster");
        // Sends our authority's certificate, and has a certificate of its own.
        let error = verify(&ours, &theirs, &[API_NAME], UnixTime::now()).expect_err("another cluster");
        assert!(error.contains("does not belong to the cluster"), "{error}");
        // A node of the cluster is no member.
        let error = verify(&ours, &ours, &["n1"], UnixTime::now()).expect_err("a node");
        assert!(error.contains("does not belong to the cluster"), "{error}");
    }

    #[test]
    fn a_clock_an_hour_behind_is_what_the_error_is_about() {
        let ours = CertificateAuthority::generate().expect("a fresh key");
        let hour_ago = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() - 3600));
        let error = verify(&ours, &ours, &[API_NAME], hour_ago).expect_err("not valid yet");
        assert!(error.contains("clock"), "{error}");
    }
}
