//! What a request costs in this process, without sockets: a node's container beside a plain wasmtime host, in turns.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use isopod_node::local::{Body, Caller, Outbound, OutboundError, PodIdentity, empty_body};
use isopod_node::logs::{Logs, PodRef};
use isopod_node::runtime::{Config, Container, ContainerSpec, Instances, Runtime};
use sha2::{Digest as _, Sha256};

use crate::bench::Bench;
use crate::figure::{Figure, Unit};
use crate::latency::Latencies;
use crate::plain_host::PlainHost;
use crate::process;
use crate::workload;

const ROUNDS: usize = 9;
const REQUESTS: u32 = 5_000;
/// As many as an ordinary pod has.
const ENV: usize = 20;

struct NoNetwork;

impl Outbound for NoNetwork {
    fn send(
        &self,
        _: &PodIdentity,
        _: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
        Box::pin(std::future::ready(Err(OutboundError::BadRequest("no network here"))))
    }

    fn resolve(&self, _: &PodIdentity, _: &str) -> Option<Vec<IpAddr>> {
        None
    }
}

/// Measures both on one thread.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let folder = process::folder(&bench.dir)?;
    let path = folder.path().to_owned();
    let measured = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(measure(&path))
    });
    let (plain, node) = measured.await??;
    Ok(vec![
        Figure::new("hello, a request in process", node, Unit::Microseconds)
            .beside("plain wasmtime host", plain),
    ])
}

/// Medians of the plain host and of the node's container, in microseconds.
async fn measure(folder: &Path) -> anyhow::Result<(f64, f64)> {
    let env: Vec<_> = (0..ENV).map(|i| (format!("VARIABLE_{i}"), format!("value {i}"))).collect();
    let plain = PlainHost::new(workload::COMPONENT, env.clone())?;
    let container = container(folder, workload::COMPONENT.to_vec(), env).await?;
    let (mut plain_times, mut node_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain_times.push(plain_round(&plain).await?);
        node_times.push(node_round(&container).await?);
    }
    let micros = |times| Latencies::new(times).p50_ms() * 1000.0;
    Ok((micros(plain_times), micros(node_times)))
}

async fn container(folder: &Path, wasm: Vec<u8>, env: Vec<(String, String)>) -> anyhow::Result<Container> {
    let runtime = Runtime::new(Config::new(folder.join("code")))?;
    let digest: String = Sha256::digest(&wasm).iter().map(|byte| format!("{byte:02x}")).collect();
    let artifact = runtime.prepare(&format!("sha256:{digest}"), wasm.into()).await?;
    let addr = IpAddr::from([127, 42, 0, 1]);
    let pod = PodIdentity { namespace: "bench".into(), name: "pod".into(), uid: "1".into(), addr };
    let pod_ref = PodRef { namespace: "bench".into(), name: "pod".into(), uid: "1".into() };
    let spec = ContainerSpec {
        pod,
        name: "bench".into(),
        artifact,
        args: vec![],
        env,
        mounts: vec![],
        memory_limit_bytes: Some(64 << 20),
        cpu_limit_millis: None,
        config: vec![],
        instances: Instances::Fresh,
        logs: Logs::new(folder.join("logs")).open(&pod_ref, "bench", 0),
    };
    Ok(runtime.start(spec, Arc::new(NoNetwork))?)
}

async fn plain_round(host: &Arc<PlainHost>) -> anyhow::Result<Duration> {
    let start = Instant::now();
    for _ in 0..REQUESTS {
        let request = Request::get("/bench").header("host", "bench").body(Empty::new())?;
        host.handle(request).await?.into_body().collect().await?;
    }
    Ok(start.elapsed() / REQUESTS)
}

async fn node_round(container: &Container) -> anyhow::Result<Duration> {
    let handler = container.handler().context("an HTTP component")?;
    let caller = Caller { addr: IpAddr::from([127, 0, 0, 1]) };
    let start = Instant::now();
    for _ in 0..REQUESTS {
        let request = Request::get("/bench").header("host", "bench").body(empty_body())?;
        let response = handler.call(caller, request).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        response.into_body().collect().await.map_err(|error| anyhow::anyhow!(error))?;
    }
    Ok(start.elapsed() / REQUESTS)
}
