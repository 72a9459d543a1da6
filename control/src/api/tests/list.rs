//! LIST and GET.

use http::Method;
use serde_json::json;

use super::harness::{Member, revision};
use crate::api::page::Token;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn with_maps(count: usize) -> Member {
    let member = Member::start().await;
    for index in 0..count {
        member.config_map(&format!("m{index}"), json!({"index": index.to_string()})).await;
    }
    member
}

#[tokio::test]
async fn a_list_holds_items_without_kind_and_the_revision_of_its_state() {
    let member = with_maps(2).await;
    let list = member.get(MAPS).await.json();
    assert_eq!(list["kind"], "ConfigMapList");
    assert_eq!(list["apiVersion"], "v1");
    assert_eq!(revision(&list), member.objects.store().snapshot().revision().0);
    let names: Vec<_> =
        list["items"].as_array().expect("items").iter().map(|item| &item["metadata"]["name"]).collect();
    assert_eq!(names, ["m0", "m1"]);
    assert!(list["items"][0]["kind"].is_null());
    let everywhere = member.get("/api/v1/configmaps").await.json();
    assert_eq!(everywhere["items"], list["items"]);
    let empty = member.get("/api/v1/namespaces/none/configmaps").await.json();
    assert_eq!(empty["items"], json!([]));
}

#[tokio::test]
async fn pages_come_from_one_state() {
    let member = with_maps(5).await;
    let first = member.get(&format!("{MAPS}?limit=2")).await.json();
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    member.config_map("m00", json!({})).await;
    let mut names = Vec::new();
    let mut page = first.clone();
    loop {
        assert_eq!(revision(&page), revision(&first));
        names.extend(
            page["items"].as_array().expect("items").iter().map(|item| item["metadata"]["name"].clone()),
        );
        let Some(token) = page["metadata"]["continue"].as_str() else { break };
        page = member.get(&format!("{MAPS}?limit=2&continue={token}")).await.json();
    }
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4"]);
    let old = Token { revision: None, start: "m3".to_owned() }.encode();
    let rest = member.get(&format!("{MAPS}?continue={old}")).await.json();
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn versions_choose_the_state_that_is_read() {
    let member = with_maps(1).await;
    let first = member.get(MAPS).await.json();
    let at = revision(&first);
    member.config_map("later", json!({})).await;
    let exact = member.get(&format!("{MAPS}?resourceVersion={at}&resourceVersionMatch=Exact")).await.json();
    assert_eq!(exact, first);
    let newer = member.get(&format!("{MAPS}?resourceVersion={at}")).await.json();
    assert_eq!(newer["items"].as_array().map(Vec::len), Some(2));
    let any = member.get(&format!("{MAPS}?resourceVersion=0&limit=1")).await.json();
    assert_eq!(any["items"].as_array().map(Vec::len), Some(2));
    for path in [MAPS.to_owned(), format!("{MAPS}/later")] {
        let future = member.get(&format!("{path}?resourceVersion={}", at + 1000)).await;
        assert_eq!(future.code, 504);
        assert!(
            future
                .status()
                .contains(&format!("Timeout: Too large resource version: {}, current:", at + 1000))
        );
        assert_eq!(future.json()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
        assert_eq!(future.header("retry-after"), "1");
    }
}

#[tokio::test]
async fn an_expired_token_is_gone_but_leads_on() {
    let member = Member::start_with_history(2).await;
    for name in ["a", "b", "c", "d"] {
        member.config_map(name, json!({})).await;
    }
    let page = member.get(&format!("{MAPS}?limit=1")).await.json();
    let token = page["metadata"]["continue"].as_str().expect("a token");
    for name in ["e", "f", "g", "h"] {
        member.config_map(name, json!({})).await;
    }
    let expired = member.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert!(
        expired.status().starts_with("410 Expired: The provided continue parameter is too old"),
        "{expired:?}"
    );
    let body = expired.json();
    let onward = body["metadata"]["continue"].as_str().expect("a token to go on with");
    let rest = member.get(&format!("{MAPS}?limit=2&continue={onward}")).await.json();
    let names: Vec<_> =
        rest["items"].as_array().expect("items").iter().map(|item| &item["metadata"]["name"]).collect();
    assert_eq!(names, ["b", "c"]);
    assert!(rest["metadata"]["continue"].is_string());
    let exact =
        member.get(&format!("{MAPS}?resourceVersion={}&resourceVersionMatch=Exact", revision(&page))).await;
    assert_eq!(exact.status(), "410 Expired: The resourceVersion for the provided list is too old.");
}

#[tokio::test]
async fn large_lists_stream_and_can_be_zipped() {
    use std::io::Read as _;
    let member = Member::start().await;
    let data = "x".repeat(10_000);
    for index in 0..40 {
        let body = json!({"metadata": {"name": format!("m{index}")}, "data": {"k": data}});
        member.created(MAPS, &body).await;
    }
    let plain = member.get(MAPS).await;
    assert_eq!(plain.json()["items"].as_array().map(Vec::len), Some(40));
    let zipped = member.send(Method::GET, MAPS, &[("accept-encoding", "gzip, br")], b"").await;
    assert_eq!(zipped.header("content-encoding"), "gzip");
    assert!(zipped.body.len() < plain.body.len() / 10);
    let mut unzipped = Vec::new();
    flate2::read::GzDecoder::new(&*zipped.body).read_to_end(&mut unzipped).expect("gzip");
    assert_eq!(unzipped, plain.body);
}

#[tokio::test]
async fn tables_and_metadata_are_made_on_request() {
    let member = with_maps(1).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let list = member.get_as(MAPS, table).await.json();
    assert_eq!(list["kind"], "Table");
    assert_eq!(list["columnDefinitions"][0]["name"], "Name");
    assert_eq!(list["columnDefinitions"][0]["format"], "name");
    assert_eq!(list["rows"][0]["cells"][0], "m0");
    assert_eq!(list["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let one = member.get_as(&format!("{MAPS}/m0?includeObject=Object"), table).await.json();
    assert_eq!(one["rows"][0]["object"]["data"], json!({"k": "m0"}));
    let bare = member.get_as(&format!("{MAPS}?includeObject=None"), table).await.json();
    assert!(bare["rows"][0]["object"].is_null());
    let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = member.get_as(MAPS, partial).await.json();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["metadata"]["labels"], json!({"index": "0"}));
    assert!(list["items"][0]["data"].is_null());
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told() {
    let member = Member::start().await;
    for (method, path, expected) in [
        (
            Method::GET,
            "/api/v1/namespaces/default/widgets",
            "404 NotFound: the server could not find the requested resource",
        ),
        (
            Method::GET,
            "/apis/none/v1/widgets",
            "404 NotFound: the server could not find the requested resource",
        ),
        (
            Method::GET,
            "/api/v1/configmaps/a",
            "404 NotFound: the server could not find the requested resource",
        ),
        (
            Method::GET,
            "/api/v1/namespaces/default/namespaces/a",
            "404 NotFound: the server could not find the requested resource",
        ),
        (
            Method::GET,
            "/api/v1/namespaces/default/configmaps/a/status",
            "404 NotFound: the server could not find the requested resource",
        ),
        (Method::GET, "/nothing", "404 NotFound: the server could not find the requested resource"),
        (Method::GET, "/api/v1/namespaces/default/configmaps/a", "404 NotFound: configmaps \"a\" not found"),
        (
            Method::DELETE,
            "/api/v1/namespaces",
            "405 MethodNotAllowed: deletecollection is not supported on resources of kind \"namespaces\"",
        ),
        (
            Method::OPTIONS,
            "/api/v1/namespaces",
            "405 MethodNotAllowed: options is not supported on resources of kind \"namespaces\"",
        ),
    ] {
        assert_eq!(member.send(method, path, &[], b"").await.status(), expected, "{path}");
    }
    let head = member.send(Method::HEAD, "/api/v1/namespaces/default", &[], b"").await;
    assert_eq!((head.code, head.body.len()), (200, 0));
}
