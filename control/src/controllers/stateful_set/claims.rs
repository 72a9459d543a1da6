//! A StatefulSet's claims: one for each pod and template, by names that stay, and whose they are.

use std::sync::Arc;

use k8s_openapi::Resource as _;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::members::{self, Members};
use crate::controllers::facts;

/// Changes of the set's claims.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    /// To be made before the pods that use them.
    pub(super) create: Vec<PersistentVolumeClaim>,
    /// To belong to another owner than before.
    pub(super) update: Vec<PersistentVolumeClaim>,
}

/// Gives the pod the volumes of its claims; one of the template with the same name makes way.
pub(super) fn mount(set: &StatefulSet, pod: &mut Pod, ordinal: i32) {
    let claims = templates(set).map(|template| Volume {
        name: facts::name(&template.metadata).to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: name(set, template, ordinal),
            read_only: None,
        }),
        ..Volume::default()
    });
    let claims: Vec<Volume> = claims.collect();
    if claims.is_empty() {
        return;
    }
    let volumes = pod.spec.get_or_insert_default().volumes.get_or_insert_default();
    volumes.retain(|volume| claims.iter().all(|claim| claim.name != volume.name));
    volumes.extend(claims);
}

/// The claims to make for the new pods, and those whose owner has to change.
pub(super) fn changes(
    set: &StatefulSet,
    members: &Members,
    created: &[Pod],
    claims: &[Arc<PersistentVolumeClaim>],
) -> Changes {
    let find = |wanted: &str| claims.iter().find(|claim| facts::name(&claim.metadata) == wanted);
    let mut changes = Changes::default();
    for pod in created {
        let Some(ordinal) = members::ordinal(set, pod) else { continue };
        for template in templates(set) {
            let name = name(set, template, ordinal);
            if find(&name).is_none() {
                let owner = owner(set, None);
                changes.create.push(new(set, template, name, owner));
            }
        }
    }
    let leaving = members.surplus.iter().map(|pod| (pod, true));
    let staying = members.slots.iter().filter_map(|slot| Some((slot.pod.as_ref()?, false)));
    for (pod, is_surplus) in staying.chain(leaving) {
        let Some(ordinal) = members::ordinal(set, pod) else { continue };
        let owner = owner(set, is_surplus.then_some(&**pod));
        for template in templates(set) {
            let claim = find(&name(set, template, ordinal));
            changes.update.extend(claim.and_then(|claim| with_owner(set, claim, owner.clone())));
        }
    }
    changes
}

/// True when a claim of this name may be one of the set's.
pub(super) fn may_be_of(set: &StatefulSet, claim: &str) -> bool {
    let set_name = facts::name(&set.metadata);
    templates(set).any(|template| {
        let rest =
            claim.strip_prefix(facts::name(&template.metadata)).and_then(|rest| rest.strip_prefix('-'));
        rest.and_then(|rest| rest.strip_prefix(set_name)).is_some_and(|rest| rest.starts_with('-'))
    })
}

fn templates(set: &StatefulSet) -> impl Iterator<Item = &PersistentVolumeClaim> {
    set.spec.iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten())
}

fn name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", facts::name(&template.metadata), facts::name(&set.metadata))
}

fn new(
    set: &StatefulSet,
    template: &PersistentVolumeClaim,
    name: String,
    owner: Option<OwnerReference>,
) -> PersistentVolumeClaim {
    let mut labels = template.metadata.labels.clone().unwrap_or_default();
    let selector = set.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone());
    labels.extend(selector.into_iter().flatten());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: template.metadata.annotations.clone(),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Who takes the claim along when it goes: the set, the pod that is too much, or nobody.
fn owner(set: &StatefulSet, surplus: Option<&Pod>) -> Option<OwnerReference> {
    let policy = set
        .spec
        .as_ref()
        .and_then(|spec: &StatefulSetSpec| spec.persistent_volume_claim_retention_policy.as_ref());
    let deletes = |when: Option<&String>| when.is_some_and(|when| when == "Delete");
    let when_deleted = deletes(policy.and_then(|policy| policy.when_deleted.as_ref()));
    let when_scaled = deletes(policy.and_then(|policy| policy.when_scaled.as_ref()));
    let (version, kind, meta) = match surplus.filter(|_| when_scaled) {
        Some(pod) => (Pod::API_VERSION, Pod::KIND, &pod.metadata),
        None if when_deleted => (StatefulSet::API_VERSION, StatefulSet::KIND, &set.metadata),
        None => return None,
    };
    let (api_version, kind) = (version.to_owned(), kind.to_owned());
    let (name, uid) = (facts::name(meta).to_owned(), facts::uid(meta).to_owned());
    Some(OwnerReference { api_version, kind, name, uid, controller: None, block_owner_deletion: None })
}

/// The claim with this owner instead of the set and its pods; `None` when it has it already.
fn with_owner(
    set: &StatefulSet,
    claim: &PersistentVolumeClaim,
    owner: Option<OwnerReference>,
) -> Option<PersistentVolumeClaim> {
    let known = claim.metadata.owner_references.clone().unwrap_or_default();
    let is_of_set = |own: &OwnerReference| {
        own.uid == facts::uid(&set.metadata)
            || (own.kind == Pod::KIND && own.name.starts_with(&format!("{}-", facts::name(&set.metadata))))
    };
    let mut wanted: Vec<OwnerReference> = known.iter().filter(|own| !is_of_set(own)).cloned().collect();
    wanted.extend(owner);
    if wanted == known || facts::is_terminating(&claim.metadata) {
        return None;
    }
    let mut claim = claim.clone();
    claim.metadata.owner_references = Some(wanted);
    Some(claim)
}
