//! Replacing a DaemonSet's old pods, a few nodes at a time.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSetSpec, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::Pod;

use super::Site;
use super::place::Fit;
use crate::controllers::facts::{self, Availability};
use crate::controllers::revisions::REVISION_LABEL;

/// Nodes to make a pod for, and pods to delete.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) created: Vec<String>,
    pub(super) deleted: Vec<Arc<Pod>>,
}

/// True when the pod has been ready for as long as the set asks for.
pub(super) fn is_available(spec: &DaemonSetSpec, pod: &Pod, now: Timestamp) -> bool {
    facts::availability(pod, facts::seconds(spec.min_ready_seconds), now) == Availability::Available
}

/// On how many nodes there may be two pods at once.
pub(super) fn surge(spec: &DaemonSetSpec, sites: &[Site]) -> usize {
    let most = rolling(spec).and_then(|rolling| rolling.max_surge.as_ref());
    most.map_or(0, |most| facts::part_of(most, wanted(sites)))
}

fn wanted(sites: &[Site]) -> usize {
    sites.iter().filter(|site| site.fit == Fit::Suits).count()
}

/// `None` when pods are only replaced by whoever deletes them.
fn rolling(spec: &DaemonSetSpec) -> Option<&RollingUpdateDaemonSet> {
    let strategy = spec.update_strategy.as_ref()?;
    strategy.rolling_update.as_ref().filter(|_| strategy.type_.as_deref() != Some("OnDelete"))
}

/// What to replace next. Every node has its pod, or two, when this is asked.
pub(super) fn change(spec: &DaemonSetSpec, sites: &[Site], hash: &str, now: Timestamp) -> Change {
    let Some(rolling) = rolling(spec) else { return Change::default() };
    let sites_wanted: Vec<&Site> = sites.iter().filter(|site| site.fit == Fit::Suits).collect();
    let surge = surge(spec, sites);
    if surge > 0 {
        return with_surge(spec, &sites_wanted, hash, surge, now);
    }
    let most = rolling.max_unavailable.as_ref().map_or(1, |most| facts::part_of(most, sites_wanted.len()));
    let is_served = |site: &&&Site| site.pods.iter().any(|pod| is_available(spec, pod, now));
    let served = sites_wanted.iter().filter(is_served).count();
    let mut left = most.saturating_sub(sites_wanted.len() - served);
    let mut change = Change::default();
    for pod in sites_wanted.iter().flat_map(|site| &site.pods).filter(|pod| is_old(pod, hash)) {
        // One that serves nobody is missed by nobody.
        let is_free = !is_available(spec, pod, now);
        if is_free || left > 0 {
            left -= usize::from(!is_free);
            change.deleted.push(pod.clone());
        }
    }
    change
}

/// The new pod comes first, and the old one goes when the new one serves.
fn with_surge(spec: &DaemonSetSpec, sites: &[&Site], hash: &str, surge: usize, now: Timestamp) -> Change {
    let mut left = surge.saturating_sub(sites.iter().filter(|site| site.pods.len() > 1).count());
    let mut change = Change::default();
    for site in sites {
        let Some(old) = site.pods.iter().find(|pod| is_old(pod, hash)) else { continue };
        match site.pods.iter().find(|pod| !is_old(pod, hash)) {
            Some(new) if is_available(spec, new, now) => change.deleted.push(old.clone()),
            Some(_) => {}
            None if !is_available(spec, old, now) => change.created.push(site.name.clone()),
            None if left > 0 => {
                left -= 1;
                change.created.push(site.name.clone());
            }
            None => {}
        }
    }
    change
}

fn is_old(pod: &Pod, hash: &str) -> bool {
    facts::label(&pod.metadata, REVISION_LABEL) != Some(hash)
}
