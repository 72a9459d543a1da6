//! Which volumes a claim can be bound to.

use std::sync::Arc;

use isopod_spec::quantity::Amount;
use isopod_spec::selector::Selector;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use super::{class_of, class_of_volume, spec_of};
use crate::controllers::facts::{self, StringMap};
use crate::scheduler;

/// What keeps a claim from a volume that it asks for by name, in the words of its event.
pub(super) fn mismatch(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<&'static str> {
    let (wanted, offered) = (spec_of(claim), volume.spec.as_ref()?);
    let filesystem = || Some("Filesystem".to_owned());
    let modes = offered.access_modes.as_deref().unwrap_or_default();
    if wanted.volume_mode.clone().or_else(filesystem) != offered.volume_mode.clone().or_else(filesystem) {
        Some("incompatible volumeMode")
    } else if capacity(volume) < request(claim) {
        Some("requested PV is too small")
    } else if class_of(claim) != class_of_volume(volume) {
        Some("storageClassName does not match")
    } else if !wanted.access_modes.iter().flatten().all(|mode| modes.contains(mode)) {
        Some("incompatible accessMode")
    } else {
        None
    }
}

/// True when the volume is free and all that the claim asks for.
pub(crate) fn suits(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let selector = spec_of(claim).selector.as_ref();
    let selected =
        selector.is_none_or(|chosen| Selector::of(Some(chosen)).matches(volume.metadata.labels.as_ref()));
    super::claim_ref(volume).is_none()
        && !facts::is_terminating(&volume.metadata)
        && selected
        && mismatch(claim, volume).is_none()
}

/// The smallest volume that suits; of equally large ones the first by name.
pub(super) fn best<'a>(
    claim: &PersistentVolumeClaim,
    volumes: impl Iterator<Item = &'a Arc<PersistentVolume>>,
) -> Option<&'a Arc<PersistentVolume>> {
    let fitting = volumes.filter(|volume| suits(claim, volume));
    fitting.min_by_key(|volume| (capacity(volume), facts::name(&volume.metadata)))
}

/// True when the volume can be reached from a node with this name and these labels.
pub(crate) fn is_near(volume: &PersistentVolume, node: &str, labels: &StringMap) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    affinity.is_none_or(|selector| scheduler::is_chosen(selector, node, labels))
}

/// How much a claim asks for.
pub(super) fn request(claim: &PersistentVolumeClaim) -> Option<Amount> {
    let requests = spec_of(claim).resources.as_ref()?.requests.as_ref()?;
    Amount::parse(&requests.get("storage")?.0).ok()
}

fn capacity(volume: &PersistentVolume) -> Option<Amount> {
    Amount::parse(&volume.spec.as_ref()?.capacity.as_ref()?.get("storage")?.0).ok()
}
