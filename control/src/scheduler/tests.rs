//! Who goes where, why not, and in which order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, Node, NodeSpec, NodeStatus, Pod, PodSpec, ResourceRequirements, Taint,
    Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use proptest::prelude::*;
use tokio::time::Instant;

use super::pass::{Candidate, Decision, pass};
use super::pending::Pending;
use super::picture::Picture;
use super::wants::Wants;
use crate::cache::{Delta, ObjectKey};

fn quantities(amounts: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
    amounts.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
}

fn node(name: &str, cpu: &str, memory: &str, pods: &str) -> Node {
    let labels = [("kubernetes.io/hostname".to_owned(), name.to_owned())].into();
    Node {
        metadata: ObjectMeta { name: Some(name.into()), labels: Some(labels), ..ObjectMeta::default() },
        spec: Some(NodeSpec::default()),
        status: Some(NodeStatus {
            allocatable: Some(quantities(&[("cpu", cpu), ("memory", memory), ("pods", pods)])),
            ..NodeStatus::default()
        }),
    }
}

fn tainted(mut node: Node, key: &str, effect: &str) -> Node {
    let taint = Taint { key: key.into(), effect: effect.into(), ..Taint::default() };
    node.spec.get_or_insert_default().taints.get_or_insert_default().push(taint);
    node
}

fn pod(name: &str, requests: &[(&str, &str)]) -> Pod {
    let resources =
        ResourceRequirements { requests: Some(quantities(requests)), ..ResourceRequirements::default() };
    let container = Container { name: "app".into(), resources: Some(resources), ..Container::default() };
    Pod {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some("ns".into()),
            uid: Some(format!("uid-{name}")),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec { containers: vec![container], ..PodSpec::default() }),
        status: None,
    }
}

fn with(mut pod: Pod, change: impl FnOnce(&mut PodSpec)) -> Pod {
    change(pod.spec.as_mut().unwrap());
    pod
}

fn bound(mut pod: Pod, node: &str) -> Pod {
    pod.spec.as_mut().unwrap().node_name = Some(node.into());
    pod
}

fn owned(mut pod: Pod, owner: &str) -> Pod {
    let owner = OwnerReference { uid: owner.into(), controller: Some(true), ..OwnerReference::default() };
    pod.metadata.owner_references = Some(vec![owner]);
    pod
}

fn created<T: Clone>(meta: &ObjectMeta, object: &T) -> Delta<T> {
    Delta { key: ObjectKey::of(meta), old: None, new: Some(Arc::new(object.clone())) }
}

fn deleted<T: Clone>(meta: &ObjectMeta, object: &T) -> Delta<T> {
    Delta { key: ObjectKey::of(meta), old: Some(Arc::new(object.clone())), new: None }
}

fn picture(nodes: &[Node], pods: &[Pod]) -> Picture {
    let mut picture = Picture::default();
    for node in nodes {
        picture.observe_node(&created(&node.metadata, node));
    }
    for pod in pods {
        picture.observe_pod(&created(&pod.metadata, pod));
    }
    picture
}

fn candidate(pod: Pod) -> Candidate {
    Candidate { key: ObjectKey::of(&pod.metadata), wants: Arc::new(Wants::of(&pod)), pod: Arc::new(pod) }
}

/// The node of each pod, or the reason why it has none.
fn decide(picture: &mut Picture, pods: Vec<Pod>) -> Vec<String> {
    let candidates: Vec<Candidate> = pods.into_iter().map(candidate).collect();
    let decisions = pass(picture, &candidates, 0).into_iter().map(|decision| match decision {
        Decision::Bind(node) => node.to_string(),
        Decision::Refuse(message) => message.to_string(),
    });
    decisions.collect()
}

fn one(picture: &mut Picture, pod: Pod) -> String {
    decide(picture, vec![pod]).remove(0)
}

#[test]
fn the_reasons_of_all_nodes_are_told_in_kubernetes_words() {
    let mut cordoned = node("cordoned", "8", "8Gi", "110");
    cordoned.spec.as_mut().unwrap().unschedulable = Some(true);
    let nodes = [
        node("small", "1", "8Gi", "110"),
        node("tiny", "1", "1Gi", "110"),
        tainted(node("tainted", "8", "8Gi", "110"), "gpu", "NoSchedule"),
        tainted(node("leaving", "8", "8Gi", "110"), "node.kubernetes.io/unreachable", "NoExecute"),
        cordoned,
        node("full", "8", "8Gi", "1"),
    ];
    let mut picture = picture(&nodes, &[bound(pod("a", &[]), "full")]);
    expect!["0/6 nodes are available: 1 Insufficient memory, 1 Too many pods, 1 node(s) were unschedulable, 2 Insufficient cpu, 2 node(s) had untolerated taint(s). preemption: 0/6 nodes are available: 1 No preemption victims found for incoming pod, 5 Preemption is not helpful for scheduling."].assert_eq(&one(&mut picture, pod("b", &[("cpu", "2"), ("memory", "2Gi")])));
    let selective = with(pod("c", &[]), |spec| {
        spec.node_selector = Some([("disk".to_owned(), "ssd".to_owned())].into());
    });
    expect!["0/6 nodes are available: 1 node(s) were unschedulable, 2 node(s) had untolerated taint(s), 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/6 nodes are available: 6 Preemption is not helpful for scheduling."].assert_eq(&one(&mut picture, selective));
    expect!["no nodes available to schedule pods"].assert_eq(&one(&mut Picture::default(), pod("d", &[])));
}

#[test]
fn taints_keep_pods_away_unless_they_are_tolerated() {
    let mut picture = picture(&[tainted(node("n1", "4", "4Gi", "110"), "gpu", "NoSchedule")], &[]);
    let tolerant = with(pod("a", &[]), |spec| {
        let toleration =
            Toleration { key: Some("gpu".into()), operator: Some("Exists".into()), ..Toleration::default() };
        spec.tolerations = Some(vec![toleration]);
    });
    assert_eq!(one(&mut picture, tolerant), "n1");
}

#[test]
fn a_discouraging_taint_is_avoided_while_there_is_another_node() {
    let nodes =
        [tainted(node("n1", "4", "4Gi", "1"), "old", "PreferNoSchedule"), node("n2", "4", "4Gi", "1")];
    let mut picture = picture(&nodes, &[]);
    assert_eq!(decide(&mut picture, vec![pod("a", &[]), pod("b", &[])]), ["n2", "n1"]);
}

#[test]
fn pods_of_one_owner_are_spread_and_others_go_where_there_is_room() {
    let nodes = ["n1", "n2", "n3"].map(|name| node(name, "4", "4Gi", "110"));
    let mut picture = picture(&nodes, &[]);
    let pods = (0..6).map(|number| owned(pod(&format!("p{number}"), &[("cpu", "100m")]), "rs")).collect();
    let mut chosen = decide(&mut picture, pods);
    chosen.sort();
    assert_eq!(chosen, ["n1", "n1", "n2", "n2", "n3", "n3"]);
    let large = bound(pod("large", &[("cpu", "3"), ("memory", "3Gi")]), "n1");
    picture.observe_pod(&created(&large.metadata, &large));
    assert_ne!(one(&mut picture, pod("next", &[("cpu", "500m")])), "n1");
}

#[test]
fn two_pods_cannot_have_the_same_host_port_of_a_node() {
    let mut picture = picture(&[node("n1", "4", "4Gi", "110")], &[]);
    let on_port = |name: &str, port: i32, address: Option<&str>| {
        with(pod(name, &[]), |spec| {
            let port = ContainerPort {
                container_port: 80,
                host_port: Some(port),
                host_ip: address.map(str::to_owned),
                ..ContainerPort::default()
            };
            spec.containers[0].ports = Some(vec![port]);
        })
    };
    let pods = vec![
        on_port("a", 8080, Some("127.0.0.1")),
        on_port("b", 8080, Some("127.0.0.2")),
        on_port("c", 8081, None),
        on_port("d", 8080, None),
    ];
    let chosen = decide(&mut picture, pods);
    assert_eq!(chosen[..3], ["n1", "n1", "n1"]);
    expect!["0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."].assert_eq(&chosen[3]);
}

#[test]
fn other_resources_are_counted_too() {
    let mut nodes = [node("n1", "4", "4Gi", "110")];
    let allocatable = nodes[0].status.as_mut().unwrap().allocatable.as_mut().unwrap();
    allocatable.insert("example.com/device".into(), Quantity("1".into()));
    let mut picture = picture(&nodes, &[]);
    let wants = |name| pod(name, &[("example.com/device", "1")]);
    let chosen = decide(&mut picture, vec![wants("a"), wants("b")]);
    assert_eq!(chosen[0], "n1");
    expect!["0/1 nodes are available: 1 Insufficient example.com/device. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."].assert_eq(&chosen[1]);
}

#[test]
fn room_comes_back_when_a_pod_ends_or_a_binding_fails() {
    let mut picture = picture(&[node("n1", "1", "4Gi", "110")], &[]);
    let large = |name| pod(name, &[("cpu", "1")]);
    assert_eq!(one(&mut picture, large("a")), "n1");
    assert_ne!(one(&mut picture, large("b")), "n1");
    // The change that shows the assumed pod unbound still is older than the decision.
    assert!(!picture.observe_pod(&created(&large("a").metadata, &large("a"))));
    assert_ne!(one(&mut picture, large("b")), "n1");
    picture.unassume(&ObjectKey::new("ns", "a"));
    assert_eq!(one(&mut picture, large("b")), "n1");
    let b = bound(large("b"), "n1");
    assert!(!picture.observe_pod(&created(&b.metadata, &b)));
    picture.unassume(&ObjectKey::new("ns", "b"));
    assert_ne!(one(&mut picture, large("c")), "n1", "b is bound, not assumed");
    let mut ended = b.clone();
    ended.status.get_or_insert_default().phase = Some("Succeeded".into());
    assert!(picture.observe_pod(&created(&ended.metadata, &ended)));
    assert_eq!(one(&mut picture, large("c")), "n1");
    assert!(!picture.observe_pod(&deleted(&b.metadata, &b)), "it was counted out before");
}

#[test]
fn only_a_change_that_matters_wakes_refused_pods() {
    let mut picture = Picture::default();
    let mut n1 = node("n1", "1", "4Gi", "110");
    assert!(picture.observe_node(&created(&n1.metadata, &n1)));
    n1.metadata.annotations = Some([("a".to_owned(), "b".to_owned())].into());
    assert!(!picture.observe_node(&created(&n1.metadata, &n1)));
    n1.spec.as_mut().unwrap().unschedulable = Some(true);
    assert!(picture.observe_node(&created(&n1.metadata, &n1)));
    assert!(!picture.observe_node(&deleted(&n1.metadata, &n1)));
    assert_eq!((picture.existing(), picture.nodes().len()), (0, 0));
}

fn names(candidates: &[Candidate]) -> Vec<&str> {
    candidates.iter().map(|candidate| candidate.key.name()).collect()
}

#[tokio::test]
async fn higher_priority_goes_first_then_who_came_first() {
    let mut pending = Pending::default();
    let other = with(pod("other", &[]), |spec| spec.scheduler_name = Some("mine".into()));
    let important = with(pod("important", &[]), |spec| spec.priority = Some(10));
    for pod in [pod("z", &[]), other, bound(pod("bound", &[]), "n1"), pod("a", &[]), important] {
        pending.observe(&created(&pod.metadata, &pod));
    }
    assert!(pending.has_active(Instant::now()));
    assert_eq!(names(&pending.take(2)), ["important", "z"]);
    assert_eq!(names(&pending.take(9)), ["a"]);
    assert!(!pending.has_active(Instant::now()));
}

#[tokio::test]
async fn a_refused_pod_waits_for_the_cluster_to_change_and_at_least_its_backoff() {
    let (mut pending, now) = (Pending::default(), Instant::now());
    let pod = pod("a", &[]);
    let key = ObjectKey::of(&pod.metadata);
    pending.observe(&created(&pod.metadata, &pod));
    pending.take(1);
    pending.refused(&key, now);
    // Its own condition and event come back as a change that is no news.
    pending.observe(&created(&pod.metadata, &pod));
    assert!(!pending.has_active(now + Duration::from_secs(60)));
    pending.wake_refused(now + Duration::from_millis(100));
    assert!(!pending.has_active(now + Duration::from_millis(900)));
    assert!(pending.has_active(now + Duration::from_secs(1)));
    pending.take(1);
    pending.refused(&key, now);
    pending.wake_refused(now + Duration::from_secs(2));
    assert!(pending.has_active(now), "the second backoff of two seconds is over");
    pending.take(1);
    pending.refused(&key, now);
    assert!(
        pending.has_active(now + Duration::from_secs(300)),
        "tried again even if nothing seems to change"
    );
}

#[tokio::test]
async fn a_changed_pod_is_tried_anew_and_a_deleted_one_forgotten() {
    let (mut pending, now) = (Pending::default(), Instant::now());
    let mut pod = pod("a", &[]);
    let key = ObjectKey::of(&pod.metadata);
    pending.observe(&created(&pod.metadata, &pod));
    pending.take(1);
    pending.refused(&key, now);
    pod.metadata.generation = Some(2);
    pending.observe(&created(&pod.metadata, &pod));
    assert!(pending.has_active(now));
    pending.observe(&deleted(&pod.metadata, &pod));
    assert!(!pending.has_active(now));
    pending.failed(&key, now);
    assert_eq!(pending.next_due(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// No node is ever given more than it has, and a pod is refused only if it fits nowhere.
    #[test]
    fn nodes_are_never_overcommitted(
        nodes in proptest::collection::vec((1..8_i64, 1..6_usize), 1..6),
        pods in proptest::collection::vec(0..4_i64, 0..40),
    ) {
        let objects: Vec<Node> = nodes.iter().enumerate().map(|(number, (cpu, pods))| {
            node(&format!("n{number}"), &cpu.to_string(), "64Gi", &pods.to_string())
        }).collect();
        let mut picture = picture(&objects, &[]);
        let requests: Vec<Pod> = pods.iter().enumerate().map(|(number, cpu)| {
            pod(&format!("p{number}"), &[("cpu", &cpu.to_string())])
        }).collect();
        let chosen = decide(&mut picture, requests);
        let mut left: BTreeMap<String, (i64, i64)> = nodes.iter().enumerate().map(|(number, (cpu, pods))| {
            (format!("n{number}"), (*cpu, i64::try_from(*pods).unwrap()))
        }).collect();
        for (cpu, chosen) in pods.iter().zip(&chosen) {
            match left.get_mut(chosen) {
                Some((cpu_left, pods_left)) => {
                    *cpu_left -= cpu;
                    *pods_left -= 1;
                    prop_assert!(*cpu_left >= 0 && *pods_left >= 0, "{} is overcommitted", chosen);
                }
                None => {
                    let fits = left.values().any(|(cpu_left, pods_left)| cpu_left >= cpu && *pods_left > 0);
                    prop_assert!(!fits, "{}", chosen);
                }
            }
        }
    }
}
