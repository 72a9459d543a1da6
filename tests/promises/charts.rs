//! More charts as the public ones are written, with the real helm 4: library charts, dependencies under other names,
//! schemas of values, objects that outlive their release, rights, and kinds that only some clusters have.

use isopod_tests::Cluster;

use super::helm::helm;
use super::kubectl::{assert_has, push_hello};

fn chart(name: &str) -> String {
    format!("{}/charts/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_chart_uses_a_library_and_one_dependency_under_two_names() {
    let cluster = Cluster::start();
    push_hello(&cluster, "v1");
    let api = chart("api");
    let begin = |args: &[&str]| helm(&cluster, &[&["upgrade", "--install", "app", &api][..], args].concat());
    let error = begin(&["--set=replicas=many"]).err();
    assert_has(&error, &["values don't meet the specifications", "replicas"]);

    begin(&["--wait", "--timeout=90s"]).ok();
    assert_eq!(cluster.field("configmap/app-api", "{.data.greeting}"), "app says hello");
    assert_eq!(cluster.field("configmap/app-api", "{.data.app\\.conf}"), "retries = 3\n");
    assert_eq!(cluster.field("deployment/app-sessions", "{.spec.replicas}"), "1");
    assert!(cluster.await_answer("app-api", "/").contains("Hello"));
    let pages = ["get", "deployment", "app-pages", "--ignore-not-found", "-o", "name"];
    assert_eq!(cluster.kubectl(&pages).ok(), "");

    begin(&["--set=tags.fast=true,sessions.enabled=false", "--wait", "--timeout=90s"]).ok();
    assert_eq!(cluster.field("deployment/app-pages", "{.status.readyReplicas}"), "2");
    let sessions = ["get", "deployment", "app-sessions", "--ignore-not-found", "-o", "name"];
    assert_eq!(cluster.kubectl(&sessions).ok(), "");
    let values = helm(&cluster, &["get", "values", "app", "--all", "-o", "json"]).ok();
    assert_has(&values, &["\"fast\":true"]);
    helm(&cluster, &["uninstall", "app", "--wait", "--timeout=60s"]).ok();
}

#[test]
fn a_chart_leaves_behind_what_it_says_is_to_be_kept() {
    let cluster = Cluster::start();
    cluster.push_guest("tool");
    let scheduled = chart("scheduled");
    helm(&cluster, &["install", "night", &scheduled, "--timeout=60s"]).ok();
    for name in ["one", "two"] {
        let log = cluster.kubectl(&["logs", &format!("job/night-{name}")]).ok();
        assert!(log.contains(name), "{log}");
    }
    let started = |name| cluster.field(&format!("job/night-{name}"), "{.status.startTime}");
    assert!(started("one") <= started("two"), "hooks run by weight");
    assert_eq!(cluster.field("cronjob/night-report", "{.spec.suspend}"), "true");
    cluster.kubectl(&["create", "job", "now", "--from=cronjob/night-report"]).ok();
    cluster.kubectl(&["wait", "--for=condition=complete", "job/now", "--timeout=30s"]).ok();

    let said = helm(&cluster, &["uninstall", "night"]).ok();
    assert_has(&said, &["kept due to the resource policy", "night-ledger"]);
    assert_eq!(cluster.field("configmap/night-ledger", "{.data.first}"), "1");
    assert_eq!(cluster.kubectl(&["get", "cronjob", "-o", "name"]).ok(), "");
}

#[test]
fn a_chart_gives_its_program_rights() {
    let cluster = Cluster::start();
    push_hello(&cluster, "v1");
    let operator = chart("operator");
    let place = ["--namespace=system", "--create-namespace", "--wait", "--timeout=90s"];
    helm(&cluster, &[&["install", "minder", &operator][..], &place].concat()).ok();
    let user = "--as=system:serviceaccount:system:minder";
    let may = |args: &[&str]| cluster.kubectl(&[&["auth", "can-i", user][..], args].concat());
    assert_eq!(may(&["patch", "deployments.apps", "--subresource=scale"]).ok().trim(), "yes");
    assert_eq!(may(&["create", "leases.coordination.k8s.io", "--namespace=system"]).ok().trim(), "yes");
    may(&["create", "leases.coordination.k8s.io", "--namespace=default"]).err();
    may(&["delete", "pods"]).err();
    let priority = ["get", "pods", "--namespace=system", "-o", "jsonpath={.items[0].spec.priority}"];
    assert_eq!(cluster.kubectl(&priority).ok(), "1000");
    helm(&cluster, &["uninstall", "minder", "--namespace=system", "--wait", "--timeout=60s"]).ok();
    let left = cluster.kubectl(&["get", "clusterrole,priorityclass", "-o", "name"]).ok();
    assert!(!left.contains("minder"), "{left}");
}

#[test]
fn a_chart_asks_which_kinds_the_cluster_has() {
    let cluster = Cluster::start();
    let guarded = chart("guarded");
    let shown = helm(&cluster, &["install", "wall", &guarded, "--dry-run=server"]).ok();
    assert_has(&shown, &["kind: NetworkPolicy", "kind: Ingress"]);
    assert!(!shown.contains("ServiceMonitor"), "{shown}");
    helm(&cluster, &["install", "wall", &guarded]).ok();
    let kinds = "networkpolicy,ingress,resourcequota,limitrange";
    let names = cluster.kubectl(&["get", kinds, "-o", "name"]).ok();
    assert_eq!(names.lines().filter(|name| name.ends_with("/wall")).count(), 4, "{names}");
    assert_has(&helm(&cluster, &["status", "wall"]).ok(), &["NetworkPolicy", "wall"]);
    helm(&cluster, &["uninstall", "wall"]).ok();
}
