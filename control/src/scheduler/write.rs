//! Carries decisions out: bindings, and the condition and event that say why there is none.

use std::sync::Arc;

use futures::future::join_all;
use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodCondition};

use super::Decided;
use super::pass::{Candidate, Decision};
use super::pending::SCHEDULER;
use super::preemption::Victim;
use super::refusal::{Hopes, Refusal};
use super::telling::Reason;
use crate::cache::ObjectKey;
use crate::controllers::runner::Shell;
use crate::controllers::{facts, outcome, volumes};
use crate::events::{Level, Occurrence, reference};
use crate::objects::DeleteOptions;

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) key: ObjectKey,
    pub(super) fate: Fate,
    /// Pods that were to leave and do not.
    pub(super) spared: Vec<ObjectKey>,
}

/// How a decision ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The pod has its node.
    Bound,
    /// The pod has none, and was told why; such changes may help it.
    Refused(Hopes),
    /// The node is chosen, and the pod's claims are to be bound first.
    Awaits,
    /// The binding could not be written.
    Failed,
}

/// Writes decisions, all at the same time so that they share the store's batches.
pub(super) async fn write(shell: Shell, decided: Vec<Decided>) -> Vec<Outcome> {
    let writes = decided.into_iter().map(|(candidate, decision)| {
        let shell = &shell;
        async move {
            let mut spared = Vec::new();
            let fate = match decision {
                Decision::Bind(node) => bind(shell, &candidate, &node).await,
                Decision::Refuse { refusal, kept } => {
                    refuse(shell, &candidate.pod, &refusal, kept.as_deref()).await;
                    Fate::Refused(refusal.hopes)
                }
                Decision::Preempt { node, victims, refusal } => {
                    spared = preempt(shell, &candidate, &node, &victims).await;
                    refuse(shell, &candidate.pod, &refusal, Some(&node)).await;
                    if spared.is_empty() { Fate::Refused(refusal.hopes) } else { Fate::Failed }
                }
            };
            Outcome { key: candidate.key, fate, spared }
        }
    });
    join_all(writes).await
}

async fn bind(shell: &Shell, candidate: &Candidate, node: &str) -> Fate {
    match have_claims(shell, candidate, node).await {
        Ok(true) => {}
        Ok(false) => return Fate::Awaits,
        Err(status) => {
            tracing::debug!(pod = %candidate.key, node, %status, "a node was not chosen for a claim");
            return Fate::Failed;
        }
    }
    match shell.objects.bind_seen(&candidate.pod, node).await {
        Ok(()) => {
            let message = format!("Successfully assigned {} to {node}", candidate.key);
            tell(shell, &candidate.pod, Level::Normal, "Scheduled", message);
            Fate::Bound
        }
        Err(status) => {
            tracing::debug!(pod = %candidate.key, node, %status, "a pod was not bound");
            Fate::Failed
        }
    }
}

/// Chooses the node for the claims that wait for one; true when all have their volumes.
async fn have_claims(shell: &Shell, candidate: &Candidate, node: &str) -> Result<bool, Status> {
    let mut are_bound = true;
    for claim in &candidate.wants.claims {
        let namespace = candidate.key.namespace();
        let found = shell.objects.get::<PersistentVolumeClaim>(namespace, &claim.name).await?;
        let Some(mut found) = found else { return Ok(false) };
        if volumes::is_bound(&found) {
            continue;
        }
        are_bound = false;
        if facts::annotation(&found.metadata, volumes::SELECTED_NODE).is_none() {
            let annotations = found.metadata.annotations.get_or_insert_default();
            annotations.insert(volumes::SELECTED_NODE.to_owned(), node.to_owned());
            shell.objects.update(&found).await?;
        }
    }
    Ok(are_bound)
}

/// Tells pods why they have no node.
pub(super) async fn tell_refused(shell: Shell, told: Vec<(Arc<Pod>, Reason)>) {
    let shell = &shell;
    let told = told.into_iter().map(|(pod, (refusal, kept))| async move {
        refuse(shell, &pod, &refusal, kept.as_deref()).await;
    });
    join_all(told).await;
}

async fn refuse(shell: &Shell, pod: &Pod, refusal: &Refusal, node: Option<&str>) {
    let message = &*refusal.message;
    tell(shell, pod, Level::Warning, "FailedScheduling", message.to_owned());
    if let Err(status) = note_refusal(shell, pod, message, node).await {
        // Somebody else changed the pod: the condition is written at the next refusal.
        let key = ObjectKey::of(&pod.metadata);
        tracing::debug!(pod = %key, %status, "a refusal was not noted");
    }
}

/// Says in the pod's status why it has no node, and on which one room is kept for it.
async fn note_refusal(shell: &Shell, pod: &Pod, message: &str, node: Option<&str>) -> Result<(), Status> {
    let known = facts::pod_condition(pod, "PodScheduled");
    let since =
        known.filter(|known| known.status == "False").and_then(|known| known.last_transition_time.clone());
    let refused = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: None,
        last_transition_time: since.or_else(|| Some(facts::stamp(Timestamp::now()))),
        observed_generation: pod.metadata.generation,
    };
    let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
    if known == Some(&refused) && nominated == node {
        return Ok(());
    }
    let mut pod = pod.clone();
    let status = pod.status.get_or_insert_default();
    status.nominated_node_name = node.map(str::to_owned);
    put_condition(&mut pod, refused);
    shell.objects.update_status(&pod).await.map(drop)
}

fn put_condition(pod: &mut Pod, new: PodCondition) {
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    match conditions.iter_mut().find(|condition| condition.type_ == new.type_) {
        Some(condition) => *condition = new,
        None => conditions.push(new),
    }
}

/// Makes room for a pod; returns those that could not be made to leave.
async fn preempt(shell: &Shell, candidate: &Candidate, node: &str, victims: &[Victim]) -> Vec<ObjectKey> {
    let evictions = victims.iter().map(|victim| async move {
        match evict(shell, &victim.pod).await {
            Ok(()) => {
                let uid = facts::uid(&candidate.pod.metadata);
                let message = format!("Preempted by pod {uid} on node {node}");
                tell(shell, &victim.pod, Level::Normal, "Preempted", message);
                None
            }
            Err(status) => {
                tracing::debug!(pod = %victim.key, %status, "a pod was not made to leave");
                Some(victim.key.clone())
            }
        }
    });
    join_all(evictions).await.into_iter().flatten().collect()
}

/// Says in the pod's status why it goes, and deletes it with its grace period.
async fn evict(shell: &Shell, pod: &Pod) -> Result<(), Status> {
    let meta = &pod.metadata;
    let mut marked = pod.clone();
    put_condition(
        &mut marked,
        PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            reason: Some("PreemptionByScheduler".to_owned()),
            message: Some(format!("{SCHEDULER}: preempting to accommodate a higher priority pod")),
            last_transition_time: Some(facts::stamp(Timestamp::now())),
            observed_generation: meta.generation,
            ..PodCondition::default()
        },
    );
    match shell.objects.update_status(&marked).await {
        Ok(_) => {}
        // Whoever writes the status at the same time has the newer word; the pod goes all the same.
        Err(status) if outcome::is_conflict(&status) => {}
        Err(status) if outcome::is_gone(&status) => return Ok(()),
        Err(status) => return Err(status),
    }
    let options = DeleteOptions { uid: meta.uid.clone(), ..DeleteOptions::default() };
    let (namespace, name) = (facts::namespace(meta), facts::name(meta));
    outcome::settled(shell.objects.delete::<Pod>(namespace, name, &options).await)
}

fn tell(shell: &Shell, pod: &Pod, level: Level, reason: &'static str, message: String) {
    let component = SCHEDULER;
    shell.recorder.record(Occurrence { component, about: reference(pod), level, reason, message });
}
