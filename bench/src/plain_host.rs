//! The peer of the node's figures: the same component, served by plain `wasmtime-wasi-http` as its documentation
//! shows it, with the settings that measured best: pools that keep memory, epochs, a fresh instance per request.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::workload;

/// How often running guests are interrupted.
const TICK: Duration = Duration::from_millis(10);

/// Arguments of `plain-host`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address to listen on; port 0 takes any free one
    #[arg(long, value_name = "A", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The component [default: the hello sample]
    file: Option<PathBuf>,
}

/// Serves until standard input ends, so that it does not outlive who started it. Prints its address first.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let component = match args.file {
        Some(file) => std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?,
        None => workload::COMPONENT.to_vec(),
    };
    let host = PlainHost::new(&component, vec![("POD_NAME".into(), "plain".into())])?;
    let listener = TcpListener::bind(args.listen).await?;
    crate::say(&listener.local_addr()?.to_string())?;
    // In a task, so that it runs where the connections do.
    let serving = tokio::spawn(host.serve(listener));
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    serving.abort();
    Ok(())
}

/// One component, ready to answer.
pub(crate) struct PlainHost {
    component: ProxyPre<State>,
    env: Vec<(String, String)>,
}

struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: NoOutgoing,
}

/// The components that are measured send nothing.
struct NoOutgoing;

type Exchange = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for NoOutgoing {
    fn send_request(
        &mut self,
        _: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Exchange,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Exchange), Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

impl PlainHost {
    /// Compiles and links the component.
    pub(crate) fn new(wasm: &[u8], env: Vec<(String, String)>) -> anyhow::Result<Arc<Self>> {
        let mut pool = PoolingAllocationConfig::new();
        pool.linear_memory_keep_resident(64 * 1024).table_keep_resident(4096).pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool)).epoch_interruption(true);
        let engine = Engine::new(&config)?;
        let ticking = engine.weak();
        std::thread::spawn(move || {
            while let Some(engine) = ticking.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::park_timeout(TICK);
            }
        });
        let component = Component::new(&engine, wasm)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        let component = ProxyPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Arc::new(Self { component, env }))
    }

    /// Serves HTTP/1.1 until dropped.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) -> std::io::Result<()> {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let host = self.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let host = host.clone();
                    async move { host.handle(request).await }
                });
                // A client that breaks off is no news to a benchmark.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    /// Answers one request.
    pub(crate) async fn handle<B>(&self, request: Request<B>) -> anyhow::Result<Response<HyperOutgoingBody>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let state = State {
            wasi: WasiCtx::builder().envs(&self.env).build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            hooks: NoOutgoing,
        };
        let mut store = Store::new(self.component.engine(), state);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
        let out = store.data_mut().http().new_response_outparam(sender)?;
        let component = self.component.clone();
        let task = tokio::spawn(async move {
            let proxy = component.instantiate_async(&mut store).await?;
            proxy.wasi_http_incoming_handler().call_handle(store, request, out).await
        });
        match receiver.await {
            Ok(response) => Ok(response?),
            Err(_) => {
                task.await??;
                None.context("the guest gave no response")
            }
        }
    }
}
