//! Pods that must leave a node because they do not tolerate its `NoExecute` taints, at once or after a while.

use std::sync::Arc;
use std::time::Duration;

use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

use super::runner::{Controller, Planned, Shell};
use super::{facts, outcome};
use crate::cache::{Change, ObjectKey, View};
use crate::events::{Level, Occurrence, reference};
use crate::objects::DeleteOptions;
use crate::scheduler::taints::covers;

/// What becomes of a pod on a tainted node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may stay as long as it likes.
    Stays,
    /// It may stay so much longer.
    StaysFor(Duration),
    /// It has to go.
    Leaves,
}

/// Judges a pod by the taints of its node.
pub(crate) fn judge(pod: &Pod, taints: &[Taint], now: Timestamp) -> Verdict {
    if facts::is_terminating(&pod.metadata) || facts::is_finished(pod) {
        return Verdict::Stays;
    }
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let mut verdict = Verdict::Stays;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        verdict = match (verdict, judge_taint(taint, tolerations, now)) {
            (Verdict::Leaves, _) | (_, Verdict::Leaves) => return Verdict::Leaves,
            (Verdict::StaysFor(a), Verdict::StaysFor(b)) => Verdict::StaysFor(a.min(b)),
            (Verdict::Stays, other) | (other, Verdict::Stays) => other,
        };
    }
    verdict
}

fn judge_taint(taint: &Taint, tolerations: &[Toleration], now: Timestamp) -> Verdict {
    let covering: Vec<&Toleration> =
        tolerations.iter().filter(|toleration| covers(toleration, taint)).collect();
    if covering.is_empty() {
        return Verdict::Leaves;
    }
    let Some(seconds) = covering.iter().filter_map(|toleration| toleration.toleration_seconds).min() else {
        return Verdict::Stays;
    };
    let allowed = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let since = taint.time_added.clone().unwrap_or_else(|| facts::stamp(now));
    facts::remaining(&since, allowed, now).map_or(Verdict::Leaves, Verdict::StaysFor)
}

/// Evicts pods from tainted nodes. Its keys are pods.
#[derive(Debug, Default)]
pub(crate) struct TaintEviction;

impl Controller for TaintEviction {
    const NAME: &'static str = "taint-eviction-controller";
    type Plan = Arc<Pod>;

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::Pod(delta) if delta.new.as_ref().is_some_and(|pod| facts::node_name(pod).is_some()) => {
                wake(delta.key.clone());
            }
            Change::Node(delta) => {
                let taints =
                    |node: &Option<Arc<Node>>| node.as_ref().map(|node| evicting(node)).unwrap_or_default();
                if taints(&delta.old) != taints(&delta.new) {
                    view.pods.in_place(delta.key.name()).for_each(|pod| wake(ObjectKey::of(&pod.metadata)));
                }
            }
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, now: Timestamp) -> Planned<Arc<Pod>> {
        let Some(pod) = view.pods.get(key) else { return Planned::nothing() };
        let node = facts::node_name(pod).and_then(|name| view.nodes.get(&ObjectKey::new("", name)));
        let Some(node) = node else { return Planned::nothing() };
        match judge(pod, &evicting(node), now) {
            Verdict::Stays => Planned::nothing(),
            Verdict::StaysFor(wait) => Planned { plan: None, again_after: Some(wait) },
            Verdict::Leaves => Planned { plan: Some(pod.clone()), again_after: None },
        }
    }

    async fn apply(shell: Shell, pod: Arc<Pod>) -> Result<(), Status> {
        let meta = &pod.metadata;
        let (namespace, name) = (facts::namespace(meta), facts::name(meta));
        shell.recorder.record(Occurrence {
            component: Self::NAME,
            about: reference(&*pod),
            level: Level::Normal,
            reason: "TaintManagerEviction",
            message: format!("Marking for deletion Pod {namespace}/{name}"),
        });
        let options = DeleteOptions { uid: meta.uid.clone(), ..DeleteOptions::default() };
        outcome::settled(shell.objects.delete::<Pod>(namespace, name, &options).await)
    }
}

/// The taints that pods may have to leave for.
fn evicting(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn taint(key: &str, effect: &str) -> Taint {
        Taint { key: key.into(), effect: effect.into(), value: None, time_added: Some(Time(at(1000))) }
    }

    fn tolerates(key: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            toleration_seconds: seconds,
            ..Toleration::default()
        }
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_every_taint() {
        let seconds = Duration::from_secs;
        for (taints, tolerations, now, expected) in [
            (vec![], vec![], 1000, Verdict::Stays),
            (vec![taint("a", "NoSchedule")], vec![], 1000, Verdict::Stays),
            (vec![taint("a", "NoExecute")], vec![], 1000, Verdict::Leaves),
            (vec![taint("a", "NoExecute")], vec![tolerates("a", None)], 9999, Verdict::Stays),
            (
                vec![taint("a", "NoExecute")],
                vec![tolerates("a", Some(300))],
                1100,
                Verdict::StaysFor(seconds(200)),
            ),
            (vec![taint("a", "NoExecute")], vec![tolerates("a", Some(300))], 1300, Verdict::Leaves),
            (vec![taint("a", "NoExecute")], vec![tolerates("a", Some(0))], 1000, Verdict::Leaves),
            (
                vec![taint("a", "NoExecute"), taint("b", "NoExecute")],
                vec![tolerates("a", Some(300)), tolerates("b", Some(100))],
                1050,
                Verdict::StaysFor(seconds(50)),
            ),
            (
                vec![taint("a", "NoExecute"), taint("b", "NoExecute")],
                vec![tolerates("a", Some(300))],
                1050,
                Verdict::Leaves,
            ),
        ] {
            let spec = PodSpec { tolerations: Some(tolerations), ..PodSpec::default() };
            let pod = Pod { spec: Some(spec), ..Pod::default() };
            assert_eq!(judge(&pod, &taints, at(now)), expected, "{taints:?} at {now}");
        }
    }

    #[test]
    fn a_pod_that_is_leaving_or_has_ended_is_let_be() {
        let mut pod = Pod::default();
        pod.metadata.deletion_timestamp = Some(Time(at(1)));
        assert_eq!(judge(&pod, &[taint("a", "NoExecute")], at(2)), Verdict::Stays);
    }
}
