//! The sample's pods, and the nodes they are on.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::{LOOK_AGAIN, RECOVERY_TIMEOUT};
use crate::demo;

/// Pods of the sample on so many nodes.
pub(super) const fn wanted(nodes: usize) -> usize {
    2 * nodes
}

/// Waits until so many pods are ready on nodes other than this one.
pub(super) async fn ready_elsewhere(client: &Client, node: &str, wanted: usize) -> anyhow::Result<()> {
    let what = format!("the pods of {node} were not replaced");
    until(&what, async || Ok(ready(client).await?.iter().filter(|place| *place != node).count() == wanted))
        .await
}

/// Waits until every node has pods that are ready.
pub(super) async fn spread(client: &Client, nodes: usize) -> anyhow::Result<()> {
    let what = "the pods were not spread over all nodes";
    until(what, async || {
        let places = ready(client).await?;
        Ok(places.len() == wanted(nodes) && places.iter().collect::<BTreeSet<_>>().len() == nodes)
    })
    .await
}

/// Waits until so many nodes are ready, and may be given pods.
pub(super) async fn nodes_ready(client: &Client, wanted: usize) -> anyhow::Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    until("the nodes were not all ready", async || {
        let nodes = api.list(&ListParams::default()).await?;
        let is_free = |node: &&Node| node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).is_none();
        let is_well = |node: &Node| {
            let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
        };
        Ok(nodes.iter().filter(is_free).filter(|node| is_well(node)).count() == wanted)
    })
    .await
}

/// As `kubectl rollout restart`.
pub(super) async fn restart(client: &Client) -> anyhow::Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), demo::NAMESPACE);
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": Timestamp::now().to_string()});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    let patched = api.patch(demo::NAME, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map(drop).context("cannot restart the sample")
}

/// The nodes of the pods that are ready and stay.
async fn ready(client: &Client) -> Result<Vec<String>, kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), demo::NAMESPACE);
    let pods = api.list(&ListParams::default()).await?;
    let is_ready = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
    };
    let ready =
        pods.items.into_iter().filter(|pod| is_ready(pod) && pod.metadata.deletion_timestamp.is_none());
    Ok(ready.filter_map(|pod| pod.spec?.node_name).collect())
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> Result<bool, kube::Error>) -> anyhow::Result<()> {
    let deadline = Instant::now() + RECOVERY_TIMEOUT;
    // A member that is asked may be the one that was killed: an error is no answer.
    while !is_so().await.unwrap_or(false) {
        if Instant::now() > deadline {
            bail!("{what} within {} s", RECOVERY_TIMEOUT.as_secs());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}
