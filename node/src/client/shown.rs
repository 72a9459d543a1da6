//! The certificate that is shown, which may be replaced: connections that are made from then on show the new one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Identity, TlsError};

/// What one side of a connection shows.
#[derive(Debug)]
pub struct Shown {
    key: ArcSwap<CertifiedKey>,
    /// What it is, for messages.
    what: &'static str,
}

impl Shown {
    pub(crate) fn new(identity: &Identity, what: &'static str) -> Result<Shown, TlsError> {
        Ok(Shown { key: ArcSwap::from_pointee(certified(identity, what)?), what })
    }

    /// Shows this one from now on.
    pub fn set(&self, identity: &Identity) -> Result<(), TlsError> {
        self.key.store(Arc::new(certified(identity, self.what)?));
        Ok(())
    }
}

fn certified(identity: &Identity, what: &'static str) -> Result<CertifiedKey, TlsError> {
    let key = CertifiedKey::from_der(identity.certificates(what)?, identity.key(what)?, &provider());
    key.map_err(|source| TlsError::Unusable { what, source })
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.key.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.load_full())
    }
}
