//! The scheduler and the controllers that feed it, on a member whose nodes are objects only: what is measured is the
//! way from a create through the API until the binding is seen by a watcher.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::connection::{ApiRequest, Connection, merge, post};
use crate::endpoint::Endpoint;
use crate::figure::{Figure, Unit};
use crate::latency::Latencies;
use crate::load::{Until, drive};
use crate::process::Server;
use crate::reference::{self, KUBERNETES};
use crate::watch::{Watch, version_of};
use crate::workload::{NAMESPACE, namespace, pods};

/// Connections over which pods are created.
const CONNECTIONS: usize = 64;
/// Pods that are created one after the other.
const SINGLES: usize = 100;
/// No measurement takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the pods of a measurement stand to each other.
#[derive(Debug, Clone, Copy)]
enum Rules {
    /// They ask for cpu and memory.
    Plain,
    /// Besides, no two may be on one node.
    Apart,
}

/// Measures each load on a member of its own.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let small = Cluster::start(bench, 20).await?;
    let mut figures = vec![small.single().await.context("single pods")?];
    let rate = small.bind(2_000, Rules::Plain).await.context("2,000 pods")?;
    figures.push(
        Figure::new("2,000 pods on 20 nodes, created and bound", rate, Unit::PerSecond)
            .beside(KUBERNETES, reference::BOUND_PER_SECOND)
            .goal(3_000.0),
    );
    small.server.stop().await?;

    let cluster = Cluster::start(bench, 20).await?;
    for (replicas, goal, beside) in [(500, 250.0, Some(reference::DEPLOYMENT_500_MS)), (1_000, 1_000.0, None)]
    {
        let took = cluster.deploy(replicas).await.with_context(|| format!("{replicas} replicas"))?;
        let what = format!("Deployment of {replicas}, until its pods exist");
        let figure = Figure::new(what, took.as_secs_f64() * 1000.0, Unit::Milliseconds).goal(goal);
        figures.push(match beside {
            Some(value) => figure.beside(KUBERNETES, value),
            None => figure,
        });
    }
    cluster.server.stop().await?;

    let large = Cluster::start(bench, 1_000).await?;
    let rate = large.bind(1_000, Rules::Apart).await.context("pods that are apart")?;
    figures.push(
        Figure::new("1,000 pods with required anti-affinity on 1,000 nodes", rate, Unit::PerSecond)
            .beside("Kubernetes' floor", reference::APART_PER_SECOND)
            .goal(1_000.0),
    );
    let rate = large.bind(10_000, Rules::Plain).await.context("10,000 pods")?;
    figures.push(
        Figure::new("10,000 pods on 1,000 nodes, created and bound", rate, Unit::PerSecond).goal(3_000.0),
    );
    large.server.stop().await?;
    Ok(figures)
}

/// A member, and nodes that nobody runs: they are Ready, as their objects say, for longer than a measurement takes.
struct Cluster {
    server: Server,
    endpoint: Endpoint,
}

impl Cluster {
    async fn start(bench: &Bench, nodes: usize) -> anyhow::Result<Cluster> {
        let server = Server::member(bench).await?;
        let endpoint = Endpoint::read(&server.banner.kubeconfig)?;
        let mut connection = Connection::open(&endpoint).await?;
        namespace(&mut connection).await?;
        let create = |index| post("/api/v1/nodes", node(index).to_string());
        drive(&endpoint, 16, Until::Count(nodes), create).await.context("nodes")?;
        let report = |index: usize| {
            let path = format!("/api/v1/nodes/node-{index}/status");
            let status = json!({ "status": node_status() }).to_string();
            merge(&path, status)
        };
        drive(&endpoint, 16, Until::Count(nodes), report).await.context("the status of nodes")?;
        Ok(Cluster { server, endpoint })
    }

    /// From sending the create of one pod until it is seen bound; nothing else is under way.
    async fn single(&self) -> anyhow::Result<Figure> {
        let mut connection = Connection::open(&self.endpoint).await?;
        let mut bound = Seen::watch(&self.endpoint, &mut connection).await?;
        let mut took = Vec::with_capacity(SINGLES);
        for index in 0..SINGLES {
            let sent = Instant::now();
            connection.expect(pod("single", index, Rules::Plain)).await?;
            bound.until(is_bound, 1).await?;
            took.push(sent.elapsed());
        }
        let p50 = Latencies::new(took).p50_ms();
        let figure = Figure::new("one pod, create to bound, p50", p50, Unit::Milliseconds);
        Ok(figure.beside(KUBERNETES, reference::FIRST_BOUND_MS).goal(5.0))
    }

    /// Creates so many pods as fast as it goes; how many are bound per second, from the first create on.
    async fn bind(&self, count: usize, rules: Rules) -> anyhow::Result<f64> {
        let mut connection = Connection::open(&self.endpoint).await?;
        let mut bound = Seen::watch(&self.endpoint, &mut connection).await?;
        let prefix = format!("pod-{count}");
        let make = move |index| pod(&prefix, index, rules);
        let started = Instant::now();
        let creates = drive(&self.endpoint, CONNECTIONS, Until::Count(count), make);
        let (created, all_bound) = tokio::join!(creates, bound.until(is_bound, count));
        created.context("creates")?;
        all_bound?;
        Ok(count as f64 / started.elapsed().as_secs_f64())
    }

    /// From sending a Deployment until all its pods are seen.
    async fn deploy(&self, replicas: usize) -> anyhow::Result<Duration> {
        let mut connection = Connection::open(&self.endpoint).await?;
        let mut created = Seen::watch(&self.endpoint, &mut connection).await?;
        let labels = json!({ "app": format!("web-{replicas}") });
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": format!("web-{replicas}") },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod_spec(Rules::Plain, "") },
            },
        });
        let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
        let started = Instant::now();
        connection.expect(post(&path, deployment.to_string())).await?;
        created.until(is_new, replicas).await?;
        Ok(started.elapsed())
    }
}

/// What a watcher of the namespace's pods sees from now on.
struct Seen(Watch);

impl Seen {
    async fn watch(endpoint: &Endpoint, connection: &mut Connection) -> anyhow::Result<Seen> {
        let version = version_of(connection, &pods()).await?;
        let path = format!("{}?watch=true&resourceVersion={version}", pods());
        Ok(Seen(Watch::open(endpoint, &path).await?))
    }

    /// Waits until so many events are of the wanted kind.
    async fn until(&mut self, is_wanted: fn(&str) -> bool, count: usize) -> anyhow::Result<()> {
        let seen = async {
            let mut seen = 0;
            while seen < count {
                let line = self.0.next().await?.context("the watch ended")?;
                seen += usize::from(is_wanted(std::str::from_utf8(&line)?));
            }
            anyhow::Ok(())
        };
        let waited = tokio::time::timeout(PATIENCE, seen).await;
        waited.with_context(|| format!("not all of {count} pods came to it in {} s", PATIENCE.as_secs()))?
    }
}

/// Nobody changes a pod once it is bound, so each is seen so once.
fn is_bound(event: &str) -> bool {
    event.contains(r#""nodeName":""#)
}

fn is_new(event: &str) -> bool {
    event.starts_with(r#"{"type":"ADDED""#)
}

fn node(index: usize) -> Value {
    let name = format!("node-{index}");
    let zone = format!("zone-{}", index % 3);
    let labels = json!({ "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone });
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels } })
}

fn node_status() -> Value {
    let amounts = json!({ "cpu": "64", "memory": "256Gi", "pods": "500" });
    json!({
        "capacity": amounts, "allocatable": amounts,
        "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady" }],
    })
}

fn pod(prefix: &str, index: usize, rules: Rules) -> ApiRequest {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": format!("{prefix}-{index}"), "labels": { "colour": prefix } },
        "spec": pod_spec(rules, prefix),
    });
    post(&pods(), pod.to_string())
}

fn pod_spec(rules: Rules, colour: &str) -> Value {
    let requests = json!({ "cpu": "100m", "memory": "500Mi" });
    let containers = json!([{ "name": "c", "image": "x", "resources": { "requests": requests } }]);
    match rules {
        Rules::Plain => json!({ "containers": containers }),
        Rules::Apart => json!({
            "containers": containers,
            "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": { "matchLabels": { "colour": colour } },
            }]}},
        }),
    }
}
