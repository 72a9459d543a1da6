//! Reads what an explanation needs, each thing once.

use http::Request;
use kube::Client;
use serde_json::Value;

use crate::target::{self, Target};

/// Owners are followed upward this far: pod, replica set, deployment, and one for custom owners.
const OWNERS_MAX: usize = 4;

/// What is known about an object.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The object asked about.
    pub(super) object: Value,
    /// What owns it, nearest first.
    pub(super) owners: Vec<Value>,
    /// The pods below it (for a pod, the pod itself).
    pub(super) pods: Vec<Value>,
    /// Events about the object and its pods, oldest first.
    pub(super) events: Vec<Value>,
    /// Nodes that its pods are bound to.
    pub(super) nodes: Vec<Value>,
    /// Endpoint slices, when it is a Service.
    pub(super) slices: Vec<Value>,
}

pub(super) async fn facts(client: &Client, namespace: &str, target: &Target) -> anyhow::Result<Facts> {
    let object = get(client, &target::object(target.kind, namespace, &target.names[0])).await?;
    let owners = owners(client, namespace, &object).await?;
    let pods = pods(client, namespace, &object).await?;
    let events = events(client, namespace, &object, &pods).await?;
    let nodes = nodes(client, &pods).await?;
    let slices = match kind_of(&object) {
        "Service" => slices(client, namespace, &target.names[0]).await?,
        _ => Vec::new(),
    };
    Ok(Facts { object, owners, pods, events, nodes, slices })
}

pub(super) fn kind_of(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

pub(super) fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

pub(super) fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

async fn get(client: &Client, path: &str) -> anyhow::Result<Value> {
    Ok(client.request(Request::get(path).body(Vec::new())?).await?)
}

async fn list(client: &Client, path: &str) -> anyhow::Result<Vec<Value>> {
    let mut answer = get(client, path).await?;
    match answer["items"].take() {
        Value::Array(items) => Ok(items),
        _ => Ok(Vec::new()),
    }
}

async fn owners(client: &Client, namespace: &str, object: &Value) -> anyhow::Result<Vec<Value>> {
    let mut chain: Vec<Value> = Vec::new();
    while chain.len() < OWNERS_MAX {
        let below = chain.last().unwrap_or(object);
        let references = items(&below["metadata"]["ownerReferences"]);
        let Some(reference) = references.iter().find(|r| r["controller"] == true).or(references.first())
        else {
            break;
        };
        let Ok(kind) = target::kind(&reference["kind"].as_str().unwrap_or_default().to_lowercase()) else {
            break;
        };
        let path = target::object(kind, namespace, reference["name"].as_str().unwrap_or_default());
        match get(client, &path).await {
            Ok(owner) if owner["metadata"]["uid"] == reference["uid"] => chain.push(owner),
            _ => break,
        }
    }
    Ok(chain)
}

/// Pods by the object's selector; a workload's own pods only, where the selector could match others' too.
async fn pods(client: &Client, namespace: &str, object: &Value) -> anyhow::Result<Vec<Value>> {
    if kind_of(object) == "Pod" {
        return Ok(vec![object.clone()]);
    }
    let selector = &object["spec"]["selector"];
    let Some(labels) = selector["matchLabels"].as_object().or_else(|| selector.as_object()) else {
        return Ok(Vec::new());
    };
    let pairs = labels.iter().filter_map(|(key, value)| value.as_str().map(|value| format!("{key}={value}")));
    let selector = pairs.collect::<Vec<_>>().join(",");
    let path = target::collection(target::kind("pods")?, Some(namespace));
    list(client, &format!("{path}?labelSelector={}", target::escape(&selector))).await
}

async fn events(
    client: &Client,
    namespace: &str,
    object: &Value,
    pods: &[Value],
) -> anyhow::Result<Vec<Value>> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
    let path = target::collection(target::kind("events")?, Some(namespace));
    let mut events = list(client, &path).await?;
    let uids: Vec<&Value> = std::iter::once(object).chain(pods).map(|o| &o["metadata"]["uid"]).collect();
    events.retain(|event| uids.contains(&&event["involvedObject"]["uid"]));
    let time = |event: &Value| {
        event["lastTimestamp"].as_str().or(event["eventTime"].as_str()).unwrap_or_default().to_owned()
    };
    events.sort_by_key(time);
    Ok(events)
}

async fn nodes(client: &Client, pods: &[Value]) -> anyhow::Result<Vec<Value>> {
    let mut names: Vec<&str> = pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut all = list(client, &target::collection(target::kind("nodes")?, None)).await?;
    all.retain(|node| names.contains(&name_of(node)));
    Ok(all)
}

async fn slices(client: &Client, namespace: &str, service: &str) -> anyhow::Result<Vec<Value>> {
    let path = target::collection(target::kind("endpointslices")?, Some(namespace));
    list(
        client,
        &format!("{path}?labelSelector={}", target::escape(&format!("kubernetes.io/service-name={service}"))),
    )
    .await
}
