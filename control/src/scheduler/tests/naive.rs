//! The scheduler against a second implementation that looks at everything anew for each pod and node: whatever is
//! decided breaks no rule, and a pod is refused only if every node breaks one.

use k8s_openapi::api::core::v1::{
    Node, Pod, PodAffinity, PodAffinityTerm, PodAntiAffinity, TopologySpreadConstraint,
};
use proptest::prelude::*;

use super::{decide, labelled, node, picture, pod, selector, string_map, with};
use crate::controllers::facts;

const TOPOLOGIES: [&str; 2] = ["zone", "kubernetes.io/hostname"];
const APPS: [&str; 3] = ["a", "b", "c"];

/// What a generated pod asks for; indexes of [`APPS`] and [`TOPOLOGIES`].
#[derive(Debug, Clone)]
pub(super) struct Asked {
    app: usize,
    cpu: i64,
    zone: Option<usize>,
    near: Option<(usize, usize)>,
    apart: Option<(usize, usize)>,
    spread: Option<(usize, usize, i32, Option<i32>)>,
}

pub(super) fn asked() -> impl Strategy<Value = Asked> {
    let pair = || (0..3_usize, 0..2_usize);
    let often = |pair| proptest::option::weighted(0.3, pair);
    let spread = (0..3_usize, 0..2_usize, 1..3_i32, proptest::option::of(1..4_i32));
    let all = (
        0..3_usize,
        0..3_i64,
        proptest::option::weighted(0.2, 0..3_usize),
        often(pair()),
        often(pair()),
        proptest::option::weighted(0.4, spread),
    );
    all.prop_map(|(app, cpu, zone, near, apart, spread)| Asked { app, cpu, zone, near, apart, spread })
}

impl Asked {
    pub(super) fn pod(&self, name: &str) -> Pod {
        let pod = labelled(pod(name, &[("cpu", &self.cpu.to_string())]), &[("app", APPS[self.app])]);
        let term = |(app, topology): (usize, usize)| PodAffinityTerm {
            label_selector: Some(selector(&[("app", APPS[app])])),
            topology_key: TOPOLOGIES[topology].into(),
            ..PodAffinityTerm::default()
        };
        with(pod, |spec| {
            spec.node_selector = self.zone.map(|zone| string_map(&[("zone", &zone.to_string())]));
            let affinity = spec.affinity.get_or_insert_default();
            affinity.pod_affinity = self.near.map(|near| PodAffinity {
                required_during_scheduling_ignored_during_execution: Some(vec![term(near)]),
                ..PodAffinity::default()
            });
            affinity.pod_anti_affinity = self.apart.map(|apart| PodAntiAffinity {
                required_during_scheduling_ignored_during_execution: Some(vec![term(apart)]),
                ..PodAntiAffinity::default()
            });
            spec.topology_spread_constraints = self.spread.map(|(app, topology, max_skew, min_domains)| {
                vec![TopologySpreadConstraint {
                    max_skew,
                    min_domains,
                    topology_key: TOPOLOGIES[topology].into(),
                    when_unsatisfiable: "DoNotSchedule".into(),
                    label_selector: Some(selector(&[("app", APPS[app])])),
                    ..TopologySpreadConstraint::default()
                }]
            });
        })
    }
}

/// All that is there.
struct World {
    nodes: Vec<(Node, i64)>,
    placed: Vec<(Asked, String)>,
}

impl World {
    fn domain(&self, node: &str, topology: usize) -> Option<String> {
        let (node, _) = self.nodes.iter().find(|(known, _)| facts::name(&known.metadata) == node)?;
        facts::label(&node.metadata, TOPOLOGIES[topology]).map(str::to_owned)
    }

    /// Pods of an app in the same domain as the node.
    fn in_domain(&self, app: usize, topology: usize, node: &str) -> Vec<&(Asked, String)> {
        let Some(domain) = self.domain(node, topology) else { return Vec::new() };
        let pods = self.placed.iter().filter(|(pod, _)| pod.app == app);
        pods.filter(|(_, at)| self.domain(at, topology).as_ref() == Some(&domain)).collect()
    }

    fn fits(&self, pod: &Asked, node: &str) -> bool {
        self.has_room(pod, node)
            && self.is_selected(pod, node)
            && self.suits_others(pod, node)
            && self.is_even(pod, node)
    }

    fn has_room(&self, pod: &Asked, node: &str) -> bool {
        let all = self.nodes.iter().find(|(known, _)| facts::name(&known.metadata) == node).unwrap().1;
        let used: i64 = self.placed.iter().filter(|(_, at)| at == node).map(|(other, _)| other.cpu).sum();
        pod.cpu == 0 || used + pod.cpu <= all
    }

    fn is_selected(&self, pod: &Asked, node: &str) -> bool {
        pod.zone.is_none_or(|zone| self.domain(node, 0) == Some(zone.to_string()))
    }

    fn suits_others(&self, pod: &Asked, node: &str) -> bool {
        let is_near = pod.near.is_none_or(|(app, topology)| {
            let anywhere =
                self.placed.iter().any(|(other, at)| other.app == app && self.domain(at, topology).is_some());
            let is_first = !anywhere && pod.app == app;
            self.domain(node, topology).is_some()
                && (is_first || !self.in_domain(app, topology, node).is_empty())
        });
        let is_apart = pod.apart.is_none_or(|(app, topology)| self.in_domain(app, topology, node).is_empty());
        let minds = self.placed.iter().any(|(other, at)| {
            other.apart.is_some_and(|(app, topology)| {
                let domain = self.domain(node, topology);
                app == pod.app && domain.is_some() && self.domain(at, topology) == domain
            })
        });
        is_near && is_apart && !minds
    }

    fn is_even(&self, pod: &Asked, node: &str) -> bool {
        let Some((app, topology, max_skew, min_domains)) = pod.spread else { return true };
        let Some(domain) = self.domain(node, topology) else { return false };
        let names: Vec<&str> = self.nodes.iter().map(|(node, _)| facts::name(&node.metadata)).collect();
        let compared: Vec<&&str> = names.iter().filter(|name| self.is_selected(pod, name)).collect();
        let mut counts = std::collections::BTreeMap::new();
        for name in compared {
            if let Some(domain) = self.domain(name, topology) {
                let here = self.placed.iter().filter(|(other, at)| other.app == app && at == *name);
                *counts.entry(domain).or_insert(0) += here.count();
            }
        }
        let too_few = min_domains.is_some_and(|min| counts.len() < usize::try_from(min).unwrap());
        let least = if too_few { 0 } else { counts.values().copied().min().unwrap_or(0) };
        let own = usize::from(pod.app == app);
        counts.get(&domain).copied().unwrap_or(0) + own <= least + usize::try_from(max_skew).unwrap()
    }
}

/// A node of a zone, or of none, with so many cpus.
fn nodes() -> impl Strategy<Value = Vec<(Node, i64)>> {
    let one = (proptest::option::weighted(0.9, 0..3_usize), 2..8_i64);
    proptest::collection::vec(one, 1..7).prop_map(|nodes| {
        let make = |(number, (zone, cpu)): (usize, (Option<usize>, i64))| {
            let mut made = node(&format!("n{number}"), &cpu.to_string(), "64Gi", "110");
            if let Some(zone) = zone {
                made.metadata.labels.get_or_insert_default().insert("zone".into(), zone.to_string());
            }
            (made, cpu)
        };
        nodes.into_iter().enumerate().map(make).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_placement_breaks_a_rule_and_no_refusal_is_needless(
        nodes in nodes(),
        asked in proptest::collection::vec(asked(), 1..25),
        passes in 1..4_usize,
    ) {
        let objects: Vec<Node> = nodes.iter().map(|(node, _)| node.clone()).collect();
        let pods: Vec<Pod> = asked.iter().enumerate().map(|(number, asked)| asked.pod(&format!("p{number}"))).collect();
        let all_at_once = |passes: usize| {
            let mut picture = picture(&objects, &[]);
            let size = pods.len().div_ceil(passes);
            pods.chunks(size).flat_map(|some| decide(&mut picture, some.to_vec())).collect::<Vec<String>>()
        };
        let chosen = all_at_once(passes);
        prop_assert_eq!(&chosen, &all_at_once(passes), "the same input, the same decisions");
        let mut world = World { nodes, placed: Vec::new() };
        for (asked, chosen) in asked.into_iter().zip(chosen) {
            let names: Vec<&str> = objects.iter().map(|node| facts::name(&node.metadata)).collect();
            if names.contains(&chosen.as_str()) {
                prop_assert!(world.fits(&asked, &chosen), "{:?} on {} among {:?}", asked, chosen, world.placed);
                world.placed.push((asked, chosen));
            } else {
                let possible: Vec<&str> = names.into_iter().filter(|name| world.fits(&asked, name)).collect();
                prop_assert!(possible.is_empty(), "{:?} could go to {:?}: {}", asked, possible, chosen);
            }
        }
    }
}
