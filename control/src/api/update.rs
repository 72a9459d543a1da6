//! PUT of an object or of a part of it.

use isopod_spec::resource::Target;
use isopod_spec::status::{Reason, Status};

use super::body;
use super::call::Call;
use super::create::{view, written_reply};
use super::reply::Reply;
use super::{Addressed, Api};
use crate::objects::{Change, Current};

/// Replaces what `target` names by what the body holds.
pub(crate) async fn update(
    api: &Api,
    on: &Addressed<'_>,
    target: Target,
    call: &mut Call,
) -> Result<Reply, Status> {
    let (commit, view) = (call.commit()?, view(on.kind, call)?);
    let decoded = body::object(call, on.kind).await?;
    let object = decoded.object;
    let change = Change { kind: on.kind, namespace: on.namespace, name: on.name, target, commit };
    let creates = on.kind.create_on_update && target == Target::Main;
    let make = |current: &Current<'_>| {
        api.caller(call).may_replace(on.kind, current.object, object.as_ref())?;
        Ok(object.clone())
    };
    let objects = api.objects.managed_by(&call.field_manager()?);
    let written = match objects.update_object(&change, make).await {
        Err(status) if creates && status.reason == Reason::NotFound => {
            if object.name() != on.name {
                return Err(Status::bad_request(format!(
                    "the name of the object ({}) does not match the name on the URL ({})",
                    object.name(),
                    on.name
                )));
            }
            api.caller(call).may_create(on.kind, on.namespace, object.as_ref())?;
            objects.create_object(on.kind, on.namespace, object, commit).await?
        }
        outcome => outcome?,
    };
    Ok(written_reply(&view, &written)?.warn(decoded.warnings))
}
