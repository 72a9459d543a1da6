//! Volumes as a container finds them on a real disk.

use std::collections::BTreeMap;
use std::fs;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::content::{FileContent, Files};
use super::*;
use crate::agent::env::{Host, Objects, Reference};

fn file(content: &str) -> FileContent {
    FileContent { content: content.as_bytes().to_vec(), mode: 0o644 }
}

fn files(pairs: &[(&str, &str)]) -> Files {
    pairs.iter().map(|(path, content)| ((*path).to_owned(), file(content))).collect()
}

#[test]
fn files_are_replaced_as_a_whole() {
    let folder = TempDir::new().unwrap();
    let volume = folder.path().join("v");
    let read = |name: &str| fs::read_to_string(volume.join(name)).ok();
    swap::replace(&volume, &files(&[("a", "1"), ("b", "2"), ("sub/c", "3")])).unwrap();
    assert_eq!(
        (read("a").as_deref(), read("b").as_deref(), read("sub/c").as_deref()),
        (Some("1"), Some("2"), Some("3"))
    );
    let before = fs::read_link(volume.join("..data")).unwrap();
    swap::replace(&volume, &files(&[("a", "1"), ("b", "2"), ("sub/c", "3")])).unwrap();
    assert_eq!(fs::read_link(volume.join("..data")).unwrap(), before, "nothing changed");
    swap::replace(&volume, &files(&[("a", "new"), ("d", "4")])).unwrap();
    assert_eq!((read("a").as_deref(), read("b"), read("d").as_deref()), (Some("new"), None, Some("4")));
    let mut names: Vec<_> =
        fs::read_dir(&volume).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with(".."));
    names.sort();
    assert_eq!(names, ["a", "d"]);
    assert!(!volume.join(before).exists(), "the old files are gone");
}

struct Fixture {
    volumes: Volumes,
    _folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        rustls::crypto::ring::default_provider().install_default().ok();
        // Nothing here asks the API.
        let client =
            kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let host =
            Host { node_name: "n".into(), address: [127, 0, 0, 1].into(), allocatable: BTreeMap::new() };
        let claims = Claims::new(client.clone(), "n", folder.path());
        let volumes = Volumes::new(folder.path().to_owned(), Sources::new(client), claims, host);
        Self { volumes, _folder: folder }
    }

    async fn mounts(&self, volumes: Value, mounts: Value) -> Result<Vec<Mount>, String> {
        let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"a": "b"}},
                         "spec": {"volumes": volumes, "containers": [{"name": "c", "volumeMounts": mounts}]}});
        let pod: Arc<Pod> = Arc::new(serde_json::from_value(pod).unwrap());
        let inputs = Inputs {
            pod: &pod,
            container: &spec(&pod).containers[0],
            address: "127.42.0.7".parse().unwrap(),
            host: &self.volumes.host,
            objects: &Objects::default(),
            links: BTreeMap::new(),
            image: &[],
        };
        let variables = BTreeMap::from([("POD".to_owned(), "p".to_owned())]);
        self.volumes.mounts(&inputs, &variables).await.map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn containers_see_what_they_mount() {
    let fixture = Fixture::new();
    let volumes = json!([{"name": "e", "emptyDir": {}}, {"name": "d", "downwardAPI": {"items": [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "in/ip", "fieldRef": {"fieldPath": "status.podIP"}}]}}]);
    let mounts = json!([{"name": "e", "mountPath": "/data/inner", "readOnly": true}, {"name": "e", "mountPath": "/data"},
                        {"name": "d", "mountPath": "/info"}]);
    let mounts = fixture.mounts(volumes, mounts).await.unwrap();
    let seen: Vec<_> = mounts.iter().map(|mount| (mount.guest_path.as_str(), mount.access)).collect();
    let want = [("/data", Access::ReadWrite), ("/data/inner", Access::ReadOnly), ("/info", Access::ReadOnly)];
    assert_eq!(seen, want);
    let info = &mounts[2].host_path;
    assert_eq!(fs::read_to_string(info.join("labels")).unwrap(), "a=\"b\"");
    assert_eq!(fs::read_to_string(info.join("in/ip")).unwrap(), "127.42.0.7");
    fixture.volumes.remove_unknown(&["u".to_owned()]).unwrap();
    assert!(info.exists());
    let volumes = fixture.volumes.clone();
    tokio::task::spawn_blocking(move || volumes.remove_pod("u")).await.unwrap().unwrap();
    assert!(!info.exists());
}

#[tokio::test]
async fn what_cannot_be_mounted_is_named() {
    let fixture = Fixture::new();
    let mount = || json!([{"name": "v", "mountPath": "/v"}]);
    for (volumes, want) in [
        (json!([]), r#"volume "v" is mounted by a container, but not declared by the pod"#),
        (
            json!([{"name": "v", "nfs": {"server": "x", "path": "/"}}]),
            r#"MountVolume.SetUp failed for volume "v" : volumes of type nfs are not supported"#,
        ),
        (
            json!([{"name": "v", "hostPath": {"path": "/proc/version", "type": "File"}}]),
            r#"MountVolume.SetUp failed for volume "v" : hostPath type File cannot be mounted by a WebAssembly container: only folders"#,
        ),
    ] {
        assert_eq!(fixture.mounts(volumes, mount()).await.unwrap_err(), want);
    }
}

/// The names of the volumes that are due now.
async fn due(table: &Table) -> Vec<String> {
    let mut due: Vec<_> = match tokio::time::timeout(std::time::Duration::ZERO, table.due()).await {
        Ok(due) => due.iter().map(|made| made.name().to_owned()).collect(),
        Err(_) => Vec::new(),
    };
    due.sort();
    due
}

#[tokio::test]
async fn what_changes_makes_its_volumes_due_until_the_pod_is_gone() {
    let fixture = Fixture::new();
    let table = fixture.volumes.table.clone();
    let volumes = json!([
        {"name": "one", "configMap": {"name": "a"}},
        {"name": "two", "projected": {"sources": [{"configMap": {"name": "a"}}, {"secret": {"name": "s"}}]}},
        {"name": "d", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]);
    for name in ["one", "two", "d"] {
        // Those of objects cannot be made, as there is no API; from now on their objects are minded all the same.
        fixture.mounts(volumes.clone(), json!([{"name": name, "mountPath": "/v"}])).await.ok();
    }
    let object = |reference| ("ns".to_owned(), reference);
    let map = object(Reference::ConfigMap("a".into()));
    table.object_changed(&map);
    table.object_changed(&map);
    assert_eq!(due(&table).await, ["one", "two"]);
    table.object_changed(&object(Reference::Secret("s".into())));
    assert_eq!(due(&table).await, ["two"]);
    for other in [object(Reference::Secret("a".into())), ("other".into(), Reference::ConfigMap("a".into()))] {
        table.object_changed(&other);
    }
    assert_eq!(due(&table).await, Vec::<String>::new());

    let pod = |label: &str| {
        let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"a": label}},
                         "spec": {"containers": [{"name": "c"}]}});
        Arc::new(serde_json::from_value::<Pod>(pod).unwrap())
    };
    fixture.volumes.pod_changed(&pod("b"));
    assert_eq!(due(&table).await, Vec::<String>::new());
    fixture.volumes.pod_changed(&pod("new"));
    assert_eq!(due(&table).await, ["d", "one", "two"]);

    table.object_changed(&map);
    let volumes = fixture.volumes.clone();
    tokio::task::spawn_blocking(move || volumes.remove_pod("u")).await.unwrap().unwrap();
    table.object_changed(&map);
    assert_eq!(due(&table).await, Vec::<String>::new());
}

#[test]
fn a_token_is_replaced_when_most_of_its_life_is_over() {
    let volume = |sources: Value| -> Volume {
        serde_json::from_value(json!({"name": "v", "projected": {"sources": sources}})).unwrap()
    };
    let token = |seconds: i64| json!({"serviceAccountToken": {"path": "t", "expirationSeconds": seconds}});
    for (sources, expected) in [
        (json!([]), None),
        (json!([{"secret": {"name": "s"}}]), None),
        (json!([token(1000)]), Some(800)),
        (json!([token(7200), token(600)]), Some(480)),
        (json!([token(10_000_000)]), Some(24 * 3600)),
    ] {
        let after = content::renew_after(&volume(sources.clone())).map(|after| after.as_secs());
        assert_eq!(after, expected, "{sources}");
    }
}
