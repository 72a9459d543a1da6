//! The official Python client: typed, dynamic and watching, by the scripts of `tests/python`.

use std::path::PathBuf;
use std::process::Command;

use isopod_tests::{Cluster, run};

/// The Python that has the client: of `tests/run`'s tools, or the one on the path.
fn python() -> PathBuf {
    let installed = std::env::var_os("ISOPOD_TEST_TOOLS")
        .map(|tools| PathBuf::from(tools).join("python").join("bin").join("python"));
    installed.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("python3"))
}

/// Runs a script, which ends badly at the first thing that is not as it expects.
#[track_caller]
fn script(cluster: &Cluster, name: &str) {
    let mut command = Command::new(python());
    command.env("KUBECONFIG", cluster.fact("kubeconfig")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(format!("{}/python/{name}.py", env!("CARGO_MANIFEST_DIR")));
    run(&mut command, "").ok();
}

#[test]
fn typed_classes_write_read_page_and_patch_every_kind_they_know() {
    let cluster = Cluster::start();
    cluster.push_guest("tool");
    script(&cluster, "typed");
}

#[test]
fn the_dynamic_client_finds_kinds_by_discovery_also_those_declared_meanwhile() {
    script(&Cluster::start(), "dynamic");
}

#[test]
fn watches_begin_end_and_select_as_scripts_expect() {
    script(&Cluster::start(), "watching");
}

#[test]
fn watches_and_logs_come_over_web_sockets_with_a_token_among_the_protocols() {
    let cluster = Cluster::start();
    cluster.push_guest("tool");
    script(&cluster, "sockets");
}
