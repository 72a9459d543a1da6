//! The certificate that this process shows, replaced by a new one long before it ends.
//!
//! A member may run for longer than a certificate is valid. The authority is at hand, so a handshake that finds the
//! certificate old has a new one made: no timer, and nothing to restart.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use super::{Error, provider};
use crate::security::ca::{self, IssuedCertificate};

/// Makes another certificate for the same names.
type Issue = dyn Fn() -> Result<IssuedCertificate, ca::Error> + Send + Sync;

/// A certificate that does not grow old.
pub struct Own {
    held: ArcSwap<Held>,
    issue: Box<Issue>,
    /// What is shown after it.
    chain: Vec<CertificateDer<'static>>,
    renew_after: Duration,
}

struct Held {
    key: Arc<CertifiedKey>,
    renew_at: SystemTime,
}

impl Own {
    /// The certificate that `issue` makes; it is valid for `life`, and after two thirds of that another one is made.
    ///
    /// # Errors
    /// The first one cannot be made or used.
    pub fn new(
        life: Duration,
        issue: impl Fn() -> Result<IssuedCertificate, ca::Error> + Send + Sync + 'static,
    ) -> Result<Own, Error> {
        let renew_after = life / 3 * 2;
        let held = ArcSwap::from_pointee(Held::new(&issue()?, &[], renew_after)?);
        Ok(Own { held, issue: Box::new(issue), chain: Vec::new(), renew_after })
    }

    /// The same, and `certificate` is shown after it.
    ///
    /// # Errors
    /// They cannot be used.
    pub(super) fn followed_by(mut self, certificate: CertificateDer<'static>) -> Result<Own, Error> {
        self.chain.push(certificate);
        self.renew()?;
        Ok(self)
    }

    fn renew(&self) -> Result<(), Error> {
        let held = Held::new(&(self.issue)()?, &self.chain, self.renew_after)?;
        self.held.store(Arc::new(held));
        Ok(())
    }

    fn current(&self) -> Arc<CertifiedKey> {
        // Two handshakes at once may each make one; both are good.
        if SystemTime::now() >= self.held.load().renew_at {
            match self.renew() {
                Ok(()) => tracing::info!("this process has renewed its certificate"),
                Err(error) => tracing::error!(%error, "this process cannot renew its certificate"),
            }
        }
        self.held.load().key.clone()
    }
}

impl Held {
    fn new(
        issued: &IssuedCertificate,
        chain: &[CertificateDer<'static>],
        renew_after: Duration,
    ) -> Result<Held, Error> {
        let mut shown = vec![issued.certificate_der()];
        shown.extend_from_slice(chain);
        let key = CertifiedKey::from_der(shown, issued.key_der(), &provider()).map_err(Error::Certificate)?;
        Ok(Held { key: Arc::new(key), renew_at: SystemTime::now() + renew_after })
    }
}

impl std::fmt::Debug for Own {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Own").field("renew_at", &self.held.load().renew_at).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::ca::{CertificateAuthority, LIFE, Subject};

    fn own(life: Duration) -> Own {
        let authority = CertificateAuthority::generate().expect("an authority");
        Own::new(life, move || authority.issue_client(&Subject::member())).expect("a certificate")
    }

    #[test]
    fn a_certificate_that_has_grown_old_is_followed_by_a_new_one() {
        let certificate = |own: &Own| own.current().cert[0].clone();
        let young = own(LIFE);
        assert_eq!(certificate(&young), certificate(&young));
        let old = own(Duration::ZERO);
        assert_ne!(certificate(&old), certificate(&old));
    }

    #[test]
    fn what_follows_the_certificate_follows_the_new_one_too() {
        let authority = CertificateAuthority::generate().expect("an authority");
        let own = own(Duration::ZERO).followed_by(authority.certificate_der()).expect("sound");
        for _ in 0..2 {
            let shown = own.current();
            assert_eq!(shown.cert.len(), 2);
            assert_eq!(shown.cert[1], authority.certificate_der());
        }
    }
}
