//! Why a pod has no node, in Kubernetes' words, since users and tools know them; and what could change that.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a pod cannot go to a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Rejection {
    Unschedulable,
    Tainted,
    NotSelected,
    PortsTaken,
    TooManyPods,
    Insufficient(String),
    /// The node has not even that much in all.
    NeverEnough(String),
    /// The node is not part of a topology that the pod is to be spread over.
    OutsideTopology,
    Skewed,
    NotNear,
    NotApart,
    /// A pod that is there keeps such pods away.
    KeptAway,
    /// There is no such claim.
    ClaimMissing(String),
    /// The claim is not made yet.
    ClaimNotMade(String),
    /// The claim is being deleted.
    ClaimLeaves(String),
    /// The claim has no volume, and gets none by a pod.
    ClaimUnbound,
    /// Another pod uses the claim, which only one may.
    ClaimInUse,
    /// The volume of a claim is gone.
    VolumeMissing(String),
    /// The volume is somewhere else.
    VolumeElsewhere,
    /// There is no volume for the claim, and none can be made.
    NoVolume,
}

impl Rejection {
    /// The reason in an event.
    pub(super) fn words(&self) -> String {
        let words = match self {
            Rejection::Unschedulable => "node(s) were unschedulable",
            Rejection::Tainted => "node(s) had untolerated taint(s)",
            Rejection::NotSelected => "node(s) didn't match Pod's node affinity/selector",
            Rejection::PortsTaken => "node(s) didn't have free ports for the requested pod ports",
            Rejection::TooManyPods => "Too many pods",
            Rejection::Insufficient(resource) | Rejection::NeverEnough(resource) => {
                return format!("Insufficient {resource}");
            }
            Rejection::OutsideTopology => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            Rejection::Skewed => "node(s) didn't match pod topology spread constraints",
            Rejection::NotNear => "node(s) didn't match pod affinity rules",
            Rejection::NotApart => "node(s) didn't match pod anti-affinity rules",
            Rejection::KeptAway => "node(s) didn't satisfy existing pods anti-affinity rules",
            Rejection::ClaimMissing(name) => return format!("persistentvolumeclaim \"{name}\" not found"),
            Rejection::ClaimNotMade(name) => {
                return format!(
                    "waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\""
                );
            }
            Rejection::ClaimLeaves(name) => {
                return format!("persistentvolumeclaim \"{name}\" is being deleted");
            }
            Rejection::VolumeMissing(name) => {
                return format!("node(s) unavailable due to PersistentVolume \"{name}\" not found");
            }
            Rejection::ClaimUnbound => "pod has unbound immediate PersistentVolumeClaims",
            Rejection::ClaimInUse => {
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
            }
            Rejection::VolumeElsewhere => "node(s) didn't match PersistentVolume's node affinity",
            Rejection::NoVolume => "node(s) didn't find available persistent volumes to bind",
        };
        words.to_owned()
    }

    /// True when the pod could come in if others left the node.
    pub(super) fn is_resolvable(&self) -> bool {
        match self {
            Rejection::PortsTaken
            | Rejection::TooManyPods
            | Rejection::Insufficient(_)
            | Rejection::Skewed
            | Rejection::NotApart
            | Rejection::KeptAway => true,
            Rejection::Unschedulable
            | Rejection::Tainted
            | Rejection::NotSelected
            | Rejection::NeverEnough(_)
            | Rejection::OutsideTopology
            | Rejection::NotNear
            | Rejection::ClaimMissing(_)
            | Rejection::ClaimNotMade(_)
            | Rejection::ClaimLeaves(_)
            | Rejection::ClaimUnbound
            | Rejection::ClaimInUse
            | Rejection::VolumeMissing(_)
            | Rejection::VolumeElsewhere
            | Rejection::NoVolume => false,
        }
    }

    fn hopes(&self) -> Hopes {
        let pods_come = matches!(self, Rejection::NotNear | Rejection::Skewed);
        let volumes_change = matches!(
            self,
            Rejection::ClaimMissing(_)
                | Rejection::ClaimNotMade(_)
                | Rejection::ClaimLeaves(_)
                | Rejection::ClaimUnbound
                | Rejection::VolumeMissing(_)
                | Rejection::VolumeElsewhere
                | Rejection::NoVolume
        );
        let pods_leave = self.is_resolvable() || *self == Rejection::ClaimInUse;
        Hopes { nodes_change: true, pods_leave, pods_come, volumes_change }
    }
}

/// Kinds of changes of the cluster: those that happened, or those that may help a refused pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hopes {
    pub(super) nodes_change: bool,
    pub(super) pods_leave: bool,
    pub(super) pods_come: bool,
    pub(super) volumes_change: bool,
}

impl Hopes {
    /// Of those whom any change may help.
    pub(super) const ANY: Hopes =
        Hopes { nodes_change: true, pods_leave: true, pods_come: true, volumes_change: true };

    /// True when one of these changes may help those with such hopes.
    pub(super) fn meet(self, other: Hopes) -> bool {
        (self.nodes_change && other.nodes_change)
            || (self.pods_leave && other.pods_leave)
            || (self.pods_come && other.pods_come)
            || (self.volumes_change && other.volumes_change)
    }

    /// Both.
    pub(super) fn or(self, other: Hopes) -> Hopes {
        Hopes {
            nodes_change: self.nodes_change || other.nodes_change,
            pods_leave: self.pods_leave || other.pods_leave,
            pods_come: self.pods_come || other.pods_come,
            volumes_change: self.volumes_change || other.volumes_change,
        }
    }
}

/// Nodes counted by what stands in the way there.
#[derive(Debug, Clone, Default)]
pub(super) struct Obstacles {
    nodes: usize,
    reasons: BTreeMap<Rejection, usize>,
}

impl Obstacles {
    /// Of a cluster with so many nodes.
    pub(super) fn among(nodes: usize) -> Obstacles {
        Obstacles { nodes, reasons: BTreeMap::new() }
    }

    /// One more node with these.
    pub(super) fn add(&mut self, reasons: &[Rejection]) {
        for reason in reasons {
            *self.reasons.entry(reason.clone()).or_default() += 1;
        }
    }

    /// `0/3 nodes are available: …`
    pub(super) fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (reason, count) in &self.reasons {
            *counts.entry(reason.words()).or_default() += count;
        }
        listed(self.nodes, &counts)
    }

    /// What could help.
    pub(super) fn hopes(&self) -> Hopes {
        let nodes = Hopes { nodes_change: true, ..Hopes::default() };
        self.reasons.keys().map(Rejection::hopes).fold(nodes, Hopes::or)
    }
}

/// Counted reasons why no node is available, in the order of their text.
pub(super) fn listed(nodes: usize, counts: &BTreeMap<String, usize>) -> String {
    let mut reasons: Vec<String> = counts.iter().map(|(words, count)| format!("{count} {words}")).collect();
    reasons.sort();
    format!("0/{nodes} nodes are available: {}.", reasons.join(", "))
}

/// What a pod without node is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) message: Arc<str>,
    pub(super) hopes: Hopes,
}
