//! What a token says, and whether that still holds.

use std::collections::BTreeMap;

use isopod_raft_store::Snapshot;
use isopod_spec::registry;
use isopod_spec::resource::Resource;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Secret, ServiceAccount};
use serde::{Deserialize, Serialize};

use super::Refused;
use crate::objects::stored::MetadataView;
use crate::security::identity::Identity;

/// Clocks may differ so much.
const LEEWAY_SECONDS: i64 = 10;
/// A token outlives the deletion of what it is bound to by so much, for the last words of a pod.
const AFTER_DELETION_SECONDS: i64 = 60;

/// What a token says, in the words of upstream's `pkg/serviceaccount/claims.go`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// For whom it is.
    pub(crate) aud: Vec<String>,
    /// Until when it holds, in seconds since 1970, as all times here.
    pub(crate) exp: i64,
    /// When it was made.
    pub(crate) iat: i64,
    /// Who made it.
    pub(crate) iss: String,
    /// Its own name.
    pub(crate) jti: String,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub(crate) bound: Bound,
    /// From when it holds.
    pub(crate) nbf: i64,
    /// The user.
    pub(crate) sub: String,
}

/// The objects that a token is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bound {
    pub(crate) namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Reference>,
    pub(crate) serviceaccount: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warnafter: Option<i64>,
}

/// One object, told from another of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Claims {
    /// Whether time and the objects of the cluster still bear the token out.
    pub(super) fn hold(&self, state: &Snapshot, now: Timestamp) -> Result<(), Refused> {
        let seconds = now.as_second();
        if seconds >= self.exp {
            return Err(Refused::Expired);
        }
        if seconds + LEEWAY_SECONDS < self.nbf {
            return Err(Refused::Early);
        }
        let Bound { namespace, node, pod, secret, serviceaccount, .. } = &self.bound;
        lives::<ServiceAccount>(state, namespace, serviceaccount, now)?;
        pod.iter().try_for_each(|pod| lives::<Pod>(state, namespace, pod, now))?;
        secret.iter().try_for_each(|secret| lives::<Secret>(state, namespace, secret, now))?;
        // A pod's node only tells where it ran; a token of a node alone ends with it.
        let alone = node.iter().filter(|_| pod.is_none());
        alone.into_iter().try_for_each(|node| lives::<Node>(state, "", node, now))
    }

    /// The user, the groups, and what else the token tells.
    pub(super) fn identity(&self) -> Identity {
        let Bound { namespace, node, pod, serviceaccount, .. } = &self.bound;
        let mut extra = BTreeMap::new();
        let mut tell = |key: &str, value: &str| {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        };
        tell("credential-id", &format!("JTI={}", self.jti));
        for (kind, reference) in [("node", node), ("pod", pod)] {
            if let Some(Reference { name, uid }) = reference {
                tell(&format!("{kind}-name"), name);
                tell(&format!("{kind}-uid"), uid);
            }
        }
        Identity {
            uid: serviceaccount.uid.clone(),
            extra,
            ..Identity::service_account(namespace, &serviceaccount.name)
        }
    }
}

fn lives<T: Resource>(
    state: &Snapshot,
    namespace: &str,
    reference: &Reference,
    now: Timestamp,
) -> Result<(), Refused> {
    let kind = registry::kind_of::<T>();
    let entry = state.get(&kind.key(namespace, &reference.name));
    let lives = entry.map(|entry| MetadataView::of(&entry.value)).is_some_and(|meta| {
        let ends = meta.deletion_timestamp.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        meta.uid == reference.uid
            && ends.is_none_or(|ends| now.as_second() < ends.as_second() + AFTER_DELETION_SECONDS)
    });
    match lives {
        true => Ok(()),
        false => Err(Refused::Gone(format!("the {} {:?}", kind.singular, reference.name))),
    }
}
