//! The artifact registry, as tools that know only the OCI distribution API see it.

use std::process::Command;

use isopod_tests::ask::guest;
use isopod_tests::{Cluster, run};
use serde_json::{Value, json};

/// The digest of some bytes, by a tool that is not ours.
#[track_caller]
fn sha256(file: &std::path::Path) -> String {
    let printed = run(Command::new("sha256sum").arg(file), "").ok();
    format!("sha256:{}", printed.split(' ').next().expect("a digest"))
}

#[test]
fn what_was_pushed_is_an_oci_artifact() {
    let cluster = Cluster::start();
    let tool = guest("tool");
    let pushed = cluster.isopod(&["push", &tool.display().to_string(), "registry.local/tools/tool:v1"]).ok();
    assert_eq!(cluster.curl_api(&["--output", "/dev/null", "--write-out", "%{http_code}"], "/v2/"), "200");
    let tags: Value = serde_json::from_str(&cluster.curl_api(&[], "/v2/tools/tool/tags/list")).expect("JSON");
    assert_eq!(tags, json!({"name": "tools/tool", "tags": ["v1"]}));
    let manifest = cluster.curl_api(&[], "/v2/tools/tool/manifests/v1");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("manifest");
    std::fs::write(&file, &manifest).expect("written");
    assert!(pushed.contains(&sha256(&file)), "{pushed}");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(manifest["layers"][0]["digest"], sha256(&tool));
    let digest = manifest["layers"][0]["digest"].as_str().expect("a digest");
    let blob = folder.path().join("blob");
    let output = blob.display().to_string();
    cluster.curl_api(&["--output", &output], &format!("/v2/tools/tool/blobs/{digest}"));
    assert_eq!(std::fs::read(&blob).expect("it was fetched"), std::fs::read(&tool).expect("it is there"));
    let absent = cluster.curl_api(&[], "/v2/tools/absent/manifests/v1");
    assert!(absent.contains("MANIFEST_UNKNOWN") || absent.contains("NAME_UNKNOWN"), "{absent}");
}

#[test]
fn an_artifact_pushed_by_another_tool_runs() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("config");
    std::fs::write(&config, "{}").expect("written");
    let descriptor = |kind: &str, file: &std::path::Path| {
        let size = std::fs::metadata(file).expect("it is there").len();
        json!({"mediaType": kind, "digest": sha256(file), "size": size})
    };
    let status = |args: &[&str], path: &str| {
        cluster.curl_api(&[&["--output", "/dev/null", "--write-out", "%{http_code}"], args].concat(), path)
    };
    // A session to send a blob to.
    let upload = || {
        let post = ["--request", "POST", "--dump-header", "-"];
        let headers = cluster.curl_api(&post, "/v2/mine/blobs/uploads/");
        let mut fields = headers.lines().filter_map(|line| line.split_once(": "));
        let location = fields.find(|(name, _)| name.eq_ignore_ascii_case("location"));
        let (_, location) = location.unwrap_or_else(|| panic!("no location in {headers}"));
        let path = location.trim().strip_prefix(&cluster.fact("api")).unwrap_or(location.trim());
        format!("{path}{}digest=", if path.contains('?') { '&' } else { '?' })
    };
    let tool = guest("tool");
    for file in [&tool, &config] {
        let data = format!("@{}", file.display());
        let kind = "content-type: application/octet-stream";
        let put = ["--request", "PUT", "--header", kind, "--data-binary", &data];
        let other = format!("sha256:{}", "0".repeat(64));
        assert_eq!(status(&put, &(upload() + &other)), "400", "a digest that is not the blob's");
        assert_eq!(status(&put, &(upload() + &sha256(file))), "201");
    }
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.wasm.config.v0+json", &config),
        "layers": [descriptor("application/wasm", &tool)]});
    let data = manifest.to_string();
    let put = [
        "--request",
        "PUT",
        "--header",
        "content-type: application/vnd.oci.image.manifest.v1+json",
        "--data",
        &data,
    ];
    assert_eq!(status(&put, "/v2/mine/manifests/latest"), "201");
    cluster
        .kubectl(&[
            "run",
            "mine",
            "--image=registry.local/mine",
            "--restart=Never",
            "--",
            "args",
            "it",
            "runs",
        ])
        .ok();
    cluster.await_field("pod/mine", "{.status.phase}", "Succeeded");
    assert!(cluster.kubectl(&["logs", "mine"]).ok().contains("\"it\", \"runs\""));
}
