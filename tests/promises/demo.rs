//! `isopod demo`: one command from nothing to answers of a WebAssembly service.

use std::process::Command;

use isopod_tests::Cluster;
use isopod_tests::command::{isopod, run};

fn demo(data_dir: &std::path::Path, ranges: [&str; 2]) -> String {
    let mut command = Command::new(isopod());
    command.args(["demo", "--exit", "--listen", "127.0.0.1:0", "--ingress", "127.0.0.1:0"]);
    command.args(["--pod-cidr", ranges[0], "--service-cidr", ranges[1], "--data-dir"]).arg(data_dir);
    run(&mut command, "").ok()
}

#[test]
fn demo_answers_from_three_pods_and_ends_with_status_0() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ranges = ["127.56.0.0/16", "127.57.0.0/16"];
    let printed = demo(folder.path(), ranges);
    assert_eq!(
        printed.lines().filter(|line| line.contains("hello-") && line.trim().starts_with("hello-")).count(),
        3,
        "{printed}"
    );
    assert!(printed.contains("export KUBECONFIG="), "{printed}");

    // A second run in the same folder works as well.
    let again = demo(folder.path(), ranges);
    assert!(again.contains("30 more requests were answered by:"), "{again}");
}

#[test]
fn a_deployment_serves_again_after_sigkill_without_being_applied_again() {
    let mut cluster = Cluster::start();
    super::kubectl::deploy_hello(&cluster);
    cluster.kill_and_restart();
    isopod_tests::eventually("hello answers after the restart", || {
        match cluster.curl("hello", "hello", "/") {
            (200, body) => Ok(body),
            (status, body) => Err(format!("{status} {body}")),
        }
    });
    let pods = cluster.kubectl(&["get", "pods", "-n", "hello", "--no-headers"]).ok();
    assert_eq!(pods.lines().count(), 3, "{pods}");
}
