//! Server-side apply and managed fields over HTTP: what is refused, what is written, and what is not.

use http::Method;
use serde_json::{Value, json};

use super::harness::{Answer, Member};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const APPLY: [(&str, &str); 1] = [("content-type", "application/apply-patch+yaml")];

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

async fn apply(member: &Member, query: &str, config: &Value) -> Answer {
    apply_text(member, &format!("{MAPS}/a?{query}"), &config.to_string()).await
}

async fn apply_text(member: &Member, path: &str, config: &str) -> Answer {
    member.send(Method::PATCH, path, &APPLY, config.as_bytes()).await
}

async fn merge(member: &Member, path: &str, patch: &Value) -> Answer {
    let headers = [("content-type", "application/merge-patch+json"), ("user-agent", "editor/1.0 (linux)")];
    member.send(Method::PATCH, path, &headers, patch.to_string().as_bytes()).await
}

/// `manager operation` of every entry, in their order.
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let word = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    entries.iter().map(|entry| format!("{} {}", word(entry, "manager"), word(entry, "operation"))).collect()
}

#[tokio::test]
async fn an_object_is_made_changed_and_left_alone() {
    let member = Member::start().await;
    let dry = apply(&member, "fieldManager=one&dryRun=All", &map(json!({"k": "1"}))).await;
    assert_eq!(dry.code, 201, "{}", dry.text());
    assert_eq!(dry.json()["metadata"]["resourceVersion"], Value::Null);
    let made = apply(&member, "fieldManager=one", &map(json!({"k": "1"}))).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let made = made.json();
    assert_eq!(owners(&made), ["one Apply"]);
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!(entry["fieldsV1"], json!({"f:data": {"f:k": {}}}));
    assert_eq!((&entry["apiVersion"], &entry["fieldsType"]), (&json!("v1"), &json!("FieldsV1")));
    let again = apply(&member, "fieldManager=one", &map(json!({"k": "1"}))).await;
    assert_eq!((again.code, again.json()), (200, made.clone()), "the same again writes nothing");
    let void = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "annotations": null}, "data": {"k": "1"}});
    let nothing = apply(&member, "fieldManager=one", &void).await.json();
    assert_eq!(
        apply(&member, "fieldManager=one", &void).await.json(),
        nothing,
        "nor does a field that is null"
    );
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: '2'\n";
    let changed = apply_text(&member, &format!("{MAPS}/a?fieldManager=one"), yaml).await;
    assert_eq!(changed.code, 200, "{}", changed.text());
    let changed = changed.json();
    assert_eq!(changed["data"], json!({"k": "2"}));
    assert_ne!(changed["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let dry = apply(&member, "fieldManager=one&dryRun=All", &map(json!({"k": "9"}))).await.json();
    assert_eq!(dry["data"]["k"], "9");
    assert_eq!(member.get(&format!("{MAPS}/a")).await.json(), changed);
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused_with_the_reason() {
    let member = Member::start().await;
    for (query, config, status) in [
        (
            "",
            map(json!({})),
            "422 Invalid: PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
        (
            "fieldManager=m",
            json!({"metadata": {"name": "a"}}),
            "400 BadRequest: invalid object type: , Kind= (the path takes v1, Kind=ConfigMap)",
        ),
        (
            "fieldManager=m",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}),
            "400 BadRequest: the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            "fieldManager=m",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "other"}}),
            "400 BadRequest: the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            "fieldManager=m",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "managedFields": []}}),
            "400 BadRequest: metadata.managedFields must be nil",
        ),
        (
            "fieldManager=m",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "dota": {}}),
            "400 BadRequest: failed to create typed patch object (default/a; /v1, Kind=ConfigMap): .dota: field not declared in schema",
        ),
        (
            "fieldManager=m",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "7"}}),
            "409 Conflict: Operation cannot be fulfilled on configmaps \"a\": uid mismatch: the provided object specified uid 7, and no existing object was found",
        ),
        (
            "fieldManager=m",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "7"}}),
            "409 Conflict: Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
        ),
    ] {
        assert_eq!(apply(&member, query, &config).await.status(), status);
    }
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: a, k: b}\n";
    let strict = apply_text(&member, &format!("{MAPS}/a?fieldManager=m&fieldValidation=Strict"), twice).await;
    assert_eq!(strict.status(), "400 BadRequest: error strict decoding YAML: duplicate field \"data.k\"");
    let none = apply_text(&member, &format!("{MAPS}/a?fieldManager=m"), "[1").await;
    assert!(none.status().starts_with("400 BadRequest: error decoding YAML: "), "{}", none.status());
    let long = apply(&member, &format!("fieldManager={}", "m".repeat(129)), &map(json!({}))).await;
    assert_eq!(long.code, 422, "{}", long.text());
    member.created(MAPS, &map(json!({"k": "1"}))).await;
    let forced = merge(&member, &format!("{MAPS}/a?force=true"), &json!({})).await;
    assert!(
        forced.status().ends_with("force: Forbidden: may not be specified for non-apply patch"),
        "{}",
        forced.text()
    );
    let stale =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "1"}});
    assert_eq!(apply(&member, "fieldManager=m", &stale).await.code, 409);
    let missing = format!("{DEPLOYMENTS}/none/status?fieldManager=m");
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "none"}});
    assert_eq!(apply_text(&member, &missing, &status.to_string()).await.code, 404);
}

#[tokio::test]
async fn conflicts_name_the_manager_and_the_field() {
    let member = Member::start().await;
    apply(&member, "fieldManager=one", &map(json!({"k": "1"}))).await;
    let edited = merge(&member, &format!("{MAPS}/a"), &json!({"data": {"k": "2"}})).await.json();
    assert_eq!(owners(&edited), ["editor Update"]);
    let refused = apply(&member, "fieldManager=one", &map(json!({"k": "1"}))).await;
    assert_eq!(
        refused.status(),
        "409 Conflict: Apply failed with 1 conflict: conflict with \"editor\" using v1: .data.k"
    );
    assert_eq!(
        refused.json()["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"editor\" using v1", "field": ".data.k"}])
    );
    let forced = apply(&member, "fieldManager=one&force=true", &map(json!({"k": "1"}))).await;
    assert_eq!((forced.code, owners(&forced.json())), (200, vec!["one Apply".to_owned()]));
}

#[tokio::test]
async fn accounts_survive_updates_and_are_ended_by_an_empty_list() {
    let member = Member::start().await;
    let made = member.created(&format!("{MAPS}?fieldManager=maker"), &map(json!({"k": "1"}))).await;
    assert_eq!(owners(&made), ["maker Update"]);
    let path = format!("{MAPS}/a?fieldManager=other");
    let mut own = made.clone();
    own["metadata"]["managedFields"] = Value::Null;
    let same = member.send(Method::PUT, &path, &[], own.to_string().as_bytes()).await.json();
    assert_eq!(same, made, "who does not know of managed fields does not delete them");
    own["data"]["k"] = json!("2");
    let changed = member.send(Method::PUT, &path, &[], own.to_string().as_bytes()).await.json();
    assert_eq!(owners(&changed), ["maker Update", "other Update"]);
    let mut renamed = changed.clone();
    renamed["metadata"]["managedFields"][1]["operation"] = json!("Apply");
    let moved = json!([{"op": "replace", "path": "/metadata/managedFields", "value": renamed["metadata"]["managedFields"]}]);
    let headers = [("content-type", "application/json-patch+json")];
    let moved = member.send(Method::PATCH, &path, &headers, moved.to_string().as_bytes()).await.json();
    assert_eq!(owners(&moved), ["other Apply", "maker Update"]);
    let reset =
        merge(&member, &format!("{MAPS}/a"), &json!({"metadata": {"managedFields": [{}]}})).await.json();
    assert_eq!(reset["metadata"]["managedFields"], Value::Null);
    let after = merge(&member, &format!("{MAPS}/a"), &json!({"data": {"k": "3"}})).await.json();
    assert_eq!(after["metadata"]["managedFields"], Value::Null, "none is begun by a change");
    let applied = apply(&member, "fieldManager=late", &map(json!({"k": "3"}))).await.json();
    assert_eq!(owners(&applied), ["late Apply", "before-first-apply Update"]);
}

#[tokio::test]
async fn status_and_scale_are_applied_through_their_own_paths() {
    let member = Member::start().await;
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "i"}]}},
        },
    });
    let path = format!("{DEPLOYMENTS}/web");
    let made = apply_text(&member, &format!("{path}?fieldManager=helm"), &web.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 4}});
    let scaled = apply_text(&member, &format!("{path}/scale?fieldManager=hpa"), &scale.to_string()).await;
    assert_eq!(
        scaled.status(),
        "409 Conflict: Apply failed with 1 conflict: conflict with \"helm\": .spec.replicas"
    );
    let scaled =
        apply_text(&member, &format!("{path}/scale?fieldManager=hpa&force=1"), &scale.to_string()).await;
    assert_eq!(scaled.json()["spec"]["replicas"], 4, "{}", scaled.text());
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "status": {"conditions": [{"type": "Odd", "status": "True", "lastUpdateTime": null}]}});
    let told = apply_text(&member, &format!("{path}/status?fieldManager=teller"), &status.to_string()).await;
    assert_eq!(told.code, 200, "{}", told.text());
    let told = told.json();
    assert_eq!(told["spec"]["replicas"], 4);
    assert_eq!(told["status"]["conditions"][0]["type"], "Odd");
    assert_eq!(owners(&told), ["helm Apply", "hpa Apply", "teller Apply"]);
    let back = apply_text(&member, &format!("{path}?fieldManager=helm"), &web.to_string()).await;
    assert!(
        back.status().ends_with("conflict with \"hpa\" with subresource \"scale\": .spec.replicas"),
        "{}",
        back.text()
    );
    let below = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": -1}});
    assert_eq!(
        apply_text(&member, &format!("{path}/scale?fieldManager=hpa"), &below.to_string()).await.code,
        422
    );
}
