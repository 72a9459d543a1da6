//! DaemonSets: which nodes get a pod, how old ones are replaced, and what the status says of it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet,
};
use k8s_openapi::api::core::v1::{
    Container, Node, NodeSpec, Pod, PodCondition, PodSpec, PodTemplateSpec, Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::prelude::*;

use super::{Action, Observed, Plan, facts, place, plan, revisions};

/// A set, its pods and the nodes, in a cluster that carries out plans.
struct World {
    set: DaemonSet,
    nodes: Vec<Arc<Node>>,
    pods: Vec<Arc<Pod>>,
    revisions: Vec<Arc<ControllerRevision>>,
    created: usize,
    /// New pods are ready at once.
    is_quick: bool,
}

fn now() -> Timestamp {
    Timestamp::from_second(10_000).unwrap()
}

fn node(name: &str) -> Node {
    let labels = [("disk".to_owned(), if name == "n0" { "hdd" } else { "ssd" }.to_owned())];
    Node {
        metadata: ObjectMeta {
            name: Some(name.into()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        ..Node::default()
    }
}

fn tainted(mut node: Node, key: &str, effect: &str) -> Node {
    let taint = Taint { key: key.into(), effect: effect.into(), ..Taint::default() };
    node.spec = Some(NodeSpec { taints: Some(vec![taint]), ..NodeSpec::default() });
    node
}

fn set(change: impl FnOnce(&mut DaemonSetSpec)) -> World {
    let labels = Some([("app".to_owned(), "agent".to_owned())].into());
    let mut spec = DaemonSetSpec {
        selector: LabelSelector { match_labels: labels.clone(), ..LabelSelector::default() },
        template: PodTemplateSpec {
            metadata: Some(ObjectMeta { labels, ..ObjectMeta::default() }),
            spec: Some(PodSpec { containers: vec![Container::default()], ..PodSpec::default() }),
        },
        update_strategy: Some(rolling(1, 0)),
        ..DaemonSetSpec::default()
    };
    change(&mut spec);
    let metadata = ObjectMeta { name: Some("agent".into()), uid: Some("u".into()), ..ObjectMeta::default() };
    World {
        set: DaemonSet { metadata, spec: Some(spec), status: None },
        nodes: (0..4).map(|number| Arc::new(node(&format!("n{number}")))).collect(),
        pods: Vec::new(),
        revisions: Vec::new(),
        created: 0,
        is_quick: true,
    }
}

fn rolling(unavailable: i32, surge: i32) -> DaemonSetUpdateStrategy {
    DaemonSetUpdateStrategy {
        type_: Some("RollingUpdate".into()),
        rolling_update: Some(RollingUpdateDaemonSet {
            max_unavailable: Some(IntOrString::Int(unavailable)),
            max_surge: Some(IntOrString::Int(surge)),
        }),
    }
}

impl World {
    fn plan(&self) -> Plan {
        let observed = Observed {
            pods: self.pods.clone(),
            revisions: self.revisions.clone(),
            nodes: self.nodes.clone(),
        };
        plan(&self.set, observed, now())
    }

    fn pass(&mut self) -> bool {
        let plan = self.plan();
        let is_met = plan.actions.is_empty() && plan.status.is_none();
        if let Some(status) = plan.status {
            self.set.status = Some(status);
        }
        plan.actions.into_iter().for_each(|action| self.carry_out(action));
        is_met
    }

    fn settle(&mut self) {
        assert!((0..100).any(|_| self.pass()), "no fixed point: {:?}", self.plan());
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Create { pods } => pods.into_iter().for_each(|pod| self.create(pod)),
            Action::Delete { pods } => {
                self.pods.retain(|own| pods.iter().all(|pod| pod.metadata.uid != own.metadata.uid));
            }
            Action::Revise(revisions::Change::Create(revision)) => self.revisions.push(Arc::from(revision)),
            Action::Revise(revisions::Change::Renumber(revision)) => {
                self.revisions.retain(|own| own.metadata.name != revision.metadata.name);
                self.revisions.push(Arc::from(revision));
            }
            Action::Revise(revisions::Change::Delete(revision)) => {
                self.revisions.retain(|own| own.metadata.name != revision.metadata.name);
            }
            Action::Adopt { .. } | Action::Release { .. } => panic!("all pods are the set's"),
        }
    }

    fn create(&mut self, mut pod: Pod) {
        self.created += 1;
        pod.metadata.uid = Some(format!("p{}", self.created));
        pod.metadata.name = pod.metadata.uid.clone();
        let node = place::node_of(&pod).map(str::to_owned);
        pod.spec.get_or_insert_default().node_name = node;
        pod.status.get_or_insert_default().phase = Some("Running".into());
        let pod = if self.is_quick { ready(pod) } else { pod };
        self.pods.push(Arc::new(pod));
    }

    fn all_ready(&mut self) {
        self.pods.iter_mut().for_each(|pod| *pod = Arc::new(ready((**pod).clone())));
    }

    fn set_image(&mut self, image: &str) {
        let template = &mut self.set.spec.as_mut().unwrap().template;
        template.spec.as_mut().unwrap().containers[0].image = Some(image.into());
    }

    /// Nodes with a pod, one for each pod.
    fn places(&self) -> Vec<&str> {
        let mut places: Vec<&str> = self.pods.iter().filter_map(|pod| facts::node_name(pod)).collect();
        places.sort_unstable();
        places
    }

    fn with_image(&self, image: &str) -> usize {
        let has = |pod: &&Arc<Pod>| pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image);
        self.pods.iter().filter(has).count()
    }

    /// (desired, current, misscheduled, available, updated)
    fn status(&self) -> [i32; 5] {
        let status = self.set.status.clone().unwrap();
        [
            status.desired_number_scheduled,
            status.current_number_scheduled,
            status.number_misscheduled,
            status.number_available.unwrap_or(0),
            status.updated_number_scheduled.unwrap_or(0),
        ]
    }
}

fn ready(mut pod: Pod) -> Pod {
    pod.status.get_or_insert_default().conditions = Some(vec![PodCondition {
        type_: "Ready".into(),
        status: "True".into(),
        last_transition_time: Some(Time(Timestamp::from_second(9_000).unwrap())),
        ..PodCondition::default()
    }]);
    pod
}

#[test]
fn every_node_that_suits_gets_one_pod_made_for_it() {
    let mut world = set(|_| {});
    world.settle();
    assert_eq!((world.places(), world.status()), (vec!["n0", "n1", "n2", "n3"], [4, 4, 0, 4, 4]));
    world.nodes.push(Arc::new(node("n4")));
    world.settle();
    assert_eq!(world.places().len(), 5);
    let selector = Some([("disk".to_owned(), "ssd".to_owned())].into());
    let mut world = set(|spec| spec.template.spec.as_mut().unwrap().node_selector = selector);
    world.settle();
    assert_eq!((world.places(), world.status()), (vec!["n1", "n2", "n3"], [3, 3, 0, 3, 3]));
}

#[test]
fn taints_keep_pods_away_or_send_them_off_unless_they_are_tolerated() {
    for (key, effect, tolerates, new, running) in [
        ("gpu", "NoSchedule", false, false, true),
        ("gpu", "NoExecute", false, false, false),
        ("gpu", "NoExecute", true, true, true),
        ("gpu", "PreferNoSchedule", false, true, true),
        ("node.kubernetes.io/unschedulable", "NoSchedule", false, true, true),
        ("node.kubernetes.io/not-ready", "NoExecute", false, true, true),
        ("node.kubernetes.io/network-unavailable", "NoSchedule", false, false, true),
    ] {
        let toleration =
            Toleration { key: Some(key.into()), operator: Some("Exists".into()), ..Toleration::default() };
        let tolerations = tolerates.then(|| vec![toleration]);
        let fresh = || set(|spec| spec.template.spec.as_mut().unwrap().tolerations = tolerations.clone());
        let mut world = fresh();
        world.nodes[1] = Arc::new(tainted(node("n1"), key, effect));
        world.settle();
        assert_eq!(world.places().contains(&"n1"), new, "{key} {effect} before");
        let mut world = fresh();
        world.settle();
        world.nodes[1] = Arc::new(tainted(node("n1"), key, effect));
        world.settle();
        assert_eq!(world.places().contains(&"n1"), running, "{key} {effect} after");
        assert_eq!(world.status()[2] == 1, running && !new, "{key} {effect} misscheduled");
    }
}

#[test]
fn a_pod_that_has_ended_or_is_one_too_many_is_replaced_or_goes() {
    let mut world = set(|_| {});
    world.settle();
    let mut failed = (*world.pods[0]).clone();
    failed.status.get_or_insert_default().phase = Some("Failed".into());
    world.pods[0] = Arc::new(failed);
    let mut second = (*world.pods[1]).clone();
    second.metadata.uid = Some("second".into());
    second.status.get_or_insert_default().conditions = None;
    world.pods.push(Arc::new(second));
    world.settle();
    assert_eq!((world.places(), world.created), (vec!["n0", "n1", "n2", "n3"], 5));
    assert!(
        world.pods.iter().all(|pod| pod.metadata.uid.as_deref() != Some("second")),
        "the ready one stays"
    );
}

#[test]
fn a_pod_that_waits_for_a_node_which_is_gone_goes() {
    let mut world = set(|_| {});
    world.settle();
    let mut waiting = (*world.pods[0]).clone();
    waiting.spec.as_mut().unwrap().node_name = None;
    world.pods[0] = Arc::new(waiting);
    world.nodes.remove(0);
    world.settle();
    assert_eq!((world.pods.len(), world.status()[0]), (3, 3));
}

#[test]
fn a_new_template_reaches_as_many_nodes_at_once_as_may_be_missed() {
    for (unavailable, expected) in [(1, 1), (3, 3)] {
        let mut world = set(|spec| spec.update_strategy = Some(rolling(unavailable, 0)));
        world.set_image("v1");
        world.settle();
        world.is_quick = false;
        world.set_image("v2");
        world.settle();
        assert_eq!((world.with_image("v2"), world.status()[3]), (expected, 4 - unavailable), "{unavailable}");
        world.is_quick = true;
        world.all_ready();
        world.settle();
        assert_eq!((world.with_image("v2"), world.status()), (4, [4, 4, 0, 4, 4]));
        assert_eq!(world.revisions.len(), 2);
    }
}

#[test]
fn with_surge_the_new_pod_serves_before_the_old_one_goes() {
    let mut world = set(|spec| spec.update_strategy = Some(rolling(0, 2)));
    world.set_image("v1");
    world.settle();
    world.is_quick = false;
    world.set_image("v2");
    world.settle();
    assert_eq!((world.with_image("v1"), world.with_image("v2"), world.status()[3]), (4, 2, 4));
    world.is_quick = true;
    world.all_ready();
    world.settle();
    assert_eq!((world.with_image("v1"), world.with_image("v2")), (0, 4));
}

#[test]
fn on_delete_waits_for_whoever_deletes() {
    let mut world = set(|spec| {
        spec.update_strategy =
            Some(DaemonSetUpdateStrategy { type_: Some("OnDelete".into()), rolling_update: None });
    });
    world.set_image("v1");
    world.settle();
    world.set_image("v2");
    world.settle();
    assert_eq!(world.with_image("v2"), 0);
    world.pods.remove(0);
    world.settle();
    assert_eq!(world.with_image("v2"), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to nodes, pods and the template, the set comes to rest with one pod of the newest template on each
    /// node that suits.
    #[test]
    fn every_set_reaches_its_nodes(
        surge in any::<bool>(),
        steps in proptest::collection::vec((0..5_u8, 0..4_usize), 0..20),
    ) {
        let mut world = set(|spec| spec.update_strategy = Some(if surge { rolling(0, 1) } else { rolling(1, 0) }));
        for (step, number) in steps {
            match step {
                0 => world.set_image(&format!("v{number}")),
                1 => world.nodes[number] = Arc::new(tainted(node(&format!("n{number}")), "gone", "NoExecute")),
                2 => world.nodes[number] = Arc::new(node(&format!("n{number}"))),
                3 => if number < world.pods.len() { world.pods.remove(number); },
                _ => { world.pass(); }
            }
        }
        world.settle();
        let suiting: Vec<&str> = world.nodes.iter().filter(|node| node.spec.is_none())
            .map(|node| facts::name(&node.metadata)).collect();
        prop_assert_eq!(world.places(), suiting.clone());
        let count = facts::count(suiting.len());
        prop_assert_eq!(world.status(), [count, count, 0, count, count]);
    }
}
