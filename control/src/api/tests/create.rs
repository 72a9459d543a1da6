//! POST.

use serde_json::json;

use super::harness::Member;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_created_object_carries_what_the_server_sets() {
    let member = Member::start().await;
    let sent = json!({
        "kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": "a", "uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "labels": {"l": "1"}},
        "data": {"k": "v"}
    });
    let made = member.created(MAPS, &sent).await;
    assert_eq!(made["kind"], "ConfigMap");
    assert_eq!(made["apiVersion"], "v1");
    assert_eq!(made["metadata"]["namespace"], "default");
    assert_eq!(made["metadata"]["uid"].as_str().map(str::len), Some(36));
    assert_ne!(made["metadata"]["creationTimestamp"], "2001-01-01T00:00:00Z");
    assert_eq!(made["data"], json!({"k": "v"}));
    let read = member.get(&format!("{MAPS}/a")).await;
    assert_eq!(read.code, 200);
    assert_eq!(read.json(), made);
    assert!(!read.header("audit-id").is_empty());
    assert_eq!(read.header("cache-control"), "no-cache, private");
    assert_eq!(read.header("content-type"), "application/json");
}

#[tokio::test]
async fn what_cannot_be_created_is_refused_in_upstream_words() {
    let member = Member::start().await;
    member.config_map("taken", json!({})).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    for (path, body, expected) in [
        (
            maps,
            json!({"metadata": {"name": "taken"}}),
            "409 AlreadyExists: configmaps \"taken\" already exists",
        ),
        (
            "/api/v1/namespaces/gone/configmaps",
            json!({"metadata": {"name": "a"}}),
            "404 NotFound: namespaces \"gone\" not found",
        ),
        (
            maps,
            json!({"metadata": {"name": "a", "namespace": "other"}}),
            "400 BadRequest: the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            maps,
            json!({"metadata": {"name": "a", "resourceVersion": "5"}}),
            "400 BadRequest: resourceVersion should not be set on objects to be created",
        ),
        (
            maps,
            json!({}),
            "422 Invalid: ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (
            maps,
            json!({"kind": "Secret", "metadata": {"name": "a"}}),
            "400 BadRequest: the kind in the data (Secret) does not match the expected kind (ConfigMap)",
        ),
    ] {
        assert_eq!(member.post(path, &body).await.status(), expected);
    }
    let all = member.post("/api/v1/configmaps", &json!({"metadata": {"name": "a"}})).await;
    assert_eq!(all.code, 405);
}

#[tokio::test]
async fn names_are_generated_from_a_base() {
    let member = Member::start().await;
    let base = "b".repeat(70);
    let made = member.created(MAPS, &json!({"metadata": {"generateName": base}})).await;
    let name = made["metadata"]["name"].as_str().expect("a name");
    assert_eq!(name.len(), 63);
    assert!(name.starts_with(&"b".repeat(58)), "{name}");
}

#[tokio::test]
async fn a_dry_run_answers_and_stores_nothing() {
    let member = Member::start().await;
    let before = member.objects.store().snapshot().revision();
    let dry = member.post(&format!("{MAPS}?dryRun=All"), &json!({"metadata": {"name": "a"}})).await;
    assert_eq!(dry.code, 201);
    assert_eq!(dry.json()["metadata"]["name"], "a");
    assert!(dry.json()["metadata"]["resourceVersion"].is_null());
    assert_eq!(member.get(&format!("{MAPS}/a")).await.code, 404);
    assert_eq!(member.objects.store().snapshot().revision(), before);
    member.config_map("a", json!({})).await;
    assert_eq!(
        member.post(&format!("{MAPS}?dryRun=All"), &json!({"metadata": {"name": "a"}})).await.code,
        409
    );
    assert_eq!(
        member.post(&format!("{MAPS}?dryRun=Some"), &json!({"metadata": {"name": "b"}})).await.code,
        422
    );
}

#[tokio::test]
async fn bodies_have_bounds() {
    use http::Method;
    let member = Member::start().await;
    let large = vec![b' '; (3 << 20) + 1];
    assert_eq!(member.send(Method::POST, MAPS, &[], &large).await.code, 413);
    let deep =
        format!("{{\"metadata\":{{\"name\":\"a\"}},\"data\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(member.send(Method::POST, MAPS, &[], deep.as_bytes()).await.code, 400);
    let cbor = member.send(Method::POST, MAPS, &[("content-type", "application/cbor")], b"{}").await;
    assert_eq!(cbor.code, 415);
    let html = member.get_as(MAPS, "text/html").await;
    assert_eq!(html.code, 406);
    for body in ["", "nothing", "[]", "\"text\"", "{\"metadata\":{\"name\":1}}"] {
        assert_eq!(member.send(Method::POST, MAPS, &[], body.as_bytes()).await.code, 400, "{body}");
    }
}

#[tokio::test]
async fn nothing_comes_into_a_namespace_that_is_being_deleted() {
    let member = Member::start().await;
    member.created("/api/v1/namespaces", &json!({"metadata": {"name": "n"}})).await;
    let deleted = member.delete("/api/v1/namespaces/n", None).await;
    assert_eq!(deleted.json()["status"]["phase"], "Terminating");
    let refused = member.post("/api/v1/namespaces/n/configmaps", &json!({"metadata": {"name": "a"}})).await;
    assert_eq!(
        refused.status(),
        "403 Forbidden: configmaps \"a\" is forbidden: unable to create new content in namespace n because it is being terminated"
    );
    assert_eq!(refused.json()["details"]["causes"][0]["reason"], "NamespaceTerminating");
}
