//! When a node is given up, and how its taints follow its conditions.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Node, NodeCondition, NodeSpec, NodeStatus, Pod, PodCondition, PodStatus, Taint,
};

use super::{Hearing, REFUGE_AGAIN, Refuge, plan};

const HEARD: Hearing = Hearing::Heard(Duration::from_secs(50));
const SILENT: Hearing = Hearing::Silent(Refuge::Somewhere);

fn now() -> Timestamp {
    Timestamp::from_second(5000).unwrap()
}

fn node(conditions: &[(&str, &str)], taints: &[(&str, &str)], unschedulable: bool) -> Node {
    let taint = |(key, effect): &(&str, &str)| Taint {
        key: (*key).to_owned(),
        effect: (*effect).to_owned(),
        ..Taint::default()
    };
    Node {
        spec: Some(NodeSpec {
            taints: Some(taints.iter().map(taint).collect()),
            unschedulable: Some(unschedulable),
            ..NodeSpec::default()
        }),
        status: Some(conditions_of(conditions)),
        ..Node::default()
    }
}

fn conditions_of(conditions: &[(&str, &str)]) -> NodeStatus {
    let condition = |(kind, status): &(&str, &str)| NodeCondition {
        type_: (*kind).to_owned(),
        status: (*status).to_owned(),
        ..NodeCondition::default()
    };
    NodeStatus { conditions: Some(conditions.iter().map(condition).collect()), ..NodeStatus::default() }
}

fn taints_after(node: &Node) -> Option<Vec<String>> {
    let plan = plan(node, HEARD, &[], now());
    plan.taints.map(|taints| taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect())
}

#[test]
fn taints_follow_conditions_and_leave_others_alone() {
    let not_ready = ["node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"];
    for (node, expected) in [
        (node(&[("Ready", "True")], &[], false), None),
        (node(&[("Ready", "False")], &[], false), Some(not_ready.to_vec())),
        (node(&[("Ready", "True")], &[("gpu", "NoSchedule")], false), None),
        (
            node(
                &[("Ready", "True")],
                &[("node.kubernetes.io/not-ready", "NoSchedule"), ("gpu", "NoSchedule")],
                false,
            ),
            Some(vec!["gpu:NoSchedule"]),
        ),
        (node(&[("Ready", "True")], &[], true), Some(vec!["node.kubernetes.io/unschedulable:NoSchedule"])),
        (
            node(&[("Ready", "True"), ("DiskPressure", "True")], &[], false),
            Some(vec!["node.kubernetes.io/disk-pressure:NoSchedule"]),
        ),
        (node(&[], &[], false), None),
    ] {
        let found = taints_after(&node);
        let expected = expected.map(|taints| taints.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(found, expected, "{node:?}");
    }
}

#[test]
fn a_silent_node_is_given_up_after_the_grace_period() {
    let ready = PodCondition { type_: "Ready".into(), status: "True".into(), ..PodCondition::default() };
    let status = PodStatus { conditions: Some(vec![ready]), ..PodStatus::default() };
    let pod = Arc::new(Pod { status: Some(status), ..Pod::default() });
    let node = node(&[("Ready", "True"), ("DiskPressure", "False")], &[], false);
    let early = plan(&node, HEARD, std::slice::from_ref(&pod), now());
    assert!(early.is_met());
    assert_eq!(early.again_after, Some(Duration::from_secs(50)));
    let late = plan(&node, SILENT, std::slice::from_ref(&pod), now());
    let conditions = late.status.clone().unwrap().conditions.unwrap();
    let told: Vec<_> = conditions
        .iter()
        .map(|condition| {
            (condition.type_.as_str(), condition.status.as_str(), condition.reason.as_deref().unwrap())
        })
        .collect();
    let expected = [
        ("Ready", "Unknown", "NodeStatusUnknown"),
        ("DiskPressure", "Unknown", "NodeStatusUnknown"),
        ("MemoryPressure", "Unknown", "NodeStatusNeverUpdated"),
        ("PIDPressure", "Unknown", "NodeStatusNeverUpdated"),
    ];
    assert_eq!(told, expected);
    let taints: Vec<_> =
        late.taints.clone().unwrap().into_iter().map(|taint| (taint.key, taint.effect)).collect();
    let unreachable = "node.kubernetes.io/unreachable".to_owned();
    assert_eq!(taints, [(unreachable.clone(), "NoSchedule".into()), (unreachable, "NoExecute".into())]);
    assert_eq!(late.unready, [pod]);
    let mut written = node;
    written.status = late.status;
    written.spec.as_mut().unwrap().taints = late.taints;
    assert!(plan(&written, SILENT, &[], now()).is_met());
    // What has begun is not taken back while the node is silent, but when it has said that it is there.
    assert!(plan(&written, Hearing::Silent(Refuge::Nowhere), &[], now()).is_met());
    assert!(plan(&written, HEARD, &[], now()).is_met());
    written.status = Some(conditions_of(&[("Ready", "True")]));
    assert_eq!(plan(&written, HEARD, &[], now()).taints, Some(Vec::new()));
}

#[test]
fn pods_stay_on_silent_nodes_while_no_other_node_is_heard() {
    let node = node(&[("Ready", "True")], &[], false);
    let alone = plan(&node, Hearing::Silent(Refuge::Nowhere), &[], now());
    let taints: Vec<_> = alone.taints.unwrap().into_iter().map(|taint| taint.effect).collect();
    assert_eq!((taints, alone.again_after), (vec!["NoSchedule".to_owned()], Some(REFUGE_AGAIN)));
}
