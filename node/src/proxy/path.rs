//! The data path: what every connection and every request of a pod shares.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::balance;
use super::endpoint::{Clock, Endpoint, Endpoints};
use super::facts::{Affinity, AppProtocol};
use super::metrics::Metrics;
use super::range::Range;
use super::remote::{Connector, Wire};
use super::routes::{PortRoute, Route, Routes};
use crate::local::{Caller, LocalPods};

/// A connection that is not made in this time is tried elsewhere: within a data centre it takes a
/// hundredth of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What the data path works with. Reading the routes takes no lock.
pub(crate) struct DataPath {
    pub(crate) local: LocalPods,
    pub(crate) endpoints: Endpoints,
    pub(crate) connector: Connector,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    /// Owns every task of the proxy.
    pub(crate) tasks: TaskTracker,
    /// Addresses of this node's pods, from which connections to others are made.
    pod_range: Option<Range>,
    routes: ArcSwap<Routes>,
    /// Counts the swaps.
    swaps: watch::Sender<u64>,
}

impl DataPath {
    pub(crate) fn new(local: LocalPods, metrics: Metrics, pod_range: Option<Range>) -> DataPath {
        let tasks = TaskTracker::new();
        DataPath {
            endpoints: Endpoints::new(local.clone()),
            connector: Connector { local: local.clone(), tasks: tasks.clone(), timeout: CONNECT_TIMEOUT },
            local,
            metrics,
            clock: Clock::start(),
            tasks,
            pod_range,
            routes: ArcSwap::default(),
            swaps: watch::Sender::new(0),
        }
    }

    /// The routes of now.
    pub(crate) fn routes(&self) -> arc_swap::Guard<Arc<Routes>> {
        self.routes.load()
    }

    /// Puts new routes in the place of the old.
    pub(crate) fn swap(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
        self.swaps.send_modify(|swaps| *swaps += 1);
    }

    /// Tells of each swap from now on.
    pub(crate) fn swaps(&self) -> watch::Receiver<u64> {
        self.swaps.subscribe()
    }

    /// Picks the endpoint for a request, leaving out those tried before.
    pub(crate) fn pick(&self, route: &Route, caller: Caller, tried: &[SocketAddr]) -> Option<Arc<Endpoint>> {
        let endpoints = &route.backends().endpoints;
        let state = |index: usize| {
            let endpoint = &endpoints[index];
            if tried.contains(&endpoint.addr) {
                balance::State::Unusable
            } else {
                endpoint.state(|| self.clock.now_ms())
            }
        };
        let index = match route.port.affinity {
            Affinity::None => balance::least_loaded(endpoints.len(), rand::random(), state)?,
            Affinity::ClientIp => {
                balance::by_client(endpoints.len(), caller.addr, |index| endpoints[index].addr, state)?
            }
        };
        Some(Arc::clone(&endpoints[index]))
    }

    /// Notes that an endpoint could not be reached.
    pub(crate) fn eject(&self, endpoint: &Endpoint) {
        endpoint.failed(self.clock.now_ms());
        self.metrics.ejections.inc();
        tracing::debug!(endpoint = %endpoint.addr, "endpoint ejected");
    }

    /// The address from which to connect on a caller's behalf: its own, if it is a pod of this node.
    pub(crate) fn source_for(&self, caller: IpAddr) -> Option<IpAddr> {
        self.pod_range.filter(|range| range.contains(caller)).map(|_| caller)
    }

    /// Whether the address is one that the proxy itself answers for a Service: never an endpoint, or
    /// requests would go round in circles.
    pub(crate) fn is_service_address(&self, addr: SocketAddr) -> bool {
        self.routes().by_addr(addr).is_some()
    }

    /// Whether this is an address of a pod of this node's range.
    pub(crate) fn is_pod_address(&self, addr: IpAddr) -> bool {
        self.pod_range.is_some_and(|range| range.contains(addr))
    }
}

impl PortRoute {
    /// How requests travel to its endpoints.
    pub(crate) fn wire(&self) -> Wire {
        if self.protocol == AppProtocol::Http2 { Wire::Http2 } else { Wire::Http1 }
    }
}
