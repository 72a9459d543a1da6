//! WATCH.

use serde_json::json;

use super::harness::{Member, revision};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn changes_after_a_version_come_once_and_in_order() {
    let member = Member::start().await;
    let made = member.config_map("a", json!({})).await;
    let mut frames = member.watch(&format!("{MAPS}?watch=1&resourceVersion={}", revision(&made))).await;
    let mut changed = made.clone();
    changed["data"] = json!({"k": "2"});
    let changed = member.put(&format!("{MAPS}/a"), &changed).await.json();
    member.config_map("b", json!({})).await;
    member.delete(&format!("{MAPS}/a"), None).await;
    let first = frames.next().await.expect("an event");
    assert_eq!(first, json!({"type": "MODIFIED", "object": changed}));
    assert_eq!(frames.event().await, "ADDED b");
    let last = frames.next().await.expect("an event");
    assert_eq!(last["type"], "DELETED");
    assert_eq!(last["object"]["data"], changed["data"], "the last state");
    assert_eq!(revision(&last["object"]), member.objects.store().snapshot().revision().0, "at the deletion");
}

#[tokio::test]
async fn without_a_version_the_state_comes_first() {
    let member = Member::start().await;
    member.config_map("a", json!({})).await;
    member.config_map("b", json!({})).await;
    for query in ["watch=true", "watch=1&resourceVersion=0"] {
        let mut frames = member.watch(&format!("{MAPS}?{query}")).await;
        assert_eq!(frames.event().await, "ADDED a");
        assert_eq!(frames.event().await, "ADDED b");
    }
    let mut frames = member
        .watch(&format!("{MAPS}?watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"))
        .await;
    member.config_map("c", json!({})).await;
    assert_eq!(frames.event().await, "ADDED c");
}

#[tokio::test]
async fn a_streaming_list_ends_with_a_marked_bookmark() {
    let member = Member::start().await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut empty = member.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(empty.event().await, "BOOKMARK ");
    let made = member.config_map("a", json!({})).await;
    let mut frames = member.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(frames.event().await, "ADDED a");
    let bookmark = frames.next().await.expect("a bookmark");
    assert_eq!(
        bookmark["object"],
        json!({
            "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {
                "resourceVersion": made["metadata"]["resourceVersion"], "creationTimestamp": null,
                "annotations": {"k8s.io/initial-events-end": "true"}
            }
        })
    );
    member.config_map("b", json!({})).await;
    assert_eq!(frames.event().await, "ADDED b");
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over_with_a_last_bookmark() {
    let member = Member::start().await;
    let made = member.config_map("a", json!({})).await;
    let query = format!("watch=1&resourceVersion={}&timeoutSeconds=1", revision(&made));
    let mut silent = member.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(silent.next().await, None);
    let mut marked = member.watch(&format!("{MAPS}?{query}&allowWatchBookmarks=true")).await;
    assert_eq!(marked.event().await, "BOOKMARK ");
    assert_eq!(marked.next().await, None);
}

#[tokio::test]
async fn a_version_beyond_history_is_an_expired_error_event() {
    let member = Member::start_with_history(2).await;
    for name in ["a", "b", "c", "d"] {
        member.config_map(name, json!({})).await;
    }
    let mut frames = member.watch(&format!("{MAPS}?watch=1&resourceVersion=1")).await;
    let error = frames.next().await.expect("an event");
    assert_eq!(error["type"], "ERROR");
    assert_eq!(error["object"]["reason"], "Expired");
    assert_eq!(error["object"]["code"], 410);
    let message = error["object"]["message"].as_str().expect("a message");
    assert!(message.starts_with("too old resource version: 1 ("), "{message}");
    assert_eq!(frames.next().await, None);
}

#[tokio::test]
async fn tables_and_metadata_are_watched_too() {
    let member = Member::start().await;
    member.config_map("a", json!({"l": "1"})).await;
    member.config_map("b", json!({})).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let mut frames = member.watch_as(&format!("{MAPS}?watch=1"), table).await;
    let first = frames.next().await.expect("an event");
    assert_eq!(first["object"]["kind"], "Table");
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    assert!(first["object"]["columnDefinitions"].is_array());
    let second = frames.next().await.expect("an event");
    assert!(second["object"]["columnDefinitions"].is_null());
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let mut frames = member.watch_as(&format!("{MAPS}?watch=1"), partial).await;
    let first = frames.next().await.expect("an event");
    assert_eq!(first["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(first["object"]["metadata"]["labels"], json!({"l": "1"}));
}

#[tokio::test]
async fn a_future_version_times_out() {
    let member = Member::start().await;
    let answer = member.get(&format!("{MAPS}?watch=1&resourceVersion=100000")).await;
    assert_eq!(answer.code, 504);
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_cut_off_and_may_come_again() {
    let member = Member::start_with_history(8).await;
    let made = member.config_map("a", json!({})).await;
    let mut frames = member.watch(&format!("{MAPS}?watch=1&resourceVersion={}", revision(&made))).await;
    member.config_map("first", json!({})).await;
    assert_eq!(frames.event().await, "ADDED first");
    let list = member.get(MAPS).await.json();
    for index in 0..50 {
        member.config_map(&format!("m{index}"), json!({})).await;
    }
    // What it was not given is not in between: either the next change comes, or the end.
    while let Some(frame) = frames.next().await {
        assert_eq!(frame["object"]["metadata"]["name"], "m0", "{frame}");
    }
    let error =
        member.watch(&format!("{MAPS}?watch=1&resourceVersion={}", revision(&list))).await.next().await;
    assert_eq!(error.expect("an event")["object"]["code"], 410);
}
