//! What the proxy keeps of Services and EndpointSlices: the routing facts, in a fraction of the objects' size.
//!
//! Reading is total: what cannot be used (another protocol than TCP, an address that is none, a port out of
//! range) is left out, as the API's validation has the last word on it.

use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

/// The label that ties an EndpointSlice to its Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// A Service's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ServiceName {
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
}

impl ServiceName {
    pub(crate) fn new(namespace: &str, name: &str) -> ServiceName {
        ServiceName { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Service, as far as routing goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceFacts {
    pub(crate) uid: Box<str>,
    pub(crate) reach: Reach,
    pub(crate) ports: Vec<PortFacts>,
    pub(crate) affinity: Affinity,
    /// Which endpoints serve requests from inside the cluster.
    pub(crate) internal: Policy,
    /// Which endpoints serve requests that come through a node port.
    pub(crate) external: Policy,
    pub(crate) not_ready: NotReady,
}

/// How a Service is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// By addresses of its own.
    Addresses(Vec<IpAddr>),
    /// By its pods' addresses.
    Headless,
    /// By another name.
    Alias(Box<str>),
}

/// A Service's port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortFacts {
    /// Empty for the only port of a Service.
    pub(crate) name: Box<str>,
    pub(crate) port: u16,
    pub(crate) node_port: Option<u16>,
    pub(crate) protocol: AppProtocol,
}

/// What is spoken on a port, as `appProtocol` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppProtocol {
    /// Not said: HTTP where a pod answers in process, else bytes.
    Unsaid,
    /// HTTP, balanced per request.
    Http,
    /// HTTP/2 without TLS, balanced per request.
    Http2,
    /// Bytes, balanced per connection.
    Opaque,
}

/// Whether a client keeps its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affinity {
    None,
    ClientIp,
}

/// Which endpoints may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Cluster,
    /// Those of this node.
    Local,
}

/// What becomes of endpoints that are not ready (`publishNotReadyAddresses`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotReady {
    Hidden,
    Published,
}

/// An EndpointSlice, as far as routing goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SliceFacts {
    pub(crate) ports: Vec<SlicePort>,
    pub(crate) endpoints: Vec<EndpointFacts>,
}

/// A port that each endpoint of a slice has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlicePort {
    pub(crate) name: Box<str>,
    pub(crate) port: u16,
    pub(crate) protocol: AppProtocol,
}

/// One pod behind a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndpointFacts {
    pub(crate) addr: IpAddr,
    pub(crate) hostname: Option<Box<str>>,
    pub(crate) place: Place,
    pub(crate) state: EndpointState,
}

/// Where an endpoint is, seen from this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Here,
    Elsewhere,
}

/// Whether an endpoint takes new requests. The order is that of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EndpointState {
    Ready,
    /// Terminating and still serving: used only where no endpoint is ready.
    Draining,
    NotReady,
}

impl ServiceFacts {
    /// The facts of a Service.
    pub(crate) fn of(service: &Service) -> ServiceFacts {
        let no_spec = ServiceSpec::default();
        let spec = service.spec.as_ref().unwrap_or(&no_spec);
        let ports = spec.ports.iter().flatten().filter_map(PortFacts::of).collect();
        ServiceFacts {
            uid: service.metadata.uid.as_deref().unwrap_or_default().into(),
            ports,
            affinity: match spec.session_affinity.as_deref() {
                Some("ClientIP") => Affinity::ClientIp,
                _ => Affinity::None,
            },
            internal: Policy::of(spec.internal_traffic_policy.as_deref()),
            external: Policy::of(spec.external_traffic_policy.as_deref()),
            not_ready: match spec.publish_not_ready_addresses {
                Some(true) => NotReady::Published,
                _ => NotReady::Hidden,
            },
            reach: match (spec.type_.as_deref(), spec.external_name.as_deref(), spec.cluster_ip.as_deref()) {
                (Some("ExternalName"), name, _) => Reach::Alias(name.unwrap_or_default().into()),
                (_, _, Some("None")) => Reach::Headless,
                (_, _, first) => {
                    let all = spec.cluster_ips.iter().flatten().map(String::as_str);
                    let mut addrs: Vec<IpAddr> = first.into_iter().chain(all).filter_map(parse).collect();
                    addrs.dedup();
                    Reach::Addresses(addrs)
                }
            },
        }
    }
}

impl PortFacts {
    fn of(port: &ServicePort) -> Option<PortFacts> {
        is_tcp(port.protocol.as_deref()).then_some(())?;
        Some(PortFacts {
            name: port.name.as_deref().unwrap_or_default().into(),
            port: port_number(port.port)?,
            node_port: port.node_port.and_then(port_number),
            protocol: AppProtocol::of(port.app_protocol.as_deref()),
        })
    }
}

impl SliceFacts {
    /// The facts of a slice, for the node of this name; the Service it belongs to is [`service_of`].
    pub(crate) fn of(slice: &EndpointSlice, node: &str) -> SliceFacts {
        SliceFacts {
            ports: slice.ports.iter().flatten().filter_map(SlicePort::of).collect(),
            endpoints: slice.endpoints.iter().flatten().filter_map(|e| EndpointFacts::of(e, node)).collect(),
        }
    }
}

/// The Service a slice belongs to.
pub(crate) fn service_of(slice: &EndpointSlice) -> Option<ServiceName> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    Some(ServiceName::new(slice.metadata.namespace.as_deref()?, name))
}

impl SlicePort {
    fn of(port: &EndpointPort) -> Option<SlicePort> {
        is_tcp(port.protocol.as_deref()).then_some(())?;
        Some(SlicePort {
            name: port.name.as_deref().unwrap_or_default().into(),
            port: port_number(port.port?)?,
            protocol: AppProtocol::of(port.app_protocol.as_deref()),
        })
    }
}

impl EndpointFacts {
    fn of(endpoint: &Endpoint, node: &str) -> Option<EndpointFacts> {
        // The addresses of one endpoint are fungible, and only the first is used (as kube-proxy does).
        let addr = endpoint.addresses.first().map(String::as_str).and_then(parse)?;
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|all| all.ready).unwrap_or(true);
        let serving = conditions.and_then(|all| all.serving).unwrap_or(ready);
        let terminating = conditions.and_then(|all| all.terminating).unwrap_or(false);
        let state = match (ready, serving, terminating) {
            (true, _, _) => EndpointState::Ready,
            (false, true, true) => EndpointState::Draining,
            _ => EndpointState::NotReady,
        };
        let place = if endpoint.node_name.as_deref() == Some(node) { Place::Here } else { Place::Elsewhere };
        Some(EndpointFacts { addr, hostname: endpoint.hostname.as_deref().map(Into::into), place, state })
    }
}

impl AppProtocol {
    fn of(name: Option<&str>) -> AppProtocol {
        match name {
            None | Some("") => AppProtocol::Unsaid,
            Some("http" | "HTTP") => AppProtocol::Http,
            Some("kubernetes.io/h2c" | "h2c" | "http2" | "grpc") => AppProtocol::Http2,
            Some(_) => AppProtocol::Opaque,
        }
    }

    /// This one, or the other where this one says nothing.
    pub(crate) fn or(self, other: AppProtocol) -> AppProtocol {
        if self == AppProtocol::Unsaid { other } else { self }
    }
}

impl Policy {
    fn of(name: Option<&str>) -> Policy {
        if name == Some("Local") { Policy::Local } else { Policy::Cluster }
    }
}

fn is_tcp(protocol: Option<&str>) -> bool {
    matches!(protocol, None | Some("" | "TCP"))
}

fn port_number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

fn parse(addr: &str) -> Option<IpAddr> {
    addr.parse().ok()
}
