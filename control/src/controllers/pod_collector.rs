//! Pods that nobody else removes: those bound to a node that is gone, and those that wait for a node although they are being
//! deleted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::runner::{Controller, Planned, Shell};
use super::{facts, outcome};
use crate::cache::{Change, ObjectKey, View};
use crate::objects::DeleteOptions;

/// A node that is missing for less than this may be on its way back: it may be registering anew.
const MISSING: Duration = Duration::from_secs(40);

/// What becomes of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Stays,
    /// Its node is missing; it stays for so much longer.
    StaysFor(Duration),
    Goes,
}

/// Judges a pod whose node, if it is bound to one, has been missing for so long.
fn judge(pod: &Pod, node_missing: Option<Duration>) -> Verdict {
    if facts::node_name(pod).is_none() {
        return if facts::is_terminating(&pod.metadata) { Verdict::Goes } else { Verdict::Stays };
    }
    match node_missing {
        None => Verdict::Stays,
        Some(missing) if missing < MISSING => Verdict::StaysFor(MISSING.saturating_sub(missing)),
        Some(_) => Verdict::Goes,
    }
}

/// Removes such pods. Its keys are pods.
#[derive(Debug, Default)]
pub(crate) struct PodCollector {
    /// Since when this member has missed a node.
    missing: HashMap<String, Instant>,
}

impl Controller for PodCollector {
    const NAME: &'static str = "pod-garbage-collector";
    type Plan = Arc<Pod>;

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::Pod(delta) => {
                let Some(pod) = &delta.new else { return };
                let node = facts::node_name(pod);
                let is_homeless = node.is_some_and(|node| !view.nodes.contains(&ObjectKey::new("", node)));
                if is_homeless || node.is_none() && facts::is_terminating(&pod.metadata) {
                    wake(delta.key.clone());
                }
            }
            Change::Node(delta) if delta.new.is_none() => {
                view.pods.in_place(delta.key.name()).for_each(|pod| wake(ObjectKey::of(&pod.metadata)));
            }
            Change::Node(delta) => drop(self.missing.remove(delta.key.name())),
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, _now: Timestamp) -> Planned<Arc<Pod>> {
        let Some(pod) = view.pods.get(key) else { return Planned::nothing() };
        let gone = facts::node_name(pod).filter(|node| !view.nodes.contains(&ObjectKey::new("", node)));
        let missing =
            gone.map(|node| self.missing.entry(node.to_owned()).or_insert_with(Instant::now).elapsed());
        match judge(pod, missing) {
            Verdict::Stays => Planned::nothing(),
            Verdict::StaysFor(wait) => Planned { plan: None, again_after: Some(wait) },
            Verdict::Goes => Planned { plan: Some(pod.clone()), again_after: None },
        }
    }

    async fn apply(shell: Shell, pod: Arc<Pod>) -> Result<(), Status> {
        let meta = &pod.metadata;
        // No node will confirm that the pod has ended.
        let options = DeleteOptions {
            uid: meta.uid.clone(),
            grace_period_seconds: Some(0),
            ..DeleteOptions::default()
        };
        outcome::settled(
            shell.objects.delete::<Pod>(facts::namespace(meta), facts::name(meta), &options).await,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;

    #[test]
    fn pods_without_a_node_that_could_end_them_go() {
        let seconds = Duration::from_secs;
        for (node, leaving, missing, expected) in [
            (None, false, None, Verdict::Stays),
            (None, true, None, Verdict::Goes),
            (Some("n1"), false, None, Verdict::Stays),
            (Some("n1"), true, None, Verdict::Stays),
            (Some("n1"), false, Some(seconds(10)), Verdict::StaysFor(seconds(30))),
            (Some("n1"), false, Some(seconds(40)), Verdict::Goes),
        ] {
            let mut pod = Pod {
                spec: Some(PodSpec { node_name: node.map(str::to_owned), ..PodSpec::default() }),
                ..Pod::default()
            };
            pod.metadata.deletion_timestamp = leaving.then(|| facts::stamp(Timestamp::UNIX_EPOCH));
            assert_eq!(judge(&pod, missing), expected, "{node:?} {leaving} {missing:?}");
        }
    }
}
