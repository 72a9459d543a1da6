//! Who goes with whom.

use std::sync::Arc;

use isopod_spec::registry;
use isopod_spec::resource::Kind;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use serde_json::{Value, json};

use super::graph::Graph;
use super::{Verdict, judge};
use crate::cache::ObjectKey;

#[derive(Default)]
struct World {
    graph: Graph,
}

impl World {
    /// Stores a ConfigMap named and identified by `name`.
    fn put(&mut self, namespace: &str, name: &str, metadata: Value) -> Vec<String> {
        self.put_kind(registry::kind_of::<ConfigMap>(), namespace, name, metadata)
    }

    fn put_kind(
        &mut self,
        kind: &Arc<Kind>,
        namespace: &str,
        name: &str,
        mut metadata: Value,
    ) -> Vec<String> {
        metadata["uid"] = json!(name);
        let json = serde_json::to_vec(&metadata).unwrap();
        let touched = self.graph.observe(kind, &ObjectKey::new(namespace, name), Some(&json));
        touched.iter().map(ToString::to_string).collect()
    }

    fn delete(&mut self, namespace: &str, name: &str) -> Vec<String> {
        let kind = registry::kind_of::<ConfigMap>();
        let touched = self.graph.observe(kind, &ObjectKey::new(namespace, name), None);
        touched.iter().map(ToString::to_string).collect()
    }

    fn judge(&self, uid: &str) -> Verdict {
        judge(&self.graph, uid)
    }
}

fn owned_by(owners: &[&str]) -> Value {
    let owners: Vec<Value> = owners
        .iter()
        .map(|owner| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": owner, "blockOwnerDeletion": true}))
        .collect();
    json!({ "ownerReferences": owners })
}

fn leaving(finalizers: &[&str]) -> Value {
    json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers})
}

#[test]
fn an_object_goes_with_its_last_owner() {
    let mut world = World::default();
    world.put("ns", "a", json!({}));
    world.put("ns", "b", json!({}));
    world.put("ns", "child", owned_by(&["a", "b"]));
    assert_eq!(world.judge("child"), Verdict::Stays);
    assert_eq!(world.delete("ns", "a"), ["child"]);
    assert_eq!(world.judge("child"), Verdict::Unlink(vec!["a".into()]));
    assert_eq!(world.delete("ns", "b"), ["child"]);
    assert_eq!(world.judge("child"), Verdict::Delete);
}

#[test]
fn an_owner_that_never_was_is_absent_and_a_namesake_is_somebody_else() {
    let mut world = World::default();
    world.put("ns", "child", owned_by(&["gone"]));
    assert_eq!(world.judge("child"), Verdict::Delete);
    // The same name with another uid.
    let kind = registry::kind_of::<ConfigMap>();
    world.graph.observe(kind, &ObjectKey::new("ns", "gone"), Some(br#"{"uid":"new"}"#));
    assert_eq!(world.judge("child"), Verdict::Delete);
}

#[test]
fn owners_of_unknown_kinds_and_impossible_places_keep_their_dependents() {
    let mut world = World::default();
    let widget = json!({"ownerReferences": [{"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": "w"}]});
    world.put("ns", "child", widget);
    assert_eq!(world.judge("child"), Verdict::Stays);
    let namespace = registry::kind_of::<Namespace>();
    world.put_kind(namespace, "", "cluster-wide", owned_by(&["a"]));
    assert_eq!(world.judge("cluster-wide"), Verdict::Stays);
}

#[test]
fn an_owner_in_another_namespace_is_no_owner() {
    let mut world = World::default();
    world.put("elsewhere", "a", json!({}));
    world.put("ns", "child", owned_by(&["a"]));
    assert_eq!(world.judge("child"), Verdict::Delete);
    let child = world.graph.get("child").unwrap();
    assert_eq!(world.graph.misplaced_owner(child).unwrap().name, "a");
}

#[test]
fn foreground_deletion_waits_for_dependents_that_block() {
    let mut world = World::default();
    world.put("ns", "a", json!({}));
    world.put("ns", "child", owned_by(&["a"]));
    world.put("ns", "grandchild", owned_by(&["child"]));
    let touched = world.put("ns", "a", leaving(&["foregroundDeletion"]));
    assert_eq!(touched, ["a", "child"]);
    assert_eq!(world.judge("a"), Verdict::Stays);
    assert_eq!(world.judge("child"), Verdict::DeleteForeground);
    world.delete("ns", "grandchild");
    assert_eq!(world.judge("child"), Verdict::Delete);
    assert_eq!(world.delete("ns", "child"), ["a"]);
    assert_eq!(world.judge("a"), Verdict::RemoveForegroundFinalizer);
}

#[test]
fn an_object_with_another_owner_survives_foreground_deletion() {
    let mut world = World::default();
    world.put("ns", "a", leaving(&["foregroundDeletion"]));
    world.put("ns", "b", json!({}));
    world.put("ns", "child", owned_by(&["a", "b"]));
    assert_eq!(world.judge("child"), Verdict::Unlink(vec!["a".into()]));
    world.put("ns", "child", owned_by(&["b"]));
    assert_eq!(world.judge("a"), Verdict::RemoveForegroundFinalizer);
}

#[test]
fn orphaning_gives_dependents_up() {
    let mut world = World::default();
    world.put("ns", "a", leaving(&["orphan"]));
    world.put("ns", "child", owned_by(&["a"]));
    assert_eq!(world.judge("child"), Verdict::Stays, "the owner is still there");
    assert_eq!(world.judge("a"), Verdict::Orphan(vec!["child".into()]));
    world.put("ns", "child", json!({}));
    assert_eq!(world.judge("a"), Verdict::Orphan(vec![]));
}

#[test]
fn pods_without_owners_are_nobodys_business() {
    let mut world = World::default();
    world.put_kind(registry::kind_of::<Pod>(), "ns", "p", json!({}));
    assert_eq!(world.judge("p"), Verdict::Stays);
    let again = world.put_kind(registry::kind_of::<Pod>(), "ns", "p", json!({"labels": {"a": "b"}}));
    assert!(again.is_empty(), "a change of labels is no news: {again:?}");
}
