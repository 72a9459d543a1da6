//! From a route to the verb that answers it: may the caller do this, is there such a kind, does it know the verb?

use std::sync::Arc;

use http::Method;
use isopod_spec::registry::Kinds;
use isopod_spec::resource::{Kind, Target};
use isopod_spec::status::{GroupResource, Status};

use super::call::Call;
use super::discovery::Groups;
use super::negotiate::Form;
use super::reply::{Content, Reply};
use super::route::{ResourcePath, Route};
use super::verb::Verb;
use super::{
    Addressed, Api, create, delete, discovery, health, list, load, openapi, openid, patch, read, review,
    socket, subresource, update, watch,
};
use crate::fairness::{Account, Lasting, Share, turned_away};
use crate::security::{Attributes, Decision, ResourceAttributes};

/// Answers a request.
pub(crate) async fn dispatch(api: &Api, route: &Route, call: &mut Call) -> Result<Reply, Status> {
    socket::take_token(&mut call.headers)?;
    call.identity = api.access.identify(&call.identity, &call.headers).await?;
    if let Route::Resource(path) = route {
        let verb = Verb::of(path, call).ok_or_else(|| not_allowed(path, &call.method))?;
        allow_resource(api, call, path, verb).await?;
        let reply = in_turn(api, path, verb, call).await?;
        return api.sockets.carry(call, reply);
    }
    allow_path(api, call).await?;
    if !matches!(call.method, Method::GET | Method::HEAD) {
        return Err(Status::method_not_allowed(GroupResource { group: "", resource: "" }, "this method"));
    }
    match route {
        Route::Version => Ok(discovery::version(&api.build)),
        Route::Health(probe, check) => Ok(health::answer(api, *probe, check.as_deref(), call)),
        _ => {
            let account = api.fairness.account(&call.identity);
            let allowed = load::time_allowed(&call.query);
            api.fairness.run(&account, Share::Read, allowed, about(api, route, call)).await
        }
    }
}

/// What there is to know about the cluster, besides its objects.
async fn about(api: &Api, route: &Route, call: &Call) -> Result<Reply, Status> {
    match route {
        Route::Metrics => Ok(api.metrics.answer()),
        Route::OpenIdConfiguration => Ok(openid::configuration(&api.address)),
        Route::OpenIdKeys => Ok(openid::keys(api.access.tokens().key())),
        Route::Unknown | Route::Resource(_) => Err(Status::no_such_resource()),
        _ => described(api, route, call).await,
    }
}

/// A request for objects, when its caller's turn comes.
async fn in_turn(api: &Api, path: &ResourcePath, verb: Verb, call: &mut Call) -> Result<Reply, Status> {
    let account = api.fairness.account(&call.identity);
    call.account = Some(Arc::clone(&account));
    let share = verb.share();
    if share == Share::Write {
        // Before its turn: a client that sends slowly keeps nobody else waiting.
        call.fetch_body().await?;
    }
    let lasting = match verb {
        Verb::Watch => Some(begin_lasting(&account)?),
        _ => None,
    };
    let allowed = load::time_allowed(&call.query);
    let reply = api.fairness.run(&account, share, allowed, resource(api, path, verb, call)).await?;
    match (lasting, &reply.content) {
        (None, Content::Live(_)) => Ok(reply.during(begin_lasting(&account)?)),
        (Some(lasting), _) => Ok(reply.during(lasting)),
        (None, _) => Ok(reply),
    }
}

fn begin_lasting(account: &Arc<Account>) -> Result<Lasting, Status> {
    account.lasting().ok_or_else(|| turned_away("as many watches and logs are open as may be"))
}

/// What is served: never less than whoever asks has seen elsewhere.
async fn described(api: &Api, route: &Route, call: &Call) -> Result<Reply, Status> {
    let kinds = api.objects.kinds_now().await;
    match route {
        Route::Root => Ok(discovery::root(&kinds)),
        Route::CoreVersions => discovery::groups(&kinds, Groups::Core { address: &api.address }, call),
        Route::Groups => discovery::groups(&kinds, Groups::Named, call),
        Route::Group(group) => discovery::group(&kinds, group),
        Route::GroupVersion(group, version) => discovery::resources(&kinds, group, version),
        Route::OpenApiV2 => openapi::version_2(&api.openapi.of(&kinds), call).await,
        Route::OpenApiIndex => openapi::index(&api.openapi.of(&kinds), call).await,
        Route::OpenApiDocument(path) => openapi::document(&api.openapi.of(&kinds), path, call).await,
        _ => Err(Status::no_such_resource()),
    }
}

/// The kind that a path names. One that is not known may have been declared a moment ago, at another member.
async fn kind(api: &Api, path: &ResourcePath) -> Result<Arc<Kind>, Status> {
    let find = |kinds: &Kinds| kinds.by_plural(&path.group, &path.version, &path.resource).cloned();
    match find(&api.objects.kinds()) {
        Some(kind) => Ok(kind),
        None => find(&*api.objects.kinds_now().await).ok_or_else(Status::no_such_resource),
    }
}

fn not_allowed(path: &ResourcePath, method: &Method) -> Status {
    Status::method_not_allowed(group_resource(path), &method.as_str().to_ascii_lowercase())
}

fn group_resource(path: &ResourcePath) -> GroupResource<'_> {
    GroupResource { group: &path.group, resource: &path.resource }
}

async fn allow_resource(api: &Api, call: &Call, path: &ResourcePath, verb: Verb) -> Result<(), Status> {
    let lists = matches!(verb, Verb::List | Verb::Watch);
    let selected = |field| call.query.selected(field).filter(|_| lists).unwrap_or_default();
    let name = path.name.as_deref().unwrap_or_else(|| selected("metadata.name"));
    // A namespace is in itself, so that rights in a namespace may cover it.
    let own = if path.resource == "namespaces" && path.group.is_empty() { name } else { "" };
    let attributes = Attributes::Resource(ResourceAttributes {
        verb: verb.as_str(),
        group: &path.group,
        resource: &path.resource,
        subresource: path.subresource.as_deref().unwrap_or_default(),
        namespace: path.namespace.as_deref().unwrap_or(own),
        name,
        of_node: selected("spec.nodeName"),
        metadata_only: matches!(call.form(), Ok((Form::Partial, _))),
    });
    match api.access.authorize(&call.identity, &attributes).await {
        Decision::Allow => Ok(()),
        Decision::Deny(why) => Err(Status::forbidden(group_resource(path), name, &why)),
    }
}

async fn allow_path(api: &Api, call: &Call) -> Result<(), Status> {
    let verb = call.method.as_str().to_ascii_lowercase();
    let attributes = Attributes::Path { verb: &verb, path: &call.path };
    match api.access.authorize(&call.identity, &attributes).await {
        Decision::Allow => Ok(()),
        Decision::Deny(why) => Err(Status::forbidden(GroupResource { group: "", resource: "" }, "", &why)),
    }
}

/// Requests for objects, collections and subresources.
async fn resource(api: &Api, path: &ResourcePath, verb: Verb, call: &mut Call) -> Result<Reply, Status> {
    let kind = &kind(api, path).await?;
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
        Verb::Create if kind.namespaced() == namespace.is_some() && kind.is_review => {
            review::answer(api, kind, namespace.unwrap_or_default(), call).await
        }
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
