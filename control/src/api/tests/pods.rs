//! What is special about pods: admission, binding, graceful deletion, logs.

use http::Method;
use serde_json::{Value, json};

use super::harness::Member;

const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "i"}]}})
}

async fn bind(member: &Member, name: &str, node: &str) -> super::harness::Answer {
    let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": node}});
    member.post(&format!("{PODS}/{name}/binding"), &binding).await
}

#[tokio::test]
async fn a_pod_is_completed_and_its_account_must_exist() {
    let member = Member::start().await;
    let made = member.created(PODS, &pod("p")).await;
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(made["spec"]["priority"], 0);
    assert_eq!(made["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
    assert_eq!(made["status"]["phase"], "Pending");
    let mut named = pod("q");
    named["spec"]["serviceAccountName"] = json!("robot");
    assert_eq!(
        member.post(PODS, &named).await.status(),
        "403 Forbidden: pods \"q\" is forbidden: error looking up service account default/robot: serviceaccount \"robot\" not found"
    );
    member
        .created("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "robot"}}))
        .await;
    assert_eq!(member.post(PODS, &named).await.code, 201);
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let member = Member::start().await;
    member.created(PODS, &pod("p")).await;
    let bound = bind(&member, "p", "n1").await;
    assert_eq!((bound.code, bound.json()["status"].clone()), (201, json!("Success")));
    let now = member.get(&format!("{PODS}/p")).await.json();
    assert_eq!(now["spec"]["nodeName"], "n1");
    assert_eq!(now["status"]["conditions"][0]["type"], "PodScheduled");
    assert_eq!(now["metadata"]["generation"], 1);
    assert_eq!(
        bind(&member, "p", "n2").await.status(),
        "409 Conflict: Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\""
    );
    assert_eq!(bind(&member, "none", "n1").await.code, 404);
}

#[tokio::test]
async fn a_running_pod_gets_time_to_end() {
    let member = Member::start().await;
    let path = format!("{PODS}/p");
    member.created(PODS, &pod("p")).await;
    bind(&member, "p", "n1").await;
    let marked = member.delete(&path, None).await.json();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(marked["metadata"]["generation"], 2);
    let longer = member.delete(&path, Some(json!({"gracePeriodSeconds": 60}))).await.json();
    assert_eq!(longer, marked, "it is never given more time");
    let shorter = member.delete(&path, Some(json!({"gracePeriodSeconds": 5}))).await.json();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    let uid = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": marked["metadata"]["uid"]}});
    let gone = member.delete(&path, Some(uid)).await;
    assert_eq!((gone.code, gone.json()["kind"].clone()), (200, json!("Pod")));
    assert_eq!(member.get(&path).await.code, 404);
    member.created(PODS, &pod("unbound")).await;
    member.delete(&format!("{PODS}/unbound"), None).await;
    assert_eq!(member.get(&format!("{PODS}/unbound")).await.code, 404, "nothing runs, so nothing has to end");
}

#[tokio::test]
async fn logs_come_from_the_pods_node() {
    let member = Member::start().await;
    member.created("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await;
    member.created(PODS, &pod("p")).await;
    let silent = member.get(&format!("{PODS}/p/log")).await;
    assert_eq!((silent.code, silent.text().as_str()), (200, ""));
    bind(&member, "p", "n1").await;
    assert_eq!(
        member.get(&format!("{PODS}/p/log")).await.status(),
        "400 BadRequest: container \"a\" in pod \"p\" is waiting to start: ContainerCreating"
    );
    let running = json!([{"op": "add", "path": "/status/containerStatuses", "value": [
        {"name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}}
    ]}]);
    let patch = [("content-type", "application/json-patch+json")];
    let path = format!("{PODS}/p/status");
    let patched = member.send(Method::PATCH, &path, &patch, running.to_string().as_bytes()).await;
    assert_eq!(patched.code, 200, "{}", patched.text());
    let log = member.get(&format!("{PODS}/p/log?follow=true&container=a&tailLines=2")).await;
    assert_eq!(log.text(), "n1 /containerLogs/default/p/a?follow=true&tailLines=2\n");
    assert_eq!(log.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(member.get(&format!("{PODS}/p/log?previous=true")).await.code, 400);
    let exec = member.post(&format!("{PODS}/p/exec"), &json!({})).await;
    assert_eq!(exec.code, 501);
    assert!(exec.text().contains("does not support running commands in containers yet"));
}

#[tokio::test]
async fn watchers_of_a_node_see_pods_come_and_go() {
    let member = Member::start().await;
    member.created(PODS, &pod("p")).await;
    let mut frames = member.watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1").await;
    let mut unbound = member.watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3D").await;
    assert_eq!(unbound.event().await, "ADDED p");
    bind(&member, "p", "n1").await;
    assert_eq!(frames.event().await, "ADDED p");
    let left = unbound.next().await.expect("an event");
    assert_eq!(
        (left["type"].clone(), left["object"]["spec"]["nodeName"].clone()),
        (json!("DELETED"), Value::Null)
    );
    let unknown = member.get("/api/v1/pods?fieldSelector=spec.foo%3Dx").await;
    assert_eq!(unknown.status(), "400 BadRequest: field label not supported: spec.foo");
}
