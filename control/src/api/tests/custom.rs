//! Custom kinds behind the API: served as soon as they are declared, and under the rules of their definition.

use http::Method;
use serde_json::{Value, json};

use super::harness::{Member, revision};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

fn definition() -> Value {
    json!({"metadata": {"name": "widgets.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
        "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "description": "A thing.", "properties": {
                "spec": {"type": "object", "properties": {
                    "size": {"type": "integer", "maximum": 9, "description": "How large."}}},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}})
}

fn widget(name: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": 1}})
}

/// Declares the kind; its status is what the controller would write.
async fn declare(member: &Member) {
    let mut created = member.created(DEFINITIONS, &definition()).await;
    let answer = member.get(WIDGETS).await;
    assert_eq!(answer.code, 404, "not before its names are accepted");
    created["status"]["conditions"] = json!([
        {"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": "True"}]);
    created["status"]["acceptedNames"] = created["spec"]["names"].clone();
    let answer = member.put(&format!("{DEFINITIONS}/widgets.example.com/status"), &created).await;
    assert_eq!(answer.code, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_kind_is_in_discovery_and_served_at_once() {
    let member = Member::start().await;
    declare(&member).await;
    let list = member.get("/apis/example.com/v1").await.json();
    let names: Vec<&str> = list["resources"]
        .as_array()
        .expect("resources")
        .iter()
        .filter_map(|own| own["name"].as_str())
        .collect();
    assert_eq!(names, ["widgets", "widgets/status"]);
    assert_eq!(list["resources"][0]["shortNames"], json!(["wd"]));
    let group = member.get("/apis/example.com").await.json();
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let document = member.get("/openapi/v3/apis/example.com/v1").await.json();
    let schema = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(schema["properties"]["spec"]["properties"]["size"]["description"], "How large.");
    let patch = &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    assert!(patch["requestBody"]["content"]["application/merge-patch+json"].is_object(), "{patch}");
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_null(), "{patch}");

    let mut watch = member.watch(&format!("{WIDGETS}?watch=1")).await;
    let created = member.created(WIDGETS, &widget("a")).await;
    assert_eq!((&created["kind"], &created["apiVersion"]), (&json!("Widget"), &json!("example.com/v1")));
    assert_eq!(watch.event().await, "ADDED a");
    let list = member.get(WIDGETS).await.json();
    assert_eq!((&list["kind"], &list["items"][0]["kind"]), (&json!("WidgetList"), &json!("Widget")));
    let table = member.get_as(WIDGETS, "application/json;as=Table;v=v1;g=meta.k8s.io").await.json();
    assert_eq!(table["columnDefinitions"][1]["name"], "Age");
    assert_eq!(table["rows"][0]["cells"][0], "a");
}

#[tokio::test]
async fn writes_follow_the_schema() {
    let member = Member::start().await;
    declare(&member).await;
    let mut created = member.created(WIDGETS, &widget("a")).await;
    let mut large = widget("b");
    large["spec"]["size"] = json!(10);
    let answer = member.post(WIDGETS, &large).await;
    assert_eq!(answer.code, 422);
    assert!(
        answer.status().contains("spec.size in body should be less than or equal to 9"),
        "{}",
        answer.text()
    );
    let mut strange = widget("b");
    strange["spec"]["strange"] = json!(1);
    let answer = member.post(&format!("{WIDGETS}?fieldValidation=Strict"), &strange).await;
    assert_eq!(answer.code, 400, "{}", answer.text());
    assert!(answer.text().contains(r#"unknown field \"spec.strange\""#), "{}", answer.text());
    let answer = member.post(WIDGETS, &strange).await;
    assert_eq!((answer.code, answer.json()["spec"]["strange"].clone()), (201, Value::Null));
    assert!(answer.header("warning").contains("unknown field"), "{:?}", answer.headers);

    // Without a resourceVersion nothing is overwritten.
    let answer = member.put(&format!("{WIDGETS}/a"), &widget("a")).await;
    assert!(answer.status().contains("must be specified for an update"), "{}", answer.text());
    created["spec"]["size"] = json!(2);
    created["status"] = json!({"seen": true});
    let updated = member.put(&format!("{WIDGETS}/a"), &created).await.json();
    assert_eq!((&updated["metadata"]["generation"], &updated["status"]), (&json!(2), &Value::Null));
    assert!(revision(&updated) > revision(&created));
    let patch = |kind: &'static str, path: &'static str, body: &'static str| {
        let path = format!("{WIDGETS}/{path}");
        let member = &member;
        async move { member.send(Method::PATCH, &path, &[("content-type", kind)], body.as_bytes()).await }
    };
    let answer =
        patch("application/merge-patch+json", "a/status", r#"{"spec":{"size":3},"status":{"seen":1}}"#).await;
    let json = answer.json();
    assert_eq!((&json["spec"]["size"], &json["status"]["seen"]), (&json!(2), &json!(1)));
    assert_eq!(json["metadata"]["generation"], json!(2));
    let answer =
        patch("application/json-patch+json", "a", r#"[{"op":"replace","path":"/spec/size","value":4}]"#)
            .await;
    assert_eq!(answer.json()["spec"]["size"], json!(4), "{}", answer.text());
    let answer = patch("application/strategic-merge-patch+json", "a", r#"{"spec":{"size":5}}"#).await;
    assert_eq!(answer.code, 415, "{}", answer.text());
}

#[tokio::test]
async fn nothing_is_created_of_a_kind_that_is_going() {
    let member = Member::start().await;
    declare(&member).await;
    member.created(WIDGETS, &widget("a")).await;
    let answer = member.delete(&format!("{DEFINITIONS}/widgets.example.com"), None).await;
    assert_eq!(answer.code, 200, "{}", answer.text());
    let going = answer.json();
    assert_eq!(going["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    let answer = member.post(WIDGETS, &widget("b")).await;
    assert_eq!(answer.code, 405, "{}", answer.text());
    // What is there can be read and deleted.
    assert_eq!(member.get(&format!("{WIDGETS}/a")).await.code, 200);
    assert_eq!(member.delete(&format!("{WIDGETS}/a"), None).await.code, 200);
    // Once nothing holds the definition, its kind is gone with it.
    let mut let_go = member.get(&format!("{DEFINITIONS}/widgets.example.com")).await.json();
    let_go["metadata"]["finalizers"] = Value::Null;
    let answer = member.put(&format!("{DEFINITIONS}/widgets.example.com"), &let_go).await;
    assert_eq!(answer.code, 200, "{}", answer.text());
    assert_eq!(member.get("/apis/example.com/v1").await.code, 404);
}
