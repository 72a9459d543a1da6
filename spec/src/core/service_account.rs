//! ServiceAccount: the identity of pods.
//!
//! Rules: <https://kubernetes.io/docs/concepts/security/service-accounts/>.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::resource::{Declaration, Resource, Subresource};

impl Resource for ServiceAccount {
    fn declaration() -> Declaration {
        Declaration {
            delete_returns_object: true,
            ..Declaration::of::<Self>("serviceaccount")
                .short_names(&["sa"])
                .subresources(&[Subresource::TOKEN])
        }
    }
}
