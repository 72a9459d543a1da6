//! What clients do on the wire beyond the everyday: pages, compression, resumed watches, collections, finalizers.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use isopod_tests::{Cluster, eventually};
use serde_json::Value;

#[track_caller]
fn create_config_maps(cluster: &Cluster, count: usize) {
    let maps: String = (0..count)
        .map(|index| {
            format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{index:03}, labels: {{made: here}}}}\n")
        })
        .collect();
    cluster.kubectl_with(&["create", "-f", "-"], &maps).ok();
}

fn names(cluster: &Cluster, more: &[&str]) -> Vec<String> {
    let args = [&["get", "configmaps", "-l", "made=here", "-o", "name"], more].concat();
    cluster.kubectl(&args).ok().lines().map(str::to_owned).collect()
}

#[test]
fn kubectl_deletes_collections() {
    let cluster = Cluster::start();
    create_config_maps(&cluster, 30);
    cluster.kubectl(&["label", "configmap", "c001", "c002", "keep=yes"]).ok();
    let deleted = cluster.kubectl(&["delete", "configmaps", "-l", "made=here,keep!=yes"]).ok();
    assert_eq!(deleted.lines().count(), 28, "{deleted}");
    assert_eq!(names(&cluster, &[]), ["configmap/c001", "configmap/c002"]);

    super::kubectl::deploy_hello(&cluster);
    cluster.kubectl(&["delete", "deployments,services", "--all", "-n", "hello", "--timeout=60s"]).ok();
    eventually("the pods go with their owners", || {
        let left = cluster.kubectl(&["get", "pods,rs,deploy,svc", "-n", "hello", "-o", "name"]).ok();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    // One DELETE of the collection itself, as client libraries send it.
    let path = "/api/v1/namespaces/default/configmaps?labelSelector=made%3Dhere";
    let list: Value = serde_json::from_str(&cluster.curl_api(&["--request", "DELETE"], path)).expect("JSON");
    assert_eq!(list["kind"], "ConfigMapList", "{list}");
    assert_eq!(names(&cluster, &[]), Vec::<String>::new());
}

#[test]
fn lists_come_in_pages_of_one_moment() {
    let cluster = Cluster::start();
    create_config_maps(&cluster, 25);
    let whole = names(&cluster, &[]);
    assert_eq!(whole.len(), 25);
    for size in ["1", "7", "25", "500"] {
        assert_eq!(names(&cluster, &[&format!("--chunk-size={size}")]), whole, "pages of {size}");
    }

    // What is deleted and created between two pages changes nothing in the list that was begun.
    let base = "/api/v1/namespaces/default/configmaps?labelSelector=made%3Dhere&limit=10";
    let page = |token: &str| -> Value {
        serde_json::from_str(&cluster.curl_api(&[], &format!("{base}&continue={token}"))).expect("JSON")
    };
    let mut seen = Vec::new();
    let mut current = page("");
    assert_eq!(current["metadata"]["remainingItemCount"], Value::Null, "{current}");
    let version = current["metadata"]["resourceVersion"].clone();
    cluster.kubectl(&["delete", "configmap", "c020"]).ok();
    create_late(&cluster);
    loop {
        assert_eq!(current["metadata"]["resourceVersion"], version);
        let items = current["items"].as_array().expect("items");
        seen.extend(
            items
                .iter()
                .map(|item| format!("configmap/{}", item["metadata"]["name"].as_str().expect("named"))),
        );
        match current["metadata"]["continue"].as_str() {
            Some(token) if !token.is_empty() => current = page(token),
            _ => break,
        }
    }
    assert_eq!(seen, whole);
    assert!(names(&cluster, &[]).contains(&"configmap/c005a".to_owned()));
}

#[track_caller]
fn create_late(cluster: &Cluster) {
    cluster.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c005a, labels: {made: here}}");
}

#[test]
fn large_answers_are_compressed_for_those_who_ask() {
    let cluster = Cluster::start();
    // As upstream, answers of 128 KiB and more.
    create_config_maps(&cluster, 600);
    let path = "/api/v1/namespaces/default/configmaps";
    let plain = cluster.curl_api(&[], path);
    assert_eq!(cluster.curl_api(&["--compressed"], path), plain);
    let sent = |more: &[&str]| -> (u64, String) {
        let args =
            [&["--output", "/dev/null", "--dump-header", "-", "--write-out", "%{size_download}"], more]
                .concat();
        let printed = cluster.curl_api(&args, path);
        let (headers, size) = printed.rsplit_once('\n').expect("headers, then the size");
        (size.trim().parse().expect("a number"), headers.to_ascii_lowercase())
    };
    let (compressed, headers) = sent(&["--compressed"]);
    assert!(headers.contains("content-encoding: gzip"), "{headers}");
    let (whole, headers) = sent(&[]);
    assert!(!headers.contains("content-encoding"), "{headers}");
    assert_eq!(whole, plain.len() as u64);
    assert!(compressed * 4 < whole, "{compressed} of {whole} bytes");
    let (small, headers) = {
        let printed = cluster.curl_api(&["--compressed", "--dump-header", "-"], "/api/v1/namespaces/default");
        (printed.len(), printed.to_ascii_lowercase())
    };
    assert!(!headers.contains("content-encoding"), "{small} bytes: {headers}");
}

#[test]
fn a_watch_goes_on_where_the_last_one_ended() {
    let cluster = Cluster::start();
    create_config_maps(&cluster, 3);
    let path = "/api/v1/namespaces/default/configmaps?labelSelector=made%3Dhere";
    let list: Value = serde_json::from_str(&cluster.curl_api(&[], path)).expect("JSON");
    let version = list["metadata"]["resourceVersion"].as_str().expect("a list has one").to_owned();
    cluster.kubectl(&["label", "configmap", "c000", "a=1"]).ok();
    cluster.kubectl(&["delete", "configmap", "c001"]).ok();
    create_late(&cluster);
    let watch = |from: &str| -> Vec<Value> {
        let printed =
            cluster.curl_api(&[], &format!("{path}&watch=true&timeoutSeconds=1&resourceVersion={from}"));
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let events = watch(&version);
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            format!(
                "{} {}",
                event["type"].as_str().unwrap_or(""),
                event["object"]["metadata"]["name"].as_str().unwrap_or("")
            )
        })
        .collect();
    assert_eq!(told, ["MODIFIED c000", "DELETED c001", "ADDED c005a"]);
    // From the middle, only the rest.
    let middle = events[1]["object"]["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let rest = watch(&middle);
    assert_eq!(rest, events[2..]);
    // What is no version is said, not watched.
    let error = cluster.curl_api(&[], &format!("{path}&watch=true&timeoutSeconds=1&resourceVersion=x"));
    assert!(error.contains("\"reason\": \"BadRequest\""), "{error}");
}

#[test]
fn a_watch_survives_a_restart_of_the_cluster() {
    let mut cluster = Cluster::start();
    create_config_maps(&cluster, 1);
    let path = "/api/v1/namespaces/default/configmaps?labelSelector=made%3Dhere";
    let list: Value = serde_json::from_str(&cluster.curl_api(&[], path)).expect("JSON");
    let version = list["metadata"]["resourceVersion"].as_str().expect("a list has one").to_owned();
    cluster.kubectl(&["delete", "configmap", "c000"]).ok();
    cluster.kill_and_restart();
    let printed =
        cluster.curl_api(&[], &format!("{path}&watch=true&timeoutSeconds=1&resourceVersion={version}"));
    let event: Value = serde_json::from_str(printed.lines().next().unwrap_or_default()).expect("JSON");
    assert_eq!(event["type"], "DELETED", "the version is of the store, not of the process: {printed}");
}

#[test]
fn a_streaming_list_sends_what_there_is_then_a_bookmark() {
    let cluster = Cluster::start();
    create_config_maps(&cluster, 3);
    let path = "/api/v1/namespaces/default/configmaps?labelSelector=made%3Dhere&watch=true&timeoutSeconds=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let printed = cluster.curl_api(&[], path);
    let events: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap_or_default()).collect();
    assert_eq!(types[..4], ["ADDED", "ADDED", "ADDED", "BOOKMARK"], "{printed}");
    assert_eq!(events[3]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[test]
fn kubectl_watches_events_and_explains_fields() {
    let cluster = Cluster::start();
    let mut watch = cluster.kubectl_command();
    watch.args(["events", "--watch", "--request-timeout=120s"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut watch = watch.spawn().expect("kubectl starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
    cluster.kubectl(&["run", "one", "--image=registry.local/absent:v1"]).ok();
    let seen = lines.any(|line| line.is_ok_and(|line| line.contains("Failed to pull image")));
    watch.kill().expect("kubectl can be ended");
    watch.wait().expect("kubectl can be waited for");
    assert!(seen);
    for (field, words) in [
        (
            "pod.spec.containers.readinessProbe.httpGet",
            &["FIELDS:", "path", "<string>", "port", "-required-"][..],
        ),
        ("deployment.spec.strategy.rollingUpdate.maxSurge", &["FIELD: maxSurge", "<IntOrString>"]),
        ("service.spec.sessionAffinity", &["FIELD: sessionAffinity <string>", "DESCRIPTION:"]),
        ("endpointslice.endpoints.conditions.ready", &["FIELD: ready <boolean>"]),
    ] {
        let explained = cluster.kubectl(&["explain", field]).ok();
        for word in words {
            assert!(
                explained.contains(word),
                "{word:?} is missing in the explanation of {field}:\n{explained}"
            );
        }
    }
    cluster.kubectl(&["explain", "pod.spec.absent"]).err();
}

#[test]
fn finalizers_hold_an_object_until_they_are_gone() {
    let cluster = Cluster::start();
    cluster.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [example.com/hold]}");
    cluster.kubectl(&["delete", "configmap", "held", "--wait=false"]).ok();
    assert_ne!(cluster.field("configmap/held", "{.metadata.deletionTimestamp}"), "");
    cluster
        .kubectl(&["patch", "configmap", "held", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#])
        .ok();
    cluster.kubectl(&["get", "configmap", "held"]).err();
}

#[test]
fn what_an_owner_leaves_behind_is_collected_or_kept_as_asked() {
    let cluster = Cluster::start();
    super::kubectl::deploy_hello(&cluster);
    cluster.kubectl(&["delete", "deployment", "hello", "-n", "hello", "--cascade=orphan"]).ok();
    let replica_sets = cluster.kubectl(&["get", "rs", "-n", "hello", "-o", "name"]).ok();
    assert_eq!(replica_sets.lines().count(), 1, "{replica_sets}");
    cluster
        .kubectl(&["delete", "-n", "hello", replica_sets.trim(), "--cascade=foreground", "--timeout=60s"])
        .ok();
    assert_eq!(cluster.kubectl(&["get", "pods", "-n", "hello", "-o", "name"]).ok(), "");
}

#[test]
fn a_client_may_send_a_collection_of_requests_on_one_connection() {
    let cluster = Cluster::start();
    let identity = cluster.identity_file();
    let urls = format!("{}/api/v1/namespaces/default/configmaps/[1-50]", cluster.fact("api"));
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--insecure", "--max-time", "30", "--cert"]).arg(identity);
    curl.args(["--output", "/dev/null", "--write-out", "%{http_code} %{num_connects}\n", &urls]);
    let printed = isopod_tests::run(&mut curl, "").ok();
    assert_eq!(printed.lines().filter(|line| line.starts_with("404 ")).count(), 50, "{printed}");
    assert_eq!(printed.lines().filter(|line| line.ends_with(" 1")).count(), 1, "{printed}");
}
