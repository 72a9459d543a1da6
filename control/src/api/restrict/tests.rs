//! What nodes may write, without the HTTP around it. Handing on rights is tested through the API.

use isopod_spec::registry;
use isopod_spec::resource::{Resource, Typed};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::*;
use crate::security::identity::NODES;

fn object<T: Resource>(whole: Value) -> Typed<T> {
    Typed(serde_json::from_value(whole).expect("an object"))
}

async fn access() -> (Access, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = isopod_raft_store::Config::new(folder.path());
    let (store, _driver) = isopod_raft_store::Store::open(config).await.expect("a fresh store");
    (Access::new(store, crate::security::SigningKey::generate().expect("a fresh key")), folder)
}

#[tokio::test]
async fn a_node_writes_what_is_its_own() {
    let (access, _folder) = access().await;
    let identity = Identity::named("system:node:n1", &[NODES]);
    let node = Caller { access: &access, identity: &identity };
    let own = |name: &str| object::<Node>(json!({"metadata": {"name": name}}));
    let pod = |node: &str| {
        object::<Pod>(json!({"metadata": {"name": "p"}, "spec": {"nodeName": node, "containers": []}}))
    };
    let nodes = registry::kind_of::<Node>();
    assert_eq!(node.may_create(nodes, "", &own("n1")), Ok(()));
    let refused = node.may_create(nodes, "", &own("n2")).expect_err("another node");
    assert_eq!(
        refused.message,
        "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\""
    );
    let identity = Identity::control_plane();
    assert_eq!(Caller { identity: &identity, ..node }.may_create(nodes, "", &own("n2")), Ok(()));
    let pods = registry::kind_of::<Pod>();
    assert_eq!(node.may_change(pods, &pod("n1")), Ok(()));
    assert_eq!(node.may_change(pods, &pod("n2")).expect_err("another's pod").code, 403);
    assert_eq!(node.may_change(registry::kind_of::<ConfigMap>(), &Typed(ConfigMap::default())), Ok(()));
}

#[tokio::test]
async fn a_node_chooses_neither_its_taints_nor_the_labels_that_fence_it_off() {
    let (access, _folder) = access().await;
    let identity = Identity::named("system:node:n1", &[NODES]);
    let node = Caller { access: &access, identity: &identity };
    let kind = registry::kind_of::<Node>();
    let stored = json!({"metadata": {"name": "n1", "labels": {"node-restriction.kubernetes.io/pci": "yes"}},
        "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}});
    let with = |pointer: &str, value: Value| {
        let mut whole = stored.clone();
        *whole.pointer_mut(pointer).expect("there") = value;
        object::<Node>(whole)
    };
    let before = object::<Node>(stored.clone());
    let same = with("/metadata/labels", json!({"node-restriction.kubernetes.io/pci": "yes", "a": "b"}));
    assert_eq!(node.may_replace(kind, &before, &same), Ok(()));
    for changed in [
        with("/metadata/labels", json!({})),
        with("/metadata/labels", json!({"node-restriction.kubernetes.io/pci": "no"})),
        with("/spec/taints", json!([])),
    ] {
        assert_eq!(node.may_replace(kind, &before, &changed).expect_err("refused").code, 403);
    }
    assert_eq!(node.may_create(kind, "", &before).expect_err("refused").code, 403);
}
