//! Many requests to the API over so many connections, each with its own worker that waits for every answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use http_body_util::BodyExt as _;
use tokio::task::JoinSet;

use crate::connection::{ApiRequest, Connection, get};
use crate::endpoint::Endpoint;
use crate::latency::Latencies;

/// No load takes longer.
const TIMEOUT: Duration = Duration::from_secs(120);

/// When a load ends.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// After so many requests.
    Count(usize),
    /// After so long.
    Elapsed(Duration),
}

/// What a load came to.
pub(crate) struct Outcome {
    pub(crate) per_second: f64,
    pub(crate) latencies: Latencies,
}

/// Sends what `make` makes of 0, 1, 2, …. A request that does not succeed ends the load: a rate of failures says
/// nothing.
pub(crate) async fn drive(
    endpoint: &Endpoint,
    connections: usize,
    until: Until,
    make: impl Fn(usize) -> ApiRequest + Send + Sync + 'static,
) -> anyhow::Result<Outcome> {
    let make = Arc::new(make);
    let next = Arc::new(AtomicUsize::new(0));
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut connection = Connection::open(endpoint).await?;
        connection.expect(get("/version")).await?;
        open.push(connection);
    }
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for connection in open {
        workers.spawn(work(connection, started, until, next.clone(), make.clone()));
    }
    let mut durations = Vec::new();
    let all = async {
        while let Some(worker) = workers.join_next().await {
            durations.extend(worker??);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(TIMEOUT, all)
        .await
        .with_context(|| format!("not done after {} s", TIMEOUT.as_secs()))??;
    let per_second = durations.len() as f64 / started.elapsed().as_secs_f64();
    Ok(Outcome { per_second, latencies: Latencies::new(durations) })
}

async fn work(
    mut connection: Connection,
    started: Instant,
    until: Until,
    next: Arc<AtomicUsize>,
    make: Arc<impl Fn(usize) -> ApiRequest>,
) -> anyhow::Result<Vec<Duration>> {
    let mut durations = Vec::new();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let over = match until {
            Until::Count(count) => index >= count,
            Until::Elapsed(time) => started.elapsed() >= time,
        };
        if over {
            return Ok(durations);
        }
        let sent = Instant::now();
        let response = connection.send(make(index)).await?;
        let status = response.status();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        durations.push(sent.elapsed());
        ensure!(status.is_success(), "request {index} was answered {status}");
    }
}
