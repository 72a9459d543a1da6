//! A picture that was kept up to date change by change is the one that a look at everything would give.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::super::class::Class;
use super::super::picture::Picture;
use super::super::wants::Wants;
use super::naive::{Asked, asked};
use super::{bound, node, picture, string_map};
use crate::cache::{Delta, ObjectKey};

/// Something that happens to one of a few pods or nodes.
#[derive(Debug, Clone)]
enum Step {
    /// A pod is seen on a node, perhaps on its way out.
    Pod {
        pod: usize,
        node: usize,
        asked: Asked,
        is_leaving: bool,
    },
    NoPod {
        pod: usize,
    },
    /// A node is seen in a zone, or in none.
    Node {
        node: usize,
        zone: Option<usize>,
    },
    NoNode {
        node: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let pod = (0..8_usize, 0..5_usize, asked(), proptest::bool::weighted(0.2));
    prop_oneof![
        6 => pod.prop_map(|(pod, node, asked, is_leaving)| Step::Pod { pod, node, asked, is_leaving }),
        2 => (0..8_usize).prop_map(|pod| Step::NoPod { pod }),
        3 => (0..5_usize, proptest::option::weighted(0.8, 0..3_usize))
            .prop_map(|(node, zone)| Step::Node { node, zone }),
        1 => (0..5_usize).prop_map(|node| Step::NoNode { node }),
    ]
}

/// What exists, and the picture that was told of each change.
#[derive(Default)]
struct Kept {
    pods: BTreeMap<usize, Pod>,
    nodes: BTreeMap<usize, Node>,
    picture: Picture,
    generation: i64,
}

impl Kept {
    fn take(&mut self, step: Step) {
        match step {
            Step::Pod { pod, node, asked, is_leaving } => {
                let mut made = bound(asked.pod(&format!("p{pod}")), &format!("n{node}"));
                self.generation += 1;
                made.metadata.generation = Some(self.generation);
                made.metadata.deletion_timestamp = is_leaving.then_some(Time(Timestamp::UNIX_EPOCH));
                self.put_pod(pod, Some(made));
            }
            Step::NoPod { pod } => self.put_pod(pod, None),
            Step::Node { node: number, zone } => {
                let mut made = node(&format!("n{number}"), "8", "64Gi", "110");
                let zone = zone.map(|zone| string_map(&[("zone", &zone.to_string())]));
                made.metadata.labels.get_or_insert_default().extend(zone.into_iter().flatten());
                self.put_node(number, Some(made));
            }
            Step::NoNode { node } => self.put_node(node, None),
        }
    }

    fn put_pod(&mut self, number: usize, new: Option<Pod>) {
        let old = self.pods.remove(&number);
        let Some(meta) = new.as_ref().or(old.as_ref()).map(|pod| &pod.metadata) else { return };
        let key = ObjectKey::of(meta);
        self.picture.observe_pod(&Delta { key, old: old.map(Arc::new), new: new.clone().map(Arc::new) });
        self.pods.extend(new.map(|pod| (number, pod)));
    }

    fn put_node(&mut self, number: usize, new: Option<Node>) {
        let old = self.nodes.remove(&number);
        let Some(meta) = new.as_ref().or(old.as_ref()).map(|node| &node.metadata) else { return };
        let key = ObjectKey::of(meta);
        self.picture.observe_node(&Delta { key, old: old.map(Arc::new), new: new.clone().map(Arc::new) });
        self.nodes.extend(new.map(|node| (number, node)));
    }

    fn anew(&self) -> Picture {
        let nodes: Vec<Node> = self.nodes.values().cloned().collect();
        let pods: Vec<Pod> = self.pods.values().cloned().collect();
        picture(&nodes, &pods)
    }
}

/// The nodes that can take such a pod.
fn takers(picture: &mut Picture, pod: &Pod) -> BTreeSet<String> {
    let class = Class::new(picture, Arc::new(Wants::of(pod)), 0);
    let slots = class.slots().into_iter().filter(|slot| class.allows(*slot));
    slots.map(|slot| picture.nodes()[slot].name.to_string()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_kept_picture_is_as_good_as_a_new_one(
        steps in proptest::collection::vec(step(), 1..40),
        probes in proptest::collection::vec(asked(), 1..4),
    ) {
        let mut kept = Kept::default();
        for step in steps {
            kept.take(step);
            let mut anew = kept.anew();
            for probe in &probes {
                let probe = probe.pod("probe");
                prop_assert_eq!(takers(&mut kept.picture, &probe), takers(&mut anew, &probe));
            }
        }
    }
}
