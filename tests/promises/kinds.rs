//! Every kind, with every verb: one table, and the real kubectl for each cell.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use isopod_tests::Cluster;

/// Kinds by resource, with what an object of each needs beside its name. None of them has to work: verbs are tested.
const KINDS: &[(&str, &str)] = &[
    ("namespaces", "apiVersion: v1\nkind: Namespace"),
    ("nodes", "apiVersion: v1\nkind: Node"),
    (
        "pods",
        "apiVersion: v1\nkind: Pod\nspec: {nodeSelector: {no: where}, containers: [{name: c, image: registry.local/a:v1}]}",
    ),
    (
        "replicasets.apps",
        "apiVersion: apps/v1\nkind: ReplicaSet\nspec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: registry.local/a:v1}]}}}",
    ),
    (
        "deployments.apps",
        "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: registry.local/a:v1}]}}}",
    ),
    ("services", "apiVersion: v1\nkind: Service\nspec: {ports: [{port: 80}]}"),
    (
        "endpointslices.discovery.k8s.io",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nendpoints: []",
    ),
    ("endpoints", "apiVersion: v1\nkind: Endpoints"),
    ("configmaps", "apiVersion: v1\nkind: ConfigMap\ndata: {a: b}"),
    ("secrets", "apiVersion: v1\nkind: Secret\nstringData: {a: b}"),
    ("serviceaccounts", "apiVersion: v1\nkind: ServiceAccount"),
    (
        "events",
        "apiVersion: v1\nkind: Event\ninvolvedObject: {kind: Pod, namespace: NAMESPACE, name: a}\nreason: Test\nmessage: text\ntype: Normal",
    ),
    (
        "leases.coordination.k8s.io",
        "apiVersion: coordination.k8s.io/v1\nkind: Lease\nspec: {holderIdentity: me}",
    ),
    (
        "jobs.batch",
        "apiVersion: batch/v1\nkind: Job\nspec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: registry.local/a:v1}]}}}",
    ),
    (
        "cronjobs.batch",
        "apiVersion: batch/v1\nkind: CronJob\nspec: {suspend: true, schedule: '0 0 1 1 *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: registry.local/a:v1}]}}}}}",
    ),
    (
        "roles.rbac.authorization.k8s.io",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nrules: [{apiGroups: [''], resources: [pods], verbs: [get]}]",
    ),
    (
        "clusterroles.rbac.authorization.k8s.io",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nrules: []",
    ),
    (
        "rolebindings.rbac.authorization.k8s.io",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}",
    ),
    (
        "clusterrolebindings.rbac.authorization.k8s.io",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: a}",
    ),
];

/// The object with a name and a label.
fn manifest(kind: &str, name: &str) -> String {
    let (head, rest) = kind.split_once("\nkind").expect("every kind has one");
    format!("{head}\nmetadata: {{name: {name}, labels: {{made: here}}}}\nkind{rest}\n")
        .replace("NAMESPACE", "verbs")
}

#[test]
fn every_core_kind_has_every_verb() {
    exercise_all(|resource| !resource.contains('.'));
}

#[test]
fn every_kind_of_a_group_has_every_verb() {
    exercise_all(|resource| resource.contains('.'));
}

fn exercise_all(is_meant: fn(&str) -> bool) {
    let cluster = Cluster::start();
    cluster.kubectl(&["create", "namespace", "verbs"]).ok();
    for (resource, kind) in KINDS.iter().filter(|(resource, _)| is_meant(resource)) {
        exercise(&cluster, resource, kind);
    }
}

fn exercise(cluster: &Cluster, resource: &str, kind: &str) {
    let in_namespace = |args: &[&str]| -> Vec<String> {
        ["-n", "verbs"].iter().chain(args).map(|arg| (*arg).to_owned()).collect()
    };
    let kubectl = |args: &[&str], stdin: &str| {
        let args = in_namespace(args);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        cluster.kubectl_with(&args, stdin)
    };
    let object = manifest(kind, "one");
    let field = |path: &str| kubectl(&["get", resource, "one", "-o", &format!("jsonpath={path}")], "").ok();
    let names = || kubectl(&["get", resource, "-l", "made=here", "-o", "name"], "").ok();

    // Watched from before it is there until it is gone.
    let mut watch = cluster.kubectl_command();
    let event = "jsonpath={.type} {.object.metadata.name}{\"\\n\"}";
    let what = ["get", resource, "-w", "--output-watch-events", "-l", "made=here", "-o", event];
    watch.args(in_namespace(&what)).arg("--request-timeout=120s");
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kubectl starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();

    let dry = kubectl(&["create", "--dry-run=server", "-o", "name", "-f", "-"], &object).ok();
    assert!(dry.ends_with("/one\n"), "{resource}: {dry}");
    assert_eq!(names(), "", "{resource}: a dry run makes nothing");
    kubectl(&["create", "-f", "-"], &object).ok();
    let taken = kubectl(&["create", "-f", "-"], &object).err();
    assert!(taken.contains("already exists"), "{resource}: {taken}");
    assert!(names().ends_with("/one\n"), "{resource}: {}", names());
    let table = kubectl(&["get", resource, "one"], "").ok();
    assert!(
        table.contains("AGE") || table.contains("LAST SEEN") || table.contains("CREATED AT"),
        "{resource}: {table}"
    );

    for (patch, label) in [
        ([r#"{"metadata":{"labels":{"by":"merge"}}}"#, "--type=merge"], "merge"),
        ([r#"{"metadata":{"labels":{"by":"strategic"}}}"#, "--type=strategic"], "strategic"),
        ([r#"[{"op":"replace","path":"/metadata/labels/by","value":"json"}]"#, "--type=json"], "json"),
    ] {
        kubectl(&["patch", resource, "one", patch[1], "-p", patch[0]], "").ok();
        assert_eq!(field("{.metadata.labels.by}"), label, "{resource}");
    }

    let json = kubectl(&["get", resource, "one", "-o", "json"], "").ok();
    let replaced = json.replace("\"by\": \"json\"", "\"by\": \"update\"");
    kubectl(&["replace", "-f", "-"], &replaced).ok();
    assert_eq!(field("{.metadata.labels.by}"), "update", "{resource}");
    let stale = kubectl(&["replace", "-f", "-"], &json).err();
    assert!(stale.contains("the object has been modified"), "{resource}: {stale}");

    kubectl(&["delete", resource, "one", "--timeout=60s"], "").ok();
    let absent = kubectl(&["get", resource, "one"], "").err();
    assert!(absent.contains("NotFound"), "{resource}: {absent}");

    kubectl(&["create", "-f", "-"], &manifest(kind, "two")).ok();
    kubectl(&["create", "-f", "-"], &manifest(kind, "three")).ok();
    kubectl(&["delete", resource, "-l", "made=here", "--timeout=60s"], "").ok();
    assert_eq!(names(), "", "{resource}");

    let mut seen = Vec::new();
    while seen.last().is_none_or(|line: &String| line != "DELETED one") {
        let line = lines.next().unwrap_or_else(|| panic!("{resource}: the watch ended after {seen:?}"));
        seen.push(line.expect("lines are text"));
    }
    watch.kill().expect("kubectl can be ended");
    watch.wait().expect("kubectl can be waited for");
    assert_eq!(seen[0], "ADDED one", "{resource}: {seen:?}");
    assert!(seen.iter().filter(|line| *line == "MODIFIED one").count() >= 4, "{resource}: {seen:?}");
}
