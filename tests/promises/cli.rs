//! Our own command line: enough that kubectl is a choice.

use std::process::Command;

use isopod_tests::Cluster;
use isopod_tests::command::{isopod, run};

use super::kubectl::{HELLO, deploy_hello, push_hello};

#[test]
fn isopod_applies_shows_reads_and_deletes() {
    let cluster = Cluster::start();
    push_hello(&cluster, "v1");
    let manifest = format!("{HELLO}/hello.yaml");
    let applied = cluster.isopod(&["apply", "-f", &manifest]).ok();
    assert_eq!(applied, "namespace/hello created\ndeployment/hello created\nservice/hello created\n");
    let again = cluster.isopod(&["apply", "-f", &manifest]).ok();
    assert_eq!(again, "namespace/hello unchanged\ndeployment/hello unchanged\nservice/hello unchanged\n");
    cluster.kubectl(&["rollout", "status", "-n", "hello", "deployment/hello", "--timeout=60s"]).ok();

    let pods = cluster.isopod(&["get", "pods", "-n", "hello"]).ok();
    assert_eq!(pods.matches("1/1").count(), 3, "{pods}");
    let all = cluster.isopod(&["get", "deploy", "-A"]).ok();
    assert!(all.starts_with("NAMESPACE"), "{all}");
    let json = cluster.isopod(&["get", "service/hello", "-n", "hello", "-o", "json"]).ok();
    let service: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(service["kind"], "Service");

    cluster.isopod(&["logs", "deployment/hello", "-n", "hello"]).ok();
    let why = cluster.isopod(&["why", "deployment/hello", "-n", "hello"]).ok();
    assert!(why.starts_with("deployment/hello wants 3 pods and has 3 ready."), "{why}");
    let deleted = cluster.isopod(&["delete", "deployment/hello", "-n", "hello"]).ok();
    assert_eq!(deleted, "deployment \"hello\" deleted\n");
    let error = cluster.isopod(&["get", "deployment", "hello", "-n", "hello"]).err();
    assert!(error.contains("deployments.apps \"hello\" not found"), "{error}");
}

#[test]
fn isopod_runs_an_artifact_with_a_service_in_front() {
    let cluster = Cluster::start();
    push_hello(&cluster, "v1");
    let printed = cluster.isopod(&["run", "registry.local/hello:v1", "--port", "80", "--name", "web"]).ok();
    assert!(printed.contains("deployment/web is ready"), "{printed}");
    let answer = isopod_tests::eventually("web answers", || match cluster.curl("web", "default", "/") {
        (200, body) => Ok(body),
        (status, body) => Err(format!("{status} {body}")),
    });
    assert!(!answer.is_empty());
}

#[test]
fn isopod_says_what_is_wrong_with_what_was_typed() {
    let cluster = Cluster::start();
    let error = cluster.isopod(&["get", "podz"]).err();
    assert!(error.contains("no kind is called \"podz\""), "{error}");
    let error = cluster.isopod(&["push", "/absent.wasm", "registry.local/a:v1"]).err();
    assert!(error.contains("cannot read /absent.wasm"), "{error}");
    let error = cluster.isopod(&["push", "/absent.wasm", "docker.io/a"]).err();
    assert!(error.contains("registry.local/<name>:<tag>"), "{error}");
    deploy_hello(&cluster);
}

#[test]
fn isopod_why_follows_a_deployment_down_to_what_is_wrong() {
    let cluster = Cluster::start();
    cluster
        .kubectl(&["create", "deployment", "web", "--image=registry.local/absent:v1", "--replicas=2"])
        .ok();
    isopod_tests::eventually("why names the image that is missing", || {
        let why = cluster.isopod(&["why", "deployment/web"]).ok();
        let parts =
            ["deployment/web wants 2 pods and has 0 ready", "registry.local/absent:v1", "isopod push"];
        if parts.iter().all(|part| why.contains(part)) { Ok(()) } else { Err(why) }
    });
}

#[test]
fn isopod_prints_versions_and_completions() {
    let version = run(Command::new(isopod()).args(["version", "-o", "json"]), "").ok();
    let version: serde_json::Value = serde_json::from_str(&version).expect("JSON");
    assert_eq!(version["kubernetes"], "v1.36.0");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(Command::new(isopod()).args(["completion", shell]), "").ok();
        assert!(script.contains("isopod"), "{shell}");
    }
}
