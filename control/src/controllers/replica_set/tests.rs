//! Which pods come and go, and what the status says of them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use proptest::prelude::*;

use super::{Action, Observed, facts, new_pod, plan, status};

const NOW: i64 = 10_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn time(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn replica_set(replicas: i32) -> ReplicaSet {
    let labels = Some([("app".to_owned(), "web".to_owned())].into());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some("web-abc".into()),
            namespace: Some("shop".into()),
            uid: Some("rs-uid".into()),
            generation: Some(1),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: None,
            selector: LabelSelector { match_labels: labels.clone(), ..LabelSelector::default() },
            template: Some(PodTemplateSpec {
                metadata: Some(ObjectMeta { labels, ..ObjectMeta::default() }),
                spec: Some(PodSpec::default()),
            }),
        }),
        status: None,
    }
}

/// A running, ready pod of the set, on a node of its own.
fn pod(name: &str) -> Pod {
    let mut pod = new_pod(&replica_set(1), &replica_set(1));
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.uid = Some(name.to_owned());
    pod.metadata.creation_timestamp = Some(time(1000));
    pod.spec.get_or_insert_default().node_name = Some(format!("node-of-{name}"));
    let status = pod.status.get_or_insert_default();
    status.phase = Some("Running".into());
    ready_at(&mut pod, Some(1000));
    pod
}

fn ready_at(pod: &mut Pod, second: Option<i64>) {
    let value = if second.is_some() { "True" } else { "False" };
    pod.status.get_or_insert_default().conditions = Some(vec![PodCondition {
        type_: "Ready".into(),
        status: value.into(),
        last_transition_time: second.map(time),
        ..PodCondition::default()
    }]);
}

fn with(mut pod: Pod, change: impl FnOnce(&mut Pod)) -> Arc<Pod> {
    change(&mut pod);
    Arc::new(pod)
}

fn actions(replicas: i32, pods: &[Arc<Pod>]) -> Vec<Action> {
    let observed = Observed { pods: pods.to_vec(), siblings: pods.to_vec() };
    plan(&replica_set(replicas), observed, now()).actions
}

fn deleted(replicas: i32, pods: &[Arc<Pod>]) -> Vec<String> {
    let names = actions(replicas, pods).into_iter().map(|action| match action {
        Action::Delete { pod } => facts::name(&pod.metadata).to_owned(),
        other => panic!("only deletions expected, not {other:?}"),
    });
    names.collect()
}

#[test]
fn missing_pods_are_created_up_to_a_bound() {
    assert_eq!(actions(3, &[]), [Action::Create { count: 3 }]);
    assert_eq!(actions(2, &[Arc::new(pod("a"))]), [Action::Create { count: 1 }]);
    assert_eq!(actions(2000, &[]), [Action::Create { count: 500 }]);
    assert_eq!(actions(0, &[]), []);
}

#[test]
fn pods_that_ended_or_are_leaving_are_replaced() {
    let failed = with(pod("a"), |pod| pod.status.as_mut().unwrap().phase = Some("Failed".into()));
    let leaving = with(pod("b"), |pod| pod.metadata.deletion_timestamp = Some(time(NOW)));
    assert_eq!(actions(2, &[failed, leaving]), [Action::Create { count: 2 }]);
}

#[test]
fn the_least_useful_pod_goes_first() {
    type Change = fn(&mut Pod);
    let useful: Change = |_| {};
    let cases: [(&str, Change); 8] = [
        ("unassigned", |pod| pod.spec.as_mut().unwrap().node_name = None),
        ("pending", |pod| pod.status.as_mut().unwrap().phase = Some("Pending".into())),
        ("not ready", |pod| ready_at(pod, None)),
        ("cheap", |pod| {
            let cost = ("controller.kubernetes.io/pod-deletion-cost".to_owned(), "-1".to_owned());
            pod.metadata.annotations = Some([cost].into());
        }),
        ("ready for less time", |pod| ready_at(pod, Some(2000))),
        ("restarted", |pod| {
            let restarted = ContainerStatus { restart_count: 3, ..ContainerStatus::default() };
            pod.status.as_mut().unwrap().container_statuses = Some(vec![restarted]);
        }),
        ("younger", |pod| pod.metadata.creation_timestamp = Some(time(3000))),
        ("useful", useful),
    ];
    for (name, change) in cases {
        let pods = [with(pod("a"), useful), with(pod("b"), change), with(pod("c"), useful)];
        let expected = if name == "useful" { "a" } else { "b" };
        assert_eq!(deleted(2, &pods), [expected], "{name}");
    }
}

#[test]
fn a_pod_on_a_crowded_node_goes_before_one_that_is_alone() {
    let on = |name: &str, node: &str| {
        with(pod(name), |pod| pod.spec.as_mut().unwrap().node_name = Some(node.into()))
    };
    let pods = [on("a", "n1"), on("b", "n2"), on("c", "n2")];
    assert_eq!(deleted(2, &pods), ["b"]);
}

#[test]
fn orphans_are_adopted_and_count_and_strangers_are_released() {
    let orphan = with(pod("a"), |pod| pod.metadata.owner_references = None);
    let stranger = with(pod("b"), |pod| pod.metadata.labels = None);
    let observed = vec![orphan.clone(), stranger.clone()];
    let expected = [Action::Adopt { pod: orphan }, Action::Release { pod: stranger }];
    assert_eq!(actions(1, &observed), expected);
}

#[test]
fn a_set_that_is_being_deleted_leaves_its_pods_alone() {
    let mut set = replica_set(3);
    set.metadata.deletion_timestamp = Some(time(NOW));
    assert_eq!(plan(&set, Observed::default(), now()).actions, []);
}

#[test]
fn the_status_counts_pods_by_how_far_they_are() {
    let mut set = replica_set(4);
    set.spec.as_mut().unwrap().min_ready_seconds = Some(60);
    set.metadata.generation = Some(7);
    let pods = vec![
        Arc::new(pod("available")),
        with(pod("ready"), |pod| ready_at(pod, Some(NOW - 20))),
        with(pod("not ready"), |pod| ready_at(pod, None)),
        with(pod("also not ready"), |pod| ready_at(pod, None)),
        with(pod("leaving"), |pod| pod.metadata.deletion_timestamp = Some(time(NOW))),
    ];
    let plan = plan(&set, Observed { pods, siblings: Vec::new() }, now());
    let expected = ReplicaSetStatus {
        replicas: 4,
        fully_labeled_replicas: Some(4),
        ready_replicas: Some(2),
        available_replicas: Some(1),
        terminating_replicas: Some(1),
        observed_generation: Some(7),
        conditions: None,
    };
    assert_eq!(plan.status, Some(expected));
    assert_eq!(plan.again_after, Some(Duration::from_secs(40)));
}

#[test]
fn a_failure_is_noted_once_and_taken_back_when_the_pods_are_there() {
    let mut set = replica_set(1);
    let message = "pods \"web-abc-\" is forbidden: quota";
    set.status = Some(status::failed(&set, "FailedCreate", message.to_owned(), now()));
    let conditions = set.status.clone().unwrap().conditions.unwrap();
    assert_eq!(conditions[0].message.as_deref(), Some(message));
    let again = status::failed(&set, "FailedCreate", "other words".to_owned(), now());
    assert_eq!(Some(again), set.status);
    let observed = Observed { pods: vec![Arc::new(pod("a"))], siblings: Vec::new() };
    assert_eq!(plan(&set, observed, now()).status.unwrap().conditions, None);
}

#[test]
fn a_new_pod_carries_the_template_and_its_owner() {
    let pod = new_pod(&replica_set(1), &replica_set(1));
    assert_eq!(pod.metadata.generate_name.as_deref(), Some("web-abc-"));
    assert_eq!(facts::label(&pod.metadata, "app"), Some("web"));
    let owner = facts::controller_of(&pod.metadata).unwrap();
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("ReplicaSet", "rs-uid"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever pods there are, a few passes give the wanted number, and then there is nothing left to do.
    #[test]
    fn every_set_reaches_its_size(replicas in 0..20_i32, states in proptest::collection::vec(0..6_u8, 0..20)) {
        let mut set = replica_set(replicas);
        let mut pods: Vec<Arc<Pod>> = states.iter().enumerate().map(|(index, state)| {
            with(pod(&format!("p{index}")), |pod| match state {
                0 => ready_at(pod, None),
                1 => pod.spec.as_mut().unwrap().node_name = None,
                2 => pod.status.as_mut().unwrap().phase = Some("Failed".into()),
                3 => pod.metadata.deletion_timestamp = Some(time(NOW)),
                4 => pod.metadata.owner_references = None,
                _ => {}
            })
        }).collect();
        for pass in 0.. {
            prop_assert!(pass < 10, "no fixed point");
            let plan = plan(&set, Observed { pods: pods.clone(), siblings: pods.clone() }, now());
            if plan.actions.is_empty() && plan.status.is_none() {
                break;
            }
            set.status = plan.status.or(set.status);
            for action in plan.actions {
                match action {
                    Action::Create { count } => {
                        let first = pods.len();
                        pods.extend((first..first + count).map(|index| Arc::new(pod(&format!("p{index}")))));
                    }
                    Action::Delete { pod } => pods.retain(|other| other.metadata.uid != pod.metadata.uid),
                    Action::Adopt { pod } => {
                        let position = pods.iter().position(|other| other.metadata.uid == pod.metadata.uid).unwrap();
                        let owner = facts::controller_reference("apps/v1", "ReplicaSet", &set.metadata);
                        facts::adopt(Arc::make_mut(&mut pods[position]), owner);
                    }
                    Action::Release { .. } => unreachable!("all pods match"),
                }
            }
        }
        let active = pods.iter().filter(|pod| facts::is_active(pod)).count();
        prop_assert_eq!(active, usize::try_from(replicas).unwrap());
    }
}
