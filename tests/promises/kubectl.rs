//! The real kubectl against `isopod dev`: what people type in their first hour.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use isopod_tests::{Cluster, eventually};

/// The sample's folder.
pub(crate) const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples/hello");

/// Pushes the hello sample, applies it with kubectl and waits for its rollout.
#[track_caller]
pub(crate) fn deploy_hello(cluster: &Cluster) {
    push_hello(cluster, "v1");
    cluster.kubectl(&["apply", "-f", &format!("{HELLO}/hello.yaml")]).ok();
    cluster.kubectl(&["rollout", "status", "-n", "hello", "deployment/hello", "--timeout=60s"]).ok();
}

/// Stores the hello component under a tag.
#[track_caller]
pub(crate) fn push_hello(cluster: &Cluster, tag: &str) {
    cluster.isopod(&["push", &format!("{HELLO}/hello.wasm"), &format!("registry.local/hello:{tag}")]).ok();
}

#[track_caller]
pub(crate) fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn kubectl_applies_a_deployment_and_its_service_answers() {
    let cluster = Cluster::start();
    deploy_hello(&cluster);
    let body = eventually("hello answers", || match cluster.curl("hello", "hello", "/") {
        (200, body) => Ok(body),
        (status, body) => Err(format!("{status} {body}")),
    });
    assert!(body.contains("hello-"), "{body}");
    let pods = cluster.kubectl(&["get", "pods", "-n", "hello"]).ok();
    assert_eq!(pods.matches("1/1").count(), 3, "{pods}");

    // Applying the same again changes nothing; a changed file is configured.
    let manifest = std::fs::read_to_string(format!("{HELLO}/hello.yaml")).expect("the sample has a manifest");
    let again = cluster.kubectl_with(&["apply", "-f", "-"], &manifest).ok();
    assert_eq!(again.matches("unchanged").count(), 3, "{again}");
    let more = manifest.replace("replicas: 3", "replicas: 4");
    let changed = cluster.kubectl_with(&["apply", "-f", "-"], &more).ok();
    assert_has(&changed, &["deployment.apps/hello configured"]);
    cluster
        .kubectl(&[
            "wait",
            "-n",
            "hello",
            "deployment/hello",
            "--for=jsonpath={.status.readyReplicas}=4",
            "--timeout=60s",
        ])
        .ok();
}

#[test]
fn kubectl_learns_the_version_and_the_kinds() {
    let cluster = Cluster::start();
    let version = cluster.kubectl(&["version"]).ok();
    assert_has(&version, &["Server Version: v1.36"]);
    let kinds = cluster.kubectl(&["api-resources"]).ok();
    assert_has(
        &kinds,
        &[
            "pods",
            "deployments",
            "replicasets",
            "services",
            "endpointslices",
            "configmaps",
            "leases",
            "events",
        ],
    );
    assert_has(&cluster.kubectl(&["api-versions"]).ok(), &["v1", "apps/v1", "discovery.k8s.io/v1"]);
    assert_has(&cluster.kubectl(&["explain", "deployment.spec.strategy"]).ok(), &["rollingUpdate"]);
    let namespaces = cluster.kubectl(&["get", "namespaces"]).ok();
    assert_has(&namespaces, &["default", "kube-system", "kube-public", "kube-node-lease", "Active"]);
}

#[test]
fn kubectl_creates_objects_by_its_generators() {
    let cluster = Cluster::start();
    for (args, expected) in [
        (&["create", "namespace", "shop"][..], "namespace/shop created"),
        (&["create", "configmap", "settings", "--from-literal=colour=green"], "configmap/settings created"),
        (&["create", "secret", "generic", "login", "--from-literal=password=s3cret"], "secret/login created"),
        (
            &["create", "deployment", "web", "--image=registry.local/absent:v1", "--replicas=2"],
            "deployment.apps/web created",
        ),
        (&["expose", "deployment", "web", "--port=80", "--target-port=8080"], "service/web exposed"),
        (&["run", "one", "--image=registry.local/absent:v1"], "pod/one created"),
        (&["create", "serviceaccount", "robot"], "serviceaccount/robot created"),
    ] {
        let printed = cluster.kubectl(args).ok();
        assert_has(&printed, &[expected]);
    }
    let colour = cluster.kubectl(&["get", "configmap", "settings", "-o", "jsonpath={.data.colour}"]).ok();
    assert_eq!(colour, "green");
    let secret = cluster.kubectl(&["get", "secret", "login", "-o", "jsonpath={.data.password}"]).ok();
    assert_eq!(secret, "czNjcmV0");
    let port = cluster.kubectl(&["get", "service", "web", "-o", "jsonpath={.spec.ports[0].targetPort}"]).ok();
    assert_eq!(port, "8080");
}

#[test]
fn kubectl_gets_and_describes_with_tables_made_by_the_server() {
    let cluster = Cluster::start();
    deploy_hello(&cluster);
    let wide = cluster.kubectl(&["get", "pods", "-n", "hello", "-o", "wide"]).ok();
    assert_has(&wide, &["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "Running"]);
    let deployments = cluster.kubectl(&["get", "deploy", "-A"]).ok();
    assert_has(&deployments, &["NAMESPACE", "UP-TO-DATE", "AVAILABLE", "3/3"]);
    let services = cluster.kubectl(&["get", "svc", "-n", "hello"]).ok();
    assert_has(&services, &["TYPE", "CLUSTER-IP", "PORT(S)", "80/TCP"]);
    assert_has(&cluster.kubectl(&["get", "nodes", "-o", "wide"]).ok(), &["Ready", "wasmtime://", "v1.36"]);
    assert_has(
        &cluster.kubectl(&["get", "all", "-n", "hello"]).ok(),
        &["pod/hello-", "service/hello", "deployment.apps/hello", "replicaset.apps/hello-"],
    );
    assert_has(&cluster.kubectl(&["get", "endpointslices", "-n", "hello"]).ok(), &["IPv4", "ADDRESSTYPE"]);

    let selected = cluster.kubectl(&["get", "pods", "-n", "hello", "-l", "app=hello", "-o", "name"]).ok();
    assert_eq!(selected.lines().count(), 3, "{selected}");
    let none = cluster.kubectl(&["get", "pods", "-n", "hello", "-l", "app notin (hello)", "-o", "name"]).ok();
    assert_eq!(none, "");
    let running = cluster
        .kubectl(&["get", "pods", "-A", "--field-selector", "status.phase=Running", "-o", "name"])
        .ok();
    assert_eq!(running.lines().count(), 3, "{running}");
    let yaml = cluster.kubectl(&["get", "deploy", "hello", "-n", "hello", "-o", "yaml"]).ok();
    assert_has(
        &yaml,
        &[
            "apiVersion: apps/v1",
            "progressDeadlineSeconds: 600",
            "maxSurge: 25%",
            "terminationGracePeriodSeconds: 30",
        ],
    );

    let pod = selected.lines().next().expect("three pods").to_owned();
    let described = cluster.kubectl(&["describe", "-n", "hello", &pod]).ok();
    assert_has(
        &described,
        &["Controlled By:  ReplicaSet/hello-", "Scheduled", "Started", "POD_NAME", "State:          Running"],
    );
    let described = cluster.kubectl(&["describe", "deployment", "hello", "-n", "hello"]).ok();
    assert_has(
        &described,
        &["3 desired | 3 updated | 3 total | 3 available", "ScalingReplicaSet", "RollingUpdateStrategy"],
    );
    assert_has(
        &cluster.kubectl(&["describe", "node"]).ok(),
        &["Capacity:", "Allocatable:", "Allocated resources:"],
    );
    assert_has(&cluster.kubectl(&["describe", "service", "hello", "-n", "hello"]).ok(), &["Endpoints:"]);
    assert_has(&cluster.kubectl(&["events", "-n", "hello"]).ok(), &["Scheduled", "SuccessfulCreate"]);
}

#[test]
fn kubectl_scales_updates_and_rolls_back_a_deployment() {
    let cluster = Cluster::start();
    deploy_hello(&cluster);
    push_hello(&cluster, "v2");
    let hello = ["-n", "hello", "deployment/hello"];
    let with = |front: &[&str], back: &[&str]| -> String {
        let args: Vec<&str> = front.iter().chain(&hello).chain(back).copied().collect();
        cluster.kubectl(&args).ok()
    };
    assert_has(&with(&["scale"], &["--replicas=5"]), &["scaled"]);
    with(&["rollout", "status"], &["--timeout=60s"]);
    assert_eq!(with(&["get"], &["-o", "jsonpath={.status.readyReplicas}"]), "5");

    assert_has(&with(&["set", "image"], &["hello=registry.local/hello:v2"]), &["image updated"]);
    with(&["rollout", "status"], &["--timeout=60s"]);
    assert_eq!(
        with(&["get"], &["-o", "jsonpath={.spec.template.spec.containers[0].image}"]),
        "registry.local/hello:v2"
    );
    let history = with(&["rollout", "history"], &[]);
    assert_has(&history, &["REVISION", "1 ", "2 "]);

    assert_has(&with(&["rollout", "undo"], &[]), &["rolled back"]);
    with(&["rollout", "status"], &["--timeout=60s"]);
    assert_eq!(
        with(&["get"], &["-o", "jsonpath={.spec.template.spec.containers[0].image}"]),
        "registry.local/hello:v1"
    );

    assert_has(&with(&["rollout", "restart"], &[]), &["restarted"]);
    with(&["rollout", "status"], &["--timeout=60s"]);
    assert_has(&with(&["rollout", "pause"], &[]), &["paused"]);
    assert_has(&with(&["rollout", "resume"], &[]), &["resumed"]);
    with(&["wait"], &["--for=condition=Available", "--timeout=60s"]);
}

#[test]
fn kubectl_labels_patches_and_deletes() {
    let cluster = Cluster::start();
    cluster.kubectl(&["create", "configmap", "c", "--from-literal=a=1"]).ok();
    assert_has(&cluster.kubectl(&["label", "configmap", "c", "tier=web"]).ok(), &["labeled"]);
    assert_has(&cluster.kubectl(&["annotate", "configmap", "c", "note=x"]).ok(), &["annotated"]);
    cluster.kubectl(&["patch", "configmap", "c", "--type=merge", "-p", r#"{"data":{"b":"2"}}"#]).ok();
    cluster
        .kubectl(&["patch", "configmap", "c", "--type=json", "-p", r#"[{"op":"remove","path":"/data/a"}]"#])
        .ok();
    cluster.kubectl(&["patch", "configmap", "c", "-p", r#"{"data":{"d":"4"}}"#]).ok();
    let data = cluster.kubectl(&["get", "configmap", "c", "-o", "jsonpath={.data}"]).ok();
    assert_eq!(data, r#"{"b":"2","d":"4"}"#);
    let label = cluster.kubectl(&["get", "configmap", "c", "-o", "jsonpath={.metadata.labels.tier}"]).ok();
    assert_eq!(label, "web");

    let dry = cluster.kubectl(&["delete", "configmap", "c", "--dry-run=server"]).ok();
    assert_has(&dry, &["deleted", "(server dry run)"]);
    let dry = cluster.kubectl(&["create", "configmap", "never", "--dry-run=server", "-o", "name"]).ok();
    assert_has(&dry, &["configmap/never"]);
    assert_has(
        &cluster.kubectl(&["get", "configmap", "never"]).err(),
        &["NotFound", "configmaps \"never\" not found"],
    );
    assert_has(&cluster.kubectl(&["delete", "configmap", "c"]).ok(), &["deleted"]);
    assert_has(&cluster.kubectl(&["get", "configmap", "c"]).err(), &["NotFound"]);
}

#[test]
fn kubectl_delete_waits_until_a_namespace_and_all_in_it_are_gone() {
    let cluster = Cluster::start();
    deploy_hello(&cluster);
    assert_has(&cluster.kubectl(&["delete", "namespace", "hello", "--timeout=90s"]).ok(), &["deleted"]);
    assert_has(&cluster.kubectl(&["get", "namespace", "hello"]).err(), &["NotFound"]);
    assert_eq!(cluster.kubectl(&["get", "pods,rs,deploy,svc", "-n", "hello", "-o", "name"]).ok(), "");
}

#[test]
fn kubectl_watches_changes_as_they_happen() {
    let cluster = Cluster::start();
    let mut watch = cluster.kubectl_command();
    watch.args(["get", "configmaps", "-w", "-o", "name"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut watch = watch.spawn().expect("kubectl starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
    cluster.kubectl(&["create", "configmap", "seen"]).ok();
    let seen = lines.find(|line| line.as_ref().is_ok_and(|line| line == "configmap/seen"));
    watch.kill().expect("kubectl can be ended");
    watch.wait().expect("kubectl can be waited for");
    assert!(seen.is_some());
}

#[test]
fn kubectl_reads_and_follows_logs() {
    let cluster = Cluster::start();
    deploy_unruly(&cluster);
    let ask = || match cluster.curl("unruly", "default", "/log") {
        (200, _) => Ok(()),
        (status, body) => Err(format!("{status} {body}")),
    };
    eventually("unruly answers", ask);
    eventually("what the request printed is in the logs", || {
        let printed = cluster.kubectl(&["logs", "unruly"]).ok();
        if printed.contains("to stdout") { Ok(()) } else { Err(printed) }
    });
    let last = cluster.kubectl(&["logs", "unruly", "--tail=1", "--timestamps"]).ok();
    assert_eq!(last.lines().count(), 1, "{last}");
    assert!(last.starts_with("20"), "{last}");

    let mut follow = cluster.kubectl_command();
    follow.args(["logs", "-f", "unruly", "--tail=0"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut follow = follow.spawn().expect("kubectl starts");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines();
    let arrived = std::thread::scope(|scope| {
        let reader = scope.spawn(move || lines.any(|line| line.is_ok_and(|line| line.contains("to stdout"))));
        eventually("a followed line arrives", || {
            ask()?;
            if reader.is_finished() { Ok(()) } else { Err("not yet".into()) }
        });
        reader.join().expect("the reader does not panic")
    });
    follow.kill().expect("kubectl can be ended");
    follow.wait().expect("kubectl can be waited for");
    assert!(arrived);
}

/// A pod and Service of the test guest that does as its path says.
#[track_caller]
pub(crate) fn deploy_unruly(cluster: &Cluster) {
    let component = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/unruly/unruly.wasm");
    cluster.isopod(&["push", component, "registry.local/unruly:v1"]).ok();
    cluster.kubectl(&["run", "unruly", "--image=registry.local/unruly:v1", "--port=80", "--expose"]).ok();
    cluster.kubectl(&["wait", "pod/unruly", "--for=condition=Ready", "--timeout=60s"]).ok();
}
