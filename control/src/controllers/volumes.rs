//! Volumes that outlive pods: claims are bound to them, folders are made for claims, and what was made is removed.
//!
//! [`claims`] gives every claim its volume, one that exists or a new one; [`reclaim`] tells how far each volume is and
//! removes it after its claim; [`ephemeral`] makes the claims that live as long as their pod. A new volume is a folder
//! of the node that the scheduler chose for the claim's first pod: the node makes it when it is mounted, and removes it
//! when it is asked to.

pub(crate) mod claims;
pub(crate) mod ephemeral;
pub(crate) mod matching;
pub(crate) mod reclaim;
#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::facts;

/// Who makes the volumes of the class that every cluster has.
pub(crate) const PROVISIONER: &str = "isopod.dev/local-path";
/// Annotation of a Node: the folder in which it makes volumes.
pub(crate) const FOLDER: &str = "isopod.dev/volumes-folder";
/// Annotation of a claim: the node that its first pod goes to.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Annotation of a claim of which the binding was carried out.
pub(crate) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Annotation of what this controller bound.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Annotation of a volume: who made it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The label by which nodes are told apart.
const HOSTNAME: &str = "kubernetes.io/hostname";
/// The binding mode of a class of which volumes are chosen together with the node of the first pod.
const DELAYED: &str = "WaitForFirstConsumer";

/// The name of the claim behind a pod's volume.
pub(crate) fn claim_of(pod: &Pod, volume: &Volume) -> Option<String> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", facts::name(&pod.metadata), volume.name)),
        (None, None) => None,
    }
}

/// The names of all claims that a pod uses.
pub(crate) fn claims_of(pod: &Pod) -> impl Iterator<Item = String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| claim_of(pod, volume))
}

/// What a claim asks for.
fn spec_of(claim: &PersistentVolumeClaim) -> &PersistentVolumeClaimSpec {
    static NOTHING: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec {
        access_modes: None,
        data_source: None,
        data_source_ref: None,
        resources: None,
        selector: None,
        storage_class_name: None,
        volume_attributes_class_name: None,
        volume_mode: None,
        volume_name: None,
    };
    claim.spec.as_ref().unwrap_or(&NOTHING)
}

/// The class of a claim; empty for one that wants none.
pub(crate) fn class_of(claim: &PersistentVolumeClaim) -> &str {
    spec_of(claim).storage_class_name.as_deref().unwrap_or_default()
}

/// The class of a volume; empty for one that has none.
pub(crate) fn class_of_volume(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or_default()
}

/// The volume that a claim has, or asks for by name.
pub(crate) fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    spec_of(claim).volume_name.as_deref().filter(|name| !name.is_empty())
}

/// True when the claim has its volume for good.
pub(crate) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    volume_name(claim).is_some() && facts::annotation(&claim.metadata, BIND_COMPLETED).is_some()
}

/// The claim that a volume is kept for.
pub(crate) fn claim_ref(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// Whether a volume is this claim's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody's.
    Nobody,
    /// The claim's, by its name only: whoever made the volume could not know the uid.
    ByName,
    /// The claim's.
    This,
    /// Another one's.
    Other,
}

/// Whose the volume is.
pub(crate) fn holder(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Holder {
    let Some(reference) = claim_ref(volume) else { return Holder::Nobody };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let same_name = text(&reference.name) == facts::name(&claim.metadata)
        && text(&reference.namespace) == facts::namespace(&claim.metadata);
    match reference.uid.as_deref().unwrap_or_default() {
        _ if !same_name => Holder::Other,
        "" => Holder::ByName,
        uid if uid == facts::uid(&claim.metadata) => Holder::This,
        _ => Holder::Other,
    }
}

/// True for a volume that our provisioner made.
fn is_ours(volume: &PersistentVolume) -> bool {
    facts::annotation(&volume.metadata, PROVISIONED_BY) == Some(PROVISIONER)
}

/// The node that a volume of ours lies on.
fn home_of(volume: &PersistentVolume) -> Option<&str> {
    let required = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let expressions =
        required.node_selector_terms.iter().flat_map(|term| term.match_expressions.iter().flatten());
    let mut hosts = expressions.filter(|own| own.key == HOSTNAME && own.operator == "In");
    hosts.find_map(|own| own.values.as_ref()?.first().map(String::as_str))
}

/// True when nothing keeps the object any more but the protection that is ours to take away.
fn is_protected(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|own| own == finalizer)
}

fn unprotect(meta: &mut ObjectMeta, finalizer: &str) {
    if let Some(finalizers) = &mut meta.finalizers {
        finalizers.retain(|own| own != finalizer);
    }
}

fn annotate(meta: &mut ObjectMeta, annotations: &[(&str, &str)]) {
    let own = meta.annotations.get_or_insert_default();
    own.extend(annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
}
