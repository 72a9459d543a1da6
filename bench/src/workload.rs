//! What the clusters under test run: the hello sample, as pods and behind a Service.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::bench::Bench;
use crate::connection::{Connection, get, post};
use crate::process::folder;
use crate::watch::Object;

/// The sample, built from `samples/hello`.
pub(crate) const COMPONENT: &[u8] = include_bytes!("../../samples/hello/hello.wasm");
/// Namespace of everything that is made here.
pub(crate) const NAMESPACE: &str = "bench";
/// Where pods listen; a port that needs no rights.
pub(crate) const PORT: u16 = 8080;

const IMAGE: &str = "registry.local/hello:bench";
/// How long the pods of the Deployment may take.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two looks at it.
const POLL: Duration = Duration::from_millis(20);

/// The path of all pods of the namespace.
pub(crate) fn pods() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods")
}

/// Makes the namespace, with the account that pods of it need.
pub(crate) async fn namespace(connection: &mut Connection) -> anyhow::Result<()> {
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    connection.ensure(post("/api/v1/namespaces", object.to_string())).await?;
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" } });
    connection
        .ensure(post(&format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"), account.to_string()))
        .await
}

/// Stores the component in the cluster's registry, as a user would.
pub(crate) async fn push(bench: &Bench, kubeconfig: &Path) -> anyhow::Result<()> {
    let folder = folder(&bench.dir)?;
    let file = folder.path().join("hello.wasm");
    std::fs::write(&file, COMPONENT)?;
    let mut command = Command::new(&bench.isopod);
    command.arg("push").arg(&file).args([IMAGE, "--kubeconfig"]).arg(kubeconfig).kill_on_drop(true);
    let output = command.output().await.context("cannot start isopod push")?;
    ensure!(
        output.status.success(),
        "isopod push failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// One pod of the component.
pub(crate) fn pod(name: &str) -> String {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": pod_spec() }).to_string()
}

/// Runs so many pods behind a Service, waits until they are ready, and returns the Service's address.
pub(crate) async fn deploy(connection: &mut Connection, replicas: u32) -> anyhow::Result<String> {
    let labels = json!({ "app": "hello" });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "hello" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": pod_spec() },
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "hello" },
        "spec": { "selector": labels, "ports": [{ "port": PORT }] },
    });
    let deployments = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
    connection.expect(post(&deployments, deployment.to_string())).await?;
    let services = format!("/api/v1/namespaces/{NAMESPACE}/services");
    let made: Value =
        serde_json::from_slice(&connection.expect(post(&services, service.to_string())).await?)?;
    let address = made["spec"]["clusterIP"].as_str().context("the Service has no address")?.to_owned();

    let ready = async {
        loop {
            let seen = connection.expect(get(&format!("{deployments}/hello"))).await?;
            if serde_json::from_slice::<Object>(&seen)?.status.ready_replicas == replicas {
                return anyhow::Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let waited = tokio::time::timeout(READY_TIMEOUT, ready).await;
    waited.with_context(|| format!("the pods were not ready after {} s", READY_TIMEOUT.as_secs()))??;
    Ok(address)
}

fn pod_spec() -> Value {
    json!({
        "containers": [{ "name": "hello", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "ports": [{ "containerPort": PORT }] }],
    })
}
