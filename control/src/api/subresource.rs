//! Paths below an object: a part of it, another view of it, or something that is done with it.

use http::StatusCode;
use isopod_spec::resource::Target;
use isopod_spec::status::{GroupResource, Status};

use super::call::Call;
use super::reply::Reply;
use super::{Addressed, Api, Verb, read, update};

/// Answers a request for a declared subresource; others are unknown paths.
pub(crate) async fn answer(
    api: &Api,
    on: &Addressed<'_>,
    name: &str,
    verb: Verb,
    call: &mut Call,
) -> Result<Reply, Status> {
    let declared = on.kind.subresource(name).ok_or_else(Status::no_such_resource)?;
    if !declared.verbs.contains(&verb.as_str()) {
        let resource = format!("{}/{name}", on.kind.plural);
        let what = GroupResource { group: &on.kind.group, resource: &resource };
        return Err(Status::method_not_allowed(what, verb.as_str()));
    }
    match (declared.target, verb) {
        (Some(Target::Status), Verb::Get) => read::get(api, on, call).await,
        (Some(target @ (Target::Status | Target::Finalize)), Verb::Update) => {
            update::update(api, on, target, call).await
        }
        _ => Ok(Reply::text(StatusCode::NOT_IMPLEMENTED, "not yet")),
    }
}
