//! Bad input, by the real kubectl: each gets an error that names the thing, the place and the way out.

use std::path::PathBuf;

use isopod_tests::{Cluster, Options, eventually};

use super::kubectl::{HELLO, push_hello};

/// Guests written to misbehave, built from `tests/guests`.
fn guest(name: &str) -> String {
    let built =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("guests").join(name).join(format!("{name}.wasm"));
    built.display().to_string()
}

#[track_caller]
fn apply_fails(cluster: &Cluster, manifest: &str, parts: &[&str]) {
    let error = cluster.kubectl_with(&["apply", "-f", "-"], manifest).err();
    for part in parts {
        assert!(error.contains(part), "{part:?} is missing in:\n{error}");
    }
}

#[test]
fn manifests_that_are_wrong_say_where() {
    let cluster = Cluster::start();
    for (manifest, parts) in [
        ("just a string", &["error"][..]),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicaz: 3, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x, imagee: y}]}}}",
            &[
                "strict decoding error",
                "unknown field \"spec.replicaz\"",
                "unknown field \"spec.template.spec.containers[0].imagee\"",
            ],
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: three, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}}",
            &["replicas"],
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{image: x}]}",
            &["Pod \"a\" is invalid", "spec.containers[0].name: Required value"],
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Not_Valid}",
            &["Invalid value: \"Not_Valid\"", "RFC 1123"],
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: absent}",
            &["namespaces \"absent\" not found"],
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {selector: {matchLabels: {a: other}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}}",
            &["`selector` does not match template `labels`"],
        ),
    ] {
        apply_fails(&cluster, manifest, parts);
    }
}

#[test]
fn a_name_that_is_taken_and_a_stale_version_are_conflicts() {
    let cluster = Cluster::start();
    cluster.kubectl(&["create", "configmap", "a"]).ok();
    let taken = cluster.kubectl(&["create", "configmap", "a"]).err();
    assert!(taken.contains("configmaps \"a\" already exists"), "{taken}");

    let old = cluster.kubectl(&["get", "configmap", "a", "-o", "json"]).ok();
    cluster.kubectl(&["label", "configmap", "a", "x=y"]).ok();
    let stale = cluster.kubectl_with(&["replace", "-f", "-"], &old).err();
    assert!(
        stale.contains(
            "the object has been modified; please apply your changes to the latest version and try again"
        ),
        "{stale}"
    );
}

#[track_caller]
fn pod(cluster: &Cluster, name: &str, image: &str, extra: &str) {
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  containers:\n  - name: c\n    image: {image}\n    imagePullPolicy: IfNotPresent\n{extra}"
    );
    cluster.kubectl_with(&["apply", "-f", "-"], &manifest).ok();
}

/// Waits until the container's waiting or terminated state has `reason`; returns the state.
#[track_caller]
fn await_reason(cluster: &Cluster, name: &str, reason: &str) -> String {
    eventually(&format!("pod {name} says {reason}"), || {
        let state =
            cluster.kubectl(&["get", "pod", name, "-o", "jsonpath={.status.containerStatuses[0]}"]).stdout;
        if state.contains(&format!("\"{reason}\"")) { Ok(state) } else { Err(state) }
    })
}

#[track_caller]
fn await_event(cluster: &Cluster, name: &str, part: &str) {
    eventually(&format!("an event of {name} says {part:?}"), || {
        let field = format!("involvedObject.name={name}");
        let events = cluster
            .kubectl(&[
                "get",
                "events",
                "--field-selector",
                &field,
                "-o",
                "jsonpath={range .items[*]}{.reason}: {.message}\n{end}",
            ])
            .ok();
        if events.contains(part) { Ok(()) } else { Err(events) }
    });
}

#[test]
fn an_image_that_does_not_exist_is_said_and_tried_again() {
    let cluster = Cluster::start();
    pod(&cluster, "absent", "registry.local/absent:v1", "");
    await_event(&cluster, "absent", "Failed to pull image \"registry.local/absent:v1\"");
    await_reason(&cluster, "absent", "ImagePullBackOff");
    let why = cluster.isopod(&["why", "pod/absent"]).ok();
    assert!(why.contains("ImagePullBackOff") && why.contains("isopod push"), "{why}");
}

#[test]
fn a_component_of_another_world_is_refused_with_the_imports_it_lacks() {
    let cluster = Cluster::start();
    cluster.isopod(&["push", &guest("stranger"), "registry.local/stranger:v1"]).ok();
    pod(&cluster, "other", "registry.local/stranger:v1", "");
    await_event(&cluster, "other", "import");
    let why = cluster.isopod(&["why", "pod/other"]).ok();
    assert!(why.contains("import"), "{why}");
}

#[test]
fn a_corrupt_file_is_refused_when_it_is_pushed() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = folder.path().join("text.wasm");
    std::fs::write(&text, "not wasm").expect("written");
    let error = cluster.isopod(&["push", &text.display().to_string(), "registry.local/bad:v1"]).err();
    assert!(error.contains("not a WebAssembly binary"), "{error}");

    let mut broken = std::fs::read(format!("{HELLO}/hello.wasm")).expect("the sample is built");
    broken.truncate(broken.len() / 2);
    let cut = folder.path().join("cut.wasm");
    std::fs::write(&cut, broken).expect("written");
    let error = cluster.isopod(&["push", &cut.display().to_string(), "registry.local/cut:v1"]).err();
    assert!(error.contains("cannot push"), "{error}");
}

#[test]
fn an_artifact_that_was_damaged_in_the_registry_is_not_run() {
    let cluster = Cluster::start();
    push_hello(&cluster, "v1");
    // The component is the largest blob; its file is named by the digest that it no longer has.
    let blob = super::recovery::largest(&cluster.data_dir().join("registry/blobs"));
    let mut bytes = std::fs::read(&blob).expect("the blob can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&blob, bytes).expect("the blob can be written");
    pod(&cluster, "damaged", "registry.local/hello:v1", "");
    await_event(&cluster, "damaged", "digest");
}

#[test]
fn a_trap_fails_its_request_alone_and_is_reported_with_its_backtrace() {
    let cluster = Cluster::start();
    cluster.isopod(&["push", &guest("unruly"), "registry.local/unruly:v1"]).ok();
    pod(&cluster, "trap", "registry.local/unruly:v1", "    ports: [{containerPort: 80}]\n");
    cluster.kubectl(&["expose", "pod", "trap", "--port=80"]).ok();
    cluster.kubectl(&["wait", "pod/trap", "--for=condition=Ready", "--timeout=60s"]).ok();
    let (status, _) = cluster.curl("trap", "default", "/trap");
    assert_eq!(status, 500);
    let (status, body) = cluster.curl("trap", "default", "/");
    assert_eq!(status, 200, "{body}");
    await_event(&cluster, "trap", "unreachable");
    await_event(&cluster, "trap", "unruly.wasm!");
    let restarts = cluster
        .kubectl(&["get", "pod", "trap", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"])
        .ok();
    assert_eq!(restarts, "0");
}

#[test]
fn memory_beyond_the_limit_ends_a_command_as_oomkilled() {
    let cluster = Cluster::start();
    cluster.isopod(&["push", &guest("tool"), "registry.local/tool:v1"]).ok();
    pod(
        &cluster,
        "hog",
        "registry.local/tool:v1",
        "    args: [hog]\n    resources: {limits: {memory: 16Mi}}\n  restartPolicy: Never\n",
    );
    let state = await_reason(&cluster, "hog", "OOMKilled");
    assert!(state.contains("137"), "{state}");
}

#[test]
fn an_endless_loop_does_not_stop_its_neighbours() {
    let cluster = Cluster::start();
    push_hello(&cluster, "v1");
    cluster.isopod(&["push", &guest("tool"), "registry.local/tool:v1"]).ok();
    pod(
        &cluster,
        "spin",
        "registry.local/tool:v1",
        "    args: [spin]\n  restartPolicy: Never\n  terminationGracePeriodSeconds: 1\n",
    );
    cluster.kubectl(&["wait", "pod/spin", "--for=jsonpath={.status.phase}=Running", "--timeout=60s"]).ok();
    cluster.kubectl(&["apply", "-f", &format!("{HELLO}/hello.yaml")]).ok();
    cluster.kubectl(&["rollout", "status", "-n", "hello", "deployment/hello", "--timeout=60s"]).ok();
    for _ in 0..20 {
        assert_eq!(cluster.curl("hello", "hello", "/").0, 200);
    }
    cluster.kubectl(&["delete", "pod", "spin", "--timeout=60s"]).ok();
}

#[test]
fn an_exit_code_is_reported_and_a_crash_loop_backs_off() {
    let cluster = Cluster::start();
    cluster.isopod(&["push", &guest("tool"), "registry.local/tool:v1"]).ok();
    pod(&cluster, "fails", "registry.local/tool:v1", "    args: [exit, \"3\"]\n");
    let state = await_reason(&cluster, "fails", "CrashLoopBackOff");
    assert!(state.contains("\"exitCode\":3"), "{state}");
    assert!(state.contains("back-off 10s restarting failed container=c pod=fails_default"), "{state}");
    pod(&cluster, "succeeds", "registry.local/tool:v1", "    args: [exit, \"0\"]\n  restartPolicy: Never\n");
    await_reason(&cluster, "succeeds", "Completed");
    let phase = cluster.kubectl(&["get", "pod", "succeeds", "-o", "jsonpath={.status.phase}"]).ok();
    assert_eq!(phase, "Succeeded");
}

#[test]
fn a_missing_config_map_key_is_named() {
    let cluster = Cluster::start();
    push_hello(&cluster, "v1");
    let env = "    env:\n    - name: A\n      valueFrom: {configMapKeyRef: {name: absent, key: k}}\n";
    pod(&cluster, "config", "registry.local/hello:v1", env);
    let state = await_reason(&cluster, "config", "CreateContainerConfigError");
    assert!(state.contains("configmap \\\"absent\\\" not found"), "{state}");
}

#[test]
fn a_port_below_1024_without_the_right_to_it_still_works_through_the_ingress() {
    let limit = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").expect("Linux says");
    if limit.trim().parse::<u16>().is_ok_and(|limit| limit <= 80) {
        return eprintln!("on this machine everybody may open port 80: nothing to refuse");
    }
    let cluster = Cluster::with(Options { unprivileged: true, ..Options::default() });
    super::kubectl::deploy_hello(&cluster);
    eventually("hello answers through the ingress", || match cluster.curl("hello", "hello", "/") {
        (200, _) => Ok(()),
        (status, body) => Err(format!("{status} {body}")),
    });
    eventually("a warning on the Service says how to open the port", || {
        let field = "involvedObject.kind=Service,involvedObject.name=hello,type=Warning";
        let message = cluster
            .kubectl(&[
                "get",
                "events",
                "-n",
                "hello",
                "--field-selector",
                field,
                "-o",
                "jsonpath={.items[*].message}",
            ])
            .ok();
        if message.contains("ip_unprivileged_port_start") { Ok(()) } else { Err(message) }
    });
}

#[test]
fn bodies_too_large_or_too_deep_are_refused() {
    let cluster = Cluster::start();
    let large = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"large"}},"data":{{"a":"{}"}}}}"#,
        "x".repeat(4 << 20)
    );
    let error = cluster.kubectl_with(&["create", "-f", "-"], &large).err();
    assert!(error.contains("too large") || error.contains("limit"), "{error}");

    let deep = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"deep"}},"data":{}1{}}}"#,
        "{\"a\":".repeat(10_000),
        "}".repeat(10_000)
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("deep.json");
    std::fs::write(&file, deep).expect("written");
    let error = cluster
        .kubectl(&[
            "create",
            "--raw",
            "/api/v1/namespaces/default/configmaps",
            "-f",
            &file.display().to_string(),
        ])
        .err();
    assert!(error.contains("depth") || error.contains("deep"), "{error}");
    cluster.kubectl(&["get", "namespaces"]).ok();
}
