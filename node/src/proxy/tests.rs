//! The proxy as a whole, on real sockets, with pods that are closures and a cluster that is a channel.

mod balancing;
mod ingress;
mod limits;
mod listeners;
mod outbound;
mod remote;
mod updates;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::report::Report;
use super::*;
use crate::local::{Body, CallError, Caller, HttpHandler, PodIdentity, Registration, full_body};

/// The node that the proxy under test is of.
const NODE: &str = "here";

/// How long something that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy with its cluster. Each has a network of its own: 127.x.y.0/25 for pods, the rest for Services.
struct Cluster {
    net: [u8; 2],
    local: LocalPods,
    handle: Handle,
    path: Arc<DataPath>,
    reports: Arc<Reports>,
    services: mpsc::UnboundedSender<Event<Service>>,
    slices: mpsc::UnboundedSender<Event<EndpointSlice>>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

#[derive(Default)]
struct Reports(Mutex<Vec<Report>>);

impl Reporter for Reports {
    fn report(&self, report: Report) {
        self.0.lock().unwrap().push(report);
    }
}

impl Cluster {
    /// A running proxy, of a cluster with nothing in it.
    async fn start() -> Cluster {
        Cluster::start_with(|_| {}).await
    }

    async fn start_with(configure: impl FnOnce(&mut Config)) -> Cluster {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        // Other test processes of this machine have other second bytes, most of the time.
        let second = 50 + u8::try_from(std::process::id() % 200).unwrap();
        let net = [second, NEXT.fetch_add(1, Ordering::Relaxed)];
        let mut config = Config::new(NODE);
        config.pod_range = Some(format!("127.{}.{}.0/25", net[0], net[1]).parse().unwrap());
        config.ingress = Some(([127, 0, 0, 1], 0).into());
        configure(&mut config);
        let local = LocalPods::default();
        let proxy = Proxy::new(config, local.clone(), &mut Registry::default()).unwrap();
        let (handle, path) = (proxy.handle(), Arc::clone(&proxy.path));
        let (services, service_events) = mpsc::unbounded_channel();
        let (slices, slice_events) = mpsc::unbounded_channel();
        let changes = Changes { services: stream(service_events), slices: stream(slice_events) };
        let reports = Arc::new(Reports::default());
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(proxy.run_with(
            changes,
            Arc::clone(&reports) as Arc<dyn Reporter>,
            shutdown.clone(),
        ));
        let cluster = Cluster { net, local, handle, path, reports, services, slices, shutdown, running };
        cluster.list(Vec::new(), Vec::new());
        cluster.handle.synced().await;
        cluster
    }

    /// All objects anew, as after a broken watch.
    fn list(&self, services: Vec<Service>, slices: Vec<EndpointSlice>) {
        self.services.send(Event::Init).unwrap();
        self.slices.send(Event::Init).unwrap();
        for service in services {
            self.services.send(Event::InitApply(service)).unwrap();
        }
        for slice in slices {
            self.slices.send(Event::InitApply(slice)).unwrap();
        }
        self.services.send(Event::InitDone).unwrap();
        self.slices.send(Event::InitDone).unwrap();
    }

    fn apply(&self, service: Service) {
        self.services.send(Event::Apply(service)).unwrap();
    }

    /// Gives Service `web` these endpoints.
    fn endpoints(&self, port: u16, endpoints: Vec<Value>) {
        self.slices.send(Event::Apply(slice("web", port, endpoints))).unwrap();
    }

    fn pod_addr(&self, last: u8) -> IpAddr {
        assert!(last < 128);
        [127, self.net[0], self.net[1], last].into()
    }

    /// A Service address with a port that was free a moment ago.
    fn service_addr(&self, last: u8) -> SocketAddr {
        assert!(last < 127);
        let addr = IpAddr::from([127, self.net[0], self.net[1], 128 + last]);
        let free = std::net::TcpListener::bind((addr, 0)).unwrap();
        free.local_addr().unwrap()
    }

    fn identity(&self, last: u8) -> Arc<PodIdentity> {
        Arc::new(PodIdentity {
            namespace: "shop".into(),
            name: format!("web-{last}"),
            uid: format!("uid-{last}"),
            addr: self.pod_addr(last),
        })
    }

    fn register(&self, last: u8, port: u16, handler: Arc<dyn HttpHandler>) -> Registration {
        self.local.register(self.identity(last), port, handler)
    }

    /// Waits until Service `web` has this many endpoints to give requests to.
    async fn routes_to(&self, count: usize) {
        eventually("the routes are as told", || {
            let routes = self.path.routes();
            routes
                .service("shop", "web")
                .is_some_and(|service| service.ports.iter().all(|port| port.inside.endpoints.len() == count))
        })
        .await;
    }

    async fn listens(&self, addr: SocketAddr) {
        eventually("the address is listened on", || std::net::TcpStream::connect(addr).is_ok()).await;
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }
}

fn stream<T: Send + 'static>(
    mut events: mpsc::UnboundedReceiver<T>,
) -> futures::stream::BoxStream<'static, T> {
    futures::stream::poll_fn(move |cx| events.poll_recv(cx)).boxed()
}

/// Waits for a condition.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let all = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("never came true: {what}"));
}

/// Service `name` of one port in namespace `shop`.
fn service(name: &str, addr: SocketAddr) -> Service {
    service_of_spec(
        name,
        json!({"clusterIP": addr.ip(), "clusterIPs": [addr.ip()], "ports": [{"port": addr.port()}]}),
    )
}

fn service_of_spec(name: &str, spec: Value) -> Service {
    let metadata = json!({"namespace": "shop", "name": name, "uid": format!("uid-of-{name}")});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn slice(service: &str, port: u16, endpoints: Vec<Value>) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {
            "namespace": "shop",
            "name": format!("{service}-1"),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": port}],
        "endpoints": endpoints,
    }))
    .unwrap()
}

/// A ready endpoint on the proxy's node.
fn here(addr: IpAddr) -> Value {
    json!({"addresses": [addr], "nodeName": NODE})
}

/// A ready endpoint on another node.
fn elsewhere(addr: IpAddr) -> Value {
    json!({"addresses": [addr], "nodeName": "there"})
}

/// A pod that is a function.
struct Pod<F>(F);

impl<F, A> HttpHandler for Pod<F>
where
    F: Fn(Caller, Request<Body>) -> A + Send + Sync,
    A: Future<Output = Result<Response<Body>, CallError>> + Send + 'static,
{
    fn call(
        &self,
        caller: Caller,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, CallError>> {
        Box::pin((self.0)(caller, request))
    }
}

fn pod<F, A>(answer: F) -> Arc<dyn HttpHandler>
where
    F: Fn(Caller, Request<Body>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response<Body>, CallError>> + Send + 'static,
{
    Arc::new(Pod(answer))
}

/// A pod that answers with its name.
fn named(name: impl Into<Bytes>) -> Arc<dyn HttpHandler> {
    let name = name.into();
    pod(move |_, _| {
        let name = name.clone();
        async move { Ok(Response::new(full_body(name))) }
    })
}

type Client = HttpClient<HttpConnector, Full<Bytes>>;

/// A client that keeps its connections.
fn client() -> Client {
    HttpClient::builder(TokioExecutor::new()).build_http()
}

async fn get(client: &Client, addr: SocketAddr) -> (StatusCode, String) {
    send(client, Request::get(format!("http://{addr}/")).body(Full::default()).unwrap()).await
}

async fn send(client: &Client, request: Request<Full<Bytes>>) -> (StatusCode, String) {
    let response = client.request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
