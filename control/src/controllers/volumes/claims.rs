//! Claims get their volumes: the smallest free one that suits, or one that is made for them.
//!
//! [`plan`] is pure and takes one step at a time. The volume is reserved first, by one compared write, so that no two
//! claims ever have the same; what is left of a binding that stopped half-way is carried on from there.

mod provision;
pub(crate) mod shell;

use std::sync::Arc;

use isopod_spec::core::persistent_volume_claim::PROTECTION;
use k8s_openapi::api::core::v1::{
    Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::{Metadata as _, Resource as _};

use super::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, DELAYED, Holder, SELECTED_NODE, annotate, holder, is_protected,
    matching, unprotect, volume_name,
};
use crate::controllers::facts;
use crate::events::Level;

/// One write, or something to tell about the claim.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Replaces a volume.
    PutVolume(Box<PersistentVolume>),
    /// Makes a volume.
    CreateVolume(Box<PersistentVolume>),
    /// Replaces the claim.
    PutClaim(Box<PersistentVolumeClaim>),
    /// Replaces the claim's status.
    PutStatus(Box<PersistentVolumeClaim>),
    /// An event.
    Tell(Level, &'static str, String),
}

/// What a plan for a claim is made from.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// The volume that the claim names.
    pub(crate) named: Option<Arc<PersistentVolume>>,
    /// The volumes of its class. Not asked for once it names one.
    pub(crate) of_class: Vec<Arc<PersistentVolume>>,
    /// Its class.
    pub(crate) class: Option<Arc<StorageClass>>,
    /// The node that was chosen for its first pod.
    pub(crate) node: Option<Arc<Node>>,
    /// A pod that uses it and has not ended, and whether that one has a node.
    pub(crate) user: Option<User>,
}

/// A pod that uses a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) has_node: bool,
}

/// The next step for `claim`.
pub(crate) fn plan(claim: &PersistentVolumeClaim, observed: &Observed) -> Vec<Action> {
    if facts::is_terminating(&claim.metadata) {
        return unprotected(claim, observed).into_iter().collect();
    }
    match volume_name(claim) {
        Some(name) => named(claim, name, observed),
        None => unnamed(claim, observed),
    }
}

/// A claim that is being deleted goes when no pod uses it any more.
fn unprotected(claim: &PersistentVolumeClaim, observed: &Observed) -> Option<Action> {
    if !is_protected(&claim.metadata, PROTECTION) || observed.user.is_some() {
        return None;
    }
    let mut claim = claim.clone();
    unprotect(&mut claim.metadata, PROTECTION);
    Some(Action::PutClaim(Box::new(claim)))
}

fn named(claim: &PersistentVolumeClaim, name: &str, observed: &Observed) -> Vec<Action> {
    let was_bound = facts::annotation(&claim.metadata, BIND_COMPLETED).is_some();
    let Some(volume) = &observed.named else {
        return match was_bound {
            true => lost(
                claim,
                "ClaimLost",
                "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
            ),
            false => vec![tell("FailedBinding", format!("volume \"{name}\" not found"))],
        };
    };
    match holder(volume, claim) {
        Holder::This => finish(claim, volume),
        Holder::Nobody | Holder::ByName => match matching::mismatch(claim, volume) {
            Some(why) => {
                let message = format!("Cannot bind to requested volume \"{name}\": {why}");
                vec![Action::Tell(Level::Warning, "VolumeMismatch", message)]
            }
            None => vec![reserve(claim, volume)],
        },
        Holder::Other if was_bound => {
            let why = "Two claims are bound to the same volume, this one is bound incorrectly";
            lost(claim, "ClaimMisbound", why)
        }
        Holder::Other => {
            vec![tell("FailedBinding", format!("volume \"{name}\" already bound to a different claim."))]
        }
    }
}

fn unnamed(claim: &PersistentVolumeClaim, observed: &Observed) -> Vec<Action> {
    let is_held = |by: Holder| move |volume: &&Arc<PersistentVolume>| holder(volume, claim) == by;
    if let Some(volume) = observed.of_class.iter().find(is_held(Holder::This)) {
        return vec![take(claim, volume)];
    }
    let mut kept = observed.of_class.iter().filter(is_held(Holder::ByName));
    if let Some(volume) = kept.find(|volume| matching::mismatch(claim, volume).is_none()) {
        return vec![reserve(claim, volume)];
    }
    let is_delayed =
        observed.class.as_ref().is_some_and(|class| class.volume_binding_mode.as_deref() == Some(DELAYED));
    let selected = facts::annotation(&claim.metadata, SELECTED_NODE);
    if is_delayed && selected.is_none() {
        return vec![match observed.user.as_ref().filter(|user| !user.has_node) {
            None => {
                tell("WaitForFirstConsumer", "waiting for first consumer to be created before binding".into())
            }
            Some(user) => {
                tell("WaitForPodScheduled", format!("waiting for pod {} to be scheduled", user.name))
            }
        }];
    }
    let node = observed.node.as_ref().filter(|_| is_delayed);
    let near = observed.of_class.iter().filter(|volume| {
        node.is_none_or(|node| {
            let labels = node.metadata.labels.clone().unwrap_or_default();
            matching::is_near(volume, facts::name(&node.metadata), &labels)
        })
    });
    match matching::best(claim, near) {
        Some(volume) => vec![reserve(claim, volume)],
        None => provision::plan(claim, observed),
    }
}

/// The volume is this claim's from now on.
fn reserve(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Action {
    let mut volume = volume.clone();
    let spec = volume.spec.get_or_insert_default();
    // Whoever made a volume for one claim wants to see it stay that one's.
    let was_free = spec.claim_ref.is_none();
    spec.claim_ref = Some(reference(claim));
    if was_free {
        annotate(volume.metadata_mut(), &[(BOUND_BY_CONTROLLER, "yes")]);
    }
    Action::PutVolume(Box::new(volume))
}

fn reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    let meta = &claim.metadata;
    ObjectReference {
        api_version: Some(PersistentVolumeClaim::API_VERSION.to_owned()),
        kind: Some(PersistentVolumeClaim::KIND.to_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// The claim names the volume that is reserved for it.
fn take(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Action {
    let mut claim = claim.clone();
    claim.spec.get_or_insert_default().volume_name.clone_from(&volume.metadata.name);
    annotate(&mut claim.metadata, &[(BIND_COMPLETED, "yes"), (BOUND_BY_CONTROLLER, "yes")]);
    Action::PutClaim(Box::new(claim))
}

/// What is left of a binding once claim and volume name each other.
fn finish(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Vec<Action> {
    if facts::annotation(&claim.metadata, BIND_COMPLETED).is_none() {
        let mut claim = claim.clone();
        annotate(&mut claim.metadata, &[(BIND_COMPLETED, "yes")]);
        return vec![Action::PutClaim(Box::new(claim))];
    }
    let offered = volume.spec.clone().unwrap_or_default();
    let status = PersistentVolumeClaimStatus {
        phase: Some("Bound".to_owned()),
        access_modes: offered.access_modes,
        capacity: offered.capacity,
        ..claim.status.clone().unwrap_or_default()
    };
    with_status(claim, status).into_iter().collect()
}

fn lost(claim: &PersistentVolumeClaim, reason: &'static str, message: &str) -> Vec<Action> {
    let phase = Some("Lost".to_owned());
    let status = PersistentVolumeClaimStatus { phase, ..claim.status.clone().unwrap_or_default() };
    let put = with_status(claim, status);
    // Told once, when it is found out.
    let told = put.is_some().then(|| Action::Tell(Level::Warning, reason, message.to_owned()));
    put.into_iter().chain(told).collect()
}

fn with_status(claim: &PersistentVolumeClaim, status: PersistentVolumeClaimStatus) -> Option<Action> {
    if claim.status.as_ref() == Some(&status) {
        return None;
    }
    Some(Action::PutStatus(Box::new(PersistentVolumeClaim { status: Some(status), ..claim.clone() })))
}

fn tell(reason: &'static str, message: String) -> Action {
    Action::Tell(Level::Normal, reason, message)
}
