//! From sending a create to the event of a watcher.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::minimal_pod;
use crate::connection::{Connection, delete, post};
use crate::endpoint::Endpoint;
use crate::figure::{Figure, Unit};
use crate::latency::Latencies;
use crate::reference::{self, KUBERNETES};
use crate::watch::{Event, Watch, version_of};
use crate::workload::pods;

/// Pods that are created.
const COUNT: usize = 300;
/// Time from one create to the next.
const PACE: Duration = Duration::from_millis(20);
/// The events must come within this time after the last create.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures one watcher, and removes the pods.
pub(super) async fn run(endpoint: &Endpoint) -> anyhow::Result<Vec<Figure>> {
    let mut connection = Connection::open(endpoint).await?;
    let version = version_of(&mut connection, &pods()).await?;
    let watch = Watch::open(endpoint, &format!("{}?watch=true&resourceVersion={version}", pods())).await?;
    let watcher = AbortOnDropHandle::new(tokio::spawn(seen(watch)));

    let mut sent = Vec::with_capacity(COUNT);
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for index in 0..COUNT {
        pace.tick().await;
        sent.push(Instant::now());
        connection.expect(post(&pods(), minimal_pod(&format!("w-{index}")))).await?;
    }
    let seen = timeout(PATIENCE, watcher).await.context("not all events came")???;
    for index in 0..COUNT {
        connection.expect(delete(&format!("{}/w-{index}", pods()))).await?;
    }
    let durations = seen.into_iter().map(|(index, at)| at.duration_since(sent[index])).collect();
    let latencies = Latencies::new(durations);
    Ok(vec![
        Figure::new("watch, create to event, p50", latencies.p50_ms(), Unit::Milliseconds)
            .beside(KUBERNETES, reference::WATCH_P50_MS)
            .goal(2.0),
        Figure::new("watch, create to event, p99", latencies.p99_ms(), Unit::Milliseconds)
            .beside(KUBERNETES, reference::WATCH_P99_MS),
    ])
}

/// When each of the created pods was seen.
async fn seen(mut watch: Watch) -> anyhow::Result<Vec<(usize, Instant)>> {
    let mut seen = Vec::with_capacity(COUNT);
    while seen.len() < COUNT {
        let line = watch.next().await?.context("the watch ended")?;
        let at = Instant::now();
        let event: Event = serde_json::from_slice(&line)?;
        let index = event.object.metadata.name.strip_prefix("w-").and_then(|index| index.parse().ok());
        if let (Some(index), "ADDED") = (index, event.kind.as_str()) {
            seen.push((index, at));
        }
    }
    Ok(seen)
}
