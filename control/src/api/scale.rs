//! The `scale` subresource: how many replicas a workload should have, whatever its kind.

use http::StatusCode;
use isopod_spec::field_error::{FieldErrors, Path};
use isopod_spec::resource::{Object, Target};
use isopod_spec::schema;
use isopod_spec::status::{GroupKind, Status};
use k8s_openapi::api::autoscaling::v1::Scale;

use super::call::Call;
use super::patch::{self, Patch};
use super::reply::Reply;
use super::{Addressed, Api, apply, body, options};
use crate::objects::{Change, corrupt};

const SCALE: GroupKind<'static> = GroupKind { group: "autoscaling", kind: "Scale" };

/// Answers with an object's scale.
pub(crate) async fn get(api: &Api, on: &Addressed<'_>, call: &Call) -> Result<Reply, Status> {
    let snapshot = api.state(options::get(&call.query)?).await?;
    let entry = snapshot.get(&on.kind.key(on.namespace, on.name));
    let entry = entry.ok_or_else(|| Status::not_found(&**on.kind, on.name))?;
    let object = on.kind.decode_stored(&entry.value, entry.modified.0).map_err(|error| corrupt(&error))?;
    reply(object.as_ref())
}

/// Sets the number of replicas to that of the body.
pub(crate) async fn update(api: &Api, on: &Addressed<'_>, call: &mut Call) -> Result<Reply, Status> {
    let scale: Option<Scale> = body::other(call, "Scale").await?;
    let scale = scale.ok_or_else(|| Status::bad_request("the body must hold a Scale"))?;
    write(api, on, call, |_| Ok(scale.clone())).await
}

/// Sets the number of replicas to that of the patched scale.
pub(crate) async fn patch(api: &Api, on: &Addressed<'_>, call: &mut Call) -> Result<Reply, Status> {
    if patch::is_apply(call) {
        return apply::scale(api, on, call).await;
    }
    let patch = patch::read(call).await?;
    write(api, on, call, |current| patched(&patch, current)).await
}

fn patched(patch: &Patch, current: Scale) -> Result<Scale, Status> {
    let tree = serde_json::to_value(current).map_err(|error| corrupt(&error))?;
    let tree = patch.apply(schema::message("autoscaling", "v1", "Scale"), tree)?;
    serde_json::from_value(tree).map_err(|error| Status::bad_request(error.to_string()))
}

async fn write(
    api: &Api,
    on: &Addressed<'_>,
    call: &Call,
    wanted: impl Fn(Scale) -> Result<Scale, Status>,
) -> Result<Reply, Status> {
    let commit = call.commit()?;
    let change =
        Change { kind: on.kind, namespace: on.namespace, name: on.name, target: Target::Scale, commit };
    let written = api
        .objects
        .managed_by(&call.field_manager()?)
        .update_object(&change, |current| {
            let mut object = current.object.boxed_clone();
            let scale = wanted(scale_of(current.object)?)?;
            let version = scale.metadata.resource_version.filter(|version| !version.is_empty());
            if version.is_some() && version != object.meta().resource_version {
                return Err(Status::modified(&**on.kind, on.name));
            }
            let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
            check_replicas(on.name, i64::from(replicas))?;
            object.set_replicas(replicas);
            Ok(object)
        })
        .await?;
    reply(written.object.as_ref())
}

/// Refuses a scale below zero.
pub(crate) fn check_replicas(name: &str, replicas: i64) -> Result<(), Status> {
    if replicas >= 0 {
        return Ok(());
    }
    let mut errors = FieldErrors::new();
    let path = Path::new("spec");
    errors.invalid(&path.child("replicas"), replicas, "must be greater than or equal to 0");
    Err(Status::invalid(SCALE, name, &errors))
}

fn scale_of(object: &dyn Object) -> Result<Scale, Status> {
    object.scale().ok_or_else(Status::no_such_resource)
}

fn reply(object: &dyn Object) -> Result<Reply, Status> {
    let scale = scale_of(object)?;
    Ok(Reply::json(StatusCode::OK, serde_json::to_vec(&scale).map_err(|error| corrupt(&error))?))
}
