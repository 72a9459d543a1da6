//! From sending the create of a pod to its readiness, as a watcher sees it, with the component cached.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::bench::Bench;
use crate::connection::{Connection, delete, post};
use crate::endpoint::Endpoint;
use crate::figure::{Figure, Unit};
use crate::latency::Latencies;
use crate::process::{Cores, Server};
use crate::reference;
use crate::watch::{Event, Watch, version_of};
use crate::workload::{namespace, pod, pods, push};

/// Pods of each measurement.
const COUNT: usize = 200;
/// Time from one create to the next, where they come at a rate: 50 a second.
const PACE: Duration = Duration::from_millis(20);
/// One pod at most, the first with its compilation.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures pods one after the other, then at a rate. Each is deleted once it is ready.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let server = Server::dev(bench, Cores::All).await?;
    let endpoint = Endpoint::read(&server.banner.kubeconfig)?;
    push(bench, &server.banner.kubeconfig).await?;
    let mut connection = Connection::open(&endpoint).await?;
    namespace(&mut connection).await?;
    let mut readies = Readies::watch(&endpoint, &mut connection).await?;
    start(&mut connection, &mut readies, "first").await?;

    let mut one_by_one = Vec::with_capacity(COUNT);
    for index in 0..COUNT {
        one_by_one.push(start(&mut connection, &mut readies, &format!("single-{index}")).await?);
    }
    let at_a_rate = paced(&endpoint, &mut connection, &mut readies).await?;
    server.stop().await?;
    Ok([figures("one after the other", one_by_one), figures("50 a second", at_a_rate)].concat())
}

fn figures(how: &str, durations: Vec<Duration>) -> Vec<Figure> {
    let latencies = Latencies::new(durations);
    vec![
        Figure::new(format!("pod, create to Ready, {how}, p50"), latencies.p50_ms(), Unit::Milliseconds)
            .goal(10.0),
        Figure::new(format!("pod, create to Ready, {how}, p99"), latencies.p99_ms(), Unit::Milliseconds)
            .beside("Kubernetes' objective", reference::POD_START_P99_MS),
    ]
}

/// Creates one pod, waits until it is ready, deletes it; says how long it took to be ready.
async fn start(connection: &mut Connection, readies: &mut Readies, name: &str) -> anyhow::Result<Duration> {
    let sent = Instant::now();
    connection.expect(post(&pods(), pod(name))).await?;
    loop {
        let (seen, at) = readies.next().await?;
        connection.expect(delete(&format!("{}/{seen}", pods()))).await?;
        if seen == name {
            return Ok(at.duration_since(sent));
        }
    }
}

async fn paced(
    endpoint: &Endpoint,
    connection: &mut Connection,
    readies: &mut Readies,
) -> anyhow::Result<Vec<Duration>> {
    let mut creating = Connection::open(endpoint).await?;
    let creator = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut sent = HashMap::with_capacity(COUNT);
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for index in 0..COUNT {
            pace.tick().await;
            let name = format!("paced-{index}");
            let at = Instant::now();
            creating.expect(post(&pods(), pod(&name))).await?;
            sent.insert(name, at);
        }
        anyhow::Ok(sent)
    }));
    let mut ready = Vec::with_capacity(COUNT);
    while ready.len() < COUNT {
        let (name, at) = readies.next().await?;
        connection.expect(delete(&format!("{}/{name}", pods()))).await?;
        ready.push((name, at));
    }
    let sent = creator.await??;
    let duration = |(name, at): (String, Instant)| sent.get(&name).map(|sent| at.duration_since(*sent));
    Ok(ready.into_iter().filter_map(duration).collect())
}

/// Pods that have become ready, and when that was seen.
struct Readies {
    seen: mpsc::Receiver<(String, Instant)>,
    watcher: AbortOnDropHandle<anyhow::Result<()>>,
}

impl Readies {
    async fn watch(endpoint: &Endpoint, connection: &mut Connection) -> anyhow::Result<Readies> {
        let version = version_of(connection, &pods()).await?;
        let mut watch =
            Watch::open(endpoint, &format!("{}?watch=true&resourceVersion={version}", pods())).await?;
        let (sender, seen) = mpsc::channel(COUNT);
        let watcher = tokio::spawn(async move {
            let mut known = HashSet::new();
            while let Some(line) = watch.next().await? {
                let at = Instant::now();
                let event: Event = serde_json::from_slice(&line)?;
                let name = event.object.metadata.name.clone();
                let ready = event.kind != "DELETED" && event.object.is_ready();
                if ready && known.insert(name.clone()) && sender.send((name, at)).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        Ok(Readies { seen, watcher: AbortOnDropHandle::new(watcher) })
    }

    async fn next(&mut self) -> anyhow::Result<(String, Instant)> {
        let next = timeout(PATIENCE, self.seen.recv()).await;
        if let Some(next) =
            next.with_context(|| format!("no pod became ready in {} s", PATIENCE.as_secs()))?
        {
            return Ok(next);
        }
        (&mut self.watcher).await??;
        anyhow::bail!("the watch ended")
    }
}
