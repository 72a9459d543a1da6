//! Disruption budgets: how many of the pods that one covers may be evicted now.
//!
//! [`plan`] is pure. Evictions charge a budget themselves; this brings it back in line with what the pods are.

pub(crate) mod shell;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::facts::{self, count};

/// An evicted pod that is still there after this was not evicted after all.
const CONFIRMATION: Duration = Duration::from_secs(120);
const ALLOWED: &str = "DisruptionAllowed";

/// What a plan is made from, besides the budget.
#[derive(Debug)]
pub(crate) struct Observed {
    /// The pods that it covers.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// How many pods there should be, by what keeps them; or what cannot be counted.
    pub(crate) expected: Result<usize, String>,
}

/// The status to write, when it differs from the stored one, and when to look again if nothing changes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) status: Option<PodDisruptionBudgetStatus>,
    pub(crate) again_after: Option<Duration>,
}

/// True when the budget's numbers need to know how many pods there should be.
pub(crate) fn needs_scale(spec: &PodDisruptionBudgetSpec) -> bool {
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// The status that the budget should have.
pub(crate) fn plan(budget: &PodDisruptionBudget, observed: &Observed, now: Timestamp) -> Plan {
    let Some(spec) = &budget.spec else { return Plan::default() };
    let stored = budget.status.clone().unwrap_or_default();
    let (disrupted, again_after) = unconfirmed(&stored, &observed.pods, now);
    let is_healthy = |pod: &&Arc<Pod>| {
        facts::is_active(pod) && facts::is_ready(pod) && !disrupted.contains_key(facts::name(&pod.metadata))
    };
    let healthy = observed.pods.iter().filter(is_healthy).count();
    let (expected, desired, failure) = match &observed.expected {
        Err(why) => (observed.pods.len(), 0, Some(why.as_str())),
        Ok(scale) if needs_scale(spec) => (*scale, desired(spec, *scale), None),
        Ok(_) => (observed.pods.len(), desired(spec, observed.pods.len()), None),
    };
    let allowed = match failure {
        None if expected > 0 => healthy.saturating_sub(desired),
        _ => 0,
    };
    let status = PodDisruptionBudgetStatus {
        observed_generation: budget.metadata.generation,
        current_healthy: Some(count(healthy)),
        desired_healthy: Some(count(desired)),
        expected_pods: Some(count(expected)),
        disruptions_allowed: Some(count(allowed)),
        disrupted_pods: Some(disrupted).filter(|pods| !pods.is_empty()),
        conditions: Some(conditions(budget, stored.conditions.clone(), allowed, failure, now)),
    };
    Plan { status: (budget.status.as_ref() != Some(&status)).then_some(status), again_after }
}

/// How many pods must stay.
fn desired(spec: &PodDisruptionBudgetSpec, expected: usize) -> usize {
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => expected.saturating_sub(facts::part_of(most, expected)),
        (None, Some(least)) => facts::part_of(least, expected),
        (None, None) => 0,
    }
}

/// Evictions whose pods are still there, and when the next of them is given up.
fn unconfirmed(
    stored: &PodDisruptionBudgetStatus,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> (BTreeMap<String, Time>, Option<Duration>) {
    let mut again_after = None;
    let mut disrupted = stored.disrupted_pods.clone().unwrap_or_default();
    disrupted.retain(|name, since| {
        let is_there = pods.iter().any(|pod| facts::name(&pod.metadata) == name && facts::is_active(pod));
        let wait = facts::remaining(since, CONFIRMATION, now).filter(|_| is_there);
        again_after = facts::sooner(again_after, wait);
        wait.is_some()
    });
    (disrupted, again_after)
}

fn conditions(
    budget: &PodDisruptionBudget,
    stored: Option<Vec<Condition>>,
    allowed: usize,
    failure: Option<&str>,
    now: Timestamp,
) -> Vec<Condition> {
    let (status, reason) = match failure {
        Some(_) => ("False", "SyncFailed"),
        None if allowed > 0 => ("True", "SufficientPods"),
        None => ("False", "InsufficientPods"),
    };
    let mut conditions = stored.unwrap_or_default();
    let known = conditions.iter().position(|own| own.type_ == ALLOWED).map(|place| conditions.remove(place));
    let since = known.filter(|own| own.status == status).map(|own| own.last_transition_time);
    conditions.push(Condition {
        type_: ALLOWED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: failure.unwrap_or_default().to_owned(),
        observed_generation: budget.metadata.generation,
        last_transition_time: since.unwrap_or_else(|| facts::stamp(now)),
    });
    conditions
}

#[cfg(test)]
mod tests;
