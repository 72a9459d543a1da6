//! Images that are not WebAssembly run in Docker, in pods like any other. Each test has a Docker daemon of its own.

use isopod_tests::dockerd::{BUSYBOX, Dockerd};
use isopod_tests::{Cluster, Options, eventually};

fn cluster(docker: &Dockerd) -> Cluster {
    let args = vec!["--docker".to_owned(), docker.socket().display().to_string()];
    Cluster::with(Options { args, ..Options::default() })
}

/// A pod of one container that runs `script`. `more` is YAML in the container, `spec` in the pod's spec.
#[track_caller]
fn run_script(cluster: &Cluster, name: &str, script: &str, more: &str, spec: &str) {
    let script = serde_json::to_string(script).expect("a text");
    cluster.apply(&format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 2
  containers:
  - name: c
    image: {BUSYBOX}
    command: [sh, -c, {script}]
{more}
{spec}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}]}}
"
    ));
}

const SERVE: &str = "trap 'exit 0' TERM; cd /tmp; hostname > name; httpd -f -p 8080 & wait";

#[track_caller]
fn await_ended(cluster: &Cluster, name: &str) -> serde_json::Value {
    eventually("the container ends", || {
        let state = cluster.field(&format!("pod/{name}"), "{.status.containerStatuses[0].state}");
        let state: serde_json::Value = serde_json::from_str(&state).map_err(|error| error.to_string())?;
        state.get("terminated").cloned().ok_or_else(|| state.to_string())
    })
}

fn containers(docker: &Dockerd) -> Vec<String> {
    let listed = docker.docker(&["ps", "--all", "--quiet"]).ok();
    listed.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_docker_pod_serves_logs_and_leaves_nothing() {
    let Some(docker) = Dockerd::start() else { return };
    let cluster = cluster(&docker);
    run_script(&cluster, "web", &format!("echo begins; {SERVE}"), "    ports: [{containerPort: 8080}]", "");
    cluster.await_ready("web");
    assert_eq!(cluster.await_answer("web", "/name"), "web\n");
    let status = cluster.field("pod/web", "{.status.containerStatuses[0].containerID}");
    assert!(status.starts_with("docker://"), "{status}");
    eventually("the log is there", || {
        let log = cluster.kubectl(&["logs", "web"]).ok();
        if log == "begins\n" { Ok(()) } else { Err(log) }
    });
    cluster.kubectl(&["delete", "pod", "web", "--timeout=60s"]).ok();
    eventually("no container is left", || {
        let left = containers(&docker);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn a_docker_pod_ends_as_its_program_does() {
    let Some(docker) = Dockerd::start() else { return };
    let cluster = cluster(&docker);
    let once = "  restartPolicy: Never";
    run_script(&cluster, "seven", "echo -n gone > /dev/termination-log; exit 7", "", once);
    run_script(
        &cluster,
        "well",
        "env | grep -q '^HELLO=there$'",
        "    env: [{name: HELLO, value: there}]",
        once,
    );
    let hungry = "    resources: {limits: {memory: 16Mi}}";
    run_script(&cluster, "hungry", "dd if=/dev/zero of=/dev/null bs=64M count=9", hungry, once);
    let who = "    securityContext: {runAsUser: 7, runAsGroup: 8, readOnlyRootFilesystem: true}";
    run_script(&cluster, "who", "(id -u > /tmp/x) 2> /dev/null || { id -u; id -g; exit 3; }", who, once);
    let end = await_ended(&cluster, "seven");
    assert_eq!((end["exitCode"].as_i64(), end["reason"].as_str()), (Some(7), Some("Error")), "{end}");
    assert_eq!(end["message"].as_str(), Some("gone"), "{end}");
    assert_eq!(await_ended(&cluster, "well")["reason"].as_str(), Some("Completed"));
    let end = await_ended(&cluster, "hungry");
    assert_eq!((end["exitCode"].as_i64(), end["reason"].as_str()), (Some(137), Some("OOMKilled")), "{end}");
    assert_eq!(await_ended(&cluster, "who")["exitCode"].as_i64(), Some(3));
    eventually("what was said is written", || {
        let log = cluster.kubectl(&["logs", "who"]).ok();
        if log == "7\n8\n" { Ok(()) } else { Err(log) }
    });
}

#[test]
fn services_answer_by_name_inside_a_docker_pod() {
    let Some(docker) = Dockerd::start() else { return };
    let cluster = cluster(&docker);
    cluster.push_guest("unruly");
    run_script(&cluster, "web", SERVE, "", "");
    cluster.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: wasm, labels: {app: wasm}}
spec: {containers: [{name: c, image: 'registry.local/unruly:v1', ports: [{containerPort: 81}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: wasm}
spec: {selector: {app: wasm}, ports: [{port: 80, targetPort: 81}]}
",
    );
    cluster.await_ready("web");
    cluster.await_ready("wasm");
    cluster.await_answer("wasm", "/");
    let script = "for n in web.default.svc.cluster.local web; do until wget -q -O - http://$n/name; do sleep 1; done; \
                  done; wget -S -O /dev/null http://wasm/ 2>&1 | grep -c HTTP/1.1";
    run_script(&cluster, "asks", script, "", "  restartPolicy: Never");
    let end = await_ended(&cluster, "asks");
    assert_eq!(end["exitCode"].as_i64(), Some(0), "{end}");
    eventually("what was said is written", || {
        let log = cluster.kubectl(&["logs", "asks"]).ok();
        if log == "web\nweb\n1\n" { Ok(()) } else { Err(log) }
    });
}

#[test]
fn containers_of_both_runtimes_share_localhost_and_volumes() {
    let Some(docker) = Dockerd::start() else { return };
    let cluster = cluster(&docker);
    cluster.push_guest("unruly");
    cluster.apply(&format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: both, labels: {{app: both}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: wasm
    image: registry.local/unruly:v1
    ports: [{{containerPort: 81}}]
    volumeMounts: [{{name: shared, mountPath: /data}}]
  - name: docker
    image: {BUSYBOX}
    command: [sh, -c, 'until wget -q -O - http://localhost:81/write?/data/file; do sleep 1; done; cat /shared/file']
    volumeMounts: [{{name: shared, mountPath: /shared}}]
  restartPolicy: Never
  volumes: [{{name: shared, emptyDir: {{}}}}]
"
    ));
    eventually("the Docker container has called the other", || {
        let log = cluster.kubectl(&["logs", "both", "-c", "docker"]);
        if log.stdout.contains("done\nwritten") { Ok(()) } else { Err(log.stdout + &log.stderr) }
    });
}

#[test]
fn docker_containers_are_found_again_after_the_node_was_killed() {
    let Some(docker) = Dockerd::start() else { return };
    let mut cluster = cluster(&docker);
    run_script(&cluster, "stays", SERVE, "    ports: [{containerPort: 8080}]", "");
    let once = "  restartPolicy: Never";
    run_script(&cluster, "ends", "until [ -e /tmp/x ]; do sleep 1; done; exit 5", "", once);
    cluster.await_ready("stays");
    cluster.await_ready("ends");
    let id = |cluster: &Cluster, name: &str| {
        let shown = cluster.field(&format!("pod/{name}"), "{.status.containerStatuses[0].containerID}");
        shown.trim_start_matches("docker://").to_owned()
    };
    let (stays, ends) = (id(&cluster, "stays"), id(&cluster, "ends"));
    let before = containers(&docker);
    cluster.kill();
    docker.docker(&["exec", &ends, "sh", "-c", "echo > /tmp/x"]).ok();
    cluster.kill_and_restart();
    assert_eq!(
        await_ended(&cluster, "ends")["exitCode"].as_i64(),
        Some(5),
        "as it ended while nobody looked"
    );
    cluster.await_ready("stays");
    assert_eq!(cluster.await_answer("stays", "/name"), "stays\n");
    assert_eq!(id(&cluster, "stays"), stays);
    assert_eq!(cluster.field("pod/stays", "{.status.containerStatuses[0].restartCount}"), "0");
    assert_eq!(containers(&docker).len(), before.len());
}

#[test]
fn containers_come_back_after_the_daemon_went_away() {
    let Some(mut docker) = Dockerd::start() else { return };
    let cluster = cluster(&docker);
    run_script(&cluster, "web", SERVE, "    ports: [{containerPort: 8080}]", "");
    cluster.await_ready("web");
    docker.restart();
    cluster.await_field("pod/web", "{.status.containerStatuses[0].restartCount}", "1");
    cluster.await_ready("web");
    assert_eq!(cluster.await_answer("web", "/name"), "web\n");
}

#[test]
fn a_part_of_a_volume_is_refused_in_docker() {
    let Some(docker) = Dockerd::start() else { return };
    let cluster = cluster(&docker);
    let mounts = "    volumeMounts: [{name: v, mountPath: /v, subPath: a}]";
    run_script(&cluster, "part", "true", mounts, "  volumes: [{name: v, emptyDir: {}}]");
    cluster.await_event("part", "/v: subPath is not supported in Docker containers: mount the whole volume");
}
