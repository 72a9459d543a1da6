//! What a node does with a container that runs: probes, hooks, limits.

use isopod_tests::{Cluster, eventually, run};

/// A pod with an empty directory `/state`, in which an init container makes the file `/state/<made>`, and a Service
/// of its name. `container` is more YAML of its HTTP container.
#[track_caller]
fn serve(cluster: &Cluster, name: &str, made: &str, container: &str) {
    cluster.push_guest("unruly");
    cluster.push_guest("tool");
    cluster.apply(&format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 2
  initContainers:
  - {{name: first, image: registry.local/tool:v1, args: [write, /state/{made}], volumeMounts: [{{name: state, mountPath: /state}}]}}
  containers:
  - name: c
    image: registry.local/unruly:v1
    ports: [{{name: web, containerPort: 8080}}]
    volumeMounts: [{{name: state, mountPath: /state}}]
{container}
  volumes: [{{name: state, emptyDir: {{}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: web}}]}}
"
    ));
}

/// Asks the pod itself, whether or not it is ready.
#[track_caller]
fn ask_pod(cluster: &Cluster, name: &str, path: &str) -> String {
    eventually(&format!("the pod {name} answers {path}"), || {
        let url = format!("http://{}:8080{path}", cluster.field(&format!("pod/{name}"), "{.status.podIP}"));
        let mut curl = std::process::Command::new("curl");
        let outcome = run(curl.args(["--silent", "--fail", "--show-error", "--max-time", "30", &url]), "");
        if outcome.success { Ok(outcome.stdout) } else { Err(outcome.stderr) }
    })
}

const READY: &str = "{.status.conditions[?(@.type==\"Ready\")].status}";
const RESTARTS: &str = "{.status.containerStatuses[0].restartCount}";
const ENDPOINTS: &str = "{.subsets[*].addresses[*].targetRef.name}";

#[test]
fn a_readiness_probe_decides_whether_a_pod_gets_requests() {
    let cluster = Cluster::start();
    let probe = "    readinessProbe: {httpGet: {path: '/read?/state/ready', port: web}, periodSeconds: 1, failureThreshold: 1}";
    serve(&cluster, "gate", "other", probe);
    cluster.await_event("gate", "Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503");
    assert_eq!(cluster.field("pod/gate", READY), "False");
    assert_eq!(cluster.field("endpoints/gate", ENDPOINTS), "");
    assert_eq!(cluster.curl("gate", "default", "/").0, 503);

    ask_pod(&cluster, "gate", "/write?/state/ready");
    cluster.await_ready("gate");
    cluster.await_field("endpoints/gate", ENDPOINTS, "gate");
    assert_eq!(cluster.await_answer("gate", "/"), "calm\n");

    ask_pod(&cluster, "gate", "/remove?/state/ready");
    cluster.await_field("pod/gate", READY, "False");
    cluster.await_field("endpoints/gate", ENDPOINTS, "");
    eventually("the Service has nobody to ask", || match cluster.curl("gate", "default", "/") {
        (503, _) => Ok(()),
        (status, body) => Err(format!("{status} {body}")),
    });
    assert_eq!(cluster.field("pod/gate", RESTARTS), "0");
}

#[test]
fn a_liveness_probe_that_fails_restarts_the_container() {
    let cluster = Cluster::start();
    let probe = "    livenessProbe: {httpGet: {path: '/read?/state/alive', port: 8080}, periodSeconds: 1, failureThreshold: 2}";
    serve(&cluster, "live", "alive", probe);
    cluster.await_ready("live");
    let before = cluster.field("pod/live", "{.status.containerStatuses[0].containerID}");
    ask_pod(&cluster, "live", "/remove?/state/alive");
    cluster.await_event("live", "Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 503");
    cluster.await_event("live", "Killing: Container c failed liveness probe, will be restarted");
    ask_pod(&cluster, "live", "/write?/state/alive");
    eventually("the container runs again", || {
        let restarts = cluster.field("pod/live", RESTARTS);
        if restarts == "0" { Err(restarts) } else { Ok(()) }
    });
    let last = cluster.field("pod/live", "{.status.containerStatuses[0].lastState.terminated}");
    assert!(last.contains("\"reason\":\"Error\"") && last.contains(&before), "{last}");
    cluster.await_field("pod/live", READY, "True");
}

#[test]
fn tcp_probes_ask_whether_a_port_is_open() {
    let cluster = Cluster::start();
    let probes = |port: &str| {
        format!(
            "    livenessProbe: {{tcpSocket: {{port: web}}, periodSeconds: 1}}\n    readinessProbe: {{tcpSocket: {{port: {port}}}, periodSeconds: 1}}"
        )
    };
    serve(&cluster, "open", "any", &probes("8080"));
    cluster.await_ready("open");
    serve(&cluster, "closed", "any", &probes("8081"));
    let event = cluster.await_event("closed", "Unhealthy: Readiness probe failed: dial tcp 127.");
    assert!(event.ends_with(":8081: connect: connection refused"), "{event}");
    assert_eq!(cluster.field("pod/closed", READY), "False");
    assert_eq!(cluster.field("pod/closed", RESTARTS), "0");
}

#[test]
fn a_startup_probe_holds_the_others_back() {
    let cluster = Cluster::start();
    let probes = "    startupProbe: {httpGet: {path: '/read?/state/started', port: web}, periodSeconds: 1, failureThreshold: 600}
    livenessProbe: {httpGet: {path: '/read?/state/started', port: web}, periodSeconds: 1, failureThreshold: 1}
    readinessProbe: {httpGet: {path: '/', port: web}, periodSeconds: 1}";
    serve(&cluster, "slow", "other", probes);
    cluster.await_event("slow", "Unhealthy: Startup probe failed: HTTP probe failed with statuscode: 503");
    let started = "{.status.containerStatuses[0].started} {.status.containerStatuses[0].ready}";
    assert_eq!(cluster.field("pod/slow", started), "false false");
    ask_pod(&cluster, "slow", "/write?/state/started");
    cluster.await_ready("slow");
    assert_eq!(cluster.field("pod/slow", started), "true true");
    assert_eq!(cluster.field("pod/slow", RESTARTS), "0");

    let hopeless = "    startupProbe: {httpGet: {path: '/read?/state/started', port: web}, periodSeconds: 1, failureThreshold: 2}";
    serve(&cluster, "never", "other", hopeless);
    cluster.await_event("never", "Killing: Container c failed startup probe, will be restarted");
}

#[test]
fn hooks_are_called_after_the_start_and_before_the_stop() {
    let cluster = Cluster::start();
    cluster.push_guest("unruly");
    let host = tempfile::tempdir().expect("a temporary folder");
    cluster.apply(&format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: hooked}}
spec:
  terminationGracePeriodSeconds: 20
  containers:
  - name: c
    image: registry.local/unruly:v1
    ports: [{{containerPort: 8080}}]
    volumeMounts: [{{name: h, mountPath: /h}}]
    lifecycle:
      postStart: {{httpGet: {{path: '/write?/h/started', port: 8080}}}}
      preStop: {{httpGet: {{path: '/write?/h/stopping', port: 8080}}}}
  volumes: [{{name: h, hostPath: {{path: {}}}}}]
",
        host.path().display()
    ));
    cluster.await_ready("hooked");
    assert!(host.path().join("started").exists());
    assert!(!host.path().join("stopping").exists());
    cluster.kubectl(&["delete", "pod", "hooked", "--timeout=60s"]).ok();
    assert!(host.path().join("stopping").exists());
}

#[test]
fn a_hook_or_probe_that_cannot_run_here_says_so() {
    let cluster = Cluster::start();
    let hook = "    lifecycle: {preStop: {exec: {command: [sh]}}}\n    readinessProbe: {exec: {command: [sh]}, periodSeconds: 1}";
    serve(&cluster, "exec", "any", hook);
    cluster.await_event("exec", "exec probes are not available for WebAssembly containers");
    cluster.kubectl(&["delete", "pod", "exec", "--timeout=60s"]).ok();
    cluster.await_event("exec", "exec hooks are not available for WebAssembly containers");

    let failing = "    lifecycle: {postStart: {httpGet: {path: '/read?/absent', port: web}}}";
    serve(&cluster, "fails", "any", failing);
    cluster.await_event("fails", "FailedPostStartHook");
}

#[test]
fn a_cpu_limit_holds_a_spinning_guest_to_its_share() {
    let cluster = Cluster::start();
    cluster.push_guest("tool");
    let names = ["little", "much"];
    for (name, limit) in names.iter().zip(["50m", "1"]) {
        cluster.apply(&format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: Never
  containers: [{{name: c, image: registry.local/tool:v1, args: [count, \"3\"], resources: {{limits: {{cpu: {limit}}}}}}}]
"
        ));
    }
    let [little, much] = names.map(|name| {
        cluster.await_field(&format!("pod/{name}"), "{.status.phase}", "Succeeded");
        let printed = cluster.kubectl(&["logs", name]).ok();
        printed.trim().parse::<f64>().unwrap_or_else(|_| panic!("{name} printed {printed:?}"))
    });
    // The limits are one to twenty; the machine may have had less than a core to give.
    let ratio = much / little;
    assert!((2.0..200.0).contains(&ratio), "{much} to {little} is {ratio}");
}

#[test]
fn a_request_beyond_the_memory_limit_fails_alone_and_is_told() {
    let cluster = Cluster::start();
    serve(&cluster, "hungry", "any", "    resources: {limits: {memory: 16Mi}}");
    cluster.await_ready("hungry");
    cluster.await_answer("hungry", "/");
    assert_eq!(cluster.curl("hungry", "default", "/hog").0, 500);
    assert_eq!(cluster.curl("hungry", "default", "/").0, 200);
    cluster
        .await_event("hungry", "OOMKilled: Failed a request because of memory beyond the container's limit");
    assert_eq!(cluster.field("pod/hungry", RESTARTS), "0");
}
