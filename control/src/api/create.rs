//! POST of a new object.

use std::sync::Arc;

use http::StatusCode;
use isopod_spec::resource::Kind;
use isopod_spec::status::Status;

use super::call::Call;
use super::reply::Reply;
use super::view::View;
use super::{Api, body};
use crate::objects::Written;

/// Stores the object in the body.
pub(crate) async fn create(
    api: &Api,
    kind: &Arc<Kind>,
    namespace: &str,
    call: &mut Call,
) -> Result<Reply, Status> {
    let (commit, view) = (call.commit()?, view(kind, call)?);
    let decoded = body::object(call, kind).await?;
    api.caller(call).may_create(kind, namespace, decoded.object.as_ref())?;
    let objects = api.objects.managed_by(&call.field_manager()?);
    let written = objects.create_object(kind, namespace, decoded.object, commit).await?;
    Ok(written_reply(&view, &written)?.warn(decoded.warnings))
}

/// The form in which this caller gets objects of `kind`.
pub(crate) fn view(kind: &Arc<Kind>, call: &Call) -> Result<View, Status> {
    let (form, include) = call.form()?;
    Ok(View::new(Arc::clone(kind), form, include))
}

/// The answer to a write: the object as it is now.
pub(crate) fn written_reply(view: &View, written: &Written) -> Result<Reply, Status> {
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Reply::json(code, view.single(&written.value, written.revision)?))
}
