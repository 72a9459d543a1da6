//! The Kubernetes API over HTTP.
//!
//! Data goes one way: route → authorize → decode → admit → store → encode. A verb is a function from a [`Call`] to a
//! [`Reply`] or a [`Status`], generic over every kind; what is special about a kind is in its declaration.

mod body;
mod call;
mod create;
mod cursor;
mod decoded;
mod delete;
mod discovery;
mod health;
mod list;
mod log;
mod metrics;
mod negotiate;
mod openapi;
mod options;
mod page;
mod patch;
mod query;
mod read;
mod reply;
mod route;
mod scale;
mod selection;
mod subresource;
mod update;
mod view;
mod watch;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use isopod_spec::openapi::Documents;
use isopod_spec::resource::{Kind, Target};
use isopod_spec::status::{GroupResource, Status};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::call::Call;
use self::decoded::Decoded;
pub use self::discovery::Build;
use self::discovery::Groups;
pub use self::log::{NodeApi, NodeUnreachable};
use self::metrics::{Metrics, Subject};
use self::reply::Reply;
pub use self::reply::{BoxError, ResponseBody};
use self::route::{ResourcePath, Route};
use crate::objects::{Commit, Objects};
use crate::security::{Attributes, Decision, Identity, authorize};

/// Watches open at once on one member; each costs some kilobytes.
const WATCHES_MAX: usize = 20_000;

/// What the API of a member is made of.
pub struct Config {
    /// The objects that are served.
    pub objects: Objects,
    /// How to ask nodes for logs.
    pub nodes: Arc<dyn NodeApi>,
    /// Where clients reach the API, as `host:port`.
    pub address: String,
    /// What this build is.
    pub build: Build,
    /// Metrics of the process's other parts, which `/metrics` shows too.
    pub metrics: Registry,
    /// When it is cancelled, watches end and `/readyz` fails.
    pub shutdown: CancellationToken,
}

/// The API of one member.
pub struct Api {
    objects: Objects,
    nodes: Arc<dyn NodeApi>,
    address: String,
    build: Build,
    metrics: Metrics,
    watches: Arc<Semaphore>,
    decoded: Arc<Decoded>,
    openapi: Arc<Documents<'static>>,
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
        let Config { objects, nodes, address, build, metrics, shutdown } = config;
        let openapi = Arc::new(Documents::new(objects.kinds()));
        let metrics = Metrics::new(metrics, objects.store().clone(), objects.kinds());
        Api {
            objects,
            nodes,
            address,
            build,
            metrics,
            watches: Arc::new(Semaphore::new(WATCHES_MAX)),
            decoded: Arc::default(),
            openapi,
            shutdown,
        }
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
    let route = route::parse(&call.path);
    let open = api.metrics.begin(!matches!(call.method, Method::GET | Method::HEAD));
    // A bug in one verb must not take down the connection's other requests.
    let outcome = AssertUnwindSafe(dispatch(api, &route, &mut call).boxed()).catch_unwind().await;
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
    api.metrics.answered(
        subject(api, &route, &call),
        call.commit() == Ok(Commit::DryRun),
        reply.code,
        began.elapsed(),
    );
    reply::respond(reply, wishes, &audit_id)
}

/// What a request is about, in words of which there are few.
fn subject(api: &Api, route: &Route, call: &Call) -> Subject {
    let other = Subject { verb: method_word(&call.method), component: "apiserver", ..Subject::default() };
    let Route::Resource(path) = route else { return other };
    let Some(kind) = api.objects.kinds().by_plural(&path.group, &path.version, &path.resource) else {
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

async fn dispatch(api: &Api, route: &Route, call: &mut Call) -> Result<Reply, Status> {
    if let Route::Resource(path) = route {
        let verb = Verb::of(path, call).ok_or_else(|| not_allowed(path, &call.method))?;
        allow_resource(&call.identity, path, verb)?;
        return resource(api, path, verb, call).await;
    }
    allow_path(call)?;
    if !matches!(call.method, Method::GET | Method::HEAD) {
        return Err(Status::method_not_allowed(GroupResource { group: "", resource: "" }, "this method"));
    }
    let kinds = api.objects.kinds();
    match route {
        Route::Root => Ok(discovery::root(kinds)),
        Route::Version => Ok(discovery::version(&api.build)),
        Route::Health(probe, check) => Ok(health::answer(api, *probe, check.as_deref(), call)),
        Route::Metrics => Ok(api.metrics.answer()),
        Route::CoreVersions => discovery::groups(kinds, Groups::Core { address: &api.address }, call),
        Route::Groups => discovery::groups(kinds, Groups::Named, call),
        Route::Group(group) => discovery::group(kinds, group),
        Route::GroupVersion(group, version) => discovery::resources(kinds, group, version),
        Route::OpenApiIndex => openapi::index(&api.openapi, call).await,
        Route::OpenApiDocument(path) => openapi::document(&api.openapi, path, call).await,
        Route::OpenApiV2 => Err(openapi::version_2(call)),
        Route::Unknown | Route::Resource(_) => Err(Status::no_such_resource()),
    }
}

/// What a request does, in the words of RBAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    fn of(path: &ResourcePath, call: &Call) -> Option<Verb> {
        Some(match (&call.method, &path.name) {
            (&Method::GET | &Method::HEAD, Some(_)) => Verb::Get,
            (&Method::GET | &Method::HEAD, None) if call.query.is_set("watch") => Verb::Watch,
            (&Method::GET | &Method::HEAD, None) => Verb::List,
            (&Method::POST, _) => Verb::Create,
            (&Method::PUT, Some(_)) => Verb::Update,
            (&Method::PATCH, Some(_)) => Verb::Patch,
            (&Method::DELETE, Some(_)) => Verb::Delete,
            (&Method::DELETE, None) => Verb::DeleteCollection,
            _ => return None,
        })
    }

    /// The word that metrics have for it.
    fn metric_word(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::List => "LIST",
            Verb::Watch => "WATCH",
            Verb::Create => "POST",
            Verb::Update => "PUT",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
            Verb::DeleteCollection => "DELETECOLLECTION",
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }
}

fn not_allowed(path: &ResourcePath, method: &Method) -> Status {
    Status::method_not_allowed(group_resource(path), &method.as_str().to_ascii_lowercase())
}

fn group_resource(path: &ResourcePath) -> GroupResource<'_> {
    GroupResource { group: &path.group, resource: &path.resource }
}

fn allow_resource(identity: &Identity, path: &ResourcePath, verb: Verb) -> Result<(), Status> {
    let name = path.name.as_deref().unwrap_or_default();
    // A namespace is in itself, so that rights in a namespace may cover it.
    let own = if path.resource == "namespaces" && path.group.is_empty() { name } else { "" };
    let attributes = Attributes::Resource {
        verb: verb.as_str(),
        group: &path.group,
        resource: &path.resource,
        subresource: path.subresource.as_deref().unwrap_or_default(),
        namespace: path.namespace.as_deref().unwrap_or(own),
        name,
    };
    match authorize(identity, &attributes) {
        Decision::Allow => Ok(()),
        Decision::Deny(why) => Err(Status::forbidden(group_resource(path), name, &why)),
    }
}

fn allow_path(call: &Call) -> Result<(), Status> {
    let verb = call.method.as_str().to_ascii_lowercase();
    match authorize(&call.identity, &Attributes::Path { verb: &verb, path: &call.path }) {
        Decision::Allow => Ok(()),
        Decision::Deny(why) => Err(Status::forbidden(GroupResource { group: "", resource: "" }, "", &why)),
    }
}

/// Requests for objects, collections and subresources.
async fn resource(api: &Api, path: &ResourcePath, verb: Verb, call: &mut Call) -> Result<Reply, Status> {
    let kind = api.objects.kinds().by_plural(&path.group, &path.version, &path.resource);
    let kind = kind.ok_or_else(Status::no_such_resource)?;
    let namespace = path.namespace.as_deref();
    let is_placed = kind.namespaced() == namespace.is_some();
    if path.name.is_some() && !is_placed || namespace.is_some() && !kind.namespaced() {
        return Err(Status::no_such_resource());
    }
    let place = namespace.unwrap_or_default();
    let (Some(name), subresource) = (&path.name, &path.subresource) else {
        return collection(api, kind, namespace, verb, call).await;
    };
    let on = Addressed { kind, namespace: place, name };
    match subresource {
        Some(subresource) if path.rest.is_empty() => {
            subresource::answer(api, &on, subresource, verb, call).await
        }
        Some(_) => Err(Status::no_such_resource()),
        None => object(api, &on, verb, call).await,
    }
}

async fn collection(
    api: &Api,
    kind: &Arc<Kind>,
    namespace: Option<&str>,
    verb: Verb,
    call: &mut Call,
) -> Result<Reply, Status> {
    if !kind.verbs.contains(&verb.as_str()) {
        return Err(Status::method_not_allowed(&**kind, verb.as_str()));
    }
    match verb {
        Verb::List => list::list(api, kind, namespace, call).await,
        Verb::Watch => watch::watch(api, kind, namespace, call).await,
        Verb::DeleteCollection => delete::delete_collection(api, kind, namespace, call).await,
        Verb::Create if kind.namespaced() == namespace.is_some() => {
            create::create(api, kind, namespace.unwrap_or_default(), call).await
        }
        _ => Err(Status::method_not_allowed(&**kind, verb.as_str())),
    }
}

async fn object(api: &Api, on: &Addressed<'_>, verb: Verb, call: &mut Call) -> Result<Reply, Status> {
    if !on.kind.verbs.contains(&verb.as_str()) {
        return Err(Status::method_not_allowed(&**on.kind, verb.as_str()));
    }
    match verb {
        Verb::Get => read::get(api, on, call).await,
        Verb::Update => update::update(api, on, Target::Main, call).await,
        Verb::Patch => patch::patch(api, on, Target::Main, call).await,
        Verb::Delete => delete::delete(api, on, call).await,
        _ => Err(Status::method_not_allowed(&**on.kind, verb.as_str())),
    }
}

#[cfg(test)]
mod tests;
