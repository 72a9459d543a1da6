//! The cluster's CA, who a caller is, what they may do, and the kubeconfig that lets people in.
//!
//! On by default and with nothing to configure: every connection is TLS, every certificate comes from the
//! cluster's own CA, and a caller without a certificate of that CA sees health and version only.

pub mod authorize;
pub mod ca;
pub mod identity;
pub mod kubeconfig;
pub mod tls;

pub use authorize::{Attributes, Decision, authorize};
pub use ca::{CertificateAuthority, IssuedCertificate};
pub use identity::Identity;
