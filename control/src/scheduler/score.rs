//! How good a node is for a pod, among those it can go to.

use super::node::NodeState;
use super::wants::Wants;

/// Weights of the single scores, which go from 0 to 100: Kubernetes' weights.
const TAINTS: f64 = 3.0;
const AFFINITY: f64 = 2.0;
const SPREADING: f64 = 2.0;
const LEAST_ALLOCATED: f64 = 1.0;
const BALANCE: f64 = 1.0;

/// The part of a score that does not depend on what runs on the node: for each node, from its affinity weight and its
/// number of discouraging taints.
pub(super) fn preferences(nodes: &[(i64, i64)]) -> Vec<f64> {
    let most = |of: fn(&(i64, i64)) -> i64| nodes.iter().map(of).max().unwrap_or(0);
    let (most_affinity, most_taints) = (most(|node| node.0), most(|node| node.1));
    let score = |(affinity, taints): &(i64, i64)| {
        let affinity = if most_affinity == 0 { 0.0 } else { ratio(*affinity, most_affinity) };
        let taints = if most_taints == 0 { 1.0 } else { 1.0 - ratio(*taints, most_taints) };
        100.0 * (AFFINITY * affinity + TAINTS * taints)
    };
    nodes.iter().map(score).collect()
}

#[expect(clippy::cast_precision_loss, reason = "weights and counts are small")]
fn ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole as f64
}

/// The part that does: room left, balance between cpu and memory, and distance from pods of the same owner, of which
/// the fullest node has `most_siblings`.
pub(super) fn load(node: &NodeState, wants: &Wants, most_siblings: u32) -> f64 {
    let (cpu, memory) = node.load_with(wants);
    let least_allocated = 1.0 - f64::midpoint(cpu, memory);
    let balance = 1.0 - (cpu - memory).abs() / 2.0;
    let spreading = match most_siblings {
        0 => 0.0,
        most => 1.0 - f64::from(node.siblings(wants)) / f64::from(most),
    };
    100.0 * (LEAST_ALLOCATED * least_allocated + BALANCE * balance + SPREADING * spreading)
}
