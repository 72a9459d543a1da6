//! Carries decisions out: bindings, and the condition and event that say why there is none.

use futures::future::join_all;
use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};

use super::Decided;
use super::pass::{Candidate, Decision};
use super::pending::SCHEDULER;
use crate::cache::ObjectKey;
use crate::controllers::facts;
use crate::controllers::runner::Shell;
use crate::events::{Level, Occurrence, reference};
use crate::objects::Binding;

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) key: ObjectKey,
    pub(super) fate: Fate,
}

/// How a decision ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The pod has its node.
    Bound,
    /// The pod has none, and was told why.
    Refused,
    /// The binding could not be written.
    Failed,
}

/// Writes decisions, all at the same time so that they share the store's batches.
pub(super) async fn write(shell: Shell, decided: Vec<Decided>) -> Vec<Outcome> {
    let writes = decided.into_iter().map(|(candidate, decision)| {
        let shell = &shell;
        async move {
            let fate = match decision {
                Decision::Bind(node) => bind(shell, &candidate, &node).await,
                Decision::Refuse(message) => refuse(shell, &candidate, &message).await,
            };
            Outcome { key: candidate.key, fate }
        }
    });
    join_all(writes).await
}

async fn bind(shell: &Shell, candidate: &Candidate, node: &str) -> Fate {
    let binding = Binding {
        namespace: candidate.key.namespace().to_owned(),
        name: candidate.key.name().to_owned(),
        uid: candidate.pod.metadata.uid.clone(),
        node: node.to_owned(),
    };
    match shell.objects.bind(&binding).await {
        Ok(_) => {
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

async fn refuse(shell: &Shell, candidate: &Candidate, message: &str) -> Fate {
    tell(shell, &candidate.pod, Level::Warning, "FailedScheduling", message.to_owned());
    if let Err(status) = note_refusal(shell, &candidate.pod, message).await {
        // Somebody else changed the pod: the condition is written at the next refusal.
        tracing::debug!(pod = %candidate.key, %status, "a refusal was not noted");
    }
    Fate::Refused
}

async fn note_refusal(shell: &Shell, pod: &Pod, message: &str) -> Result<(), Status> {
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
    if known == Some(&refused) {
        return Ok(());
    }
    let mut pod = pod.clone();
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    match conditions.iter_mut().find(|condition| condition.type_ == "PodScheduled") {
        Some(condition) => *condition = refused,
        None => conditions.push(refused),
    }
    shell.objects.update_status(&pod).await.map(drop)
}

fn tell(shell: &Shell, pod: &Pod, level: Level, reason: &'static str, message: String) {
    let component = SCHEDULER;
    shell.recorder.record(Occurrence { component, about: reference(pod), level, reason, message });
}
