//! Volumes: how far each is, and what becomes of it after its claim.
//!
//! [`plan`] is pure. Where a folder was made for a claim and is to go with it, the node that has it is asked first, and
//! the object goes only when the folder is gone.

pub(crate) mod shell;

use std::sync::Arc;

use isopod_spec::core::persistent_volume::PROTECTION;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, PersistentVolumeStatus};

use super::{PROVISIONED_BY, claim_ref, is_ours, is_protected, unprotect, volume_name};
use crate::controllers::facts;

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Replaces the status.
    PutStatus(Box<PersistentVolume>),
    /// Replaces the volume.
    Put(Box<PersistentVolume>),
    /// Has the folder removed; nothing after it is done before that. Without a node there is nobody to ask.
    RemoveFolder(Option<Arc<Node>>),
    /// Deletes the object.
    Delete,
    /// Tells why it cannot be removed, or used again.
    Tell(&'static str, String),
}

/// What a plan for a volume is made from.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// The claim that it names.
    pub(crate) claim: Option<Arc<PersistentVolumeClaim>>,
    /// The node that has its folder.
    pub(crate) node: Option<Arc<Node>>,
}

/// How a volume stands to claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// No claim has it.
    Free,
    /// A claim has it, or is about to.
    Taken,
    /// The claim that had it is gone.
    Left,
}

/// What to do about a volume.
pub(crate) fn plan(volume: &PersistentVolume, observed: &Observed) -> Vec<Action> {
    let (found, claim) = (use_of(volume, observed.claim.as_deref()), observed.claim.as_deref());
    if facts::is_terminating(&volume.metadata) && found != Use::Taken {
        return remove(volume, observed);
    }
    match found {
        Use::Free => phase(volume, "Available", None),
        Use::Taken => {
            let is_done = claim.and_then(volume_name) == volume.metadata.name.as_deref();
            // In the moment between the two writes of a binding it is neither free nor bound.
            if is_done { phase(volume, "Bound", None) } else { Vec::new() }
        }
        Use::Left => after_claim(volume),
    }
}

fn use_of(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Use {
    let Some(reference) = claim_ref(volume) else { return Use::Free };
    let uid = reference.uid.as_deref().unwrap_or_default();
    if uid.is_empty() {
        return Use::Free;
    }
    let holds = claim.filter(|claim| facts::uid(&claim.metadata) == uid);
    match holds.map(|claim| volume_name(claim)) {
        Some(None) => Use::Taken,
        Some(named) if named == volume.metadata.name.as_deref() => Use::Taken,
        Some(_) | None => Use::Left,
    }
}

fn after_claim(volume: &PersistentVolume) -> Vec<Action> {
    let spec = volume.spec.as_ref();
    let policy = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    let maker = facts::annotation(&volume.metadata, PROVISIONED_BY);
    match policy {
        Some("Delete") if is_ours(volume) => vec![Action::Delete],
        // Whoever made it removes it.
        Some("Delete") if maker.is_some() => phase(volume, "Released", None),
        Some("Delete") => {
            let name = facts::name(&volume.metadata);
            let why = format!(
                "error getting deleter volume plugin for volume \"{name}\": no deletable volume plugin matched"
            );
            fail(volume, "VolumeFailedDelete", why)
        }
        Some("Recycle") => {
            fail(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!".into())
        }
        _ => phase(volume, "Released", None),
    }
}

fn fail(volume: &PersistentVolume, reason: &'static str, why: String) -> Vec<Action> {
    let mut actions = phase(volume, "Failed", Some((reason, &why)));
    if !actions.is_empty() {
        actions.push(Action::Tell(reason, why));
    }
    actions
}

/// The status with this phase, if it is another one.
fn phase(volume: &PersistentVolume, phase: &str, why: Option<(&str, &str)>) -> Vec<Action> {
    let stored = volume.status.clone().unwrap_or_default();
    let status = PersistentVolumeStatus {
        phase: Some(phase.to_owned()),
        reason: why.map(|(reason, _)| reason.to_owned()),
        message: why.map(|(_, message)| message.to_owned()),
        last_phase_transition_time: stored.last_phase_transition_time.clone(),
    };
    if status == stored {
        return Vec::new();
    }
    vec![Action::PutStatus(Box::new(PersistentVolume { status: Some(status), ..volume.clone() }))]
}

/// A volume that is being deleted and that nobody has.
fn remove(volume: &PersistentVolume, observed: &Observed) -> Vec<Action> {
    if !is_protected(&volume.metadata, PROTECTION) {
        return Vec::new();
    }
    let spec = volume.spec.as_ref();
    let policy = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    let mut free = volume.clone();
    unprotect(&mut free.metadata, PROTECTION);
    let put = Action::Put(Box::new(free));
    match is_ours(volume) && policy == Some("Delete") {
        true => vec![Action::RemoveFolder(observed.node.clone()), put],
        false => vec![put],
    }
}
