//! How the view follows the store.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{ObjectKey, Shelf};

fn pod(namespace: &str, name: &str, node: Option<&str>, owner: Option<&str>) -> Pod {
    let owner = owner.map(|uid| OwnerReference {
        uid: uid.into(),
        controller: Some(true),
        ..OwnerReference::default()
    });
    Pod {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some(namespace.into()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec { node_name: node.map(str::to_owned), ..PodSpec::default() }),
        status: None,
    }
}

fn set(shelf: &mut Shelf<Pod>, pod: Pod) {
    let key = ObjectKey::of(&pod.metadata);
    shelf.set(&key, Some(Arc::new(pod)));
}

fn names<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>) -> Vec<&'a str> {
    pods.map(|pod| pod.metadata.name.as_deref().unwrap()).collect()
}

#[test]
fn objects_are_found_by_namespace_owner_and_place() {
    let mut shelf = Shelf::<Pod>::new(super::node_of);
    for pod in [
        pod("a", "p1", Some("n1"), Some("rs")),
        pod("a", "p2", Some("n2"), None),
        pod("a-b", "p3", Some("n1"), Some("rs")),
        pod("a.b", "p4", None, Some("other")),
        pod("b", "p5", None, None),
    ] {
        set(&mut shelf, pod);
    }
    assert_eq!(names(shelf.in_namespace("a")), ["p1", "p2"]);
    assert_eq!(names(shelf.controlled_by("rs")), ["p3", "p1"]);
    assert_eq!(names(shelf.orphans("a")), ["p2"]);
    assert_eq!(names(shelf.in_place("n1")), ["p3", "p1"]);
    assert_eq!(names(shelf.in_namespace("none")), [""; 0]);
}

#[test]
fn indices_follow_changes_and_clones_do_not() {
    let mut shelf = Shelf::<Pod>::new(super::node_of);
    set(&mut shelf, pod("a", "p1", None, None));
    let before = shelf.clone();
    set(&mut shelf, pod("a", "p1", Some("n1"), Some("rs")));
    assert_eq!(names(shelf.in_place("n1")), ["p1"]);
    assert_eq!(names(shelf.orphans("a")), [""; 0]);
    assert_eq!(names(before.orphans("a")), ["p1"]);
    shelf.set(&ObjectKey::new("a", "p1"), None);
    assert_eq!(names(shelf.in_place("n1")), [""; 0]);
    assert_eq!(names(shelf.controlled_by("rs")), [""; 0]);
    assert_eq!((shelf.len(), before.len()), (0, 1));
}

#[test]
fn keys_have_the_form_of_store_keys() {
    let key = ObjectKey::from_store(b"ns/name").unwrap();
    assert_eq!((key.namespace(), key.name()), ("ns", "name"));
    assert_eq!(key, ObjectKey::new("ns", "name"));
    let cluster_wide = ObjectKey::new("", "node-1");
    assert_eq!((cluster_wide.namespace(), cluster_wide.name()), ("", "node-1"));
    assert_eq!(ObjectKey::from_store(&[0xff]), None);
}
