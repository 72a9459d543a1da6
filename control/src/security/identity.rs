//! Who a caller is: the subject of the client certificate, or nobody.
//!
//! As Kubernetes reads X.509 client certificates: the common name is the user, each organization is a group.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The group of every caller who showed a valid identity.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group that may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of all nodes; a node's user is `system:node:<name>`.
pub const NODES: &str = "system:nodes";

/// The group of all members of the control plane; a member's user is `system:member:<id>`.
pub const MEMBERS: &str = "system:members";

/// A caller, after authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user name, `system:anonymous` when nothing was shown.
    pub user: String,
    /// The groups, `system:unauthenticated` alone for an anonymous caller.
    pub groups: Vec<String>,
}

impl Identity {
    /// A caller who showed no certificate.
    pub fn anonymous() -> Identity {
        Identity { user: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()] }
    }

    /// The control plane itself, for writes made inside the process.
    pub fn control_plane() -> Identity {
        Identity { user: "system:isopod".into(), groups: vec![MASTERS.into(), AUTHENTICATED.into()] }
    }

    /// The identity in a certificate whose chain the TLS layer has already verified.
    ///
    /// A certificate without a common name is anonymous: it names nobody.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Identity {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            return Identity::anonymous();
        };
        let subject = parsed.subject();
        let Some(user) = subject.iter_common_name().next().and_then(|name| name.as_str().ok()) else {
            return Identity::anonymous();
        };
        let mut groups: Vec<String> =
            subject.iter_organization().filter_map(|group| group.as_str().ok()).map(Into::into).collect();
        groups.push(AUTHENTICATED.into());
        Identity { user: user.into(), groups }
    }

    /// Whether the caller belongs to `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The node's name when this is the identity of a node.
    pub fn node(&self) -> Option<&str> {
        self.user.strip_prefix("system:node:").filter(|_| self.is_in(NODES))
    }

    /// The member's number when this is the identity of a member among its peers.
    pub fn member(&self) -> Option<u64> {
        self.user.strip_prefix("system:member:").filter(|_| self.is_in(MEMBERS))?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::ca::{CertificateAuthority, Subject};

    #[test]
    fn a_certificate_names_user_and_groups() {
        let ca = CertificateAuthority::generate().expect("a fresh key");
        let issued = ca.issue_client(&Subject::node("n1")).expect("issued");
        let identity = Identity::from_certificate(&issued.certificate_der());
        assert_eq!(identity.user, "system:node:n1");
        assert_eq!(identity.groups, [NODES, AUTHENTICATED]);
        assert_eq!(identity.node(), Some("n1"));
    }

    #[test]
    fn garbage_names_nobody() {
        let identity = Identity::from_certificate(&CertificateDer::from(vec![1, 2, 3]));
        assert_eq!(identity, Identity::anonymous());
        assert_eq!(identity.node(), None);
    }

    #[test]
    fn a_node_user_outside_the_nodes_group_is_no_node() {
        let identity = Identity { user: "system:node:n1".into(), groups: vec![AUTHENTICATED.into()] };
        assert_eq!(identity.node(), None);
    }
}
