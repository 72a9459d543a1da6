//! Typed objects over a real store.

use std::time::Duration;

use isopod_raft_store::{Config, Store};
use isopod_spec::status::Reason;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;

/// Objects of a store of their own, with the namespace `default`.
async fn objects() -> (Objects, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (store, driver) = Store::open(Config::new(folder.path())).await.expect("a fresh store");
    tokio::spawn(driver.run(CancellationToken::new()));
    let mut leadership = store.leadership();
    let leads = leadership.wait_for(|now| now.is_leader);
    tokio::time::timeout(Duration::from_secs(20), leads).await.expect("a leader").expect("an open store");
    let objects = Objects::new(store, Policy { service_range: "10.43.0.0/24".parse().expect("a range") });
    let namespace = Namespace { metadata: named("", "default"), ..Namespace::default() };
    objects.create(namespace).await.expect("a namespace");
    (objects, folder)
}

fn named(namespace: &str, name: &str) -> ObjectMeta {
    let namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
    ObjectMeta { name: Some(name.to_owned()), namespace, ..ObjectMeta::default() }
}

fn map(name: &str) -> ConfigMap {
    ConfigMap { metadata: named("default", name), ..ConfigMap::default() }
}

fn pod(name: &str) -> Pod {
    let container = k8s_openapi::api::core::v1::Container {
        name: "a".to_owned(),
        image: Some("i".to_owned()),
        ..Default::default()
    };
    let spec = PodSpec { containers: vec![container], ..PodSpec::default() };
    Pod { metadata: named("default", name), spec: Some(spec), ..Pod::default() }
}

#[tokio::test]
async fn objects_come_back_as_they_were_stored() {
    let (objects, _folder) = objects().await;
    let made = objects.create(map("a")).await.expect("created");
    assert_eq!(objects.get::<ConfigMap>("default", "a").await, Ok(Some(made.clone())));
    assert_eq!(objects.get::<ConfigMap>("default", "b").await, Ok(None));
    let snapshot = objects.store().snapshot();
    assert_eq!(objects.list::<ConfigMap>(&snapshot, Some("default")), std::slice::from_ref(&made));
    assert_eq!(objects.list::<ConfigMap>(&snapshot, None), std::slice::from_ref(&made));
    let taken = objects.create(map("a")).await.expect_err("taken");
    assert_eq!(taken.reason, Reason::AlreadyExists);
    let mut changed = made.clone();
    changed.data = Some([("k".to_owned(), "v".to_owned())].into());
    let changed = objects.update(&changed).await.expect("updated");
    assert_ne!(changed.metadata.resource_version, made.metadata.resource_version);
    assert_eq!(objects.update(&made).await.expect_err("stale").reason, Reason::Conflict);
    objects.delete::<ConfigMap>("default", "a", &DeleteOptions::default()).await.expect("deleted");
    assert_eq!(objects.get::<ConfigMap>("default", "a").await, Ok(None));
}

#[tokio::test]
async fn what_a_deposed_leader_writes_does_not_land() {
    let (objects, _folder) = objects().await;
    let term = objects.store().leadership().borrow().term;
    let current = objects.in_term(term);
    let made = current.create(map("a")).await.expect("it leads");
    let deposed = objects.in_term(term + 1);
    for refused in [
        deposed.create(map("b")).await.map(drop),
        deposed.update(&ConfigMap { immutable: Some(true), ..made }).await.map(drop),
        deposed.delete::<ConfigMap>("default", "a", &DeleteOptions::default()).await,
    ] {
        assert_eq!(refused.expect_err("another term").code, 503);
    }
}

#[tokio::test]
async fn many_writes_go_at_once_and_each_is_answered() {
    let (objects, _folder) = objects().await;
    let mut all: Vec<Pod> = (0..100).map(|index| pod(&format!("p{index}"))).collect();
    all.push(pod("p7"));
    let made = objects.create_many(all).await;
    assert_eq!(made.iter().filter(|outcome| outcome.is_ok()).count(), 100);
    objects.create(Node { metadata: named("", "n"), ..Node::default() }).await.expect("a node");
    let bindings: Vec<Binding> = (0..100)
        .map(|index| Binding {
            namespace: "default".to_owned(),
            name: format!("p{index}"),
            uid: None,
            node: "n".to_owned(),
        })
        .collect();
    let bound = objects.bind_many(&bindings).await;
    assert!(bound.iter().all(Result::is_ok), "{bound:?}");
    let other = Binding { uid: Some("another".to_owned()), ..bindings[0].clone() };
    assert_eq!(objects.bind(&other).await.expect_err("another pod").reason, Reason::Conflict);
    let mut pods: Vec<Pod> = bound.into_iter().map(|pod| pod.expect("bound")).collect();
    for pod in &mut pods {
        pod.status.get_or_insert_default().phase = Some("Running".to_owned());
    }
    let updated = objects.update_status_many(&pods).await;
    assert!(updated.iter().all(Result::is_ok), "{updated:?}");
    let nobody = objects.create(ConfigMap { metadata: named("none", "a"), ..ConfigMap::default() }).await;
    assert_eq!(nobody.expect_err("no namespace").reason, Reason::NotFound);
}
