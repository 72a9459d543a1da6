//! The real helm 4 with charts as the public ones are written: install, upgrade, rollback, uninstall, hooks, tests.

use std::process::Command;

use isopod_tests::command::tool;
use isopod_tests::{Cluster, Outcome, run};

/// Runs helm against the cluster with `args`, and a time limit of its own.
#[track_caller]
pub(crate) fn helm(cluster: &Cluster, args: &[&str]) -> Outcome {
    let home = cluster.data_dir().join("helm");
    let mut command = Command::new(tool("helm"));
    command.env("KUBECONFIG", cluster.fact("kubeconfig"));
    for (name, folder) in
        [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        command.env(name, home.join(folder));
    }
    run(command.args(args), "")
}

fn chart(name: &str) -> String {
    format!("{}/charts/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What the objects' owner is called, of a field of the Deployment `web`.
fn managers(cluster: &Cluster, object: &str) -> String {
    cluster.kubectl(&["get", object, "-o", "jsonpath={.metadata.managedFields[*].manager}"]).ok()
}

#[test]
fn a_release_is_installed_upgraded_rolled_back_and_uninstalled() {
    let cluster = Cluster::start();
    super::kubectl::push_hello(&cluster, "v1");
    cluster.push_guest("tool");
    let web = chart("web");
    let installed = helm(&cluster, &["install", "site", &web, "--wait", "--timeout=90s"]).ok();
    super::kubectl::assert_has(&installed, &["STATUS: deployed", "site runs 1 of web on Kubernetes 1.36"]);
    assert!(managers(&cluster, "deployment/site-web").contains("helm"));
    cluster.await_answer("site-web", "/");
    let password = cluster.field("secret/site-web", "{.data.password}");

    let more = ["--set=replicaCount=2", "--set=settings.colour=blue"];
    helm(&cluster, &["upgrade", "site", &web, more[0], more[1], "--wait", "--timeout=90s"]).ok();
    assert_eq!(cluster.field("deployment/site-web", "{.spec.replicas}"), "2");
    assert_eq!(cluster.field("configmap/site-web", "{.data.COLOUR}"), "blue");
    assert_eq!(cluster.field("secret/site-web", "{.data.password}"), password, "lookup finds what is there");
    helm(&cluster, &["test", "site", "--timeout=60s"]).ok();
    let log = cluster.kubectl(&["logs", "site-web-test"]).ok();
    assert!(log.contains("COLOUR=blue"), "{log}");

    helm(&cluster, &["rollback", "site", "1", "--wait", "--timeout=90s"]).ok();
    assert_eq!(cluster.field("deployment/site-web", "{.spec.replicas}"), "1");
    assert_eq!(cluster.field("configmap/site-web", "{.data.COLOUR}"), "green");
    let history = helm(&cluster, &["history", "site"]).ok();
    super::kubectl::assert_has(&history, &["Rollback to 1", "superseded"]);
    let status = helm(&cluster, &["status", "site"]).ok();
    super::kubectl::assert_has(&status, &["STATUS: deployed", "REVISION: 3"]);
    let manifest = helm(&cluster, &["get", "manifest", "site"]).ok();
    assert!(manifest.contains("kind: Ingress"), "{manifest}");

    helm(&cluster, &["uninstall", "site", "--wait", "--timeout=60s"]).ok();
    let left = cluster.kubectl(&["get", "deployment,service,configmap,secret,ingress", "-o", "name"]).ok();
    assert!(!left.contains("site"), "{left}");
    assert!(!helm(&cluster, &["list"]).ok().contains("site"));
}

#[test]
fn an_upgrade_that_does_not_come_up_is_rolled_back() {
    let cluster = Cluster::start();
    super::kubectl::push_hello(&cluster, "v1");
    let web = chart("web");
    helm(&cluster, &["install", "site", &web, "--wait", "--timeout=90s"]).ok();
    let bad = ["--set=image.tag=none", "--set=settings.colour=red"];
    let error = helm(
        &cluster,
        &["upgrade", "site", &web, bad[0], bad[1], "--rollback-on-failure", "--wait", "--timeout=8s"],
    )
    .err();
    assert!(error.contains("rolled back"), "{error}");
    assert_eq!(cluster.field("configmap/site-web", "{.data.COLOUR}"), "green");
    let image = cluster.field("deployment/site-web", "{.spec.template.spec.containers[0].image}");
    assert_eq!(image, "registry.local/hello:v1");
    cluster.await_answer("site-web", "/");
}

#[test]
fn hooks_run_in_their_order_and_a_failed_one_stops_the_release() {
    let cluster = Cluster::start();
    cluster.push_guest("tool");
    let hooks = chart("hooks");
    helm(&cluster, &["install", "app", &hooks, "--timeout=60s"]).ok();
    let log = cluster.kubectl(&["logs", "job/app-migrate"]).ok();
    assert!(log.contains("migrated"), "{log}");
    assert_eq!(cluster.field("configmap/app-settings", "{.data.revision}"), "1");
    let error =
        helm(&cluster, &["upgrade", "app", &hooks, "--set-json=migrate=[\"exit\",\"3\"]", "--timeout=60s"])
            .err();
    assert!(error.contains("pre-upgrade hooks failed"), "{error}");
    assert_eq!(cluster.field("configmap/app-settings", "{.data.revision}"), "1");
    helm(&cluster, &["upgrade", "app", &hooks, "--timeout=60s"]).ok();
    assert_eq!(cluster.field("configmap/app-settings", "{.data.revision}"), "3");
    helm(&cluster, &["uninstall", "app", "--timeout=60s"]).ok();
    let left = cluster.kubectl(&["get", "jobs", "-o", "name"]).ok();
    assert!(!left.contains("cleanup"), "a hook that succeeded is deleted: {left}");
}

#[test]
fn a_chart_brings_its_dependencies() {
    let cluster = Cluster::start();
    super::kubectl::push_hello(&cluster, "v1");
    let parent = chart("parent");
    let args = ["--namespace=shop", "--create-namespace", "--wait", "--timeout=90s"];
    helm(&cluster, &["install", "shop", &parent, args[0], args[1], args[2], args[3]]).ok();
    let ready =
        ["get", "statefulset/shop-store", "--namespace=shop", "-o", "jsonpath={.status.readyReplicas}"];
    assert_eq!(cluster.kubectl(&ready).ok(), "3");
    let off = ["--namespace=shop", "--set=child.enabled=false", "--wait", "--timeout=60s"];
    helm(&cluster, &["upgrade", "shop", &parent, off[0], off[1], off[2], off[3]]).ok();
    let left = cluster.kubectl(&["get", "statefulset,pdb,role", "--namespace=shop", "-o", "name"]).ok();
    assert!(!left.contains("store") && left.contains("role.rbac"), "{left}");
}

#[test]
fn what_another_manager_owns_stops_an_upgrade_until_it_is_forced() {
    let cluster = Cluster::start();
    super::kubectl::push_hello(&cluster, "v1");
    let web = chart("web");
    helm(&cluster, &["install", "site", &web, "--wait", "--timeout=90s"]).ok();
    let colour = ["patch", "configmap/site-web", "--type=merge", "-p", "{\"data\":{\"COLOUR\":\"pink\"}}"];
    cluster.kubectl(&colour).ok();
    let error = helm(&cluster, &["upgrade", "site", &web, "--set=settings.colour=blue"]).err();
    assert!(error.contains("conflict with \"kubectl-patch\""), "{error}");
    helm(&cluster, &["upgrade", "site", &web, "--set=settings.colour=blue", "--force-conflicts"]).ok();
    assert_eq!(cluster.field("configmap/site-web", "{.data.COLOUR}"), "blue");
    let dry = helm(&cluster, &["upgrade", "site", &web, "--set=replicaCount=7", "--dry-run=server"]).ok();
    assert!(dry.contains("replicas: 7"), "{dry}");
    assert_eq!(cluster.field("deployment/site-web", "{.spec.replicas}"), "1");
}
