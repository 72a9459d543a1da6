//! The Kubernetes API over HTTP.
//!
//! Data goes one way: route → authorize → decode → admit → store → encode. A verb is a function from a [`Call`] to a
//! [`Reply`] or a [`Status`], generic over every kind; what is special about a kind is in its declaration.

mod apply;
mod body;
mod call;
mod create;
mod cursor;
mod decoded;
mod delete;
mod discovery;
mod dispatch;
mod forward;
mod health;
mod list;
mod load;
mod log;
mod metrics;
mod negotiate;
mod openapi;
mod openid;
mod options;
mod page;
mod patch;
mod query;
mod read;
mod reply;
mod restrict;
mod review;
mod route;
mod scale;
mod selection;
mod socket;
mod subresource;
mod token;
mod update;
mod verb;
mod view;
mod watch;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use isopod_spec::resource::Kind;
use isopod_spec::status::Status;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use self::call::Call;
use self::decoded::Decoded;
pub use self::discovery::Build;
use self::forward::Tunnels;
use self::health::Check;
pub use self::log::{NodeApi, NodeUnreachable};
use self::metrics::{Metrics, Subject};
use self::reply::Reply;
pub use self::reply::{BoxError, ResponseBody};
use self::restrict::Caller;
use self::route::Route;
use self::socket::Sockets;
use self::verb::Verb;
use crate::fairness::{Fairness, FlowControl, Limits};
use crate::objects::{Commit, Objects};
use crate::security::identity::ANONYMOUS;
use crate::security::{Access, Identity};

/// What the API of a member is made of.
pub struct Config {
    /// The objects that are served.
    pub objects: Objects,
    /// Who may do what.
    pub access: Access,
    /// How to ask nodes for logs and for connections into their pods.
    pub nodes: Arc<dyn NodeApi>,
    /// Where clients reach the API, as `host:port`.
    pub address: String,
    /// What this build is.
    pub build: Build,
    /// Metrics of the process's other parts, which `/metrics` shows too.
    pub metrics: Registry,
    /// How many requests are worked on at once.
    pub limits: Limits,
    /// When it is cancelled, watches end and `/readyz` fails.
    pub shutdown: CancellationToken,
}

/// Marks an answer to somebody who has shown who they are, on a connection that does not say it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known;

/// The API of one member.
pub struct Api {
    objects: Objects,
    access: Access,
    nodes: Arc<dyn NodeApi>,
    address: String,
    build: Build,
    metrics: Metrics,
    fairness: Arc<Fairness>,
    tunnels: Tunnels,
    sockets: Sockets,
    decoded: Arc<Decoded>,
    openapi: openapi::Served,
    live: Vec<Check>,
    ready: Vec<Check>,
    shutdown: CancellationToken,
}

/// The object that a request names.
#[derive(Clone, Copy)]
pub(crate) struct Addressed<'a> {
    /// Its kind.
    pub(crate) kind: &'a Arc<Kind>,
    /// Its namespace; empty for cluster-scoped kinds.
    pub(crate) namespace: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
}

impl Api {
    /// The API over a member's objects.
    pub fn new(config: Config) -> Api {
        let Config { objects, access, nodes, address, build, mut metrics, limits, shutdown } = config;
        let fairness = Arc::new(Fairness::new(limits));
        metrics.register_collector(Box::new(FlowControl(Arc::clone(&fairness))));
        let facts = discovery::build_facts(&build);
        let served = objects.clone();
        let kinds = Box::new(move || served.kinds());
        let metrics = Metrics::new(metrics, facts, objects.store().clone(), kinds);
        Api {
            objects,
            access,
            nodes,
            address,
            build,
            metrics,
            fairness,
            tunnels: Tunnels::new(shutdown.clone()),
            sockets: Sockets::new(shutdown.clone()),
            decoded: Arc::default(),
            openapi: openapi::Served::default(),
            live: Check::live(),
            ready: Check::ready(),
            shutdown,
        }
    }

    /// Who makes a request, to ask what it may write.
    pub(crate) fn caller<'a>(&'a self, call: &'a Call) -> Caller<'a> {
        Caller { access: &self.access, identity: &call.identity }
    }

    /// The same, ready only while `is_ready` says so too; `name` is the check's in `/readyz?verbose`.
    #[must_use]
    pub fn with_ready_check(
        mut self,
        name: &'static str,
        is_ready: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Api {
        self.ready.push(Check::new(name, move |_| is_ready()));
        self
    }
}

/// Answers one request of a caller who is known, or known to be anonymous. Never fails: errors are answers.
pub async fn handle<B>(api: Arc<Api>, identity: Identity, request: Request<B>) -> Response<ResponseBody>
where
    B: http_body::Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let call = Call::new(identity, parts, body.map_err(Into::into).boxed());
    answer(&api, call).await
}

async fn answer(api: &Api, mut call: Call) -> Response<ResponseBody> {
    let (wishes, audit_id, began) = (call.wishes(), call.audit_id(), Instant::now());
    let (route, was_known) = (route::parse(&call.path), call.identity.user != ANONYMOUS);
    let open = api.metrics.begin(!matches!(call.method, Method::GET | Method::HEAD));
    // A bug in one verb must not take down the connection's other requests.
    let outcome = AssertUnwindSafe(dispatch::dispatch(api, &route, &mut call).boxed()).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| {
        tracing::error!(path = call.path, method = %call.method, "a request panicked");
        Err(Status::internal("the request could not be handled"))
    });
    let reply = outcome.unwrap_or_else(|status| {
        if status.code >= 500 {
            tracing::warn!(path = call.path, method = %call.method, code = status.code, error = %status, "request failed");
        }
        Reply::status(&status)
    });
    drop(open);
    let took = began.elapsed();
    tracing::debug!(
        user = call.identity.user,
        method = %call.method,
        path = call.path,
        code = reply.code.as_u16(),
        ?took,
        "request answered"
    );
    api.metrics.answered(subject(api, &route, &call), call.commit() == Ok(Commit::DryRun), reply.code, took);
    let mut response = reply::respond(reply, wishes, &audit_id, call.account.as_ref());
    if !was_known && call.identity.user != ANONYMOUS {
        response.extensions_mut().insert(Known);
    }
    response
}

/// What a request is about, in words of which there are few.
fn subject(api: &Api, route: &Route, call: &Call) -> Subject {
    let other = Subject { verb: method_word(&call.method), component: "apiserver", ..Subject::default() };
    let Route::Resource(path) = route else { return other };
    let kinds = api.objects.kinds();
    let Some(kind) = kinds.by_plural(&path.group, &path.version, &path.resource) else {
        return other;
    };
    let subresource = path.subresource.as_deref().filter(|name| kind.subresource(name).is_some());
    Subject {
        verb: Verb::of(path, call).map_or(other.verb, Verb::metric_word),
        group: kind.group.clone(),
        version: kind.version.clone(),
        resource: kind.plural.clone(),
        subresource: subresource.unwrap_or_default().to_owned(),
        scope: match (&path.name, &path.namespace) {
            (Some(_), _) => "resource",
            (None, Some(_)) => "namespace",
            (None, None) => "cluster",
        },
        ..other
    }
}

/// The method, if it is one that means something here.
fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
