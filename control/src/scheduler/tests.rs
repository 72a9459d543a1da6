//! Who goes where, and why not.

mod capacity;
mod kept;
mod naive;
mod preemption;
mod queue;
mod rules;
mod telling;
mod volumes;

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::expect;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, Node, NodeSpec, NodeStatus, Pod, PodSpec, ResourceRequirements, Taint,
    Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};

use super::pass::{Candidate, Decision, pass};
use super::picture::Picture;
use super::wants::Wants;
use crate::cache::{Change, Delta, ObjectKey};
use crate::controllers::facts::StringMap;

fn string_map(pairs: &[(&str, &str)]) -> StringMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn selector(pairs: &[(&str, &str)]) -> LabelSelector {
    LabelSelector { match_labels: Some(string_map(pairs)), ..LabelSelector::default() }
}

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

fn labelled(mut pod: Pod, pairs: &[(&str, &str)]) -> Pod {
    pod.metadata.labels.get_or_insert_default().extend(string_map(pairs));
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

/// The node of each pod, or the reason why it has none; after that, who has to leave which node for it.
fn decide(picture: &mut Picture, pods: Vec<Pod>) -> Vec<String> {
    let candidates: Vec<Candidate> = pods.into_iter().map(candidate).collect();
    let decisions = pass(picture, &candidates, 0).into_iter().map(|decision| match decision {
        Decision::Bind(node) => node.to_string(),
        Decision::Refuse { refusal, .. } => refusal.message.to_string(),
        Decision::Preempt { node, victims, refusal } => {
            let names: Vec<&str> = victims.iter().map(|victim| victim.key.name()).collect();
            format!("{} {node} without {names:?}", refusal.message)
        }
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
    let set = ReplicaSet {
        metadata: ObjectMeta { uid: Some("rs".into()), ..pod("web", &[]).metadata },
        spec: Some(ReplicaSetSpec { selector: selector(&[("app", "web")]), ..ReplicaSetSpec::default() }),
        status: None,
    };
    assert!(!picture.observe_other(&Change::ReplicaSet(created(&set.metadata, &set))));
    let web =
        |number| labelled(owned(pod(&format!("p{number}"), &[("cpu", "100m")]), "rs"), &[("app", "web")]);
    let pods = (0..6).map(web).collect();
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
    assert!(!picture.observe_pod(&created(&large("a").metadata, &large("a"))).pods_leave);
    assert_ne!(one(&mut picture, large("b")), "n1");
    picture.unassume(&ObjectKey::new("ns", "a"));
    assert_eq!(one(&mut picture, large("b")), "n1");
    let b = bound(large("b"), "n1");
    let news = picture.observe_pod(&created(&b.metadata, &b));
    assert!(news.pods_come && !news.pods_leave);
    picture.unassume(&ObjectKey::new("ns", "b"));
    assert_ne!(one(&mut picture, large("c")), "n1", "b is bound, not assumed");
    let mut ended = b.clone();
    ended.status.get_or_insert_default().phase = Some("Succeeded".into());
    assert!(picture.observe_pod(&created(&ended.metadata, &ended)).pods_leave);
    assert_eq!(one(&mut picture, large("c")), "n1");
    assert!(!picture.observe_pod(&deleted(&b.metadata, &b)).pods_leave, "it was counted out before");
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
    assert_eq!(picture.existing(), 0);
    n1.metadata.name = Some("n2".into());
    picture.observe_node(&created(&n1.metadata, &n1));
    assert_eq!(picture.nodes().len(), 1, "its place is taken by the next node");
}
