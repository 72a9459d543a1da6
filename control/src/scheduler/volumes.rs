//! What a pod's claims say about where it can go.
//!
//! A claim that has a volume holds its pods near that volume. One that waits for its first pod can be had where a free
//! volume suits it, or where one can be made; the node that is chosen is written on it, and the pod waits until it is
//! bound.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;

use super::node::NodeState;
use super::refusal::Rejection;
use super::wants::Wants;
use crate::cache::{Change, Delta, ObjectKey};
use crate::controllers::facts;
use crate::controllers::volumes::{
    PROVISIONER, SELECTED_NODE, claim_of, class_of, class_of_volume, is_bound, matching, volume_name,
};

/// The mode of a claim that one pod at a time may use.
const EXCLUSIVE: &str = "ReadWriteOncePod";
const DELAYED: &str = "WaitForFirstConsumer";

/// A claim that a pod uses, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClaimName {
    pub(super) name: String,
    /// It is made for the pod.
    pub(super) is_ephemeral: bool,
}

/// The claims of a pod.
pub(super) fn claims_of(pod: &Pod) -> Vec<ClaimName> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claims = volumes.filter_map(|volume| {
        Some(ClaimName { name: claim_of(pod, volume)?, is_ephemeral: volume.ephemeral.is_some() })
    });
    claims.collect()
}

/// Claims, volumes and classes, kept up to date change by change.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    claims: BTreeMap<ObjectKey, Arc<PersistentVolumeClaim>>,
    volumes: BTreeMap<ObjectKey, Arc<PersistentVolume>>,
    classes: BTreeMap<ObjectKey, Arc<StorageClass>>,
}

/// What one claim asks of a node.
#[derive(Debug)]
enum Need {
    /// To be near this volume.
    Near(Arc<PersistentVolume>),
    /// To be this node, which was chosen before.
    On(String),
    /// To be near one of these, or to make one if that is possible at all.
    AnyOf { free: Vec<Arc<PersistentVolume>>, can_be_made: bool },
}

/// What the claims of a class of pods ask of a node.
#[derive(Debug, Default)]
pub(super) struct Needs {
    all: Vec<Need>,
    /// Claims that one pod at a time may use.
    pub(super) exclusive: Vec<String>,
}

impl Volumes {
    /// Takes over a change; true when it may help a pod that waits for a claim.
    pub(super) fn observe(&mut self, change: &Change) -> bool {
        match change {
            Change::PersistentVolumeClaim(delta) => put(&mut self.claims, delta),
            Change::PersistentVolume(delta) => put(&mut self.volumes, delta),
            Change::StorageClass(delta) => put(&mut self.classes, delta),
            _ => return false,
        }
        true
    }

    /// What such pods need, or why no node will do.
    pub(super) fn needs(
        &self,
        wants: &Wants,
        is_used: impl Fn(&ObjectKey) -> bool,
    ) -> Result<Needs, Rejection> {
        let mut needs = Needs::default();
        for claim in &wants.claims {
            let key = ObjectKey::new(&wants.namespace, &claim.name);
            let Some(found) = self.claims.get(&key) else {
                return Err(match claim.is_ephemeral {
                    true => Rejection::ClaimNotMade(claim.name.clone()),
                    false => Rejection::ClaimMissing(claim.name.clone()),
                });
            };
            if facts::is_terminating(&found.metadata) {
                return Err(Rejection::ClaimLeaves(claim.name.clone()));
            }
            let modes = found.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
            if modes.iter().any(|mode| mode == EXCLUSIVE) {
                if is_used(&key) {
                    return Err(Rejection::ClaimInUse);
                }
                needs.exclusive.push(claim.name.clone());
            }
            needs.all.push(self.need(found)?);
        }
        Ok(needs)
    }

    fn need(&self, claim: &PersistentVolumeClaim) -> Result<Need, Rejection> {
        if is_bound(claim) {
            let name = volume_name(claim).unwrap_or_default();
            let volume = self.volumes.get(&ObjectKey::new("", name)).cloned();
            return volume.map(Need::Near).ok_or_else(|| Rejection::VolumeMissing(name.to_owned()));
        }
        let class = self.classes.get(&ObjectKey::new("", class_of(claim)));
        let class = class.filter(|class| class.volume_binding_mode.as_deref() == Some(DELAYED));
        let Some(class) = class else { return Err(Rejection::ClaimUnbound) };
        if let Some(node) = facts::annotation(&claim.metadata, SELECTED_NODE) {
            return Ok(Need::On(node.to_owned()));
        }
        let of_class = self.volumes.values().filter(|volume| class_of_volume(volume) == class_of(claim));
        let free = of_class.filter(|volume| matching::suits(claim, volume)).cloned().collect();
        Ok(Need::AnyOf { free, can_be_made: class.provisioner == PROVISIONER })
    }
}

fn put<T>(map: &mut BTreeMap<ObjectKey, Arc<T>>, delta: &Delta<T>) {
    match &delta.new {
        Some(new) => drop(map.insert(delta.key.clone(), new.clone())),
        None => drop(map.remove(&delta.key)),
    }
}

impl Needs {
    /// Whether the node will do.
    pub(super) fn met_by(&self, node: &NodeState) -> Result<(), Rejection> {
        let is_near = |volume: &PersistentVolume| {
            node.labels().is_some_and(|labels| matching::is_near(volume, &node.name, labels))
        };
        for need in &self.all {
            match need {
                Need::Near(volume) if !is_near(volume) => return Err(Rejection::VolumeElsewhere),
                Need::On(chosen) if **chosen != *node.name => return Err(Rejection::VolumeElsewhere),
                Need::AnyOf { free, can_be_made } => {
                    let is_made = *can_be_made && node.makes_volumes();
                    if !is_made && !free.iter().any(|volume| is_near(volume)) {
                        return Err(Rejection::NoVolume);
                    }
                }
                Need::Near(_) | Need::On(_) => {}
            }
        }
        Ok(())
    }

    /// True when a pod that came to a node took a claim that only one may use.
    pub(super) fn taken_by(&self, wants: &Wants, other: &Wants) -> bool {
        wants.namespace == other.namespace
            && self.exclusive.iter().any(|name| other.claims.iter().any(|claim| claim.name == *name))
    }
}
