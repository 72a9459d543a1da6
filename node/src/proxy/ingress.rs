//! The ingress address: any Service by host name, `<service>.<namespace>.localhost`.
//!
//! Names below `localhost` lead to the loopback address on every system that follows RFC 6761, so they work
//! in browsers and with curl without any set-up. A label in front picks a port by name or number.

use http::header::HOST;
use http::uri::Authority;
use http::{Request, Response, StatusCode, Version};

use super::answer::{Answer, text};
use super::facts::Reach;
use super::headers::add_forwarded;
use super::path::DataPath;
use super::routes::{Route, Routes, ServiceRoute, Side};
use crate::local::{Body, Caller};

/// Hosts listed to a caller that named none of them; a page, not a dump.
const MAX_LISTED: usize = 100;

/// Where a host name leads.
#[derive(Debug)]
enum Found {
    Route(Route),
    /// The answer to give instead.
    Nothing(StatusCode, String),
}

/// Answers a request that came in at the ingress address.
pub(crate) async fn answer(path: &DataPath, caller: Caller, mut request: Request<Body>) -> Response<Answer> {
    let host = host(&request).map(str::to_owned);
    let found = find(&path.routes(), host.as_deref(), request.version());
    match found {
        Found::Route(route) => {
            add_forwarded(request.headers_mut(), caller.addr, host.as_deref());
            path.forward(route, caller, request).await
        }
        Found::Nothing(status, line) => text(status, line),
    }
}

/// The host that a request is for: of its URI where that is absolute (RFC 9112 §3.2.2), else of its header.
fn host(request: &Request<Body>) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(HOST)?.to_str().ok(),
    }
}

fn find(routes: &Routes, host: Option<&str>, version: Version) -> Found {
    let Some(host) = host.filter(|host| !host.is_empty()) else {
        let status =
            if version == Version::HTTP_10 { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
        return Found::Nothing(status, format!("the request names no host. {}", hosts(routes)));
    };
    let Ok(authority) = host.parse::<Authority>() else {
        return Found::Nothing(StatusCode::BAD_REQUEST, format!("{host:?} is no host name"));
    };
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let labels: Vec<&str> = name.split('.').collect();
    let (service, port) = match *labels.as_slice() {
        [service, namespace, "localhost"] => (routes.service(namespace, service), None),
        [port, service, namespace, "localhost"] => (routes.service(namespace, service), Some(port)),
        _ => (None, None),
    };
    match service {
        None => Found::Nothing(
            StatusCode::NOT_FOUND,
            format!("no service has the host {name}. {}", hosts(routes)),
        ),
        Some(service) => port_of(service, port),
    }
}

fn port_of(service: &ServiceRoute, wanted: Option<&str>) -> Found {
    if let Reach::Alias(target) = &service.reach {
        let line = format!("service {} stands for {target}, which is not reached from here", service.name);
        return Found::Nothing(StatusCode::NOT_FOUND, line);
    }
    let port = match wanted {
        None => service.main_port(),
        Some(wanted) => {
            service.ports.iter().find(|port| *port.name == *wanted || port.port.to_string() == wanted)
        }
    };
    match (port, wanted) {
        (Some(port), _) => Found::Route(Route { port: port.clone(), side: Side::Outside }),
        (None, None) => {
            Found::Nothing(StatusCode::NOT_FOUND, format!("service {} has no TCP port", service.name))
        }
        (None, Some(wanted)) => {
            let known: Vec<_> = service.ports.iter().map(|port| port.to_string()).collect();
            let known = known.join(", ");
            let line = format!("service {} has no port {wanted}; it has {known}", service.name);
            Found::Nothing(StatusCode::NOT_FOUND, line)
        }
    }
}

/// A sentence of the hosts there are.
fn hosts(routes: &Routes) -> String {
    let mut hosts: Vec<_> = routes
        .services()
        .filter(|service| !service.ports.is_empty())
        .map(|service| format!("{}.{}.localhost", service.name.name, service.name.namespace))
        .collect();
    if hosts.is_empty() {
        return "There are no services yet.".to_owned();
    }
    hosts.sort_unstable();
    let more = hosts.len().saturating_sub(MAX_LISTED);
    hosts.truncate(MAX_LISTED);
    let more = if more == 0 { String::new() } else { format!("\nand {more} more") };
    format!("There are:\n{}{more}", hosts.join("\n"))
}
