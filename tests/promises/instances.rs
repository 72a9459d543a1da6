//! What a pod says of its instances by annotation, and the configuration it takes (docs/wasm.md).

use isopod_tests::{Cluster, eventually};

fn pod(name: &str, annotations: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}, annotations: {{{annotations}}}}}
spec:
  containers: [{{name: c, image: registry.local/unruly:v1, ports: [{{containerPort: 8080}}], envFrom: [{{configMapRef: {{name: settings}}}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}]}}
"
    )
}

#[test]
fn instances_and_configuration_follow_the_annotations_of_the_pod() {
    let cluster = Cluster::start();
    cluster.push_guest("unruly");
    let refused =
        cluster.kubectl_with(&["apply", "-f", "-"], &pod("bad", "isopod.dev/instance-requests: many"));
    let refused = refused.err();
    assert!(refused.contains("isopod.dev/instance-requests"), "{refused}");
    assert!(refused.contains("must be a whole number from 1 to 1000000"), "{refused}");

    cluster.apply(&pod("kept", "isopod.dev/instance-requests: '1000'"));
    eventually("the pod says what it waits for", || {
        let reason = cluster.field("pod/kept", "{.status.containerStatuses[0].state.waiting.message}");
        if reason.contains("configmap \"settings\" not found") { Ok(()) } else { Err(reason) }
    });
    cluster.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: green}\n");
    let told = eventually("the pod answers", || match cluster.curl("kept", "default", "/config?color") {
        (200, told) => Ok(told),
        (status, told) => Err(format!("{status} {told}")),
    });
    assert_eq!(told, "[(\"color\", \"green\")] Ok(Some(\"green\"))\n");
    eventually("an instance answers again", || match cluster.curl("kept", "default", "/count") {
        (200, count) if count != "0\n" => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
