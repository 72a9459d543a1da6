//! Paths below an object: a part of it, another view of it, or something that is done with it.

use http::StatusCode;
use isopod_spec::resource::Target;
use isopod_spec::status::{self, GroupResource, Reason, Status};
use k8s_openapi::api::core::v1::Binding;
use k8s_openapi::api::policy::v1::Eviction;

use super::call::Call;
use super::reply::Reply;
use super::verb::Verb;
use super::{Addressed, Api, body, delete, forward, log, patch, read, scale, token, update};
use crate::objects::Commit;

/// Subresources of pods that have no answer yet, and what they are called.
const NOT_YET: [(&str, &str); 4] = [
    ("attach", "attaching to containers"),
    ("ephemeralcontainers", "ephemeral containers"),
    ("exec", "running commands in containers"),
    ("proxy", "proxying to pods"),
];

/// Answers a request for a declared subresource; others are unknown paths.
pub(crate) async fn answer(
    api: &Api,
    on: &Addressed<'_>,
    name: &str,
    verb: Verb,
    call: &mut Call,
) -> Result<Reply, Status> {
    let Some(declared) = on.kind.subresource(name) else { return Err(unknown(on, name)) };
    let resource = format!("{}/{name}", on.kind.plural);
    let not_allowed = || {
        let what = GroupResource { group: &on.kind.group, resource: &resource };
        Status::method_not_allowed(what, verb.as_str())
    };
    if !declared.verbs.contains(&verb.as_str()) {
        return Err(not_allowed());
    }
    match (declared.target, verb) {
        (Some(Target::Scale), Verb::Get) => scale::get(api, on, call).await,
        (Some(Target::Scale), Verb::Update) => scale::update(api, on, call).await,
        (Some(Target::Scale), Verb::Patch) => scale::patch(api, on, call).await,
        (Some(Target::Binding), Verb::Create) => bind(api, on, call).await,
        (Some(_), Verb::Get) => read::get(api, on, call).await,
        (Some(target), Verb::Update) => update::update(api, on, target, call).await,
        (Some(target), Verb::Patch) => patch::patch(api, on, target, call).await,
        (None, Verb::Create) if name == "token" => token::create(api, on, call).await,
        (None, Verb::Get) if name == "log" => log::get(api, on, call).await,
        (None, Verb::Get | Verb::Create) if name == "portforward" => {
            forward::connect(api, on, verb, call).await
        }
        (None, Verb::Create) if name == "eviction" => evict(api, on, call).await,
        _ => Err(not_allowed()),
    }
}

fn unknown(on: &Addressed<'_>, name: &str) -> Status {
    let feature = NOT_YET.iter().find(|(own, _)| *own == name && on.kind.kind == "Pod");
    feature.map_or_else(Status::no_such_resource, |(_, feature)| Status {
        code: StatusCode::NOT_IMPLEMENTED.as_u16(),
        reason: Reason::Unknown,
        message: format!("this server does not support {feature} yet"),
        details: None,
    })
}

/// Deletes a pod if its disruption budget allows.
async fn evict(api: &Api, on: &Addressed<'_>, call: &mut Call) -> Result<Reply, Status> {
    let eviction: Option<Eviction> = body::other(call, "Eviction").await?;
    let eviction = eviction.ok_or_else(|| Status::bad_request("the body must hold an Eviction"))?;
    let given = eviction.metadata.name.as_deref().unwrap_or_default();
    if !given.is_empty() && given != on.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let (options, commit) = delete::resolve(eviction.delete_options.unwrap_or_default(), call)?;
    let pod = api.objects.evict(on.namespace, on.name, &options, commit).await?;
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    Ok(Reply::json(StatusCode::CREATED, status::success(&**on.kind, on.name, uid)))
}

/// The scheduler's decision about a pod.
async fn bind(api: &Api, on: &Addressed<'_>, call: &mut Call) -> Result<Reply, Status> {
    let commit = call.commit()?;
    let binding: Option<Binding> = body::other(call, "Binding").await?;
    let mut binding = binding.ok_or_else(|| Status::bad_request("the body must hold a Binding"))?;
    let given = binding.metadata.name.get_or_insert_default();
    if given.is_empty() {
        on.name.clone_into(given);
    }
    if given != on.name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let written = api.objects.bind_object(on.namespace, &binding, commit).await?;
    let uid = written.object.meta().uid.as_deref().unwrap_or_default();
    debug_assert!(commit == Commit::DryRun || written.revision.is_some(), "a written pod has a revision");
    Ok(Reply::json(StatusCode::CREATED, status::success(&**on.kind, on.name, uid)))
}
