//! What is left when ten times as much is asked as can be done: throughput of those who flood, and the waiting time of
//! somebody who does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use http::{HeaderValue, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;

use crate::bench::Bench;
use crate::connection::{ApiRequest, Connection, get, post};
use crate::endpoint::Endpoint;
use crate::figure::{Figure, Unit};
use crate::latency::Latencies;
use crate::process::Server;
use crate::workload::{NAMESPACE, namespace};

/// Connections at which a member does about as much as it can.
const PEAK: usize = 64;
/// Ten times that.
const FLOOD: usize = 10 * PEAK;
/// Callers who flood.
const CALLERS: usize = 10;
/// How long each load lasts.
const TIME: Duration = Duration::from_secs(5);
/// What is left of the peak should be at least this part of it.
const KEPT: f64 = 0.8;

/// What the flood does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Creates,
    Lists,
}

/// What a load came to.
#[derive(Default)]
struct Outcome {
    done: Vec<Duration>,
    turned_away: usize,
    other: Vec<Duration>,
    health: Vec<Duration>,
}

/// Measures one member with a new folder.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let server = Server::member(bench).await?;
    let endpoint = Endpoint::read(&server.banner.kubeconfig)?;
    let mut connection = Connection::open(&endpoint).await?;
    prepare(&mut connection).await?;
    let mut figures = Vec::new();
    for (what, name) in [(What::Creates, "creates"), (What::Lists, "lists of 100")] {
        let peak = load(&endpoint, what, PEAK).await.with_context(|| format!("{name} at the peak"))?;
        let flood = load(&endpoint, what, FLOOD).await.with_context(|| format!("{name} in the flood"))?;
        let rate = |outcome: &Outcome| outcome.done.len() as f64 / TIME.as_secs_f64();
        figures.push(
            Figure::new(format!("{name}, {FLOOD} connections"), rate(&flood), Unit::PerSecond)
                .beside("64 connections", rate(&peak))
                .goal(KEPT * rate(&peak)),
        );
        let turned_away = flood.turned_away as f64 / TIME.as_secs_f64();
        figures.push(Figure::new(format!("{name}, turned away meanwhile"), turned_away, Unit::PerSecond));
        for (whose, flood, peak) in
            [("another caller's get", flood.other, peak.other), ("/readyz", flood.health, peak.health)]
        {
            let figure = Figure::new(
                format!("{whose} meanwhile, p99"),
                Latencies::new(flood).p99_ms(),
                Unit::Milliseconds,
            );
            figures.push(figure.beside("64 connections", Latencies::new(peak).p99_ms()).goal(1000.0));
        }
    }
    figures.push(Figure::new("member, after this, resident memory", server.resident_mib()?, Unit::Mebibytes));
    server.stop().await?;
    Ok(figures)
}

/// The namespace, what is read in it, and the right of its service accounts to do everything.
async fn prepare(connection: &mut Connection) -> anyhow::Result<()> {
    namespace(connection).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": "flood" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{
            "apiGroup": "rbac.authorization.k8s.io", "kind": "Group",
            "name": format!("system:serviceaccounts:{NAMESPACE}"),
        }],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    connection.ensure(post(path, binding.to_string())).await?;
    for index in 0..100 {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": format!("read-{index}") },
            "stringData": { "k": "v".repeat(512) },
        });
        connection
            .ensure(post(&format!("/api/v1/namespaces/{NAMESPACE}/secrets"), secret.to_string()))
            .await?;
    }
    Ok(())
}

/// So many connections of [`CALLERS`] callers who ask again at once, one of another caller, and one of a health check.
async fn load(endpoint: &Endpoint, what: What, connections: usize) -> anyhow::Result<Outcome> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::open(endpoint).await?);
    }
    let (other, health) = (Connection::open(endpoint).await?, Connection::open(endpoint).await?);
    let mut flood = JoinSet::new();
    for (index, connection) in open.into_iter().enumerate() {
        let caller = format!("caller-{}", index % CALLERS);
        let run = rand::random::<u32>();
        let make = move |round: usize| match what {
            What::Creates => {
                let object = json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": { "name": format!("c-{run:x}-{index}-{round}") }, "data": { "k": "v" },
                });
                post(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps"), object.to_string())
            }
            What::Lists => get(&format!("/api/v1/namespaces/{NAMESPACE}/secrets")),
        };
        flood.spawn(ask(connection, caller, Arc::clone(&stop), make));
    }
    let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets/read-1");
    let other = tokio::spawn(ask(other, "other".to_owned(), Arc::clone(&stop), move |_| get(&path)));
    let health = tokio::spawn(ask(health, "other".to_owned(), Arc::clone(&stop), |_| get("/readyz")));
    tokio::time::sleep(TIME).await;
    stop.store(true, Ordering::Relaxed);
    let mut outcome = Outcome::default();
    while let Some(worker) = flood.join_next().await {
        let (done, turned_away) = worker??;
        outcome.done.extend(done);
        outcome.turned_away += turned_away;
    }
    let ((other, refused), (health, _)) = (other.await??, health.await??);
    ensure!(refused == 0, "a caller who asks one thing at a time was turned away {refused} times");
    Ok(Outcome { other, health, ..outcome })
}

/// Asks until it is told to stop; how long the answers took, and how often it was turned away.
async fn ask(
    mut connection: Connection,
    caller: String,
    stop: Arc<AtomicBool>,
    make: impl Fn(usize) -> ApiRequest,
) -> anyhow::Result<(Vec<Duration>, usize)> {
    let user = HeaderValue::from_str(&format!("system:serviceaccount:{NAMESPACE}:{caller}"))?;
    let (mut done, mut turned_away) = (Vec::new(), 0);
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut request = make(round);
        request.headers_mut().insert("impersonate-user", user.clone());
        let sent = Instant::now();
        let (status, body) = connection.answer(request).await?;
        match status {
            StatusCode::TOO_MANY_REQUESTS => turned_away += 1,
            status if status.is_success() => done.push(sent.elapsed()),
            status => anyhow::bail!("{status}: {}", String::from_utf8_lossy(&body).trim()),
        }
    }
    Ok((done, turned_away))
}
