//! Server-side apply with the real kubectl: who owns what, conflicts, and the way from client-side apply.

use isopod_tests::{Cluster, Outcome};
use serde_json::{Value, json};

const SETTINGS: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: '1', b: '1'}\n";

#[track_caller]
fn server_side(cluster: &Cluster, more: &[&str], manifest: &str) -> Outcome {
    cluster.kubectl_with(&[&["apply", "--server-side", "-f", "-"], more].concat(), manifest)
}

#[track_caller]
fn object(cluster: &Cluster, name: &str) -> Value {
    let text = cluster.kubectl(&["get", name, "-o", "json", "--show-managed-fields"]).ok();
    serde_json::from_str(&text).expect("JSON")
}

/// `manager operation` of every entry.
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let word = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let mut owners: Vec<String> = entries
        .iter()
        .map(|entry| format!("{} {}", word(entry, "manager"), word(entry, "operation")))
        .collect();
    owners.sort();
    owners
}

#[test]
fn kubectl_applies_on_the_server() {
    let cluster = Cluster::start();
    let made = server_side(&cluster, &[], SETTINGS).ok();
    assert_eq!(made, "configmap/settings serverside-applied\n");
    let first = object(&cluster, "configmap/settings");
    assert_eq!(owners(&first), ["kubectl Apply"]);
    server_side(&cluster, &[], SETTINGS).ok();
    assert_eq!(object(&cluster, "configmap/settings"), first, "the same again writes nothing");

    let hidden = cluster.kubectl(&["get", "configmap/settings", "-o", "yaml"]).ok();
    assert!(!hidden.contains("managedFields"), "{hidden}");

    cluster.kubectl(&["patch", "configmap/settings", "--type=merge", "-p", "{\"data\":{\"a\":\"2\"}}"]).ok();
    let conflict = server_side(&cluster, &[], SETTINGS).err();
    super::kubectl::assert_has(
        &conflict,
        &[
            "Apply failed with 1 conflict: conflict with \"kubectl-patch\" using v1: .data.a",
            "--force-conflicts",
        ],
    );
    server_side(&cluster, &["--force-conflicts"], SETTINGS).ok();
    let forced = object(&cluster, "configmap/settings");
    assert_eq!(
        (&forced["data"], owners(&forced)),
        (&json!({"a": "1", "b": "1"}), vec!["kubectl Apply".to_owned()])
    );

    server_side(
        &cluster,
        &["--field-manager=other"],
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {b: '1', c: '1'}\n",
    )
    .ok();
    server_side(&cluster, &[], "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {}\n")
        .ok();
    assert_eq!(object(&cluster, "configmap/settings")["data"], json!({"b": "1", "c": "1"}));

    let unknown = server_side(
        &cluster,
        &["--validate=false"],
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndota: {}\n",
    )
    .err();
    assert!(unknown.contains(".dota: field not declared in schema"), "{unknown}");
}

#[test]
fn kubectl_shows_what_an_application_would_change() {
    let cluster = Cluster::start();
    server_side(&cluster, &[], SETTINGS).ok();
    let changed = SETTINGS.replace("b: '1'", "b: '7'");
    for more in [&["diff", "-f", "-"][..], &["diff", "--server-side", "-f", "-"]] {
        // It ends with 1 when there are differences.
        let shown = cluster.kubectl_with(more, &changed);
        assert!(!shown.success && shown.stdout.contains("+  b: \"7\""), "{shown:?}");
    }
    assert!(cluster.kubectl_with(&["diff", "--server-side", "-f", "-"], SETTINGS).success);
    let dry = server_side(&cluster, &["--dry-run=server"], &changed).ok();
    assert_eq!(dry, "configmap/settings serverside-applied (server dry run)\n");
    assert_eq!(object(&cluster, "configmap/settings")["data"]["b"], "1");
}

#[test]
fn who_applied_on_the_client_goes_over_without_conflict() {
    let cluster = Cluster::start();
    cluster.apply(SETTINGS);
    assert_eq!(owners(&object(&cluster, "configmap/settings")), ["kubectl-client-side-apply Update"]);
    let changed = SETTINGS.replace("a: '1', b: '1'", "a: '5'");
    server_side(&cluster, &[], &changed).ok();
    let after = object(&cluster, "configmap/settings");
    assert_eq!(after["data"], json!({"a": "5"}), "what is no longer named goes");
    // The annotation is the only thing that kubectl goes on owning apart.
    assert_eq!(owners(&after), ["kubectl Apply", "kubectl-last-applied Apply"]);
    let kept = after["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str();
    assert!(kept.is_some_and(|kept| kept.contains("\"a\":\"5\"")), "{kept:?}");
    // And back.
    cluster.apply(&changed.replace('5', "6"));
    assert_eq!(object(&cluster, "configmap/settings")["data"], json!({"a": "6"}));
}

#[test]
fn controllers_and_nodes_own_what_they_write() {
    let cluster = Cluster::start();
    super::kubectl::push_hello(&cluster, "v1");
    let manifest = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: c, image: registry.local/hello:v1, ports: [{containerPort: 80}]}]}\n";
    server_side(&cluster, &[], manifest).ok();
    cluster.await_field("deployment/web", "{.status.readyReplicas}", "1");
    let web = object(&cluster, "deployment/web");
    let owned = owners(&web);
    assert!(owned.contains(&"kubectl Apply".to_owned()), "{owned:?}");
    assert!(owned.contains(&"kube-controller-manager Update".to_owned()), "{owned:?}");
    let entries = web["metadata"]["managedFields"].as_array().expect("entries");
    let applied = entries.iter().find(|entry| entry["manager"] == "kubectl").expect("kubectl has an entry");
    let fields = &applied["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"];
    assert_eq!(fields["f:image"], json!({}), "{web}");
    assert_eq!(
        fields["f:ports"]["k:{\"containerPort\":80,\"protocol\":\"TCP\"}"]["."],
        json!({}),
        "{fields}"
    );
    let pods = cluster
        .kubectl(&["get", "pods", "-o", "jsonpath={.items[*].metadata.managedFields[*].manager}"])
        .ok();
    // Entries stand in the order of their times, which are seconds: either may come first.
    let mut managers: Vec<&str> = pods.split_whitespace().collect();
    managers.sort_unstable();
    assert_eq!(managers, ["isopod-node", "kube-controller-manager"]);
    let scaled = "apiVersion: autoscaling/v1\nkind: Scale\nmetadata: {name: web}\nspec: {replicas: 2}\n";
    let file = cluster.data_dir().join("scale.yaml");
    std::fs::write(&file, scaled).expect("written");
    let data = format!("@{}", file.display());
    let answer = cluster.curl_api(
        &["-X", "PATCH", "-H", "Content-Type: application/apply-patch+yaml", "--data-binary", &data],
        "/apis/apps/v1/namespaces/default/deployments/web/scale?fieldManager=scaler",
    );
    assert!(answer.contains("\"replicas\":2") || answer.contains("\"replicas\": 2"), "{answer}");
    let owned = owners(&object(&cluster, "deployment/web"));
    assert!(owned.contains(&"scaler Apply".to_owned()), "{owned:?}");
    // The owner of the rest says nothing of replicas and leaves them alone.
    server_side(&cluster, &[], manifest).ok();
    assert_eq!(cluster.field("deployment/web", "{.spec.replicas}"), "2");
}
