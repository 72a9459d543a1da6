//! Routes: the immutable table that the data path reads, swapped whole when a Service changes.
//!
//! Parts that did not change are shared between one table and the next.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::facts::{Affinity, AppProtocol, Policy, Reach, ServiceName};
use super::metrics::ServiceStats;
use crate::names::Directory;

/// Everything the proxy knows of where requests go.
#[derive(Default)]
pub(crate) struct Routes {
    by_addr: HashMap<SocketAddr, Route>,
    /// By namespace, then name, so that a lookup allocates nothing.
    services: HashMap<Box<str>, HashMap<Box<str>, Arc<ServiceRoute>>>,
}

/// A Service's port, as seen by who calls it.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) port: Arc<PortRoute>,
    pub(crate) side: Side,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// From a pod, or to a cluster address.
    Inside,
    /// Through a node port or the ingress.
    Outside,
}

/// A Service.
#[derive(Debug)]
pub(crate) struct ServiceRoute {
    pub(crate) name: Arc<ServiceName>,
    pub(crate) uid: Box<str>,
    pub(crate) reach: Reach,
    pub(crate) ports: Vec<Arc<PortRoute>>,
    /// Its pods as names see them: those that are ready, or published before they are.
    pub(crate) hosts: Vec<Host>,
}

/// A pod behind a Service, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Host {
    pub(crate) addr: IpAddr,
    pub(crate) hostname: Option<Box<str>>,
}

/// One port of a Service, and who serves it.
#[derive(Debug)]
pub(crate) struct PortRoute {
    pub(crate) service: Arc<ServiceName>,
    pub(crate) name: Box<str>,
    pub(crate) port: u16,
    pub(crate) node_port: Option<u16>,
    pub(crate) protocol: AppProtocol,
    pub(crate) affinity: Affinity,
    pub(crate) stats: Arc<ServiceStats>,
    pub(crate) inside: Backends,
    pub(crate) outside: Backends,
}

/// The endpoints that new requests go to.
#[derive(Debug, Clone)]
pub(crate) struct Backends {
    /// In the order of their addresses.
    pub(crate) endpoints: Arc<[Arc<Endpoint>]>,
    /// How many endpoints there are in all, ready or not, here or not.
    pub(crate) of: usize,
    pub(crate) policy: Policy,
}

impl Routes {
    /// The table of these services. `node_port_addr` is where node ports listen, if they do.
    pub(crate) fn new(
        services: impl IntoIterator<Item = Arc<ServiceRoute>>,
        node_port_addr: Option<IpAddr>,
    ) -> Routes {
        let mut all: Vec<_> = services.into_iter().collect();
        // Two Services never have the same address; if they did, the answer must not change from one table
        // to the next.
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut routes = Routes::default();
        for service in all {
            for (addr, route) in service.addresses(node_port_addr) {
                if let MapEntry::Vacant(free) = routes.by_addr.entry(addr) {
                    free.insert(route);
                }
            }
            let named = routes.services.entry(service.name.namespace.clone()).or_default();
            named.insert(service.name.name.clone(), service);
        }
        routes
    }

    /// The route that an address stands for.
    pub(crate) fn by_addr(&self, addr: SocketAddr) -> Option<&Route> {
        self.by_addr.get(&addr)
    }

    /// Every address that the proxy answers for a Service.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (SocketAddr, &Route)> {
        self.by_addr.iter().map(|(addr, route)| (*addr, route))
    }

    /// The Service of this name.
    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<&Arc<ServiceRoute>> {
        self.services.get(namespace)?.get(name)
    }

    /// All Services.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Arc<ServiceRoute>> {
        self.services.values().flat_map(HashMap::values)
    }

    /// The same route in this table, if the Service still has the port.
    pub(crate) fn renewed(&self, route: &Route) -> Option<Route> {
        let service = self.service(&route.port.service.namespace, &route.port.service.name)?;
        let port = service.ports.iter().find(|port| port.port == route.port.port)?;
        Some(Route { port: Arc::clone(port), side: route.side })
    }
}

impl Directory for Routes {
    type Service = Arc<ServiceRoute>;

    fn service(&self, namespace: &str, name: &str) -> Option<Arc<ServiceRoute>> {
        Routes::service(self, namespace, name).map(Arc::clone)
    }

    fn host(&self, service: &Arc<ServiceRoute>, hostname: &str) -> Option<IpAddr> {
        service.hosts.iter().find(|host| host.hostname.as_deref() == Some(hostname)).map(|host| host.addr)
    }
}

impl ServiceRoute {
    /// The port of this number.
    pub(crate) fn port(&self, port: u16) -> Option<&Arc<PortRoute>> {
        self.ports.iter().find(|known| known.port == port)
    }

    /// Its port for people who name none: the one called or said to be HTTP, else the first.
    pub(crate) fn main_port(&self) -> Option<&Arc<PortRoute>> {
        let http =
            |port: &&Arc<PortRoute>| &*port.name == "http" || matches!(port.protocol, AppProtocol::Http);
        self.ports.iter().find(http).or_else(|| self.ports.first())
    }

    fn addresses(&self, node_port_addr: Option<IpAddr>) -> Vec<(SocketAddr, Route)> {
        let own = match &self.reach {
            Reach::Addresses(addrs) => addrs.as_slice(),
            Reach::Headless | Reach::Alias(_) => &[],
        };
        let mut all = Vec::new();
        for port in &self.ports {
            let route = |side| Route { port: Arc::clone(port), side };
            all.extend(own.iter().map(|addr| (SocketAddr::new(*addr, port.port), route(Side::Inside))));
            let node_port = node_port_addr.zip(port.node_port);
            all.extend(node_port.map(|(addr, port)| (SocketAddr::new(addr, port), route(Side::Outside))));
        }
        all
    }
}

impl Route {
    /// The endpoints that serve it.
    pub(crate) fn backends(&self) -> &Backends {
        match self.side {
            Side::Inside => &self.port.inside,
            Side::Outside => &self.port.outside,
        }
    }
}

impl PortRoute {
    /// Whether pods serve it at this port of theirs.
    pub(crate) fn is_served_at(&self, port: u16) -> bool {
        self.inside.endpoints.iter().any(|endpoint| endpoint.addr.port() == port)
    }
}

impl fmt::Display for PortRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.name {
            "" => write!(f, "{}", self.port),
            name => write!(f, "{name} ({})", self.port),
        }
    }
}
