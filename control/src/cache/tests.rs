//! How the view follows the store.

use std::sync::Arc;

use isopod_raft_store::{Config, DriverError, Store};
use isopod_spec::resource::Target;
use k8s_openapi::api::core::v1::{Namespace, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::feed::{Feed, Follower};
use super::{Change, ObjectKey, Raw, Shelf};
use crate::custom::Definitions;
use crate::objects::{DeleteOptions, Objects, Policy};

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

fn namespace(name: &str) -> Namespace {
    Namespace {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        ..Namespace::default()
    }
}

fn describe(change: &Change) -> String {
    let Change::Namespace(delta) = change else { panic!("only namespaces are written: {change:?}") };
    let what = match (&delta.old, &delta.new) {
        (None, _) => "created",
        (_, None) => "deleted",
        _ => "changed",
    };
    format!("{} {what}", delta.key)
}

/// A running store, and the objects in it.
struct Running {
    store: Store,
    objects: Objects,
    shutdown: CancellationToken,
    driver: JoinHandle<Result<(), DriverError>>,
    _dir: tempfile::TempDir,
}

impl Running {
    async fn open() -> Running {
        let dir = tempfile::tempdir().unwrap();
        let (store, driver) = Store::open(Config::new(dir.path())).await.unwrap();
        let shutdown = CancellationToken::new();
        let driver = tokio::spawn(driver.run(shutdown.clone()));
        let policy = Policy { service_range: "127.43.0.0/16".parse().unwrap() };
        Running { objects: Objects::new(store.clone(), policy), store, shutdown, driver, _dir: dir }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.driver.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_subscriber_sees_the_state_then_every_change_and_the_view_after_it() {
    let running = Running::open().await;
    let Running { objects, .. } = &running;
    objects.create(namespace("before")).await.unwrap();
    let mut feed = Feed::new(objects.clone());
    let mut batches = feed.subscribe();
    let feed = tokio::spawn(feed.run(running.shutdown.clone()));
    let first = batches.recv().await.unwrap();
    assert!(matches!(first.raw, Raw::Whole(_)));
    assert_eq!(first.changes.iter().map(describe).collect::<Vec<_>>(), ["before created"]);
    objects.create(namespace("a")).await.unwrap();
    objects.create(namespace("b")).await.unwrap();
    let mut b = objects.get::<Namespace>("", "b").await.unwrap().unwrap();
    b.metadata.annotations = Some([("x".to_owned(), "y".to_owned())].into());
    let b = objects.update(&b).await.unwrap();
    objects.delete::<Namespace>("", "a", &DeleteOptions::default()).await.unwrap();
    let (mut told, mut view) = (Vec::new(), first.view.clone());
    while told.len() < 4 {
        let batch = batches.recv().await.unwrap();
        told.extend(batch.changes.iter().map(describe));
        view = batch.view.clone();
    }
    // The finalizer holds the deleted namespace, so that it only changes.
    assert_eq!(told, ["a created", "b created", "b changed", "a changed"]);
    assert_eq!(view.namespaces.get(&ObjectKey::new("", "b")).unwrap().metadata, b.metadata);
    assert_eq!((first.view.namespaces.len(), view.namespaces.len()), (1, 3));
    running.stop().await;
    feed.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_resync_tells_exactly_what_differs() {
    let running = Running::open().await;
    let Running { store, objects, .. } = &running;
    for name in ["kept", "changed"] {
        objects.create(namespace(name)).await.unwrap();
    }
    objects.create(namespace("gone")).await.unwrap();
    let mut follower = Follower::new(super::sources());
    assert_eq!(follower.resync(&store.snapshot(), &Definitions::default()).len(), 3);
    let mut changed = objects.get::<Namespace>("", "changed").await.unwrap().unwrap();
    changed.metadata.annotations = Some([("x".to_owned(), "y".to_owned())].into());
    objects.update(&changed).await.unwrap();
    objects.delete::<Namespace>("", "gone", &DeleteOptions::default()).await.unwrap();
    let mut emptied = objects.get::<Namespace>("", "gone").await.unwrap().unwrap();
    emptied.spec.as_mut().unwrap().finalizers = None;
    objects.replace(&emptied, Target::Finalize).await.unwrap();
    objects.create(namespace("new")).await.unwrap();
    let told: Vec<String> =
        follower.resync(&store.snapshot(), &Definitions::default()).iter().map(describe).collect();
    assert_eq!(told, ["changed changed", "new created", "gone deleted"]);
    assert_eq!(follower.resync(&store.snapshot(), &Definitions::default()).len(), 0);
    running.stop().await;
}
