//! Tables of cases for the rules between pods, and for scores that need more than one node.

use k8s_openapi::api::core::v1::{
    Affinity, ContainerImage, Namespace, Node, Pod, PodAffinity, PodAffinityTerm, PodAntiAffinity, Service,
    ServiceSpec, TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{bound, created, decide, labelled, node, one, picture, pod, selector, string_map, tainted, with};
use crate::cache::Change;

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

fn zoned(name: &str, zone: &str) -> Node {
    let mut node = node(name, "8", "8Gi", "110");
    if !zone.is_empty() {
        node.metadata.labels.get_or_insert_default().insert(ZONE.into(), zone.into());
    }
    node
}

/// Two nodes in zone `a`, one in `b`, one in none.
fn nodes() -> Vec<Node> {
    [("a1", "a"), ("a2", "a"), ("b1", "b"), ("none", "")].map(|(name, zone)| zoned(name, zone)).into()
}

fn app(name: &str, app: &str) -> Pod {
    labelled(pod(name, &[]), &[("app", app)])
}

fn term(app: &str, topology: &str) -> PodAffinityTerm {
    PodAffinityTerm {
        label_selector: Some(selector(&[("app", app)])),
        topology_key: topology.into(),
        ..PodAffinityTerm::default()
    }
}

fn near(pod: Pod, terms: Vec<PodAffinityTerm>) -> Pod {
    with(pod, |spec| {
        let affinity = PodAffinity {
            required_during_scheduling_ignored_during_execution: Some(terms),
            ..PodAffinity::default()
        };
        spec.affinity.get_or_insert_default().pod_affinity = Some(affinity);
    })
}

fn apart(pod: Pod, terms: Vec<PodAffinityTerm>) -> Pod {
    with(pod, |spec| {
        let affinity = PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(terms),
            ..PodAntiAffinity::default()
        };
        spec.affinity.get_or_insert_default().pod_anti_affinity = Some(affinity);
    })
}

fn weighed(weight: i32, term: PodAffinityTerm) -> Option<Vec<WeightedPodAffinityTerm>> {
    Some(vec![WeightedPodAffinityTerm { weight, pod_affinity_term: term }])
}

fn spread(topology: &str, max_skew: i32, action: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew,
        topology_key: topology.into(),
        when_unsatisfiable: action.into(),
        label_selector: Some(selector(&[("app", "web")])),
        ..TopologySpreadConstraint::default()
    }
}

fn spreading(pod: Pod, constraints: Vec<TopologySpreadConstraint>) -> Pod {
    with(pod, |spec| spec.topology_spread_constraints = Some(constraints))
}

/// The nodes that take such a pod while others are refused it; all are tried by hand.
fn takers(nodes: &[Node], there: &[Pod], pod: &Pod) -> Vec<String> {
    let all = nodes.iter().filter_map(|node| node.metadata.name.clone());
    let taking = all.filter(|name| {
        let mut picture = picture(nodes, there);
        let pod = with(pod.clone(), |spec| {
            spec.node_selector = Some(string_map(&[(HOST, name)]));
            for constraint in spec.topology_spread_constraints.iter_mut().flatten() {
                constraint.node_affinity_policy = Some("Ignore".into());
            }
        });
        one(&mut picture, pod) == *name
    });
    taking.collect()
}

#[test]
fn required_affinity_brings_pods_together() {
    let db = bound(app("db", "db"), "a1");
    let elsewhere = {
        let mut pod = bound(app("db", "db"), "a1");
        pod.metadata.namespace = Some("other".into());
        pod
    };
    let both = vec![term("db", ZONE), term("cache", HOST)];
    let in_other = PodAffinityTerm { namespaces: Some(vec!["other".into()]), ..term("db", HOST) };
    for (what, there, pod, expected) in [
        ("by zone", vec![db.clone()], near(app("w", "web"), vec![term("db", ZONE)]), vec!["a1", "a2"]),
        ("by host", vec![db.clone()], near(app("w", "web"), vec![term("db", HOST)]), vec!["a1"]),
        ("nobody there", vec![], near(app("w", "web"), vec![term("db", ZONE)]), vec![]),
        ("the first", vec![], near(app("w", "web"), vec![term("web", ZONE)]), vec!["a1", "a2", "b1"]),
        ("another namespace", vec![elsewhere.clone()], near(app("w", "web"), vec![term("db", ZONE)]), vec![]),
        ("a named namespace", vec![elsewhere], near(app("w", "web"), vec![in_other]), vec!["a1"]),
        (
            "only pods that all terms mean count",
            vec![db, bound(app("c", "cache"), "a1")],
            near(app("w", "web"), both),
            vec![],
        ),
    ] {
        assert_eq!(takers(&nodes(), &there, &pod), expected, "{what}");
    }
}

#[test]
fn required_anti_affinity_keeps_pods_apart_in_both_directions() {
    let web = bound(app("old", "web"), "a1");
    let loner = bound(apart(app("old", "loner"), vec![term("web", ZONE)]), "b1");
    let mismatching = PodAffinityTerm {
        label_selector: Some(selector(&[])),
        mismatch_label_keys: Some(vec!["app".into()]),
        ..term("", HOST)
    };
    for (what, there, pod, expected) in [
        ("by zone", web.clone(), apart(app("w", "web"), vec![term("web", ZONE)]), vec!["b1", "none"]),
        ("by host", web.clone(), apart(app("w", "web"), vec![term("web", HOST)]), vec!["a2", "b1", "none"]),
        ("who is there minds", loner.clone(), app("w", "web"), vec!["a1", "a2", "none"]),
        ("who is there minds others", loner, app("w", "db"), vec!["a1", "a2", "b1", "none"]),
        (
            "other tenants",
            web.clone(),
            apart(app("w", "db"), vec![mismatching.clone()]),
            vec!["a2", "b1", "none"],
        ),
        ("the same tenant", web, apart(app("w", "web"), vec![mismatching]), vec!["a1", "a2", "b1", "none"]),
    ] {
        assert_eq!(takers(&nodes(), &[there], &pod), expected, "{what}");
    }
}

#[test]
fn pods_of_one_pass_heed_each_other() {
    let mut picture = picture(&nodes(), &[]);
    let loner = |name: &str| apart(app(name, "web"), vec![term("web", HOST)]);
    let pods = ["1", "2", "3", "4", "5"].map(loner).into();
    let mut chosen = decide(&mut picture, pods);
    assert_eq!(
        chosen.pop().unwrap(),
        "0/4 nodes are available: 4 node(s) didn't match pod anti-affinity rules. preemption: 0/4 nodes are available: 4 No preemption victims found for incoming pod."
    );
    chosen.sort();
    assert_eq!(chosen, ["a1", "a2", "b1", "none"]);
    assert_eq!(
        one(&mut picture, app("6", "web")),
        "0/4 nodes are available: 4 node(s) didn't satisfy existing pods anti-affinity rules. preemption: 0/4 nodes are available: 4 No preemption victims found for incoming pod."
    );
    assert_eq!(
        one(&mut picture, near(app("7", "db"), vec![term("db", ZONE), term("web", ZONE)])),
        "0/4 nodes are available: 4 node(s) didn't match pod affinity rules. preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
    );
}

#[test]
fn labels_of_namespaces_choose_pods() {
    let mut there = bound(app("db", "db"), "a1");
    there.metadata.namespace = Some("shop".into());
    let chosen = PodAffinityTerm { namespace_selector: Some(selector(&[("team", "x")])), ..term("db", HOST) };
    let mut picture = picture(&nodes(), &[there]);
    let mut namespace = Namespace {
        metadata: ObjectMeta { name: Some("shop".into()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    picture.observe_other(&Change::Namespace(created(&namespace.metadata, &namespace)));
    assert!(one(&mut picture, near(app("1", "web"), vec![chosen.clone()])).starts_with("0/4"));
    namespace.metadata.labels = Some(string_map(&[("team", "x")]));
    assert!(picture.observe_other(&Change::Namespace(created(&namespace.metadata, &namespace))));
    assert!(!picture.observe_other(&Change::Namespace(created(&namespace.metadata, &namespace))));
    assert_eq!(one(&mut picture, near(app("2", "web"), vec![chosen])), "a1");
}

#[test]
fn spreading_that_must_be_keeps_domains_even() {
    let web = |name: &str, node: &str| bound(app(name, "web"), node);
    let in_a = vec![web("1", "a1")];
    let leaving = {
        let mut pod = web("1", "a1");
        pod.metadata.deletion_timestamp = pod
            .metadata
            .creation_timestamp
            .clone()
            .or(Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH)));
        vec![pod]
    };
    let must = |skew| spread(ZONE, skew, "DoNotSchedule");
    let few = TopologySpreadConstraint { min_domains: Some(3), ..must(1) };
    let own = TopologySpreadConstraint { match_label_keys: Some(vec!["hash".into()]), ..must(1) };
    for (what, there, labels, constraint, expected) in [
        ("an empty cluster", vec![], "web", must(1), vec!["a1", "a2", "b1"]),
        ("one in a", in_a.clone(), "web", must(1), vec!["b1"]),
        ("a larger skew", in_a.clone(), "web", must(2), vec!["a1", "a2", "b1"]),
        ("one in each", vec![web("1", "a1"), web("2", "b1")], "web", must(1), vec!["a1", "a2", "b1"]),
        ("one that does not count itself", in_a.clone(), "db", must(1), vec!["a1", "a2", "b1"]),
        ("too few domains", in_a.clone(), "web", few.clone(), vec!["b1"]),
        ("too few domains, all taken", vec![web("1", "a1"), web("2", "b1")], "web", few, vec![]),
        ("one that leaves", leaving, "web", must(1), vec!["a1", "a2", "b1"]),
        ("one of another template", in_a, "web", own, vec!["a1", "a2", "b1"]),
    ] {
        let pod = labelled(spreading(app("new", labels), vec![constraint]), &[("hash", "2")]);
        assert_eq!(takers(&nodes(), &there, &pod), expected, "{what}");
    }
    let mut full = picture(&nodes()[2..], &[web("1", "b1")]);
    let pod =
        spreading(app("new", "web"), vec![TopologySpreadConstraint { min_domains: Some(2), ..must(1) }]);
    assert_eq!(
        one(&mut full, pod),
        "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) didn't match pod topology spread constraints (missing required label). preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
    );
}

#[test]
fn nodes_that_are_out_of_the_question_are_compared_only_if_that_is_said() {
    let there = [bound(app("1", "web"), "a1")];
    let mut nodes = nodes();
    nodes[2] = tainted(nodes[2].clone(), "gpu", "NoSchedule");
    let must = spread(ZONE, 1, "DoNotSchedule");
    let with_taints = TopologySpreadConstraint { node_taints_policy: Some("Honor".into()), ..must.clone() };
    // Zone b is empty, but its only node is tainted.
    assert!(
        one(&mut picture(&nodes, &there), spreading(app("2", "web"), vec![must.clone()])).starts_with("0/4")
    );
    assert!(
        one(&mut picture(&nodes, &there), spreading(app("2", "web"), vec![with_taints])).starts_with('a')
    );
    let only_a = |constraint: TopologySpreadConstraint| {
        with(spreading(app("2", "web"), vec![constraint]), |spec| {
            spec.node_selector = Some(string_map(&[(ZONE, "a")]));
        })
    };
    assert!(one(&mut picture(&nodes, &there), only_a(must.clone())).starts_with('a'));
    let all = TopologySpreadConstraint { node_affinity_policy: Some("Ignore".into()), ..must };
    assert!(one(&mut picture(&nodes, &there), only_a(all)).starts_with("0/4"));
}

#[test]
fn wishes_decide_among_nodes_that_can_take_the_pod() {
    let db = [bound(app("db", "db"), "a2")];
    let wish = |affinity: Affinity| with(app("w", "web"), |spec| spec.affinity = Some(affinity));
    let towards = |weight, term| Affinity {
        pod_affinity: Some(PodAffinity {
            preferred_during_scheduling_ignored_during_execution: weighed(weight, term),
            ..PodAffinity::default()
        }),
        ..Affinity::default()
    };
    let away = |weight, term| Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: weighed(weight, term),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    };
    let nodes = &nodes()[..3];
    assert_eq!(one(&mut picture(nodes, &db), wish(towards(10, term("db", HOST)))), "a2");
    assert_eq!(one(&mut picture(nodes, &db), wish(away(10, term("db", ZONE)))), "b1");
    // Who is there has wishes, too, and its required affinity draws others.
    let fond = with(bound(app("old", "db"), "a2"), |spec| {
        spec.affinity = Some(towards(10, term("web", HOST)));
    });
    assert_eq!(one(&mut picture(nodes, &[fond]), app("w", "web")), "a2");
    let shy = with(bound(app("old", "db"), "b1"), |spec| spec.affinity = Some(away(10, term("web", HOST))));
    assert_ne!(one(&mut picture(nodes, &[shy]), app("w", "web")), "b1");
    let dependent = near(bound(app("old", "db"), "b1"), vec![term("web", HOST)]);
    assert_eq!(one(&mut picture(nodes, &[dependent]), app("w", "web")), "b1");
    let even = spreading(app("w", "web"), vec![spread(ZONE, 1, "ScheduleAnyway")]);
    assert_eq!(one(&mut picture(nodes, &[bound(app("old", "web"), "a1")]), even), "b1");
}

#[test]
fn pods_behind_a_service_are_spread_by_node_and_zone() {
    let mut picture = picture(&nodes()[..3], &[bound(app("1", "web"), "a1")]);
    let service = Service {
        metadata: pod("web", &[]).metadata,
        spec: Some(ServiceSpec { selector: Some(string_map(&[("app", "web")])), ..ServiceSpec::default() }),
        status: None,
    };
    picture.observe_other(&Change::Service(created(&service.metadata, &service)));
    let chosen = decide(&mut picture, vec![app("2", "web"), app("3", "web"), app("4", "web")]);
    assert_eq!(chosen[..2], ["b1", "a2"]);
    assert_eq!(chosen[2], "b1", "the smaller zone is filled up to the size of the larger one");
}

#[test]
fn a_node_that_has_the_image_is_better() {
    let mut nodes = nodes();
    nodes[1].status.get_or_insert_default().images = Some(vec![ContainerImage {
        names: Some(vec!["registry.local/web:latest".into()]),
        size_bytes: Some(800 << 20),
    }]);
    let pod = with(pod("w", &[]), |spec| spec.containers[0].image = Some("registry.local/web".into()));
    assert_eq!(one(&mut picture(&nodes, &[]), pod), "a2");
}
