//! Pods of WebAssembly as their owners expect them: updates without loss, services that call each other, commands.

use std::sync::atomic::{AtomicBool, Ordering};

use isopod_tests::{Cluster, eventually};

use super::kubectl::{deploy_hello, deploy_unruly, push_hello};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples");

#[test]
fn a_rolling_update_loses_no_request() {
    let cluster = Cluster::start();
    deploy_hello(&cluster);
    push_hello(&cluster, "v2");
    let done = AtomicBool::new(false);
    let (asked, failed) = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut asked, mut failed) = (0, Vec::new());
            while !done.load(Ordering::Relaxed) {
                asked += 1;
                let (status, body) = cluster.curl("hello", "hello", "/");
                if status != 200 {
                    failed.push(format!("{status} {body}"));
                }
            }
            (asked, failed)
        });
        for tag in ["v2", "v1", "v2"] {
            let image = format!("hello=registry.local/hello:{tag}");
            cluster.kubectl(&["set", "image", "-n", "hello", "deployment/hello", &image]).ok();
            cluster.kubectl(&["rollout", "status", "-n", "hello", "deployment/hello", "--timeout=60s"]).ok();
        }
        done.store(true, Ordering::Relaxed);
        load.join().expect("the load does not panic")
    });
    assert!(asked > 20, "only {asked} requests were sent");
    assert!(failed.is_empty(), "{} of {asked} requests failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn an_answer_under_way_is_finished_when_its_pod_is_deleted() {
    const BYTES: usize = 24_000_000;
    let cluster = Cluster::start();
    deploy_unruly(&cluster);
    cluster.await_answer("unruly", "/");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let body = folder.path().join("body");
    let mut curl = std::process::Command::new("curl");
    // Slow enough that the pod is deleted in the middle of it.
    curl.args(["--silent", "--fail", "--limit-rate", "2M", "--max-time", "60", "--output"]).arg(&body);
    curl.args(["--header", "Host: unruly.default.localhost"]);
    let mut curl =
        curl.arg(format!("{}/large?{BYTES}", cluster.fact("ingress"))).spawn().expect("curl starts");
    let size = || std::fs::metadata(&body).map_or(0, |body| body.len());
    eventually("the answer has begun", || if size() > 0 { Ok(()) } else { Err("nothing yet".into()) });
    cluster.kubectl(&["delete", "pod", "unruly", "--wait=false"]).ok();
    let under_way = curl.try_wait().expect("a child can be asked").is_none();
    let status = curl.wait().expect("a child can be waited for");
    assert!(under_way, "the answer was too quick for this test: {} bytes", size());
    assert!(status.success(), "{status}");
    assert_eq!(size(), BYTES as u64);
    cluster.kubectl(&["wait", "pod/unruly", "--for=delete", "--timeout=60s"]).ok();
}

#[test]
fn two_pods_do_not_get_one_host_port() {
    let cluster = Cluster::start();
    cluster.push_guest("unruly");
    for name in ["first", "second"] {
        cluster.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, image: registry.local/unruly:v1, ports: [{{containerPort: 8080, hostPort: 18099}}]}}]}}"
        ));
        if name == "first" {
            cluster.await_ready(name);
        }
    }
    let path = "{.status.conditions[?(@.type==\"PodScheduled\")].message}";
    eventually("the second says why it waits", || {
        let message = cluster.field("pod/second", path);
        let words = "didn't have free ports for the requested pod ports";
        if message.contains(words) { Ok(()) } else { Err(message) }
    });
    // When the first goes, the second comes.
    cluster.kubectl(&["delete", "pod", "first", "--timeout=60s"]).ok();
    cluster.await_ready("second");
}

#[test]
fn greeter_calls_its_neighbour_by_name() {
    let cluster = Cluster::start();
    cluster.isopod(&["push", &format!("{SAMPLES}/greeter/greeter.wasm"), "registry.local/greeter:v1"]).ok();
    cluster.kubectl(&["apply", "-f", &format!("{SAMPLES}/greeter/greeter.yaml")]).ok();
    let body = eventually("the front answers with what the back said", || {
        match cluster.curl("front", "greeter", "/") {
            (200, body) => Ok(body),
            (status, body) => Err(format!("{status} {body}")),
        }
    });
    assert!(!body.trim().is_empty());
}

#[test]
fn batch_core_a_preview_1_module_runs_to_its_end() {
    let cluster = Cluster::start();
    cluster
        .isopod(&["push", &format!("{SAMPLES}/batch-core/batch-core.wasm"), "registry.local/batch-core:v1"])
        .ok();
    cluster.kubectl(&["apply", "-f", &format!("{SAMPLES}/batch-core/batch-core.yaml")]).ok();
    eventually("the module's pod ends", || {
        let phases = cluster.kubectl(&["get", "pods", "-A", "-o", "jsonpath={.items[*].status.phase}"]).ok();
        if phases.contains("Succeeded") || phases.contains("Failed") { Ok(()) } else { Err(phases) }
    });
}

#[test]
fn each_request_gets_a_fresh_instance() {
    let cluster = Cluster::start();
    deploy_unruly(&cluster);
    for _ in 0..5 {
        // It counts the bytes that another instance marked, then marks its own.
        assert_eq!(cluster.await_answer("unruly", "/canary"), "0\n");
    }
}

#[test]
fn environment_comes_from_config_maps_secrets_and_the_pod_itself() {
    let cluster = Cluster::start();
    let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/tool/tool.wasm");
    cluster.isopod(&["push", tool, "registry.local/tool:v1"]).ok();
    cluster.kubectl(&["create", "configmap", "settings", "--from-literal=COLOUR=green"]).ok();
    cluster.kubectl(&["create", "secret", "generic", "login", "--from-literal=password=s3cret"]).ok();
    let manifest = r"
apiVersion: v1
kind: Pod
metadata: {name: env}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: registry.local/tool:v1
    args: [env]
    envFrom: [{configMapRef: {name: settings}}]
    env:
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: login, key: password}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: BOTH, value: $(POD)-$(COLOUR)}
";
    cluster.kubectl_with(&["apply", "-f", "-"], manifest).ok();
    cluster.kubectl(&["wait", "pod/env", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"]).ok();
    let printed = cluster.kubectl(&["logs", "env"]).ok();
    for line in
        ["COLOUR=green", "PASSWORD=s3cret", "POD=env", "BOTH=env-green", "KUBERNETES_SERVICE_PORT=443"]
    {
        assert!(printed.lines().any(|own| own == line), "{line} is missing in:\n{printed}");
    }
    // Nothing of the host's own environment gets in.
    assert!(!printed.contains("PATH=") && !printed.contains("HOME="), "{printed}");
}

#[test]
fn a_service_answers_on_its_own_address_and_on_its_node_port() {
    let cluster = Cluster::start();
    deploy_unruly(&cluster);
    cluster
        .kubectl(&[
            "expose",
            "pod",
            "unruly",
            "--name=outside",
            "--type=NodePort",
            "--port=8081",
            "--target-port=80",
        ])
        .ok();
    let field =
        |path: &str| cluster.kubectl(&["get", "service", "outside", "-o", &format!("jsonpath={path}")]).ok();
    let addresses = [
        format!("{}:8081", field("{.spec.clusterIP}")),
        format!("127.0.0.1:{}", field("{.spec.ports[0].nodePort}")),
    ];
    for address in addresses {
        let answer = eventually(&format!("{address} answers"), || {
            let mut curl = std::process::Command::new("curl");
            let outcome = isopod_tests::run(
                curl.args(["--silent", "--show-error", "--max-time", "10", &format!("http://{address}/")]),
                "",
            );
            if outcome.success { Ok(outcome.stdout) } else { Err(outcome.stderr) }
        });
        assert_eq!(answer, "calm\n");
    }
}

#[test]
fn a_pod_that_no_node_fits_says_why_in_kubernetes_words() {
    let cluster = Cluster::start();
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: large}\nspec: {containers: [{name: c, image: registry.local/x:v1, resources: {requests: {cpu: 4000}}}]}";
    cluster.kubectl_with(&["apply", "-f", "-"], manifest).ok();
    let message = eventually("the scheduler says why", || {
        let path = "jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].message}";
        let message = cluster.kubectl(&["get", "pod", "large", "-o", path]).ok();
        if message.is_empty() { Err("no message".into()) } else { Ok(message) }
    });
    assert!(message.contains("0/1 nodes are available: 1 Insufficient cpu"), "{message}");
    let why = cluster.isopod(&["why", "pod/large"]).ok();
    assert!(why.contains("Insufficient cpu"), "{why}");
}
