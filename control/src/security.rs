//! The cluster's CA, who a caller is, what they may do, and the kubeconfig that lets people in.
//!
//! On by default and with nothing to configure: every connection is TLS, every certificate comes from the
//! cluster's own CA, and a caller without a certificate of that CA sees health and version only. [`access`] is the one
//! place where requests are let through.

pub mod access;
pub mod authorize;
pub mod ca;
pub mod identity;
pub mod kubeconfig;
pub(crate) mod node;
pub(crate) mod rbac;
pub mod tls;
pub mod tokens;

pub use access::Access;
pub use authorize::{Attributes, Decision, ResourceAttributes};
pub use ca::{CertificateAuthority, IssuedCertificate};
pub use identity::Identity;
pub use tokens::SigningKey;
