//! The API of one member without nodes, under the loads that kube-apiserver was measured with.

mod lists;
mod watching;

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::bench::Bench;
use crate::connection::{Connection, delete, get, merge, post};
use crate::endpoint::Endpoint;
use crate::figure::{Figure, Unit};
use crate::load::{Outcome, Until, drive};
use crate::process::Server;
use crate::reference::{self, KUBERNETES, Load};
use crate::workload::{namespace, pods};

/// How long a member may take to be ready at all.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long reads are measured.
const READ_TIME: Duration = Duration::from_secs(4);

/// Measures everything on one member with a new folder.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let server = Server::member(bench).await?;
    let endpoint = Endpoint::read(&server.banner.kubeconfig)?;
    let mut connection = Connection::open(&endpoint).await?;
    while let Err(error) = connection.expect(get("/readyz")).await {
        ensure!(server.started.elapsed() < READY_TIMEOUT, "the member is not ready: {error}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ready = server.started.elapsed().as_secs_f64() * 1000.0;
    let mut figures = vec![
        Figure::new("member, exec to /readyz, empty", ready, Unit::Milliseconds)
            .beside(KUBERNETES, reference::READY_MS)
            .goal(500.0),
    ];
    namespace(&mut connection).await?;
    figures.extend(watching::run(&endpoint).await.context("watch")?);
    figures.extend(creates(&endpoint).await.context("creates")?);
    figures.extend(lists::run(&endpoint).await.context("lists")?);
    figures.extend(others(&endpoint).await?);
    figures.push(
        Figure::new("member, after this load, resident memory", server.resident_mib()?, Unit::Mebibytes)
            .beside(KUBERNETES, reference::LOADED_MIB)
            .goal(200.0),
    );
    server.stop().await?;
    Ok(figures)
}

async fn creates(endpoint: &Endpoint) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for load in &reference::CREATES {
        let (path, prefix) = (pods(), load.prefix);
        let make = move |index| post(&path, minimal_pod(&format!("{prefix}-{index}")));
        let outcome = drive(endpoint, load.connections, Until::Count(load.count), make).await?;
        figures.push(rate("creates", load, &outcome));
        if load.connections == 1 {
            figures.push(
                Figure::new("creates, 1 connection, p50", outcome.latencies.p50_ms(), Unit::Milliseconds)
                    .beside(KUBERNETES, reference::CREATE_P50_MS),
            );
        }
    }
    Ok(figures)
}

/// Reads, patches and deletes of what [`creates`] left.
async fn others(endpoint: &Endpoint) -> anyhow::Result<Vec<Figure>> {
    let path = |load: &Load| {
        let (pods, prefix, count) = (pods(), load.prefix, load.count);
        move |index: usize| format!("{pods}/{prefix}-{}", index % count)
    };
    let load = &reference::GETS;
    let name = path(load);
    let reads = drive(endpoint, load.connections, Until::Elapsed(READ_TIME), move |index| get(&name(index)));
    let reads = rate("gets", load, &reads.await.context("gets")?);

    let load = &reference::PATCHES;
    let name = path(load);
    let patch = move |index| merge(&name(index), format!(r#"{{"metadata":{{"labels":{{"r":"{index}"}}}}}}"#));
    let patches = drive(endpoint, load.connections, Until::Count(load.count), patch);
    let patches = rate("patches", load, &patches.await.context("patches")?);

    let load = &reference::DELETES;
    let name = path(load);
    let deletes =
        drive(endpoint, load.connections, Until::Count(load.count), move |index| delete(&name(index)));
    Ok(vec![reads, patches, rate("deletes", load, &deletes.await.context("deletes")?)])
}

fn rate(what: &str, load: &Load, outcome: &Outcome) -> Figure {
    let connections = match load.connections {
        1 => "1 connection".to_owned(),
        many => format!("{many} connections"),
    };
    let figure = Figure::new(format!("{what}, {connections}"), outcome.per_second, Unit::PerSecond);
    let figure = figure.beside(KUBERNETES, load.per_second);
    match load.goal {
        Some(goal) => figure.goal(goal),
        None => figure,
    }
}

/// As small as a pod can be; defaults make it grow to about 2 KB.
fn minimal_pod(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"containers":[{{"name":"c","image":"x"}}]}}}}"#
    )
}
