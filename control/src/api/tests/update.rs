//! PUT.

use serde_json::json;

use super::harness::{Member, revision};

const MAP: &str = "/api/v1/namespaces/default/configmaps/a";

#[tokio::test]
async fn a_stale_version_is_a_conflict_and_no_version_overwrites() {
    let member = Member::start().await;
    let made = member.config_map("a", json!({})).await;
    let mut first = made.clone();
    first["data"] = json!({"k": "2"});
    let updated = member.put(MAP, &first).await;
    assert_eq!(updated.code, 200);
    assert!(revision(&updated.json()) > revision(&made));
    assert_eq!(updated.json()["metadata"]["uid"], made["metadata"]["uid"]);
    let stale = member.put(MAP, &first).await;
    assert_eq!(
        stale.status(),
        "409 Conflict: Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let free = member.put(MAP, &json!({"metadata": {"name": "a"}, "data": {"k": "3"}})).await;
    assert_eq!(free.code, 200);
    assert_eq!(free.json()["metadata"]["creationTimestamp"], made["metadata"]["creationTimestamp"]);
}

#[tokio::test]
async fn a_write_that_changes_nothing_moves_nothing() {
    let member = Member::start().await;
    let made = member.config_map("a", json!({})).await;
    let before = member.objects.store().snapshot().revision();
    let same = member.put(MAP, &made).await;
    assert_eq!(same.code, 200);
    assert_eq!(same.json(), made);
    assert_eq!(member.objects.store().snapshot().revision(), before);
}

#[tokio::test]
async fn names_must_agree_and_missing_objects_stay_missing() {
    let member = Member::start().await;
    member.config_map("a", json!({})).await;
    let other = member.put(MAP, &json!({"metadata": {"name": "b"}})).await;
    assert_eq!(
        other.status(),
        "400 BadRequest: the name of the object (b) does not match the name on the URL (a)"
    );
    let uid = member.put(MAP, &json!({"metadata": {"name": "a", "uid": "x"}})).await;
    assert_eq!(uid.code, 409);
    let none = "/api/v1/namespaces/default/configmaps/none";
    let missing = member.put(none, &json!({"metadata": {"name": "none"}})).await;
    assert_eq!(missing.status(), "404 NotFound: configmaps \"none\" not found");
    let dry = member
        .put(&format!("{MAP}?dryRun=All"), &json!({"metadata": {"name": "a"}, "data": {"x": "y"}}))
        .await;
    assert_eq!(dry.json()["data"], json!({"x": "y"}));
    assert_eq!(member.get(MAP).await.json()["data"], json!({"k": "a"}));
}

#[tokio::test]
async fn some_kinds_are_created_by_an_update() {
    let member = Member::start().await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}});
    let made = member.put(path, &lease).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let blind = member.put(path, &lease).await;
    assert_eq!(
        blind.status(),
        "422 Invalid: Lease.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
    let mut renewed = made.json();
    renewed["spec"]["leaseDurationSeconds"] = json!(15);
    assert_eq!(member.put(path, &renewed).await.code, 200);
    let other = json!({"metadata": {"name": "other"}});
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/none";
    assert_eq!(member.put(path, &other).await.code, 400);
}
