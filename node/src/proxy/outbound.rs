//! Requests of pods: to the cluster by a call in this process wherever the other pod is one of this node,
//! to the world outside where a rule allows it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response};
use http_body_util::BodyExt;

use super::endpoint::Endpoint;
use super::facts::{Place, Reach};
use super::outside::Outside;
use super::path::DataPath;
use super::routes::{Route, Routes, ServiceRoute, Side};
use crate::local::{Body, Caller, Outbound, OutboundError, PodIdentity};
use crate::names::{Lookup, lookup};

/// External names followed for one request: a chain that is longer goes in circles.
const MAX_ALIASES: usize = 8;

/// The way out for this node's pods.
pub(crate) struct Out {
    pub(crate) path: Arc<DataPath>,
    pub(crate) outside: Arc<Outside>,
}

/// Where a request goes.
enum Destination {
    Service(Route),
    Pod(Arc<Endpoint>),
    /// A host outside, allowed or not.
    Outside {
        host: String,
        port: u16,
    },
}

impl Outbound for Out {
    fn send(
        &self,
        from: &PodIdentity,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
        let destination = self.destination(from, &request);
        let path = Arc::clone(&self.path);
        let outside = Arc::clone(&self.outside);
        let caller = Caller { addr: from.addr };
        Box::pin(async move {
            let answer = match destination? {
                Destination::Service(route) => path.forward(route, caller, request).await,
                Destination::Pod(endpoint) => path.call_pod(&endpoint, caller, request).await,
                Destination::Outside { host, port } => return outside.send(&host, port, request).await,
            };
            Ok(answer.map(BodyExt::boxed_unsync))
        })
    }

    fn resolve(&self, from: &PodIdentity, name: &str) -> Option<Vec<IpAddr>> {
        if is_localhost(name) {
            return Some(vec![from.addr]);
        }
        match self.follow(name, &from.namespace) {
            Followed::Service(service) => Some(match &service.reach {
                Reach::Addresses(addrs) => addrs.clone(),
                Reach::Headless | Reach::Alias(_) => service.hosts.iter().map(|host| host.addr).collect(),
            }),
            Followed::Addr(addr) => Some(vec![addr]),
            Followed::Outside(_) | Followed::Nothing => None,
        }
    }
}

/// What a name leads to, behind all external names.
enum Followed {
    Service(Arc<ServiceRoute>),
    Addr(IpAddr),
    Outside(String),
    Nothing,
}

impl Out {
    fn follow(&self, name: &str, namespace: &str) -> Followed {
        let routes: &Routes = &self.path.routes();
        let mut found = lookup(name, namespace, routes);
        let mut outside = name.to_owned();
        for _ in 0..MAX_ALIASES {
            let service = match found {
                Lookup::Service(service) => service,
                Lookup::Host(_, addr) | Lookup::Pod(addr) => return Followed::Addr(addr),
                Lookup::NoSuchName => return Followed::Nothing,
                Lookup::Foreign => return Followed::Outside(outside),
            };
            let Reach::Alias(target) = &service.reach else { return Followed::Service(service) };
            // An external name is never completed by search domains.
            outside = target.trim_end_matches('.').to_owned();
            found = lookup(&format!("{outside}."), namespace, routes);
        }
        Followed::Nothing
    }

    fn destination(&self, from: &PodIdentity, request: &Request<Body>) -> Result<Destination, OutboundError> {
        if request.method() == Method::CONNECT {
            return Err(OutboundError::BadRequest("CONNECT is not carried"));
        }
        let uri = request.uri();
        let authority = uri.authority().ok_or(OutboundError::BadRequest("its URI names no host"))?;
        let host = bare_host(authority);
        let port = port_of(authority, uri.scheme());
        let destination = match host.parse::<IpAddr>() {
            // Containers of one pod share its loopback address, which is the pod's address here.
            Ok(addr) if is_loopback(addr) => Ok(self.to_address(SocketAddr::new(from.addr, port))),
            Ok(addr) => Ok(self.to_address(SocketAddr::new(addr, port))),
            Err(_) if is_localhost(host) => Ok(self.to_address(SocketAddr::new(from.addr, port))),
            Err(_) => self.to_name(host, port, from),
        };
        let outside =
            matches!(destination, Ok(Destination::Outside { .. }) | Err(OutboundError::UnknownName { .. }));
        if uri.scheme() == Some(&Scheme::HTTPS) && !outside {
            return Err(OutboundError::BadRequest("names of the cluster are reached by http, not https"));
        }
        destination
    }

    fn to_address(&self, addr: SocketAddr) -> Destination {
        if let Some(route) = self.path.routes().by_addr(addr) {
            return Destination::Service(route.clone());
        }
        match self.path.endpoints.get(addr) {
            Some(endpoint) => Destination::Pod(endpoint),
            // No Service names it, and it may answer all the same.
            None if self.path.is_pod_address(addr.ip()) => {
                Destination::Pod(self.path.endpoints.intern(addr, Place::Here))
            }
            None => Destination::Outside { host: addr.ip().to_string(), port: addr.port() },
        }
    }

    fn to_name(&self, name: &str, port: u16, from: &PodIdentity) -> Result<Destination, OutboundError> {
        match self.follow(name, &from.namespace) {
            Followed::Service(service) => to_service(&service, name, port),
            Followed::Addr(addr) => Ok(self.to_address(SocketAddr::new(addr, port))),
            Followed::Outside(host) => Ok(Destination::Outside { host, port }),
            Followed::Nothing => Err(OutboundError::UnknownName { name: name.to_owned() }),
        }
    }
}

/// A port of a Service. A headless one has no address of its own: its name leads to its pods, at their ports.
fn to_service(service: &ServiceRoute, name: &str, port: u16) -> Result<Destination, OutboundError> {
    let found = match service.reach {
        Reach::Headless => service.ports.iter().find(|known| known.is_served_at(port)),
        Reach::Addresses(_) | Reach::Alias(_) => service.port(port),
    };
    if let Some(found) = found {
        return Ok(Destination::Service(Route { port: Arc::clone(found), side: Side::Inside }));
    }
    let known: Vec<String> = service.ports.iter().map(ToString::to_string).collect();
    let source = format!("service {} has no port {port}; it has {}", service.name, known.join(", ")).into();
    Err(OutboundError::Connect { host: format!("{name}:{port}"), source })
}

/// The host of an authority, without the brackets of an IPv6 address.
fn bare_host(authority: &Authority) -> &str {
    let host = authority.host();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn port_of(authority: &Authority, scheme: Option<&Scheme>) -> u16 {
    authority.port_u16().unwrap_or(if scheme == Some(&Scheme::HTTPS) { 443 } else { 80 })
}

/// Whether a name is the pod's own (RFC 6761 §6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
}

/// Whether an address is the loopback address as programs mean it; the rest of 127.0.0.0/8 may be the
/// cluster's own.
fn is_loopback(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.octets() == [127, 0, 0, 1],
        IpAddr::V6(addr) => addr.is_loopback(),
    }
}
