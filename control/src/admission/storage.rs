//! The class of a new claim that names none, and whether a claim may grow.
//!
//! Follows upstream's admission plugins `DefaultStorageClass` and `PersistentVolumeClaimResize`.

use isopod_raft_store::{KeyRange, Snapshot};
use isopod_spec::registry;
use isopod_spec::status::Status;
use isopod_spec::storage::storage_class::DEFAULT_CLASS;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;

use crate::objects::try_decode;

/// Gives the claim the default class, if it names none and there is one; of several the newest.
pub(super) fn default_class(snapshot: &Snapshot, claim: &mut PersistentVolumeClaim) -> Result<(), Status> {
    let spec = claim.spec.get_or_insert_default();
    if spec.storage_class_name.is_some() {
        return Ok(());
    }
    let range = KeyRange::prefix(registry::kind_of::<StorageClass>().prefix(None));
    let classes: Result<Vec<StorageClass>, Status> =
        snapshot.range(&range).map(|(_, entry)| try_decode(entry)).collect();
    let defaults = classes?.into_iter().filter(is_default);
    let newest = defaults.max_by(|one, other| {
        let (one, other) = (&one.metadata, &other.metadata);
        one.creation_timestamp.cmp(&other.creation_timestamp).then_with(|| other.name.cmp(&one.name))
    });
    spec.storage_class_name = newest.and_then(|class| class.metadata.name);
    Ok(())
}

fn is_default(class: &StorageClass) -> bool {
    let annotations = class.metadata.annotations.as_ref();
    annotations.and_then(|own| own.get(DEFAULT_CLASS)).is_some_and(|value| value == "true")
}

/// Why the claim may not ask for more than before; `None` if it does not, or may.
pub(super) fn refuse_growth(
    snapshot: &Snapshot,
    claim: &PersistentVolumeClaim,
    old: &PersistentVolumeClaim,
) -> Result<Option<&'static str>, Status> {
    let requests = |claim: &PersistentVolumeClaim| {
        claim.spec.as_ref().and_then(|spec| spec.resources.clone()).and_then(|own| own.requests)
    };
    if requests(claim) == requests(old) {
        return Ok(None);
    }
    let is_bound = old.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    if !is_bound {
        return Ok(Some("Only bound persistent volume claims can be expanded"));
    }
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or_default();
    let entry = snapshot.get(&registry::kind_of::<StorageClass>().key("", class));
    let class = entry.map(try_decode::<StorageClass>).transpose()?;
    let may_grow = class.is_some_and(|class| class.allow_volume_expansion == Some(true));
    Ok((!may_grow).then_some(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    ))
}
