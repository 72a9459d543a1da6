//! Who may do what, without configuring anything.

use std::process::Command;

use isopod_tests::Cluster;
use isopod_tests::command::run;

#[test]
fn without_an_identity_only_health_and_version_answer() {
    let cluster = Cluster::start();
    let ask = |path: &str| {
        let url = format!("{}{path}", cluster.fact("api"));
        let curl = ["--silent", "--insecure", "--max-time", "30", "--write-out", "\n%{http_code}", &url];
        run(Command::new("curl").args(curl), "").ok()
    };
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert!(ask(path).ends_with("\n200"), "{path}: {}", ask(path));
    }
    for path in [
        "/api",
        "/api/v1/pods",
        "/api/v1/secrets",
        "/apis/apps/v1/deployments",
        "/metrics",
        "/v2/",
        "/openapi/v3",
    ] {
        let answer = ask(path);
        assert!(answer.ends_with("\n403") || answer.ends_with("\n401"), "{path}: {answer}");
    }
    let denied = ask("/api/v1/namespaces/default/pods");
    assert!(
        denied.contains("pods is forbidden: User \\\"system:anonymous\\\" cannot list resource \\\"pods\\\""),
        "{denied}"
    );
}

#[test]
fn the_kubeconfig_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let cluster = Cluster::start();
    let mode = std::fs::metadata(cluster.fact("kubeconfig")).expect("it exists").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
