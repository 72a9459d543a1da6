//! Volumes as containers find them: what is in them, what may be written, and that changes arrive.

use isopod_tests::{Cluster, eventually};

/// A pod of the guest that reads and writes files as asked, and a Service of its name. `spec` is YAML below `spec`,
/// without the container's name, image and port.
#[track_caller]
fn serve_files(cluster: &Cluster, name: &str, mounts: &str, volumes: &str) {
    cluster.apply(&format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}, tier: web}}, annotations: {{note: 'a \"b\"'}}}}
spec:
  containers:
  - name: c
    image: registry.local/unruly:v1
    ports: [{{containerPort: 80}}]
    resources: {{limits: {{memory: 64Mi}}}}
    volumeMounts: {mounts}
  volumes: {volumes}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}
"
    ));
}

#[track_caller]
fn start(cluster: &Cluster, name: &str, mounts: &str, volumes: &str) {
    cluster.push_guest("unruly");
    serve_files(cluster, name, mounts, volumes);
    cluster.await_ready(name);
    cluster.await_answer(name, "/");
}

#[test]
fn containers_of_a_pod_share_an_empty_dir() {
    let cluster = Cluster::start();
    cluster.push_guest("unruly");
    cluster.push_guest("tool");
    cluster.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: pair, labels: {app: pair}}
spec:
  initContainers:
  - {name: first, image: registry.local/tool:v1, args: [write, /out/first], volumeMounts: [{name: shared, mountPath: /out}]}
  containers:
  - {name: left, image: registry.local/unruly:v1, ports: [{containerPort: 81}], volumeMounts: [{name: shared, mountPath: /left}]}
  - {name: right, image: registry.local/unruly:v1, ports: [{containerPort: 82}], volumeMounts: [{name: shared, mountPath: /right}]}
  volumes: [{name: shared, emptyDir: {}}]
---
apiVersion: v1
kind: Service
metadata: {name: left}
spec: {selector: {app: pair}, ports: [{port: 80, targetPort: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: right}
spec: {selector: {app: pair}, ports: [{port: 80, targetPort: 82}]}
",
    );
    cluster.await_ready("pair");
    assert_eq!(cluster.await_answer("left", "/list?/left"), "first\n");
    assert_eq!(cluster.await_answer("left", "/write?/left/second"), "done\n");
    assert_eq!(cluster.await_answer("right", "/read?/right/second"), "written\n");
    // Nothing else of the machine is there.
    assert_eq!(cluster.curl("right", "default", "/list?/").0, 503);

    // An empty directory lives as long as its pod: a new pod of the same name starts with an empty one.
    let uid = cluster.field("pod/pair", "{.metadata.uid}");
    let folder = cluster.data_dir().join("nodes/isopod/volumes").join(uid);
    assert!(folder.join("shared/second").exists(), "{}", folder.display());
    cluster.kubectl(&["delete", "pod", "pair", "--timeout=60s"]).ok();
    eventually("the volume goes with its pod", || {
        if folder.exists() { Err(folder.display().to_string()) } else { Ok(()) }
    });
}

#[test]
fn config_maps_secrets_and_the_pod_itself_are_files() {
    let cluster = Cluster::start();
    cluster
        .kubectl(&["create", "configmap", "settings", "--from-literal=colour=green", "--from-literal=size=4"])
        .ok();
    cluster.kubectl(&["create", "secret", "generic", "login", "--from-literal=password=s3cret"]).ok();
    start(
        &cluster,
        "files",
        "[{name: cfg, mountPath: /cfg}, {name: part, mountPath: /part}, {name: login, mountPath: /login}, {name: info, mountPath: /info}, {name: all, mountPath: /all}]",
        "
  - {name: cfg, configMap: {name: settings}}
  - {name: part, configMap: {name: settings, items: [{key: size, path: in/side}]}}
  - {name: login, secret: {secretName: login}}
  - name: info
    downwardAPI:
      items:
      - {path: labels, fieldRef: {fieldPath: metadata.labels}}
      - {path: name, fieldRef: {fieldPath: metadata.name}}
      - {path: memory, resourceFieldRef: {containerName: c, resource: limits.memory}}
  - {name: all, projected: {sources: [{configMap: {name: settings}}, {secret: {name: login}}, {configMap: {name: absent, optional: true}}]}}",
    );
    for (path, content) in [
        ("/list?/cfg", "colour size\n"),
        ("/read?/cfg/colour", "green"),
        ("/list?/part", "in\n"),
        ("/read?/part/in/side", "4"),
        ("/read?/login/password", "s3cret"),
        ("/read?/info/labels", "app=\"files\"\ntier=\"web\""),
        ("/read?/info/name", "files"),
        ("/read?/info/memory", "67108864"),
        ("/list?/all", "colour password size\n"),
    ] {
        assert_eq!(cluster.await_answer("files", path), content, "{path}");
    }
    // Read only, whatever the mount says.
    let (status, body) = cluster.curl("files", "default", "/write?/cfg/colour");
    assert_eq!((status, body.trim()), (503, "PermissionDenied"));
    assert_eq!(cluster.await_answer("files", "/read?/cfg/colour"), "green");
}

#[test]
fn a_changed_config_map_secret_or_label_reaches_a_running_container() {
    let cluster = Cluster::start();
    cluster
        .kubectl(&["create", "configmap", "settings", "--from-literal=colour=green", "--from-literal=old=1"])
        .ok();
    cluster.kubectl(&["create", "secret", "generic", "login", "--from-literal=password=before"]).ok();
    start(
        &cluster,
        "files",
        "[{name: cfg, mountPath: /cfg}, {name: login, mountPath: /login}, {name: info, mountPath: /info}]",
        "
  - {name: cfg, configMap: {name: settings}}
  - {name: login, secret: {secretName: login}}
  - {name: info, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}",
    );
    assert_eq!(cluster.await_answer("files", "/read?/cfg/colour"), "green");
    let id = || cluster.field("pod/files", "{.status.containerStatuses[0].containerID}");
    let before = id();

    let arrives = |path: &str, wanted: &str| {
        eventually(&format!("{path} gives {wanted:?}"), || match cluster.curl("files", "default", path) {
            (200, body) if body == wanted => Ok(()),
            (status, body) => Err(format!("{status} {body}")),
        });
    };
    let patch = r#"[{"op":"replace","path":"/data/colour","value":"red"},{"op":"add","path":"/data/new","value":"2"},{"op":"remove","path":"/data/old"}]"#;
    cluster.kubectl(&["patch", "configmap", "settings", "--type=json", "-p", patch]).ok();
    arrives("/read?/cfg/colour", "red");
    arrives("/list?/cfg", "colour new\n");
    cluster.kubectl(&["patch", "secret", "login", "-p", r#"{"stringData":{"password":"after"}}"#]).ok();
    arrives("/read?/login/password", "after");
    cluster.kubectl(&["label", "pod", "files", "tier=back", "--overwrite"]).ok();
    arrives("/read?/info/labels", "app=\"files\"\ntier=\"back\"");
    assert_eq!(id(), before, "the container was not started again");

    // What is deleted leaves the last files, and an event says so.
    cluster.kubectl(&["delete", "configmap", "settings"]).ok();
    cluster.await_event(
        "files",
        "MountVolume.SetUp failed for volume \"cfg\" : configmap \"settings\" not found",
    );
    arrives("/read?/cfg/colour", "red");
}

#[test]
fn a_missing_config_map_is_named_and_awaited() {
    let cluster = Cluster::start();
    cluster.push_guest("unruly");
    serve_files(
        &cluster,
        "waits",
        "[{name: cfg, mountPath: /cfg}]",
        "[{name: cfg, configMap: {name: later}}]",
    );
    let event = cluster.await_event("waits", "FailedMount");
    assert_eq!(
        event,
        "FailedMount: MountVolume.SetUp failed for volume \"cfg\" : configmap \"later\" not found"
    );
    assert_eq!(
        cluster.field("pod/waits", "{.status.containerStatuses[0].state.waiting.reason}"),
        "ContainerCreating"
    );
    let why = cluster.isopod(&["why", "pod/waits"]).ok();
    assert!(why.contains("configmap \"later\" not found"), "{why}");
    cluster.kubectl(&["create", "configmap", "later", "--from-literal=a=b"]).ok();
    cluster.await_ready("waits");
    assert_eq!(cluster.await_answer("waits", "/read?/cfg/a"), "b");
}

#[test]
fn a_host_path_is_the_machines_own_folder_and_read_only_when_mounted_so() {
    let cluster = Cluster::start();
    let host = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(host.path().join("there"), "of the host").expect("written");
    let path = host.path().display();
    start(
        &cluster,
        "host",
        "[{name: h, mountPath: /rw}, {name: h, mountPath: /ro, readOnly: true}, {name: e, mountPath: /scratch, readOnly: true}]",
        &format!("[{{name: h, hostPath: {{path: {path}, type: Directory}}}}, {{name: e, emptyDir: {{}}}}]"),
    );
    assert_eq!(cluster.await_answer("host", "/read?/ro/there"), "of the host");
    assert_eq!(cluster.await_answer("host", "/write?/rw/made"), "done\n");
    assert_eq!(std::fs::read_to_string(host.path().join("made")).expect("it was made"), "written\n");
    for path in ["/write?/ro/there", "/remove?/ro/there", "/write?/scratch/new"] {
        let (status, body) = cluster.curl("host", "default", path);
        assert_eq!((status, body.trim()), (503, "PermissionDenied"), "{path}");
    }
    assert_eq!(cluster.await_answer("host", "/read?/rw/there"), "of the host");

    // A folder that is not there is said, not made.
    let absent = host.path().join("absent");
    serve_files(
        &cluster,
        "lost",
        "[{name: h, mountPath: /h}]",
        &format!("[{{name: h, hostPath: {{path: {}, type: Directory}}}}]", absent.display()),
    );
    cluster
        .await_event("lost", &format!("hostPath type check failed: {} is not a directory", absent.display()));
}
