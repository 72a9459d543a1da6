//! The samples and the tests' own guests build from their sources, and what was built works.

use std::path::Path;
use std::process::Command;

use isopod_tests::command::run;
use isopod_tests::{Cluster, eventually};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Largest component that is committed beside its source.
const COMMITTED_BYTES_MAX: u64 = 300_000;

#[track_caller]
fn build(out: &Path, names: &[&str]) {
    let mut command = Command::new(format!("{ROOT}/samples/build"));
    // The sample's own toolchain, not the one that cargo runs this test with.
    for variable in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTFLAGS", "CARGO_TARGET_DIR"] {
        command.env_remove(variable);
    }
    run(command.arg("--out").arg(out).args(names), "").ok();
}

#[test]
fn samples_and_guests_build_from_their_sources() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let guests = ["hello", "greeter", "batch-core", "stranger", "tool", "unruly"];
    build(out.path(), &guests);
    for name in guests {
        let built = std::fs::metadata(out.path().join(format!("{name}.wasm"))).expect("it was built");
        assert!(built.len() <= COMMITTED_BYTES_MAX, "{name} has {} bytes", built.len());
    }
    let cluster = Cluster::start();
    let hello = out.path().join("hello.wasm");
    cluster.isopod(&["push", &hello.display().to_string(), "registry.local/hello:v1"]).ok();
    cluster.kubectl(&["apply", "-f", &format!("{ROOT}/samples/hello/hello.yaml")]).ok();
    eventually("the hello that was just built answers", || match cluster.curl("hello", "hello", "/") {
        (200, body) if body.starts_with("Hello from hello-") => Ok(()),
        (status, body) => Err(format!("{status} {body}")),
    });
}

#[test]
fn script_a_python_component_is_built_and_serves() {
    let out = tempfile::tempdir().expect("a temporary folder");
    build(out.path(), &["script"]);
    let cluster = Cluster::start();
    let script = out.path().join("script.wasm");
    cluster.isopod(&["push", &script.display().to_string(), "registry.local/script:v1"]).ok();
    cluster.kubectl(&["apply", "-f", &format!("{ROOT}/samples/script/script.yaml")]).ok();
    cluster
        .kubectl(&[
            "wait",
            "-n",
            "script",
            "deployment/script",
            "--for=condition=Available",
            "--timeout=240s",
        ])
        .ok();
    let (status, body) = cluster.curl("script", "script", "/");
    assert_eq!(status, 200, "{body}");
}
