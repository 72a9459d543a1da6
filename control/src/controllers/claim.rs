//! Which objects belong to a controller's object: by controller reference and by selector.

use std::sync::Arc;

use isopod_spec::selector::Selector;
use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::facts;

/// Candidates sorted by what has to happen to them.
#[derive(Debug)]
pub(crate) struct Claim<T> {
    /// Controlled, and still matching.
    pub(crate) owned: Vec<Arc<T>>,
    /// Matching, but without a controller.
    pub(crate) adopt: Vec<Arc<T>>,
    /// Controlled, but no longer matching.
    pub(crate) release: Vec<Arc<T>>,
}

impl<T> Claim<T> {
    /// True when nothing has to be adopted or released first.
    pub(crate) fn is_settled(&self) -> bool {
        self.adopt.is_empty() && self.release.is_empty()
    }
}

/// Sorts `candidates`. An owner that is going away adopts nothing, and objects that are going away are left as they are.
pub(crate) fn sort<T: Metadata<Ty = ObjectMeta>>(
    owner: &ObjectMeta,
    selector: &LabelSelector,
    candidates: Vec<Arc<T>>,
) -> Claim<T> {
    let selector = Selector::of(Some(selector));
    let mut claim = Claim { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for candidate in candidates {
        let meta = candidate.metadata();
        let matches = selector.matches(meta.labels.as_ref());
        let leaving = facts::is_terminating(meta);
        match facts::controller_of(meta) {
            Some(controller) if controller.uid != facts::uid(owner) => {}
            Some(_) if matches || leaving => claim.owned.push(candidate),
            Some(_) if facts::is_terminating(owner) => claim.owned.push(candidate),
            Some(_) => claim.release.push(candidate),
            None if matches && !leaving && !facts::is_terminating(owner) => claim.adopt.push(candidate),
            None => {}
        }
    }
    claim
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    const NOW: Time = Time(jiff::Timestamp::UNIX_EPOCH);

    fn pod(label: &str, controller: Option<&str>, leaving: bool) -> Arc<Pod> {
        let owner = controller.map(|uid| ObjectMeta { uid: Some(uid.into()), ..ObjectMeta::default() });
        Arc::new(Pod {
            metadata: ObjectMeta {
                labels: Some([("app".to_owned(), label.to_owned())].into()),
                owner_references: owner.map(|meta| vec![facts::controller_reference("v1", "X", &meta)]),
                deletion_timestamp: leaving.then_some(NOW),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        })
    }

    #[test]
    fn candidates_are_sorted_by_controller_and_selector() {
        let selector = LabelSelector {
            match_labels: Some([("app".to_owned(), "a".to_owned())].into()),
            ..LabelSelector::default()
        };
        for (label, controller, leaving, owner_leaving, expected) in [
            ("a", Some("me"), false, false, (1, 0, 0)),
            ("b", Some("me"), false, false, (0, 0, 1)),
            ("b", Some("me"), true, false, (1, 0, 0)),
            ("b", Some("me"), false, true, (1, 0, 0)),
            ("a", None, false, false, (0, 1, 0)),
            ("a", None, true, false, (0, 0, 0)),
            ("a", None, false, true, (0, 0, 0)),
            ("b", None, false, false, (0, 0, 0)),
            ("a", Some("other"), false, false, (0, 0, 0)),
        ] {
            let owner = ObjectMeta {
                uid: Some("me".into()),
                deletion_timestamp: owner_leaving.then_some(NOW),
                ..ObjectMeta::default()
            };
            let claim = sort(&owner, &selector, vec![pod(label, controller, leaving)]);
            let found = (claim.owned.len(), claim.adopt.len(), claim.release.len());
            assert_eq!(found, expected, "{label} {controller:?} {leaving} {owner_leaving}");
        }
    }
}
