//! Who a caller is: the subject of the client certificate, or nobody.
//!
//! As Kubernetes reads X.509 client certificates: the common name is the user, each organization is a group.

use std::collections::BTreeMap;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The user of a caller who showed no identity.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of every caller who showed a valid identity.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of every caller who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group of all service accounts; those of one namespace are in `system:serviceaccounts:<namespace>` too.
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
/// The group that may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of all nodes; a node's user is `system:node:<name>`.
pub const NODES: &str = "system:nodes";

/// The group of all members of the control plane; a member's user is `system:member:<id>`.
pub const MEMBERS: &str = "system:members";

/// A caller, after authentication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user name, `system:anonymous` when nothing was shown.
    pub user: String,
    /// The groups, `system:unauthenticated` alone for an anonymous caller.
    pub groups: Vec<String>,
    /// Tells the user from another of the same name, where users have such a thing; else empty.
    pub uid: String,
    /// What else is known, by key.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The user that a service account is.
pub fn service_account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

impl Identity {
    /// A caller who showed no certificate.
    pub fn anonymous() -> Identity {
        Identity::named(ANONYMOUS, &[UNAUTHENTICATED])
    }

    /// A user in groups, of whom nothing else is known.
    pub fn named(user: &str, groups: &[&str]) -> Identity {
        Identity {
            user: user.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Identity::default()
        }
    }

    /// A service account, by its name alone.
    pub fn service_account(namespace: &str, name: &str) -> Identity {
        let own = format!("{SERVICE_ACCOUNTS}:{namespace}");
        Identity::named(&service_account_user(namespace, name), &[SERVICE_ACCOUNTS, &own, AUTHENTICATED])
    }

    /// The control plane itself, for writes made inside the process.
    pub fn control_plane() -> Identity {
        Identity::named("system:isopod", &[MASTERS, AUTHENTICATED])
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
        Identity { user: user.into(), groups, ..Identity::default() }
    }

    /// Whether the caller belongs to `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// Namespace and name when this is the identity of a service account.
    pub fn as_service_account(&self) -> Option<(&str, &str)> {
        self.user.strip_prefix("system:serviceaccount:")?.split_once(':')
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
        let identity = Identity::named("system:node:n1", &[AUTHENTICATED]);
        assert_eq!(identity.node(), None);
    }
}
