//! One request: pick an endpoint, call it, try elsewhere what was not sent.
//!
//! A request is tried again only while nothing of it was given away, so its body is never replayed. Where
//! every endpoint known is gone or refuses, as happens for some milliseconds of a rolling update when pods
//! change faster than the news of it, the request waits for better routes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio::time::{Instant, timeout};

use super::answer::{Answer, text};
use super::endpoint::Endpoint;
use super::facts::Policy;
use super::headers::strip_connection;
use super::path::DataPath;
use super::remote::{ConnectError, Failed, Wire};
use super::routes::Route;
use crate::local::{Body, CallError, Caller};

/// Endpoints tried for one request before the client hears of it.
const MAX_ATTEMPTS: usize = 3;

/// How long a request waits for an endpoint that takes it. Longer than news takes to arrive, shorter than a
/// client's patience.
const LONGEST_HOLD: Duration = Duration::from_secs(1);

/// How often a waiting request looks again, besides at each change of the routes: a container that restarts
/// at the same address changes no route.
const HOLD_TICK: Duration = Duration::from_millis(20);

/// Why an attempt gave no answer.
enum Setback {
    /// The endpoint is gone or refuses; another, or the same a moment later, may take it.
    Refused,
    /// No connection could be made.
    Connect(ConnectError),
}

enum Outcome {
    Answered(Response<Answer>),
    /// The request is whole, and may be tried elsewhere.
    Unsent(Request<Body>, Setback),
}

impl DataPath {
    /// Has an endpoint of the route answer, and counts the answer.
    pub(crate) async fn forward(
        &self,
        route: Route,
        caller: Caller,
        mut request: Request<Body>,
    ) -> Response<Answer> {
        strip_connection(request.headers_mut());
        let stats = Arc::clone(&route.port.stats);
        let mut response = self.answer(route, caller, request).await;
        strip_connection(response.headers_mut());
        stats.answered(response.status());
        response
    }

    async fn answer(&self, mut route: Route, caller: Caller, mut request: Request<Body>) -> Response<Answer> {
        let mut tried: Vec<SocketAddr> = Vec::new();
        let mut held_since: Option<Instant> = None;
        let mut setback = Setback::Refused;
        loop {
            let picked = if tried.len() < MAX_ATTEMPTS { self.pick(&route, caller, &tried) } else { None };
            let Some(endpoint) = picked else {
                let since = *held_since.get_or_insert_with(Instant::now);
                if !may_hold(&route, &setback) || since.elapsed() >= LONGEST_HOLD {
                    return no_endpoint(&route, &setback);
                }
                route = self.hold(route).await;
                tried.clear();
                continue;
            };
            match self.attempt(&endpoint, &route, caller, request).await {
                Outcome::Answered(response) => return response,
                Outcome::Unsent(unsent, why) => {
                    self.metrics.retries.inc();
                    tried.push(endpoint.addr);
                    (request, setback) = (unsent, why);
                }
            }
        }
    }

    /// Waits for a change of the routes, or a moment; the route as it is then.
    async fn hold(&self, route: Route) -> Route {
        let mut swaps = self.swaps();
        // Either way it is time to look again.
        let _ = timeout(HOLD_TICK, swaps.changed()).await;
        self.routes().renewed(&route).unwrap_or(route)
    }

    async fn attempt(
        &self,
        endpoint: &Arc<Endpoint>,
        route: &Route,
        caller: Caller,
        request: Request<Body>,
    ) -> Outcome {
        let about = About::Service(route, endpoint);
        if endpoint.answers_in_process() {
            return self.call_local(endpoint, about, caller, request).await;
        }
        if self.is_service_address(endpoint.addr) {
            let line = format!("{about} is the address of a service, not of a pod");
            return Outcome::Answered(text(StatusCode::LOOP_DETECTED, line));
        }
        self.call_remote(endpoint, route.port.wire(), about, caller, request).await
    }

    /// One request to one pod, whatever Services there are.
    pub(crate) async fn call_pod(
        &self,
        endpoint: &Arc<Endpoint>,
        caller: Caller,
        mut request: Request<Body>,
    ) -> Response<Answer> {
        strip_connection(request.headers_mut());
        let about = About::Pod(endpoint);
        // As in balancing: a pod of this node is called in process or not at all.
        let outcome = if !endpoint.is_connected_to() || endpoint.answers_in_process() {
            self.call_local(endpoint, about, caller, request).await
        } else {
            self.call_remote(endpoint, Wire::Http1, about, caller, request).await
        };
        let mut response = match outcome {
            Outcome::Answered(response) => response,
            Outcome::Unsent(_, Setback::Refused) => {
                text(StatusCode::SERVICE_UNAVAILABLE, format!("{about} takes no requests now"))
            }
            Outcome::Unsent(_, Setback::Connect(error)) => no_connection(&format!("{about}"), &error),
        };
        strip_connection(response.headers_mut());
        response
    }

    async fn call_local(
        &self,
        endpoint: &Arc<Endpoint>,
        about: About<'_>,
        caller: Caller,
        request: Request<Body>,
    ) -> Outcome {
        let in_flight = endpoint.enter();
        let registered = endpoint.slot.registered();
        let call = match registered.as_ref() {
            Some(local) => local.handler.call(caller, request),
            None => return Outcome::Unsent(request, Setback::Refused),
        };
        drop(registered);
        match call.await {
            Ok(response) => Outcome::Answered(response.map(|body| Answer::local(body, in_flight))),
            Err(CallError::Refused(request)) => Outcome::Unsent(*request, Setback::Refused),
            Err(error) => Outcome::Answered(failed_call(about, &error)),
        }
    }

    async fn call_remote(
        &self,
        endpoint: &Arc<Endpoint>,
        wire: Wire,
        about: About<'_>,
        caller: Caller,
        request: Request<Body>,
    ) -> Outcome {
        let in_flight = endpoint.enter();
        let source = self.source_for(caller.addr);
        match self.connector.exchange(&in_flight, wire, source, request).await {
            Ok(response) => {
                endpoint.reached();
                Outcome::Answered(response.map(|body| Answer::remote(body, in_flight)))
            }
            Err(Failed::Connect(request, error)) => {
                self.eject(endpoint);
                Outcome::Unsent(*request, Setback::Connect(error))
            }
            Err(Failed::Lost(error)) => {
                tracing::debug!(endpoint = %endpoint.addr, error, "connection lost before a response");
                let line = format!("{about} closed the connection before it answered");
                Outcome::Answered(text(StatusCode::BAD_GATEWAY, line))
            }
        }
    }
}

/// Whether waiting may help: there are endpoints, and not just some that cannot be connected to.
fn may_hold(route: &Route, setback: &Setback) -> bool {
    let endpoints = &route.backends().endpoints;
    match setback {
        Setback::Refused => !endpoints.is_empty(),
        Setback::Connect(_) => endpoints.iter().any(|endpoint| !endpoint.is_connected_to()),
    }
}

/// What an error is about, as its text names it.
#[derive(Clone, Copy)]
enum About<'a> {
    Service(&'a Route, &'a Endpoint),
    Pod(&'a Endpoint),
}

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            About::Service(route, endpoint) => {
                write!(f, "service {}: the pod at {}", route.port.service, endpoint.addr)
            }
            About::Pod(endpoint) => write!(f, "the pod at {}", endpoint.addr),
        }
    }
}

/// The answer for a call that gave none. What a guest trapped on is for its log, not for its clients.
fn failed_call(about: About<'_>, error: &CallError) -> Response<Answer> {
    let (status, what) = match error {
        CallError::Refused(_) | CallError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "is unavailable"),
        CallError::Trap(_) => (StatusCode::INTERNAL_SERVER_ERROR, "trapped; its log says where"),
        CallError::NoResponse => (StatusCode::BAD_GATEWAY, "ended without a response"),
        CallError::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "does not take a body this large"),
        CallError::Timeout => (StatusCode::GATEWAY_TIMEOUT, "took too long to respond"),
    };
    text(status, format!("{about} {what}"))
}

fn no_connection(about: &str, error: &ConnectError) -> Response<Answer> {
    match error {
        ConnectError::Timeout => text(StatusCode::GATEWAY_TIMEOUT, format!("{about}: timed out connecting")),
        ConnectError::Io(_) | ConnectError::Handshake(_) => {
            let cause =
                std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            text(StatusCode::BAD_GATEWAY, format!("{about}: {error}{cause}"))
        }
    }
}

/// The answer where no endpoint took the request.
fn no_endpoint(route: &Route, setback: &Setback) -> Response<Answer> {
    let service = &route.port.service;
    let backends = route.backends();
    if let (Setback::Connect(error), false) = (setback, backends.endpoints.is_empty()) {
        return no_connection(&format!("service {service}"), error);
    }
    let why = match (backends.endpoints.len(), backends.of, backends.policy) {
        (0, 0, _) => "it has no endpoints".to_owned(),
        (0, of, Policy::Cluster) => format!("none of its {of} endpoints is ready"),
        (0, of, Policy::Local) => format!("none of its {of} endpoints is ready on this node"),
        (count, ..) => format!("none of its {count} endpoints takes requests now"),
    };
    text(StatusCode::SERVICE_UNAVAILABLE, format!("service {service}: {why}"))
}
