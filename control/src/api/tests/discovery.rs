//! What is served, and how the server is.

use http::Method;
use serde_json::{Value, json};

use super::harness::Member;
use crate::security::Identity;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

fn named<'a>(list: &'a Value, field: &str, name: &str) -> &'a Value {
    let all = list.as_array().expect("a list");
    all.iter().find(|own| own[field] == name).unwrap_or_else(|| panic!("no {name} in {list}"))
}

#[tokio::test]
async fn the_version_is_one_that_clients_understand() {
    let member = Member::start().await;
    let version = member.get("/version").await.json();
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("36")));
    assert_eq!(version["gitVersion"], "v1.36.0+isopod.0.0.0");
}

#[tokio::test]
async fn plain_discovery_lists_groups_and_resources() {
    let member = Member::start().await;
    let core = member.get("/api").await.json();
    assert_eq!(core["versions"], json!(["v1"]));
    assert_eq!(core["serverAddressByClientCIDRs"][0]["serverAddress"], "127.0.0.1:6443");
    let groups = member.get("/apis").await.json();
    let apps = named(&groups["groups"], "name", "apps");
    assert_eq!(apps["preferredVersion"], json!({"groupVersion": "apps/v1", "version": "v1"}));
    assert_eq!(member.get("/apis/apps").await.json()["kind"], "APIGroup");
    assert_eq!(member.get("/apis/none").await.code, 404);
    let resources = member.get("/api/v1").await.json();
    let pods = named(&resources["resources"], "name", "pods");
    assert_eq!(pods["shortNames"], json!(["po"]));
    assert_eq!(pods["categories"], json!(["all"]));
    assert_eq!(named(&resources["resources"], "name", "pods/binding")["kind"], "Binding");
    let apps = member.get("/apis/apps/v1").await.json();
    let scale = named(&apps["resources"], "name", "deployments/scale");
    assert_eq!((&scale["group"], &scale["kind"]), (&json!("autoscaling"), &json!("Scale")));
    assert_eq!(member.get("/apis/apps/v2").await.code, 404);
    assert!(
        member.get("/").await.json()["paths"].as_array().expect("paths").contains(&json!("/apis/apps/v1"))
    );
}

#[tokio::test]
async fn aggregated_discovery_is_one_document_with_a_tag() {
    let member = Member::start().await;
    let answer = member.get_as("/apis", AGGREGATED).await;
    assert_eq!(
        answer.header("content-type"),
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    assert_eq!(answer.header("vary"), "Accept");
    assert_eq!(answer.header("cache-control"), "public");
    let body = answer.json();
    let apps =
        body["items"].as_array().expect("items").iter().find(|group| group["metadata"]["name"] == "apps");
    let version = &apps.expect("apps")["versions"][0];
    assert_eq!(version["freshness"], "Current");
    let deployments = named(&version["resources"], "resource", "deployments");
    assert_eq!(deployments["scope"], "Namespaced");
    assert_eq!(deployments["responseKind"], json!({"group": "apps", "version": "v1", "kind": "Deployment"}));
    assert_eq!(named(&deployments["subresources"], "subresource", "scale")["responseKind"]["kind"], "Scale");
    let tag = answer.header("etag");
    let again =
        member.send(Method::GET, "/apis", &[("accept", AGGREGATED), ("if-none-match", &tag)], b"").await;
    assert_eq!((again.code, again.body.len()), (304, 0));
    let core = member.get_as("/api", AGGREGATED).await.json();
    assert_eq!(core["items"][0]["metadata"]["name"], "");
}

#[tokio::test]
async fn openapi_documents_are_kept_by_their_address() {
    let member = Member::start().await;
    let index = member.get("/openapi/v3").await;
    let address =
        index.json()["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("an address").to_owned();
    assert!(address.starts_with("/openapi/v3/apis/apps/v1?hash="), "{address}");
    let document = member.get(&address).await;
    assert_eq!(document.header("cache-control"), "public, immutable");
    assert!(
        document.json()["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
            .is_object()
    );
    let stale = member.get("/openapi/v3/apis/apps/v1?hash=OLD").await;
    assert_eq!((stale.code, stale.header("location")), (301, address));
    let tag = document.header("etag");
    let again = member.send(Method::GET, "/openapi/v3/apis/apps/v1", &[("if-none-match", &tag)], b"").await;
    assert_eq!(again.code, 304);
    assert_eq!(member.get("/openapi/v3/apis/none/v1").await.code, 404);
    let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let nothing = member.get_as("/openapi/v2", protobuf).await;
    assert_eq!((nothing.code, nothing.header("content-type")), (200, protobuf.replace('@', ".")));
    assert!(nothing.text().contains("described by version 3"));
    let whole = member.get_as("/openapi/v2", "application/json").await.json();
    assert_eq!(whole["swagger"], "2.0");
    assert!(whole["definitions"]["io.k8s.api.apps.v1.Deployment"]["properties"]["spec"].is_object());
    assert_eq!(member.get_as("/openapi/v3/apis/apps/v1", protobuf).await.code, 406);
}

#[tokio::test]
async fn events_have_two_forms_of_one_object() {
    let member = Member::start().await;
    let sent = json!({
        "metadata": {"name": "e", "namespace": "default"}, "reason": "R", "note": "n", "action": "A", "type": "Normal",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c.io/x", "reportingInstance": "i",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}
    });
    let made = member.created("/apis/events.k8s.io/v1/namespaces/default/events", &sent).await;
    assert_eq!((&made["apiVersion"], &made["note"]), (&json!("events.k8s.io/v1"), &json!("n")));
    let core = member.get("/api/v1/namespaces/default/events/e").await.json();
    assert_eq!(
        (&core["apiVersion"], &core["message"], &core["involvedObject"]["name"]),
        (&json!("v1"), &json!("n"), &json!("p"))
    );
    let path = "/apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=regarding.name%3Dp";
    let list = member.get(path).await.json();
    assert_eq!(list["items"][0]["note"], "n");
    let mut frames = member.watch(&format!("{path}&watch=1")).await;
    assert_eq!(frames.next().await.expect("an event")["object"]["note"], "n");
}

#[tokio::test]
async fn health_is_told_in_upstreams_form() {
    let member = Member::start().await;
    let ready = member.get("/readyz").await;
    assert_eq!((ready.code, ready.text().as_str()), (200, "ok"));
    assert_eq!(ready.header("x-content-type-options"), "nosniff");
    let verbose = member.get("/readyz?verbose").await.text();
    assert!(
        verbose.contains("[+]raft-quorum ok\n") && verbose.ends_with("readyz check passed\n"),
        "{verbose}"
    );
    assert_eq!(member.get("/livez/ping").await.code, 200);
    assert_eq!(member.get("/livez/none").await.code, 404);
    member.shutdown();
    let draining = member.get("/readyz").await;
    assert_eq!(draining.code, 500);
    assert!(draining.text().contains("[-]shutdown failed: reason withheld"), "{}", draining.text());
    assert_eq!(member.get("/livez").await.code, 200);
}

#[tokio::test]
async fn strangers_see_health_and_version_only() {
    let member = Member::start().await;
    for (path, code) in
        [("/version", 200), ("/readyz", 200), ("/api", 403), ("/metrics", 403), ("/api/v1/pods", 403)]
    {
        assert_eq!(member.get_by(Identity::anonymous(), path).await.code, code, "{path}");
    }
    assert_eq!(
        member.get_by(Identity::anonymous(), "/api/v1/namespaces/default/pods/p").await.status(),
        "403 Forbidden: pods \"p\" is forbidden: User \"system:anonymous\" cannot get resource \"pods\" in API group \"\" in the namespace \"default\""
    );
}

#[tokio::test]
async fn metrics_count_requests_by_what_they_were_about() {
    let member = Member::start().await;
    member.get("/api/v1/namespaces/default/pods").await;
    member.get("/api/v1/namespaces/default/widgets").await;
    let text = member.get("/metrics").await.text();
    let line = r#"apiserver_request_total{verb="LIST",group="",version="v1",resource="pods",subresource="",scope="namespace",component="apiserver",dry_run="",code="200"} 1"#;
    assert!(text.contains(line), "{text}");
    assert!(!text.contains("widgets"), "labels are bounded");
    assert!(text.contains(r#"apiserver_resource_objects{group="",resource="namespaces"} 1"#), "{text}");
    assert!(text.contains("process_resident_memory_bytes"), "{text}");
    let build = r#"kubernetes_build_info{major="1",minor="36",git_version="v1.36.0+isopod.0.0.0","#;
    assert!(text.contains(build), "{text}");
}

/// Small steps of a generator that needs no crate: the same requests every time.
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*seed >> 33).expect("31 bits")
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one table of cases")]
async fn no_request_however_odd_is_the_servers_fault() {
    let member = Member::start().await;
    let seed = &mut 7;
    let pick = |seed: &mut u64, of: &[&str]| of[next(seed) % of.len()].to_owned();
    for round in 0..600 {
        let path = match next(seed) % 3 {
            0 => format!(
                "/api/v1/{}",
                pick(
                    seed,
                    &[
                        "pods",
                        "nodes/n",
                        "namespaces/default/pods",
                        "namespaces/default/pods/%00/status",
                        "namespaces/default/pods/p/log",
                        "namespaces/%2F/services/s",
                        "namespaces/default/finalize"
                    ]
                )
            ),
            1 => format!(
                "/apis/{}",
                pick(
                    seed,
                    &[
                        "apps/v1/namespaces/default/deployments/d/scale",
                        "apps/v1/deployments",
                        "events.k8s.io/v1/events",
                        "x/y/z",
                        "apps",
                        "a/b/c/d/e/f/g/h"
                    ]
                )
            ),
            _ => pick(
                seed,
                &["/", "/openapi/v3", "/openapi/v3/%20", "/version/x", "/readyz/a/b", "/metrics", "/api/v1"],
            ),
        };
        let query = pick(
            seed,
            &[
                "",
                "limit=1&continue=eyJ9",
                "watch=1&timeoutSeconds=0&resourceVersion=1&resourceVersionMatch=Exact",
                "labelSelector=%28%28",
                "fieldSelector=%5C",
                "resourceVersion=18446744073709551616",
                "limit=-9223372036854775808",
                "includeObject=All",
                "dryRun=All&pretty=1",
                "fieldValidation=No",
                "timeout=1ns",
            ],
        );
        let body = pick(
            seed,
            &[
                "",
                "{}",
                "null",
                "[[[[",
                "{\"metadata\":{\"name\":\"a\",\"name\":\"b\"}}",
                "{\"spec\":{\"replicas\":1e400}}",
                "\u{0}",
                "k8s\0\u{8}\u{1}",
                "a: &a [*a,*a]",
                "[{\"op\":\"copy\",\"from\":\"\",\"path\":\"/a\"}]",
                "{\"metadata\":{\"generateName\":\"\u{1F600}\"}}",
            ],
        );
        let content_type = pick(
            seed,
            &[
                "application/json",
                "application/yaml",
                "application/vnd.kubernetes.protobuf",
                "application/json-patch+json",
                "application/merge-patch+json",
                "application/strategic-merge-patch+json",
                "text/x",
                ";;;",
            ],
        );
        let accept = pick(
            seed,
            &["*/*", "application/json;as=Table;v=v1;g=meta.k8s.io", ";q=,,,", "application/json;q=nan", ""],
        );
        let method = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::HEAD,
            Method::OPTIONS,
        ][next(seed) % 7]
            .clone();
        let headers = [("content-type", content_type.as_str()), ("accept", accept.as_str())];
        let target = format!("{path}?{query}");
        if method == Method::GET && query.starts_with("watch") {
            continue;
        }
        let answer = member.send(method.clone(), &target, &headers, body.as_bytes()).await;
        let fault = [500, 502, 505].contains(&answer.code);
        assert!(!fault, "round {round}: {method} {target} {headers:?} {body:?}: {}", answer.text());
    }
}
