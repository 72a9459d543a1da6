//! Who asks, by the certificate that TLS has verified.

use std::collections::BTreeSet;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Whether the certificate names one of these groups as its organization.
pub(super) fn is_in(certificate: &CertificateDer<'_>, groups: &BTreeSet<String>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let mut organizations = certificate.subject().iter_organization();
    organizations.any(|organization| organization.as_str().is_ok_and(|name| groups.contains(name)))
}
