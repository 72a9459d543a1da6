//! From the facts of a Service and its EndpointSlices to its route: a pure function.
//!
//! New requests go to ready endpoints; to those that terminate and still serve only where none is ready. A
//! policy of `Local` leaves those of this node. Source: KEP-1669 (terminating endpoints), KEP-2086 (internal
//! traffic policy), and kube-proxy's `CategorizeEndpoints`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::facts::{
    AppProtocol, EndpointFacts, EndpointState, NotReady, Place, Policy, PortFacts, Reach, ServiceFacts,
    ServiceName, SliceFacts,
};
use super::metrics::ServiceStats;
use super::routes::{Backends, Host, PortRoute, ServiceRoute};

/// Compiles the route of one Service. `intern` gives the live endpoint of an address.
pub(crate) fn compile(
    name: &Arc<ServiceName>,
    service: &ServiceFacts,
    slices: &[&SliceFacts],
    stats: &Arc<ServiceStats>,
    intern: &mut dyn FnMut(SocketAddr, Place) -> Arc<Endpoint>,
) -> ServiceRoute {
    let ports = match service.reach {
        Reach::Alias(_) => Vec::new(),
        Reach::Addresses(_) | Reach::Headless => service
            .ports
            .iter()
            .map(|port| {
                let (protocol, candidates) = candidates(port, service, slices);
                Arc::new(PortRoute {
                    service: Arc::clone(name),
                    name: port.name.clone(),
                    port: port.port,
                    node_port: port.node_port,
                    protocol: port.protocol.or(protocol),
                    affinity: service.affinity,
                    stats: Arc::clone(stats),
                    inside: backends(&candidates, service.internal, intern),
                    outside: backends(&candidates, service.external, intern),
                })
            })
            .collect(),
    };
    ServiceRoute {
        name: Arc::clone(name),
        uid: service.uid.clone(),
        reach: service.reach.clone(),
        ports,
        hosts: hosts(service, slices),
    }
}

/// The endpoints of a port by address. One that is in two slices for a moment, as it moves from one to the
/// other, counts once, in its better state.
type Candidates = BTreeMap<SocketAddr, (EndpointState, Place)>;

fn candidates(port: &PortFacts, service: &ServiceFacts, slices: &[&SliceFacts]) -> (AppProtocol, Candidates) {
    let mut protocol = AppProtocol::Unsaid;
    let mut all = Candidates::new();
    for slice in slices {
        let Some(target) = slice.ports.iter().find(|target| target.name == port.name) else { continue };
        protocol = protocol.or(target.protocol);
        for endpoint in &slice.endpoints {
            let found = (state(endpoint, service), endpoint.place);
            all.entry(SocketAddr::new(endpoint.addr, target.port))
                .and_modify(|known| *known = if found.0 < known.0 { found } else { *known })
                .or_insert(found);
        }
    }
    (protocol, all)
}

fn state(endpoint: &EndpointFacts, service: &ServiceFacts) -> EndpointState {
    match service.not_ready {
        NotReady::Published => EndpointState::Ready,
        NotReady::Hidden => endpoint.state,
    }
}

fn backends(
    candidates: &Candidates,
    policy: Policy,
    intern: &mut dyn FnMut(SocketAddr, Place) -> Arc<Endpoint>,
) -> Backends {
    let mut of_state = |wanted: EndpointState| -> Arc<[Arc<Endpoint>]> {
        candidates
            .iter()
            .filter(|(_, (state, place))| {
                *state == wanted && (policy == Policy::Cluster || *place == Place::Here)
            })
            .map(|(addr, (_, place))| intern(*addr, *place))
            .collect()
    };
    let ready = of_state(EndpointState::Ready);
    let endpoints = if ready.is_empty() { of_state(EndpointState::Draining) } else { ready };
    Backends { endpoints, of: candidates.len(), policy }
}

fn hosts(service: &ServiceFacts, slices: &[&SliceFacts]) -> Vec<Host> {
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    let mut hosts: Vec<Host> = endpoints
        .filter(|endpoint| state(endpoint, service) == EndpointState::Ready)
        .map(|endpoint| Host { addr: endpoint.addr, hostname: endpoint.hostname.clone() })
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

#[cfg(test)]
mod tests;
