//! No node is given more than it has.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use proptest::prelude::*;

use super::{decide, node, picture, pod};

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
