//! Which pods of a running Job come and go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use isopod_spec::batch::job::is_indexed;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::count::{Tally, replaces_only_ended};
use super::{TRACKING, backoff, indexes};
use crate::controllers::replica_set::ranking;
use crate::controllers::{facts, pods};

/// At most so many pods are created in one pass.
const PODS_PER_PASS: usize = 500;
/// The variable by which a container knows its pod's number.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// Pods to create and to delete.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) created: Vec<Pod>,
    /// To delete, and not to be counted as failed.
    pub(super) dismissed: Vec<Arc<Pod>>,
    /// To delete, and to be counted.
    pub(super) stopped: Vec<Arc<Pod>>,
    /// When more may be created.
    pub(super) again_after: Option<Duration>,
}

/// Brings the number of pods that run at once to what the Job wants now.
pub(super) fn change(job: &Job, spec: &JobSpec, tally: &Tally, now: Timestamp) -> Change {
    let wanted = wanted(spec, tally);
    let (mut kept, mut dismissed) =
        if is_indexed(spec) { split_by_index(spec, tally) } else { (tally.active.clone(), Vec::new()) };
    if kept.len() > wanted {
        ranking::sort_for_deletion(&mut kept, &[]);
        dismissed.extend(kept.drain(..kept.len() - wanted));
        return Change { dismissed, ..Change::default() };
    }
    let leaving = if replaces_only_ended(spec) { tally.terminating } else { 0 };
    let missing = wanted.saturating_sub(kept.len() + leaving).min(PODS_PER_PASS);
    if missing == 0 {
        return Change { dismissed, ..Change::default() };
    }
    if let Some(wait) = backoff::wait(&tally.ended, now) {
        return Change { dismissed, again_after: Some(wait), ..Change::default() };
    }
    let created = if is_indexed(spec) {
        let taken: BTreeSet<i32> = kept.iter().filter_map(|pod| indexes::of(pod)).collect();
        let free = (0..spec.completions.unwrap_or(0))
            .filter(|index| !taken.contains(index) && !tally.completed.contains(index));
        free.take(missing).map(|index| indexed_pod(job, spec, index)).collect()
    } else {
        (0..missing).map(|_| new_pod(job, spec)).collect()
    };
    Change { created, dismissed, ..Change::default() }
}

/// How many pods should run now.
fn wanted(spec: &JobSpec, tally: &Tally) -> usize {
    let at_once = usize::try_from(spec.parallelism.unwrap_or(1)).unwrap_or(0);
    match spec.completions {
        Some(completions) => {
            usize::try_from(completions).unwrap_or(0).saturating_sub(tally.succeeded()).min(at_once)
        }
        // One success says that the work is done: the others may finish, and none follows.
        None if tally.succeeded() > 0 => tally.active.len().min(at_once),
        None => at_once,
    }
}

/// One pod for each number that is still open is kept; any other has nothing to do.
fn split_by_index(spec: &JobSpec, tally: &Tally) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
    let mut taken = BTreeSet::new();
    tally.active.iter().cloned().partition(|pod| {
        indexes::of(pod).is_some_and(|index| {
            index < spec.completions.unwrap_or(0) && !tally.completed.contains(&index) && taken.insert(index)
        })
    })
}

fn new_pod(job: &Job, spec: &JobSpec) -> Pod {
    let mut pod = pods::from_template(spec.template.clone(), job);
    pod.metadata.finalizers.get_or_insert_default().push(TRACKING.to_owned());
    pod
}

fn indexed_pod(job: &Job, spec: &JobSpec, index: i32) -> Pod {
    let mut pod = new_pod(job, spec);
    let host = format!("{}-{index}", facts::name(&job.metadata));
    pod.metadata.generate_name = Some(format!("{host}-"));
    for map in [&mut pod.metadata.annotations, &mut pod.metadata.labels] {
        map.get_or_insert_default().insert(indexes::INDEX.to_owned(), index.to_string());
    }
    let spec = pod.spec.get_or_insert_default();
    spec.hostname.get_or_insert(host);
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    containers.for_each(tell_index);
    pod
}

/// Adds the variable, unless the author has it for something else.
fn tell_index(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|own| own.name == INDEX_VARIABLE) {
        return;
    }
    let field = ObjectFieldSelector {
        field_path: format!("metadata.annotations['{}']", indexes::INDEX),
        ..ObjectFieldSelector::default()
    };
    variables.push(EnvVar {
        name: INDEX_VARIABLE.to_owned(),
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
        ..EnvVar::default()
    });
}
