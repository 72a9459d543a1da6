//! The real kubectl against `isopod dev`.

use isopod_tests::{Cluster, eventually};

/// The sample's folder.
pub(crate) const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples/hello");

/// Pushes the hello sample, applies it with kubectl and waits for its rollout.
#[track_caller]
pub(crate) fn deploy_hello(cluster: &Cluster) {
    cluster.isopod(&["push", &format!("{HELLO}/hello.wasm"), "registry.local/hello:v1"]).ok();
    cluster.kubectl(&["apply", "-f", &format!("{HELLO}/hello.yaml")]).ok();
    cluster.kubectl(&["rollout", "status", "-n", "hello", "deployment/hello", "--timeout=60s"]).ok();
}

#[test]
fn kubectl_applies_a_deployment_and_its_service_answers() {
    let cluster = Cluster::start();
    deploy_hello(&cluster);
    let body = eventually("hello answers", || match cluster.curl("hello", "hello", "/") {
        (200, body) => Ok(body),
        (status, body) => Err(format!("{status} {body}")),
    });
    assert!(body.contains("hello-"), "{body}");
    let pods = cluster.kubectl(&["get", "pods", "-n", "hello"]).ok();
    assert_eq!(pods.matches("1/1").count(), 3, "{pods}");
}
