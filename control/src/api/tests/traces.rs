//! What kubectl really sends for its commands, request by request.

use http::Method;
use serde_json::{Value, json};

use super::harness::{Member, revision};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
const TYPED: &str = "application/vnd.kubernetes.protobuf,application/json";
const STREAMING: &str =
    "allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&watch=true";

fn manifest(image: &str) -> Value {
    let mut body = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "a", "image": image, "ports": [{"containerPort": 80}]}]}
            }
        }
    });
    let applied = body.to_string();
    body["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": applied});
    body
}

async fn patch(member: &Member, path: &str, kind: &str, body: &Value) -> super::harness::Answer {
    let content_type = format!("application/{kind}+json");
    let headers = [("content-type", content_type.as_str()), ("accept", "application/json")];
    member.send(Method::PATCH, path, &headers, body.to_string().as_bytes()).await
}

#[tokio::test]
async fn apply_creates_then_patches() {
    let member = Member::start().await;
    let web = format!("{DEPLOYMENTS}/web");
    assert_eq!(member.get(&web).await.code, 404);
    let query = "fieldManager=kubectl-client-side-apply&fieldValidation=Strict";
    let made = member.created(&format!("{DEPLOYMENTS}?{query}"), &manifest("one")).await;
    assert_eq!(made["spec"]["progressDeadlineSeconds"], 600, "defaults are stored and returned");
    let difference = json!({
        "metadata": {"annotations": manifest("two")["metadata"]["annotations"]},
        "spec": {"template": {"spec": {
            "$setElementOrder/containers": [{"name": "a"}],
            "containers": [{"image": "two", "name": "a"}]
        }}}
    });
    let changed = patch(&member, &format!("{web}?{query}"), "strategic-merge-patch", &difference).await;
    assert_eq!(changed.code, 200, "{}", changed.text());
    let container = &changed.json()["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["image"], &container["ports"][0]["containerPort"]), (&json!("two"), &json!(80)));
}

/// A protobuf field that holds bytes.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 128).expect("a short field");
    [&[tag << 3 | 2, length], content].concat()
}

#[tokio::test]
async fn create_configmap_comes_as_protobuf() {
    let member = Member::start().await;
    let meta = [field(1, b"settings"), field(3, b"default")].concat();
    let entry = [field(1, b"k"), field(2, b"v")].concat();
    let raw = [field(1, &meta), field(2, &entry)].concat();
    let type_meta = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
    let body = [b"k8s\0".to_vec(), field(1, &type_meta), field(2, &raw)].concat();
    let path = "/api/v1/namespaces/default/configmaps?fieldManager=kubectl-create&fieldValidation=Strict";
    let headers = [("content-type", "application/vnd.kubernetes.protobuf"), ("accept", TYPED)];
    let made = member.send(Method::POST, path, &headers, &body).await;
    assert_eq!(made.code, 201, "{}", made.text());
    assert_eq!(made.header("content-type"), "application/json");
    assert_eq!(made.json()["data"], json!({"k": "v"}));
    let torn = member.send(Method::POST, path, &headers, &body[..body.len() - 3]).await;
    assert_eq!(torn.code, 400, "{}", torn.text());
    let options = [field(1, b"v1"), field(2, b"DeleteOptions")].concat();
    let options = [b"k8s\0".to_vec(), field(1, &options), field(2, &field(4, b"Background"))].concat();
    let path = "/api/v1/namespaces/default/configmaps/settings";
    let gone = member.send(Method::DELETE, path, &headers, &options).await;
    assert_eq!(gone.json()["status"], "Success", "{}", gone.text());
}

#[tokio::test]
async fn get_asks_for_tables_page_by_page_and_watches_on() {
    let member = Member::start().await;
    member.created(DEPLOYMENTS, &manifest("one")).await;
    let page = member.get_as(&format!("{DEPLOYMENTS}?limit=500"), TABLE).await.json();
    let names: Vec<_> = page["columnDefinitions"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|own| own["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        ["Name", "Ready", "Up-to-date", "Available", "Age", "Containers", "Images", "Selector"]
    );
    assert_eq!(
        page["rows"][0]["cells"].as_array().expect("cells")[..4],
        [json!("web"), json!("0/1"), json!(0), json!(0)]
    );
    let query = format!("watch=true&resourceVersion={}", revision(&page));
    let mut frames = member.watch_as(&format!("{DEPLOYMENTS}?{query}"), TABLE).await;
    patch(
        &member,
        &format!("{DEPLOYMENTS}/web/status"),
        "merge-patch",
        &json!({"status": {"replicas": 1, "readyReplicas": 1}}),
    )
    .await;
    let frame = frames.next().await.expect("an event");
    assert_eq!(frame["object"]["rows"][0]["cells"][1], "1/1");
}

#[tokio::test]
async fn rollout_status_and_wait_follow_one_object_by_name() {
    let member = Member::start().await;
    member.created(DEPLOYMENTS, &manifest("one")).await;
    let mut other = manifest("one");
    other["metadata"]["name"] = json!("other");
    member.created(DEPLOYMENTS, &other).await;
    let path = format!("{DEPLOYMENTS}?fieldSelector=metadata.name%3Dweb&{STREAMING}");
    let mut frames = member.watch(&path).await;
    assert_eq!(frames.event().await, "ADDED web");
    assert_eq!(frames.event().await, "BOOKMARK ");
    patch(
        &member,
        &format!("{DEPLOYMENTS}/other/status"),
        "merge-patch",
        &json!({"status": {"replicas": 1}}),
    )
    .await;
    patch(&member, &format!("{DEPLOYMENTS}/web/status"), "merge-patch", &json!({"status": {"replicas": 1}}))
        .await;
    assert_eq!(frames.event().await, "MODIFIED web");
}

#[tokio::test]
async fn describe_finds_the_events_of_an_object() {
    let member = Member::start().await;
    for (name, about) in [("e1", "p"), ("e2", "q")] {
        let event = json!({
            "metadata": {"name": name}, "reason": "Started", "type": "Normal", "message": "m",
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": about, "uid": format!("uid-{about}")}
        });
        member.created("/api/v1/namespaces/default/events", &event).await;
    }
    let selector =
        "involvedObject.name%3Dp%2CinvolvedObject.namespace%3Ddefault%2CinvolvedObject.uid%3Duid-p";
    let found = member
        .get_as(&format!("/api/v1/namespaces/default/events?fieldSelector={selector}&limit=500"), TYPED)
        .await;
    let found = found.json();
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(found["items"][0]["metadata"]["name"], "e1");
}

#[tokio::test]
async fn delete_waits_until_the_object_is_gone() {
    let member = Member::start().await;
    let mut body = manifest("one");
    body["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let made = member.created(DEPLOYMENTS, &body).await;
    let web = format!("{DEPLOYMENTS}/web");
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
    assert!(member.delete(&web, Some(options)).await.json()["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(member.get(&web).await.json()["metadata"]["uid"], made["metadata"]["uid"]);
    let mut frames =
        member.watch(&format!("{DEPLOYMENTS}?fieldSelector=metadata.name%3Dweb&{STREAMING}")).await;
    assert_eq!(frames.event().await, "ADDED web");
    assert_eq!(frames.event().await, "BOOKMARK ");
    patch(&member, &web, "merge-patch", &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(frames.event().await, "DELETED web");
}

#[tokio::test]
async fn undo_replaces_the_template_and_restart_annotates_it() {
    let member = Member::start().await;
    let made = member.created(DEPLOYMENTS, &manifest("one")).await;
    let web = format!("{DEPLOYMENTS}/web");
    let now = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}});
    let restarted =
        patch(&member, &format!("{web}?fieldManager=kubectl-rollout"), "strategic-merge-patch", &now).await;
    assert_eq!(restarted.json()["metadata"]["generation"], 2);
    let undo = json!([
        {"op": "replace", "path": "/spec/template", "value": made["spec"]["template"]},
        {"op": "replace", "path": "/metadata/annotations", "value": {"a": "b"}}
    ]);
    let undone = patch(&member, &web, "json-patch", &undo).await.json();
    assert_eq!(undone["spec"]["template"], made["spec"]["template"]);
    assert_eq!(undone["metadata"]["annotations"], json!({"a": "b"}));
}

#[tokio::test]
async fn labels_select_in_lists_and_watches() {
    let member = Member::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    member.config_map("a", json!({"tier": "web"})).await;
    member.config_map("b", json!({"tier": "db"})).await;
    member.config_map("c", json!({})).await;
    for (selector, expected) in [
        ("tier%3Dweb", vec!["a"]),
        ("tier%21%3Dweb", vec!["b", "c"]),
        ("tier+in+%28web%2Cdb%29", vec!["a", "b"]),
        ("%21tier", vec!["c"]),
        ("tier", vec!["a", "b"]),
    ] {
        let list = member.get(&format!("{maps}?labelSelector={selector}&limit=500")).await.json();
        let names: Vec<_> = list["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| item["metadata"]["name"].as_str().expect("a name"))
            .collect();
        assert_eq!(names, expected, "{selector}");
        assert!(list["metadata"]["remainingItemCount"].is_null());
    }
    let first = member.get(&format!("{maps}?labelSelector=tier&limit=1")).await.json();
    assert!(first["metadata"]["continue"].is_string() && first["metadata"]["remainingItemCount"].is_null());
    assert_eq!(member.get(&format!("{maps}?labelSelector=a%3D%3D%3Db")).await.code, 400);
    let mut frames = member.watch(&format!("{maps}?watch=1&labelSelector=tier%3Dweb")).await;
    assert_eq!(frames.event().await, "ADDED a");
    patch(&member, &format!("{maps}/c"), "merge-patch", &json!({"metadata": {"labels": {"tier": "web"}}}))
        .await;
    assert_eq!(frames.event().await, "ADDED c");
    let left =
        patch(&member, &format!("{maps}/a"), "merge-patch", &json!({"metadata": {"labels": {"tier": "db"}}}))
            .await
            .json();
    let frame = frames.next().await.expect("an event");
    assert_eq!(
        (frame["type"].as_str(), &frame["object"]["metadata"]["labels"]),
        (Some("DELETED"), &json!({"tier": "web"}))
    );
    assert_eq!(
        revision(&frame["object"]),
        revision(&left),
        "the last state that matched, at the new version"
    );
    let gone = member.delete(&format!("{maps}?labelSelector=tier%3Ddb"), None).await.json();
    assert_eq!(gone["items"].as_array().map(Vec::len), Some(2));
}
