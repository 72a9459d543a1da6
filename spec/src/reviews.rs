//! Questions about who somebody is and what they may do: kinds that are answered at once and never stored.
//!
//! Their types are upstream's; what they answer is the API server's business.

use k8s_openapi::Resource;
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};
use serde::de::Error as _;

use crate::resource::{Codec, Declaration, Kind, KnownScope, Object};

/// The kinds, sorted by group.
pub(crate) fn kinds() -> [Kind; 6] {
    [
        kind::<SelfSubjectReview>(),
        kind::<TokenReview>(),
        kind::<LocalSubjectAccessReview>(),
        kind::<SelfSubjectAccessReview>(),
        kind::<SelfSubjectRulesReview>(),
        kind::<SubjectAccessReview>(),
    ]
}

fn kind<T>() -> Kind
where
    T: Resource,
    T::Scope: KnownScope,
{
    Kind::new(Declaration::of_review::<T>(), Vec::new(), Vec::new(), Box::new(Unstored))
}

/// There are no objects to read.
struct Unstored;

impl Codec for Unstored {
    fn decode(&self, _json: &[u8]) -> Result<Box<dyn Object>, serde_json::Error> {
        Err(serde_json::Error::custom("a review is answered, not stored"))
    }
}
