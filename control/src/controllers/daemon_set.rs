//! DaemonSets: one pod on every node that suits.
//!
//! [`plan`] is pure. Each pod is made for its node and bound there by the scheduler; whether a node suits is judged before,
//! so that a set with a narrow selector leaves no pods waiting. Nodes that must not get new pods for a while (cordoned, or
//! with pressure) still get theirs: what runs on every node is what is needed then.

mod place;
mod rollout;
pub(crate) mod shell;
mod status;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};

use self::place::Fit;
use super::revisions::{self, History, REVISION_LABEL};
use super::{claim, facts, pods};

/// At most so many pods are created or deleted in one pass.
const PODS_PER_PASS: usize = 500;

/// One write that brings the cluster nearer to the DaemonSet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Makes the set the controller of a matching pod that has none.
    Adopt { pod: Arc<Pod> },
    /// Gives up a pod that matches no more.
    Release { pod: Arc<Pod> },
    /// Brings the history of templates up to date.
    Revise(revisions::Change),
    /// Creates pods, each for its node.
    Create { pods: Vec<Pod> },
    /// Deletes pods.
    Delete { pods: Vec<Arc<Pod>> },
}

/// What to write now, and when to look again if nothing changes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    /// The status to write, when it differs from the stored one.
    pub(crate) status: Option<DaemonSetStatus>,
    pub(crate) again_after: Option<Duration>,
}

/// What a plan is made from, besides the DaemonSet.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// Pods of the namespace that the set controls, and those without controller.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// The revisions that it controls.
    pub(crate) revisions: Vec<Arc<ControllerRevision>>,
    pub(crate) nodes: Vec<Arc<Node>>,
}

/// A node, and the set's pods on it.
#[derive(Debug)]
struct Site {
    name: String,
    fit: Fit,
    /// Those that are not on their way out; the one to keep comes first.
    pods: Vec<Arc<Pod>>,
    /// How many are.
    leaving: usize,
}

/// The next step towards `set`.
pub(crate) fn plan(set: &DaemonSet, observed: Observed, now: Timestamp) -> Plan {
    let Some(spec) = &set.spec else { return Plan::default() };
    let claim = claim::sort(&set.metadata, &spec.selector, observed.pods);
    if !claim.is_settled() {
        let adopted = claim.adopt.into_iter().map(|pod| Action::Adopt { pod });
        let released = claim.release.into_iter().map(|pod| Action::Release { pod });
        return Plan { actions: adopted.chain(released).collect(), ..Plan::default() };
    }
    let is_leaving = facts::is_terminating(&set.metadata);
    let history = History::of(set, &spec.template, &observed.revisions);
    if let Some(change) = history.change.filter(|_| !is_leaving) {
        return Plan { actions: vec![Action::Revise(change)], ..Plan::default() };
    }
    let (sites, astray) = sites(set, spec, &observed.nodes, &claim.owned);
    let (status, again_after) = status::of(set, spec, &sites, &history.hash, now);
    let mut actions = Vec::new();
    if !is_leaving {
        actions = step(set, spec, &sites, astray, &history.hash, now);
        if actions.is_empty() {
            actions = forget(spec, &claim.owned, &history.hash, &observed.revisions);
        }
    }
    let status = (actions.is_empty() && set.status.as_ref() != Some(&status)).then_some(status);
    Plan { actions, status, again_after }
}

/// The pods by their nodes, and those whose node does not exist and that nobody runs.
fn sites(
    set: &DaemonSet,
    spec: &DaemonSetSpec,
    nodes: &[Arc<Node>],
    owned: &[Arc<Pod>],
) -> (Vec<Site>, Vec<Arc<Pod>>) {
    let mut by_node: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in owned {
        by_node.entry(place::node_of(pod).unwrap_or_default()).or_default().push(pod);
    }
    let model = place::new_pod(set, spec, "", "");
    let sites = nodes.iter().map(|node| {
        let name = facts::name(&node.metadata);
        let here = by_node.remove(name).unwrap_or_default();
        let (leaving, mut staying): (Vec<_>, Vec<_>) =
            here.into_iter().cloned().partition(|pod| facts::is_terminating(&pod.metadata));
        staying.sort_by_key(|pod| {
            (!facts::is_ready(pod), facts::node_name(pod).is_none(), pod.metadata.creation_timestamp.clone())
        });
        let fit = place::fit(spec, &model, node);
        Site { name: name.to_owned(), fit, pods: staying, leaving: leaving.len() }
    });
    let sites = sites.collect();
    // A pod that is bound to a node which is gone is collected by whoever watches nodes.
    let astray = by_node
        .into_values()
        .flatten()
        .filter(|pod| facts::node_name(pod).is_none() && !facts::is_terminating(&pod.metadata));
    (sites, astray.cloned().collect())
}

/// Creates where a pod is missing and deletes where one is too many; when neither is left to do, replaces old ones.
fn step(
    set: &DaemonSet,
    spec: &DaemonSetSpec,
    sites: &[Site],
    astray: Vec<Arc<Pod>>,
    hash: &str,
    now: Timestamp,
) -> Vec<Action> {
    let mut change = rollout::Change { created: Vec::new(), deleted: astray };
    for site in sites {
        match site.fit {
            Fit::Suits => settle(site, hash, rollout::surge(spec, sites) > 0, &mut change),
            // It gets none; what runs there may stay.
            Fit::Repels => {}
            Fit::Refuses => change.deleted.extend(site.pods.iter().cloned()),
        }
    }
    if change.created.is_empty() && change.deleted.is_empty() {
        change = rollout::change(spec, sites, hash, now);
    }
    let mut actions = Vec::new();
    change.deleted.truncate(PODS_PER_PASS);
    if !change.deleted.is_empty() {
        actions.push(Action::Delete { pods: change.deleted });
    }
    let created = change.created.into_iter().take(PODS_PER_PASS);
    let pods: Vec<Pod> = created.map(|node| place::new_pod(set, spec, &node, hash)).collect();
    if !pods.is_empty() {
        actions.push(Action::Create { pods });
    }
    actions
}

/// One pod per node: during a rollout with surge one of the old and one of the new version.
fn settle(site: &Site, hash: &str, surges: bool, change: &mut rollout::Change) {
    let (ended, alive): (Vec<_>, Vec<_>) = site.pods.iter().partition(|pod| facts::is_finished(pod));
    change.deleted.extend(ended.into_iter().cloned());
    if alive.is_empty() {
        // The place is free when the old pod is gone.
        if site.leaving == 0 && site.pods.is_empty() {
            change.created.push(site.name.clone());
        }
        return;
    }
    let mut kept = BTreeSet::new();
    for pod in alive {
        let version = surges && facts::label(&pod.metadata, REVISION_LABEL) == Some(hash);
        if !kept.insert(version) {
            change.deleted.push(pod.clone());
        }
    }
}

/// Revisions that no pod has any more, beyond those to be remembered.
fn forget(
    spec: &DaemonSetSpec,
    owned: &[Arc<Pod>],
    hash: &str,
    revisions: &[Arc<ControllerRevision>],
) -> Vec<Action> {
    let of_pods = owned.iter().filter_map(|pod| facts::label(&pod.metadata, REVISION_LABEL));
    let used = of_pods.chain([hash]).collect();
    let surplus = revisions::surplus(revisions, &used, spec.revision_history_limit);
    surplus.into_iter().map(Action::Revise).collect()
}
