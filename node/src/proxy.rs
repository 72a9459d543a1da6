//! The service proxy: the network between pods, Services and clients.
//!
//! [`Proxy`] follows Services and EndpointSlices and compiles them to [`routes::Routes`], swapped whole. It
//! listens on every address that a Service or a pod of this node has, and on the ingress address. Requests to
//! pods of this node are calls in this process. The parts, in the order a request meets them: `listen`,
//! `connection`, `ingress` or `outbound`, `forward`, `balance`, then `remote` if the pod is elsewhere.
//!
//! Invariants: the data path takes no lock; nothing is bound but single addresses; a request is tried again
//! only while nothing of it was given away; what belongs to the proxy ends before [`Proxy::run`] does.

mod answer;
mod balance;
mod compile;
mod connection;
mod egress;
mod endpoint;
mod facts;
mod forward;
mod headers;
mod ingress;
mod inside;
mod listen;
mod metrics;
mod observe;
mod outbound;
mod outside;
mod path;
mod range;
mod remote;
mod report;
mod routes;
mod spawn;
mod splice;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::egress::{Egress, EgressRule, InvalidEgressRule};
use self::inside::Inside;
pub use self::listen::Sharing;
pub(crate) use self::listen::bind;
pub use self::range::{InvalidRange, Range};

use self::connection::Target;
use self::listen::Listeners;
use self::metrics::Metrics;
use self::observe::{Changes, Observer};
use self::outbound::Out;
use self::outside::Outside;
use self::path::DataPath;
use self::report::Reporter;
use self::spawn::Spawn;
use crate::local::{LocalPods, Outbound};

/// How long requests may take to end once the proxy is told to.
const DRAIN: Duration = Duration::from_secs(5);

/// What a proxy needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node whose pods are registered in process.
    pub node_name: String,
    /// Where any Service answers by host name; port 0 lets the kernel choose. None: nowhere.
    pub ingress: Option<SocketAddr>,
    /// The addresses of this node's pods.
    pub pod_range: Option<Range>,
    /// Where node ports listen. None: nowhere.
    pub node_port_addr: Option<IpAddr>,
    /// Whether other nodes in this host listen on the same Service addresses.
    pub sharing: Sharing,
    /// The most client connections at once, of all listeners; more wait in the kernel.
    pub max_connections: usize,
    /// Which hosts outside the cluster pods may reach.
    pub egress: Egress,
}

impl Config {
    /// The configuration of loopback mode for this node: no ingress, no egress, node ports on 127.0.0.1, and
    /// half of a common limit of 20,000 open files for connections.
    pub fn new(node_name: impl Into<String>) -> Config {
        Config {
            node_name: node_name.into(),
            ingress: None,
            pod_range: None,
            node_port_addr: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            sharing: Sharing::Alone,
            max_connections: 8_000,
            egress: Egress::default(),
        }
    }
}

/// Why a proxy could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ingress address cannot be listened on; the text says what to do.
    #[error("{advice}")]
    Ingress {
        /// What stands in the way, and what to do about it.
        advice: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// The service proxy of a node.
pub struct Proxy {
    config: Config,
    path: Arc<DataPath>,
    ingress: Option<TcpListener>,
    handle: Handle,
    synced: watch::Sender<bool>,
}

/// What others need of a proxy. A cheap clone.
#[derive(Clone)]
pub struct Handle {
    ingress_addr: Option<SocketAddr>,
    outbound: Arc<dyn Outbound>,
    synced: watch::Receiver<bool>,
}

impl Proxy {
    /// Makes a proxy that answers for the pods in `local`, and opens its ingress address. Its metrics go to
    /// `registry`, under names without a prefix of their own. Needs a tokio runtime.
    pub fn new(config: Config, local: LocalPods, registry: &mut Registry) -> Result<Proxy, Error> {
        let ingress = config.ingress.map(open_ingress).transpose()?;
        let ingress_addr = ingress.as_ref().and_then(|listener| listener.local_addr().ok());
        let path = Arc::new(DataPath::new(local, Metrics::registered(registry), config.pod_range));
        let outside = Outside::new(config.egress.clone(), Spawn(path.tasks.clone()));
        let outbound = Arc::new(Out { path: Arc::clone(&path), outside: Arc::new(outside) });
        let (synced, is_synced) = watch::channel(false);
        let handle = Handle { ingress_addr, outbound, synced: is_synced };
        Ok(Proxy { config, path, ingress, handle, synced })
    }

    /// What others need of it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Follows the cluster's Services until `shutdown`, then lets open requests end for some seconds.
    pub async fn run(self, client: kube::Client, shutdown: CancellationToken) {
        let (reporter, writer) = report::events(client.clone(), &self.config.node_name);
        let changes = Changes::of_cluster(&client);
        // The writer ends when the last reporter is gone, or with the proxy.
        tokio::join!(
            self.run_with(changes, reporter, shutdown.clone()),
            shutdown.run_until_cancelled(writer.run())
        );
    }

    async fn run_with(self, changes: Changes, reporter: Arc<dyn Reporter>, shutdown: CancellationToken) {
        let Proxy { config, path, ingress, synced, handle } = self;
        let stop = shutdown.child_token();
        let listeners =
            Listeners::new(Arc::clone(&path), reporter, config.sharing, config.max_connections, stop.clone());
        if let Some(ingress) = ingress {
            listeners.accept_on(ingress, Target::Ingress);
        }
        let observer = Observer::new(Arc::clone(&path), config.node_name, config.node_port_addr, synced);
        path.tasks.spawn(listeners.run());
        let inside = Inside { path: Arc::clone(&path), names: handle.outbound(), stop: stop.clone() };
        path.tasks.spawn(inside.run());
        let _ = shutdown.run_until_cancelled(observer.run(changes)).await;
        stop.cancel();
        path.tasks.close();
        if tokio::time::timeout(DRAIN, path.tasks.wait()).await.is_err() {
            tracing::warn!(open = path.tasks.len(), "connections cut off at shutdown");
        }
    }
}

fn open_ingress(addr: SocketAddr) -> Result<TcpListener, Error> {
    bind(addr, Sharing::Alone)
        .map_err(|source| Error::Ingress { advice: listen::explain(addr, &source), source })
}

impl Handle {
    /// Where the ingress listens, with the port that the kernel chose if it was to.
    pub fn ingress_addr(&self) -> Option<SocketAddr> {
        self.ingress_addr
    }

    /// The way out for requests of this node's pods.
    pub fn outbound(&self) -> Arc<dyn Outbound> {
        Arc::clone(&self.outbound)
    }

    /// Waits until the routes are those of the cluster for the first time; never, if the proxy has ended.
    pub async fn synced(&self) {
        let mut synced = self.synced.clone();
        if synced.wait_for(|synced| *synced).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
