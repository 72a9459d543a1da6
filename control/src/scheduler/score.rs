//! How good a node is for a pod, among those that it can go to: Kubernetes' scores, each from 0 to 100, and its weights.

use super::node::{NodeState, Shares};
use super::wants::Wants;

const TAINTS: f64 = 3.0;
const AFFINITY: f64 = 2.0;
const SPREADING: f64 = 2.0;
const NEIGHBOURS: f64 = 2.0;
const LEAST_ALLOCATED: f64 = 1.0;
const BALANCE: f64 = 1.0;
const IMAGES: f64 = 1.0;

/// Images that are smaller all together are pulled soon enough.
const IMAGES_MIN_BYTES: f64 = 23.0 * 1024.0 * 1024.0;
/// Larger ones, for each container, make no more difference.
const IMAGE_MAX_BYTES: f64 = 1000.0 * 1024.0 * 1024.0;

/// What is known of a node before it is compared with others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Raw {
    /// The part that no other node changes.
    pub(super) alone: f64,
    /// The weight of the pod's node preferences.
    pub(super) affinity: i64,
    /// Taints that discourage the pod.
    pub(super) taints: i64,
    /// What other pods pull.
    pub(super) pull: i64,
    /// How crowded its domains are; `None` outside of a topology.
    pub(super) crowding: Option<f64>,
}

/// The bounds of what is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    affinity_max: i64,
    taints_max: i64,
    pull: (i64, i64),
    crowding: (f64, f64),
}

impl Scale {
    /// Over all nodes that the pod can go to.
    pub(super) fn of<'a>(nodes: impl Iterator<Item = &'a Raw>) -> Scale {
        let empty = Scale {
            affinity_max: 0,
            taints_max: 0,
            pull: (i64::MAX, i64::MIN),
            crowding: (f64::INFINITY, f64::NEG_INFINITY),
        };
        nodes.fold(empty, |scale, node| Scale {
            affinity_max: scale.affinity_max.max(node.affinity),
            taints_max: scale.taints_max.max(node.taints),
            pull: (scale.pull.0.min(node.pull), scale.pull.1.max(node.pull)),
            crowding: match node.crowding {
                Some(crowding) => (scale.crowding.0.min(crowding), scale.crowding.1.max(crowding)),
                None => scale.crowding,
            },
        })
    }

    /// The whole score of a node.
    pub(super) fn score(&self, node: &Raw) -> f64 {
        let affinity = share(node.affinity, self.affinity_max);
        let taints = 1.0 - share(node.taints, self.taints_max);
        let pull = share(node.pull - self.pull.0, self.pull.1 - self.pull.0);
        let (least, most) = self.crowding;
        let spreading = match node.crowding {
            None => 0.0,
            Some(_) if most <= 0.0 => 1.0,
            Some(crowding) => (most + least - crowding) / most,
        };
        let compared = TAINTS * taints + AFFINITY * affinity + NEIGHBOURS * pull + SPREADING * spreading;
        node.alone + 100.0 * compared
    }
}

/// A part of a whole; nothing of nothing.
#[expect(clippy::cast_precision_loss, reason = "weights and counts are small")]
fn share(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The part of a score that depends on what runs on the node: how much room is left, and how well cpu and memory are
/// balanced.
pub(super) fn load(node: &NodeState, wants: &Wants) -> f64 {
    let balance = match wants.request.stated.cpu_milli == 0 && wants.request.stated.memory_bytes == 0 {
        true => 0.0,
        false => balance(node.stated_with(wants)),
    };
    100.0 * (LEAST_ALLOCATED * least_allocated(node.counted_with(wants)) + BALANCE * balance)
}

fn least_allocated(taken: Shares) -> f64 {
    1.0 - f64::midpoint(taken.cpu, taken.memory)
}

/// One less the standard deviation of two shares.
fn balance(taken: Shares) -> f64 {
    1.0 - (taken.cpu - taken.memory).abs() / 2.0
}

/// The score of the images that a node has. Each is its size and the share of nodes that have it, which keeps pods from
/// crowding on the only node that has a large one.
pub(super) fn images(found: impl Iterator<Item = (f64, f64)>, containers: usize) -> f64 {
    let bytes: f64 = found.map(|(bytes, nodes)| bytes * nodes).sum();
    #[expect(clippy::cast_precision_loss, reason = "containers are few")]
    let most = IMAGE_MAX_BYTES * containers.max(1) as f64;
    let bytes = bytes.clamp(IMAGES_MIN_BYTES, most);
    100.0 * IMAGES * (bytes - IMAGES_MIN_BYTES) / (most - IMAGES_MIN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: Raw = Raw { alone: 0.0, affinity: 0, taints: 0, pull: 0, crowding: Some(0.0) };

    fn scores(nodes: &[Raw]) -> Vec<f64> {
        let scale = Scale::of(nodes.iter());
        nodes.iter().map(|node| scale.score(node)).collect()
    }

    #[test]
    fn nodes_are_compared_by_each_score_and_its_weight() {
        for (what, nodes, expected) in [
            ("alike", [NODE, NODE, NODE], [500.0, 500.0, 500.0]),
            (
                "affinity",
                [Raw { affinity: 10, ..NODE }, NODE, Raw { affinity: 5, ..NODE }],
                [700.0, 500.0, 600.0],
            ),
            ("taints", [Raw { taints: 2, ..NODE }, NODE, Raw { taints: 1, ..NODE }], [200.0, 500.0, 350.0]),
            ("pull", [Raw { pull: -10, ..NODE }, NODE, Raw { pull: 10, ..NODE }], [500.0, 600.0, 700.0]),
            (
                "spreading",
                [
                    Raw { crowding: Some(1.0), ..NODE },
                    Raw { crowding: Some(4.0), ..NODE },
                    Raw { crowding: None, ..NODE },
                ],
                [500.0, 350.0, 300.0],
            ),
            ("alone", [Raw { alone: 3.0, ..NODE }, NODE, NODE], [503.0, 500.0, 500.0]),
        ] {
            assert_eq!(scores(&nodes), expected, "{what}");
        }
    }

    #[test]
    fn room_and_balance_are_shares_of_what_a_node_has() {
        for (cpu, memory, room, even) in
            [(0.0, 0.0, 1.0, 1.0), (0.5, 0.5, 0.5, 1.0), (1.0, 0.5, 0.25, 0.75), (1.0, 0.0, 0.5, 0.5)]
        {
            let taken = Shares { cpu, memory };
            assert!((least_allocated(taken) - room).abs() < 1e-9, "{taken:?}");
            assert!((balance(taken) - even).abs() < 1e-9, "{taken:?}");
        }
    }

    #[test]
    fn large_images_that_many_nodes_have_count_most() {
        let mebibytes = |number: f64| number * 1024.0 * 1024.0;
        for (found, containers, expected) in [
            (vec![], 1, 0.0),
            (vec![(mebibytes(20.0), 1.0)], 1, 0.0),
            (vec![(mebibytes(2000.0), 1.0)], 1, 100.0),
            (vec![(mebibytes(511.5), 1.0)], 1, 50.0),
            (vec![(mebibytes(1023.0), 0.5)], 1, 50.0),
            (vec![(mebibytes(1000.0), 1.0), (mebibytes(1000.0), 1.0)], 2, 100.0),
        ] {
            let score = images(found.clone().into_iter(), containers);
            assert!((score - expected).abs() < 1e-6, "{found:?}: {score}");
        }
    }
}
