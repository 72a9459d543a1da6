//! The default roles and bindings: made when missing, and completed when an older version, or somebody, left them with
//! less; what was added to them stays. The annotation `rbac.authorization.kubernetes.io/autoupdate: "false"` keeps
//! this away from an object.

use futures::future::try_join_all;
use isopod_spec::status::Status;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::keep;
use crate::objects::Objects;
use crate::security::rbac::defaults::{self, AUTOUPDATE};
use crate::security::rbac::escalation::uncovered;

/// Creates and completes them, all at once: the writes share Raft entries.
pub(super) async fn create(objects: &Objects) -> Result<(), Status> {
    let roles = defaults::roles().into_iter().map(|role| keep(objects, role, completed_role));
    let bindings = defaults::bindings().into_iter().map(|binding| keep(objects, binding, completed_binding));
    futures::try_join!(try_join_all(roles), try_join_all(bindings)).map(drop)
}

fn is_left_alone(meta: &ObjectMeta) -> bool {
    let annotation = meta.annotations.as_ref().and_then(|annotations| annotations.get(AUTOUPDATE));
    annotation.is_some_and(|value| value == "false")
}

/// The labels with those that are missing; `None` when none is.
fn completed_meta(stored: &ObjectMeta, wanted: &ObjectMeta) -> Option<ObjectMeta> {
    let (mut meta, labels) = (stored.clone(), wanted.labels.clone().unwrap_or_default());
    meta.labels.get_or_insert_default().extend(labels);
    (meta.labels.as_ref() != Some(&stored.labels.clone().unwrap_or_default())).then_some(meta)
}

fn completed_role(stored: &ClusterRole, wanted: &ClusterRole) -> Option<ClusterRole> {
    if is_left_alone(&stored.metadata) {
        return None;
    }
    let own = stored.rules.as_deref().unwrap_or_default();
    let missing = uncovered(own, wanted.rules.as_deref().unwrap_or_default());
    let meta = completed_meta(&stored.metadata, &wanted.metadata);
    // The rules of a role that is made of others are the controller's.
    let aggregation = stored.aggregation_rule.clone().or_else(|| wanted.aggregation_rule.clone());
    if missing.is_empty() && meta.is_none() && aggregation == stored.aggregation_rule {
        return None;
    }
    Some(ClusterRole {
        metadata: meta.unwrap_or_else(|| stored.metadata.clone()),
        rules: Some([own, &missing].concat()),
        aggregation_rule: aggregation,
    })
}

/// A binding to another role is somebody's own doing, and a role cannot be changed.
fn completed_binding(stored: &ClusterRoleBinding, wanted: &ClusterRoleBinding) -> Option<ClusterRoleBinding> {
    if is_left_alone(&stored.metadata) || stored.role_ref != wanted.role_ref {
        return None;
    }
    let own = stored.subjects.as_deref().unwrap_or_default();
    let missing: Vec<_> =
        wanted.subjects.iter().flatten().filter(|subject| !own.contains(subject)).cloned().collect();
    if missing.is_empty() {
        return None;
    }
    Some(ClusterRoleBinding { subjects: Some([own, &missing].concat()), ..stored.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_added_and_what_was_added_stays() {
        let wanted = defaults::roles()
            .into_iter()
            .find(|role| role.metadata.name.as_deref() == Some("system:basic-user"));
        let wanted = wanted.expect("a default role");
        assert_eq!(completed_role(&wanted, &wanted), None);
        let mut less = wanted.clone();
        let rules = less.rules.as_mut().expect("rules");
        let removed = rules.remove(0);
        rules.extend(crate::security::rbac::escalation::full_authority().pop());
        let expected = [rules.clone(), vec![removed]].concat();
        assert_eq!(completed_role(&less, &wanted).expect("completed").rules, Some(expected));
        less.metadata.annotations.get_or_insert_default().insert(AUTOUPDATE.to_owned(), "false".to_owned());
        assert_eq!(completed_role(&less, &wanted), None);

        let mut unlabelled = wanted.clone();
        unlabelled.metadata.labels = None;
        let completed = completed_role(&unlabelled, &wanted).expect("completed");
        assert_eq!(completed.metadata.labels, wanted.metadata.labels);
        assert_eq!(completed.rules, wanted.rules);
    }

    #[test]
    fn removed_subjects_come_back_unless_the_binding_is_to_something_else() {
        let wanted = defaults::bindings().swap_remove(2);
        let mut fewer = wanted.clone();
        fewer.subjects = None;
        assert_eq!(completed_binding(&fewer, &wanted).expect("completed").subjects, wanted.subjects);
        assert_eq!(completed_binding(&wanted, &wanted), None);
        fewer.role_ref.name = "other".to_owned();
        assert_eq!(completed_binding(&fewer, &wanted), None);
    }
}
