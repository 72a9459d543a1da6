//! DELETE.

use serde_json::json;

use super::harness::Member;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_unheld_object_goes_at_once() {
    let member = Member::start().await;
    let made = member.config_map("a", json!({})).await;
    let gone = member
        .delete(
            &format!("{MAPS}/a"),
            Some(json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})),
        )
        .await;
    assert_eq!(gone.code, 200);
    assert_eq!(gone.json()["status"], "Success");
    assert_eq!(
        gone.json()["details"],
        json!({"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]})
    );
    assert_eq!(
        member.delete(&format!("{MAPS}/a"), None).await.status(),
        "404 NotFound: configmaps \"a\" not found"
    );
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let member = Member::start().await;
    let body = json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}});
    member.created(MAPS, &body).await;
    let path = format!("{MAPS}/a");
    let marked = member.delete(&path, None).await.json();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(member.delete(&path, None).await.json(), marked, "a second request adds nothing");
    let mut freed = marked.clone();
    freed["metadata"]["finalizers"] = json!(null);
    assert_eq!(member.put(&path, &freed).await.code, 200);
    assert_eq!(member.get(&path).await.code, 404);
}

#[tokio::test]
async fn policies_become_finalizers() {
    let member = Member::start().await;
    for (policy, finalizers) in [("Foreground", json!(["foregroundDeletion"])), ("Orphan", json!(["orphan"]))]
    {
        let name = policy.to_lowercase();
        member.config_map(&name, json!({})).await;
        let marked = member.delete(&format!("{MAPS}/{name}?propagationPolicy={policy}"), None).await.json();
        assert_eq!(marked["metadata"]["finalizers"], finalizers);
        assert!(marked["metadata"]["deletionTimestamp"].is_string());
    }
}

#[tokio::test]
async fn preconditions_and_dry_runs_leave_the_object_alone() {
    let member = Member::start().await;
    let made = member.config_map("a", json!({})).await;
    let path = format!("{MAPS}/a");
    let refused = member.delete(&path, Some(json!({"preconditions": {"uid": "other"}}))).await;
    let uid = made["metadata"]["uid"].as_str().expect("a uid");
    assert_eq!(
        refused.status(),
        format!(
            "409 Conflict: Operation cannot be fulfilled on configmaps \"a\": Precondition failed: UID in precondition: other, UID in object meta: {uid}"
        )
    );
    assert_eq!(
        member.delete(&path, Some(json!({"preconditions": {"resourceVersion": "1"}}))).await.code,
        409
    );
    assert_eq!(member.delete(&path, Some(json!({"dryRun": ["All"]}))).await.code, 200);
    assert_eq!(member.delete(&format!("{path}?dryRun=All"), None).await.code, 200);
    assert_eq!(member.get(&path).await.json(), made);
}

#[tokio::test]
async fn a_collection_goes_as_a_whole() {
    let member = Member::start().await;
    for index in 0..150 {
        member.config_map(&format!("m{index}"), json!({})).await;
    }
    let gone = member.delete(MAPS, None).await;
    assert_eq!(gone.json()["kind"], "ConfigMapList");
    assert_eq!(gone.json()["items"].as_array().map(Vec::len), Some(150));
    assert_eq!(member.get(MAPS).await.json()["items"], json!([]));
}

#[tokio::test]
async fn the_clusters_own_namespaces_stay() {
    let member = Member::start().await;
    assert_eq!(
        member.delete("/api/v1/namespaces/default", None).await.status(),
        "403 Forbidden: namespaces \"default\" is forbidden: this namespace may not be deleted"
    );
}

#[tokio::test]
async fn a_namespace_goes_when_its_content_is_said_to_be_gone() {
    let member = Member::start().await;
    member.created("/api/v1/namespaces", &json!({"metadata": {"name": "n"}})).await;
    let path = "/api/v1/namespaces/n";
    let mut marked = member.delete(path, None).await.json();
    assert_eq!(marked["spec"]["finalizers"], json!(["kubernetes"]));
    marked["spec"]["finalizers"] = json!([]);
    let finalized = member.put(&format!("{path}/finalize"), &marked).await;
    assert_eq!(finalized.code, 200, "{}", finalized.text());
    assert_eq!(member.get(path).await.code, 404);
}
