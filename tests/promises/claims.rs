//! Volumes that outlive pods: who gets which, that data stays as long as its claim, and that it goes with it.

use std::path::{Path, PathBuf};

use isopod_tests::{Cluster, eventually};

const SET: &str = "
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  persistentVolumeClaimRetentionPolicy: {whenScaled: Delete, whenDeleted: Retain}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - {name: c, image: registry.local/unruly:v1, ports: [{containerPort: 80}], volumeMounts: [{name: data, mountPath: /data}]}
  volumeClaimTemplates:
  - {metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}
---
apiVersion: v1
kind: Service
metadata: {name: first}
spec: {selector: {statefulset.kubernetes.io/pod-name: db-0}, ports: [{port: 80}]}
";

/// The folder of the volume that a claim has.
fn folder(cluster: &Cluster, claim: &str) -> PathBuf {
    let volume = cluster.field(&format!("pvc/{claim}"), "{.spec.volumeName}");
    let path = PathBuf::from(cluster.field(&format!("pv/{volume}"), "{.spec.local.path}"));
    assert!(path.starts_with(cluster.data_dir()), "{}", path.display());
    path
}

#[track_caller]
fn goes(path: &Path) {
    eventually(&format!("{} is removed", path.display()), || {
        if path.exists() { Err(path.display().to_string()) } else { Ok(()) }
    });
}

#[track_caller]
fn comes_to(cluster: &Cluster, object: &str, field: &str, wanted: &str) {
    eventually(&format!("{field} of {object} is {wanted:?}"), || {
        let outcome = cluster.kubectl(&["get", object, "-o", &format!("jsonpath={field}")]);
        if outcome.success && outcome.stdout == wanted { Ok(()) } else { Err(outcome.stdout) }
    });
}

#[track_caller]
fn is_gone(cluster: &Cluster, object: &str) {
    eventually(&format!("{object} is gone"), || {
        let outcome = cluster.kubectl(&["get", object, "--ignore-not-found"]);
        if outcome.success && outcome.stdout.is_empty() { Ok(()) } else { Err(outcome.stdout) }
    });
}

#[test]
fn the_data_of_a_stateful_set_outlives_its_pods_and_the_process_and_goes_with_its_claims() {
    let mut cluster = Cluster::start();
    cluster.push_guest("unruly");
    let classes = cluster.kubectl(&["get", "storageclass"]).ok();
    assert!(
        classes.contains("local-path (default)") && classes.contains("WaitForFirstConsumer"),
        "{classes}"
    );
    cluster.apply(SET);
    cluster.kubectl(&["rollout", "status", "statefulset/db", "--timeout=90s"]).ok();
    let claims = cluster.kubectl(&["get", "pvc"]).ok();
    for part in ["data-db-0", "data-db-1", "Bound", "1Gi", "RWO", "local-path"] {
        assert!(claims.contains(part), "{claims}");
    }
    let events = cluster.kubectl(&["events", "--for=pvc/data-db-0"]).ok();
    assert!(events.contains("ProvisioningSucceeded"), "{events}");
    assert_eq!(cluster.await_answer("first", "/write?/data/kept"), "done\n");
    let (first, second) = (folder(&cluster, "data-db-0"), folder(&cluster, "data-db-1"));
    assert!(first.join("kept").exists() && second.exists());

    // Another pod of the same name, and another process.
    cluster.kubectl(&["delete", "pod", "db-0", "--timeout=60s"]).ok();
    cluster.kubectl(&["rollout", "status", "statefulset/db", "--timeout=90s"]).ok();
    assert_eq!(cluster.await_answer("first", "/read?/data/kept"), "written\n");
    cluster.kill_and_restart();
    assert_eq!(cluster.await_answer("first", "/read?/data/kept"), "written\n");

    // What is scaled away goes, as the policy says; what is left when the set is deleted stays.
    cluster.kubectl(&["scale", "statefulset/db", "--replicas=1"]).ok();
    is_gone(&cluster, "pvc/data-db-1");
    goes(&second);
    cluster.kubectl(&["delete", "statefulset/db", "--timeout=60s"]).ok();
    is_gone(&cluster, "pod/db-0");
    assert_eq!(cluster.field("pvc/data-db-0", "{.status.phase}"), "Bound");
    assert!(first.join("kept").exists());
    cluster.kubectl(&["delete", "pvc/data-db-0", "--timeout=60s"]).ok();
    goes(&first);
    eventually("no volume is left", || {
        let volumes = cluster.kubectl(&["get", "pv", "-o", "name"]).ok();
        if volumes.is_empty() { Ok(()) } else { Err(volumes) }
    });
}

fn pod(name: &str, volume: &str, mount: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  containers:
  - name: c
    image: registry.local/unruly:v1
    ports: [{{containerPort: 80}}]
    env: [{{name: PART, value: own}}]
    volumeMounts: [{{name: v, mountPath: /v, {mount}}}]
  volumes: [{{name: v, {volume}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}
"
    )
}

#[test]
fn a_volume_made_by_hand_is_found_kept_from_deletion_and_retained() {
    let cluster = Cluster::start();
    cluster.push_guest("unruly");
    let host = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(host.path().join("own")).expect("a folder");
    std::fs::write(host.path().join("own/there"), "of the host").expect("written");
    let path = host.path().display();
    cluster.apply(&format!(
        "
apiVersion: v1
kind: PersistentVolume
metadata: {{name: disk, labels: {{kind: disk}}}}
spec: {{capacity: {{storage: 2Gi}}, accessModes: [ReadWriteOnce], storageClassName: manual, hostPath: {{path: {path}}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: large}}
spec: {{storageClassName: manual, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 9Gi}}}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: right}}
spec: {{storageClassName: manual, selector: {{matchLabels: {{kind: disk}}}}, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
"
    ));
    comes_to(&cluster, "pvc/right", "{.status.phase}", "Bound");
    comes_to(&cluster, "pv/disk", "{.status.phase}", "Bound");
    assert_eq!(cluster.field("pvc/large", "{.status.phase}"), "Pending");
    let source = "persistentVolumeClaim: {claimName: right}";
    cluster.apply(&pod("web", source, "readOnly: true, subPathExpr: $(PART)"));
    assert_eq!(cluster.await_answer("web", "/read?/v/there"), "of the host");
    let (status, body) = cluster.curl("web", "default", "/write?/v/there");
    assert_eq!((status, body.trim()), (503, "PermissionDenied"));

    // In use it is not removed; afterwards it is, and the volume stays with what is in it.
    cluster.kubectl(&["delete", "pvc/right", "--wait=false"]).ok();
    assert!(cluster.kubectl(&["get", "pvc/right"]).ok().contains("Terminating"));
    cluster.kubectl(&["delete", "pod/web", "--timeout=60s"]).ok();
    is_gone(&cluster, "pvc/right");
    comes_to(&cluster, "pv/disk", "{.status.phase}", "Released");
    assert!(host.path().join("own/there").exists());

    // A pod that waits for a claim is told why.
    cluster.apply(&pod("waits", "persistentVolumeClaim: {claimName: large}", "readOnly: false"));
    cluster.await_event("waits", "pod has unbound immediate PersistentVolumeClaims");
    cluster.apply(&pod("lost", "persistentVolumeClaim: {claimName: nobody}", "readOnly: false"));
    cluster.await_event("lost", "persistentvolumeclaim \"nobody\" not found");
}

#[test]
fn an_ephemeral_volume_comes_and_goes_with_its_pod() {
    let cluster = Cluster::start();
    cluster.push_guest("unruly");
    let source = "ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOncePod], resources: {requests: {storage: 1Gi}}}}}";
    cluster.apply(&pod("brief", source, "readOnly: false"));
    assert_eq!(cluster.await_answer("brief", "/write?/v/new"), "done\n");
    let folder = folder(&cluster, "brief-v");
    assert!(folder.join("new").exists());
    cluster.kubectl(&["delete", "pod/brief", "--timeout=60s"]).ok();
    is_gone(&cluster, "pvc/brief-v");
    goes(&folder);
}
