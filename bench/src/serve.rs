//! Requests through a Service, beside the same component in a host that does nothing else, in turns of one run.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::Child;

use crate::bench::Bench;
use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::figure::{Figure, Unit};
use crate::http_load;
use crate::load::Outcome;
use crate::process::{Cores, Server, can_pin, command, first_line};
use crate::workload::{NAMESPACE, PORT, deploy, namespace, push};

/// Pods behind the Service.
const REPLICAS: u32 = 3;
/// Connections of the load.
const CONNECTIONS: usize = 32;
/// Turns of each server; the median is taken.
const TURNS: usize = 3;
/// One turn.
const TURN: Duration = Duration::from_secs(3);
/// What comes before the first.
const WARM_UP: Duration = Duration::from_millis(500);
/// What the Service must reach of the plain host.
const GOAL: f64 = 0.8;
const PLAIN: &str = "plain wasmtime host";

/// One server, under the name that it is asked by.
struct Contender {
    address: SocketAddr,
    host: String,
    turns: Vec<Outcome>,
}

/// Measures the plain host, the ingress address and the Service's own address.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    if !can_pin() {
        eprintln!("servers and load share all cores: pinning needs two cores and util-linux");
    }
    let server = Server::dev(bench, Cores::First).await?;
    push(bench, &server.banner.kubeconfig).await?;
    let mut connection = Connection::open(&Endpoint::read(&server.banner.kubeconfig)?).await?;
    namespace(&mut connection).await?;
    let service = deploy(&mut connection, REPLICAS).await?;
    let ingress = server.banner.ingress.as_deref().and_then(|url| url.strip_prefix("http://"));
    let ingress: SocketAddr = ingress.context("dev has no ingress address")?.parse()?;
    let (mut plain, plain_address) = plain_host().await?;

    let name = format!("hello.{NAMESPACE}.localhost:{}", ingress.port());
    let mut contenders = [
        Contender::new(plain_address, plain_address.to_string()),
        Contender::new(ingress, name),
        Contender::new(format!("{service}:{PORT}").parse()?, format!("hello.{NAMESPACE}")),
    ];
    for contender in &mut contenders {
        contender.load(WARM_UP).await?;
    }
    for _ in 0..TURNS {
        for contender in &mut contenders {
            let turn = contender.load(TURN).await?;
            contender.turns.push(turn);
        }
    }
    plain.kill().await.context("cannot end the plain host")?;
    server.stop().await?;
    Ok(figures(&contenders))
}

fn figures([plain, ingress, service]: &[Contender; 3]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (how, contender) in [("the ingress address", ingress), ("the Service's address", service)] {
        let rate =
            Figure::new(format!("hello, requests through {how}"), contender.per_second(), Unit::PerSecond);
        figures.push(rate.beside(PLAIN, plain.per_second()).goal(GOAL * plain.per_second()));
        let p99 = Figure::new(format!("hello, p99 through {how}"), contender.p99_ms(), Unit::Milliseconds);
        figures.push(p99.beside(PLAIN, plain.p99_ms()));
    }
    figures
}

impl Contender {
    fn new(address: SocketAddr, host: String) -> Contender {
        Contender { address, host, turns: Vec::new() }
    }

    async fn load(&self, time: Duration) -> anyhow::Result<Outcome> {
        let outcome = http_load::run(self.address, &self.host, CONNECTIONS, time).await;
        outcome.with_context(|| format!("load on {} ({})", self.host, self.address))
    }

    fn per_second(&self) -> f64 {
        median(self.turns.iter().map(|turn| turn.per_second).collect())
    }

    fn p99_ms(&self) -> f64 {
        median(self.turns.iter().map(|turn| turn.latencies.p99_ms()).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// This program as the plain host. It ends with its standard input, so also when this process is killed.
async fn plain_host() -> anyhow::Result<(Child, SocketAddr)> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let mut command = command(&own, Cores::First);
    let mut child =
        command.arg("plain-host").stdin(Stdio::piped()).spawn().context("cannot start the plain host")?;
    let line = first_line(&mut child).await.context("the plain host did not start")?;
    Ok((child, line.trim().parse()?))
}
