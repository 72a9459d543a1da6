//! PATCH, and the subresources that are written through it.

use http::Method;
use serde_json::{Value, json};

use super::harness::{Answer, Member};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment() -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "a", "image": "one"}, {"name": "b", "image": "two"}]}
            }
        }
    })
}

async fn patch(member: &Member, path: &str, kind: &str, patch: &Value) -> Answer {
    let content_type = format!("application/{kind}+json");
    member.send(Method::PATCH, path, &[("content-type", &content_type)], patch.to_string().as_bytes()).await
}

#[tokio::test]
async fn three_kinds_of_patches_change_what_they_name() {
    let member = Member::start().await;
    member.created(DEPLOYMENTS, &deployment()).await;
    let web = format!("{DEPLOYMENTS}/web");
    let merged = patch(&member, &web, "merge-patch", &json!({"metadata": {"labels": {"l": "1"}}})).await;
    assert_eq!(merged.code, 200);
    assert_eq!(merged.json()["metadata"]["labels"], json!({"l": "1"}));
    assert_eq!(merged.json()["metadata"]["generation"], 1);
    let containers =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "b", "image": "three"}]}}}});
    let strategic = patch(&member, &web, "strategic-merge-patch", &containers).await.json();
    let images: Vec<_> = strategic["spec"]["template"]["spec"]["containers"]
        .as_array()
        .expect("containers")
        .iter()
        .map(|own| &own["image"])
        .collect();
    assert_eq!(images, ["one", "three"]);
    assert_eq!(strategic["metadata"]["generation"], 2);
    let replaced =
        patch(&member, &web, "json-patch", &json!([{"op": "replace", "path": "/spec/replicas", "value": 5}]))
            .await;
    assert_eq!(replaced.json()["spec"]["replicas"], 5);
}

#[tokio::test]
async fn patches_that_do_not_fit_are_refused() {
    let member = Member::start().await;
    let made = member.created(DEPLOYMENTS, &deployment()).await;
    let web = format!("{DEPLOYMENTS}/web");
    for (kind, body, code) in [
        ("json-patch", json!([{"op": "test", "path": "/spec/replicas", "value": 7}]), 422),
        ("json-patch", json!({"not": "a list"}), 400),
        ("merge-patch", json!([1]), 400),
        ("merge-patch", json!({"metadata": {"resourceVersion": "1"}}), 409),
        ("merge-patch", json!({"metadata": {"name": "other"}}), 400),
        ("merge-patch", json!({"spec": {"replicas": -1}}), 422),
        ("merge-patch", json!({"spec": {"replicas": "many"}}), 400),
        ("apply-patch", json!({}), 415),
    ] {
        let answer = patch(&member, &web, kind, &body).await;
        assert_eq!(answer.code, code, "{kind} {body}: {}", answer.text());
    }
    let none = patch(&member, &format!("{DEPLOYMENTS}/none"), "merge-patch", &json!({})).await;
    assert_eq!(none.status(), "404 NotFound: deployments.apps \"none\" not found");
    let same = patch(&member, &web, "merge-patch", &json!({"spec": {"replicas": 2}})).await;
    assert_eq!(same.json(), made, "a patch that changes nothing moves nothing");
}

#[tokio::test]
async fn unknown_fields_are_warned_about_or_refused() {
    let member = Member::start().await;
    let mut sent = deployment();
    sent["spec"]["foo"] = json!(1);
    let strict = member.post(&format!("{DEPLOYMENTS}?fieldValidation=Strict"), &sent).await;
    assert_eq!(
        strict.status(),
        "400 BadRequest: Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.foo\""
    );
    let warned = member.post(DEPLOYMENTS, &sent).await;
    assert_eq!(warned.code, 201);
    assert_eq!(warned.header("warning"), r#"299 - "unknown field \"spec.foo\"""#);
    let body = json!({"spec": {"foo": 1}});
    let path = format!("{DEPLOYMENTS}/web?fieldValidation=Strict");
    let refused = patch(&member, &path, "merge-patch", &body).await;
    assert_eq!(refused.status(), "400 BadRequest: strict decoding error: unknown field \"spec.foo\"");
    let ignored =
        patch(&member, &format!("{DEPLOYMENTS}/web?fieldValidation=Ignore"), "merge-patch", &body).await;
    assert_eq!((ignored.code, ignored.header("warning").as_str()), (200, ""));
}

#[tokio::test]
async fn status_is_written_apart_from_the_rest() {
    let member = Member::start().await;
    member.created(DEPLOYMENTS, &deployment()).await;
    let body = json!({"spec": {"replicas": 9}, "status": {"replicas": 2, "observedGeneration": 1}});
    let main = patch(&member, &format!("{DEPLOYMENTS}/web"), "merge-patch", &body).await.json();
    assert_eq!((&main["spec"]["replicas"], &main["status"]["replicas"]), (&json!(9), &Value::Null));
    let body = json!({"spec": {"replicas": 4}, "status": {"replicas": 2, "observedGeneration": 1}});
    let status = patch(&member, &format!("{DEPLOYMENTS}/web/status"), "merge-patch", &body).await.json();
    assert_eq!((&status["spec"]["replicas"], &status["status"]["replicas"]), (&json!(9), &json!(2)));
    assert_eq!(status["metadata"]["generation"], 2);
    let mut whole = status.clone();
    whole["status"]["replicas"] = json!(3);
    let put = member.put(&format!("{DEPLOYMENTS}/web/status"), &whole).await.json();
    assert_eq!(put["status"]["replicas"], 3);
    assert_eq!(member.get(&format!("{DEPLOYMENTS}/web/status")).await.json(), put);
}

#[tokio::test]
async fn scale_is_read_and_written_for_any_workload() {
    let member = Member::start().await;
    member.created(DEPLOYMENTS, &deployment()).await;
    let path = format!("{DEPLOYMENTS}/web/scale");
    let scale = member.get(&path).await.json();
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["apiVersion"], "autoscaling/v1");
    assert_eq!(scale["spec"], json!({"replicas": 2}));
    assert_eq!(scale["status"]["selector"], "app=web");
    let patched = patch(&member, &path, "merge-patch", &json!({"spec": {"replicas": 7}})).await;
    assert_eq!(patched.json()["spec"], json!({"replicas": 7}));
    assert_eq!(member.put(&path, &scale).await.code, 409, "the version of the first read is stale");
    let mut fresh = member.get(&path).await.json();
    fresh["spec"]["replicas"] = json!(1);
    assert_eq!(member.put(&path, &fresh).await.json()["spec"], json!({"replicas": 1}));
    fresh["metadata"]["resourceVersion"] = Value::Null;
    fresh["spec"]["replicas"] = json!(-1);
    assert_eq!(
        member.put(&path, &fresh).await.status(),
        "422 Invalid: Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    );
    assert_eq!(member.get(&format!("{DEPLOYMENTS}/web")).await.json()["spec"]["replicas"], 1);
    assert_eq!(member.delete(&path, None).await.code, 405);
}

#[tokio::test]
async fn yaml_bodies_are_read_too() {
    let member = Member::start().await;
    let body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n";
    let path = "/api/v1/namespaces/default/configmaps";
    let made = member.send(Method::POST, path, &[("content-type", "application/yaml")], body).await;
    assert_eq!(made.code, 201, "{}", made.text());
    assert_eq!(made.json()["data"], json!({"k": "v"}));
}
