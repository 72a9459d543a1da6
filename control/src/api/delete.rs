//! DELETE of an object, and of a collection.

use std::ops::ControlFlow;
use std::sync::Arc;

use futures::future::join_all;
use http::StatusCode;
use isopod_spec::field_error::{FieldErrors, Path};
use isopod_spec::resource::Kind;
use isopod_spec::status::{self, GroupKind, Reason, Status};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::jiff::Timestamp;

use super::call::{self, Call};
use super::create::view;
use super::cursor::{Cursor, Walked};
use super::options;
use super::query::Query;
use super::reply::Reply;
use super::restrict::Caller;
use super::selection::Selection;
use super::view::{ListHead, View};
use super::{Addressed, Api, body};
use crate::objects::stored::MetadataView;
use crate::objects::{Commit, DeleteOptions, Deleted, Propagation, decode_stored};

/// Deletions of one `deletecollection` that are under way at once: enough to fill the store's batches.
const DELETES_AT_ONCE: usize = 64;

/// Deletes one object, or starts its deletion.
pub(crate) async fn delete(api: &Api, on: &Addressed<'_>, call: &mut Call) -> Result<Reply, Status> {
    let view = view(on.kind, call)?;
    let (options, commit) = delete_options(call).await?;
    if call.identity.node().is_some() {
        may_delete(api, on, api.caller(call))?;
    }
    let deleted = api.objects.delete_object(on.kind, on.namespace, on.name, &options, commit).await?;
    if deleted.gone && !on.kind.delete_returns_object {
        let uid = deleted.object.meta().uid.as_deref().unwrap_or_default();
        return Ok(Reply::json(StatusCode::OK, status::success(&**on.kind, on.name, uid)));
    }
    Ok(Reply::json(StatusCode::OK, view.single(&deleted.value, Some(deleted.revision))?))
}

/// A pod's node never changes once it has one, so looking before the deletion is enough.
fn may_delete(api: &Api, on: &Addressed<'_>, caller: Caller<'_>) -> Result<(), Status> {
    let snapshot = api.objects.store().snapshot();
    match snapshot.get(&on.kind.key(on.namespace, on.name)) {
        Some(entry) => caller.may_change(on.kind, decode_stored(on.kind, entry)?.as_ref()),
        None => Ok(()),
    }
}

/// Deletes all selected objects of a namespace, or of all of them, and answers with the list of them.
pub(crate) async fn delete_collection(
    api: &Api,
    kind: &Arc<Kind>,
    namespace: Option<&str>,
    call: &mut Call,
) -> Result<Reply, Status> {
    let view = view(kind, call)?;
    let list = options::list(&call.query)?;
    let selection = Selection::parse(kind, &call.query)?;
    let (options, commit) = delete_options(call).await?;
    let snapshot = api.state(list.at).await?;
    let range = selection.range(kind, namespace);
    let cursor = Cursor::new(Arc::clone(kind), snapshot, range, selection);
    let names = names(cursor, list.limit).await?;
    let mut gone: Vec<Deleted> = Vec::new();
    for batch in names.chunks(DELETES_AT_ONCE) {
        let deletions = batch
            .iter()
            .map(|(namespace, name)| api.objects.delete_object(kind, namespace, name, &options, commit));
        for deletion in join_all(deletions).await {
            match deletion {
                Ok(deleted) => gone.push(deleted),
                Err(status) if status.reason == Reason::NotFound => {}
                Err(status) => return Err(status),
            }
        }
    }
    Ok(Reply::json(StatusCode::OK, list_of(api, &view, &gone)?))
}

/// Namespace and name of what is selected, `limit` of them at most.
async fn names(mut cursor: Cursor, limit: Option<usize>) -> Result<Vec<(String, String)>, Status> {
    let mut names = Vec::new();
    loop {
        let walked = cursor.walk(|entry| {
            if limit.is_some_and(|limit| names.len() == limit) {
                return Ok(ControlFlow::Break(()));
            }
            let own = MetadataView::of(&entry.value);
            names.push((own.namespace, own.name));
            Ok(ControlFlow::Continue(()))
        })?;
        match walked {
            Walked::ToTheEnd | Walked::Stopped(_) => return Ok(names),
            Walked::Paused => tokio::task::yield_now().await,
        }
    }
}

fn list_of(api: &Api, view: &View, objects: &[Deleted]) -> Result<Vec<u8>, Status> {
    let revision = api.objects.store().snapshot().revision();
    let now = Timestamp::now();
    let mut out = Vec::new();
    view.write_list_head(&mut out, &ListHead { revision, ..ListHead::default() });
    for (index, deleted) in objects.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        view.write_item(&mut out, &deleted.value, deleted.revision, now)?;
    }
    View::write_list_tail(&mut out);
    Ok(out)
}

/// The options of the body, or of the query when there is no body.
async fn delete_options(call: &mut Call) -> Result<(DeleteOptions, Commit), Status> {
    let given: Option<meta::DeleteOptions> = body::other(call, "DeleteOptions").await?;
    let given = match given {
        Some(given) => given,
        None => from_query(&call.query)?,
    };
    resolve(given, call)
}

/// What options mean; a dry run may be asked for in them or in the query.
pub(crate) fn resolve(
    mut given: meta::DeleteOptions,
    call: &Call,
) -> Result<(DeleteOptions, Commit), Status> {
    let dry_run = given.dry_run.take().unwrap_or_default();
    let commit = match call::commit(dry_run.iter().map(String::as_str))? {
        Commit::DryRun => Commit::DryRun,
        Commit::Write => call.commit()?,
    };
    Ok((validated(given)?, commit))
}

fn from_query(query: &Query) -> Result<meta::DeleteOptions, Status> {
    let grace_period_seconds = query.integer("gracePeriodSeconds").map_err(|value| {
        Status::bad_request(format!(
            "invalid value {value:?} of the parameter gracePeriodSeconds: not an integer"
        ))
    })?;
    Ok(meta::DeleteOptions {
        grace_period_seconds,
        propagation_policy: query.text("propagationPolicy").map(str::to_owned),
        orphan_dependents: query.flag("orphanDependents"),
        ..meta::DeleteOptions::default()
    })
}

fn validated(given: meta::DeleteOptions) -> Result<DeleteOptions, Status> {
    let mut errors = FieldErrors::new();
    let policy = Path::new("propagationPolicy");
    let asked = given.propagation_policy.as_deref().filter(|policy| !policy.is_empty());
    let propagation = match (asked, given.orphan_dependents) {
        (Some(asked), Some(_)) => {
            errors.invalid(&policy, asked, "orphanDependents and deletionPropagation cannot be both set");
            None
        }
        (None, None) => None,
        (None, Some(true)) => Some(Propagation::Orphan),
        (None, Some(false)) | (Some("Background"), None) => Some(Propagation::Background),
        (Some("Foreground"), None) => Some(Propagation::Foreground),
        (Some("Orphan"), None) => Some(Propagation::Orphan),
        (Some(other), None) => {
            errors.not_supported(&policy, other, &["Foreground", "Background", "Orphan"]);
            None
        }
    };
    if !errors.is_empty() {
        return Err(Status::invalid(GroupKind { group: "meta.k8s.io", kind: "DeleteOptions" }, "", &errors));
    }
    let preconditions = given.preconditions.unwrap_or_default();
    Ok(DeleteOptions {
        grace_period_seconds: given.grace_period_seconds,
        propagation,
        uid: preconditions.uid,
        resource_version: preconditions.resource_version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(raw: &str) -> Result<DeleteOptions, Status> {
        from_query(&Query::parse(Some(raw))).and_then(validated)
    }

    #[test]
    fn options_come_from_the_query_when_there_is_no_body() {
        let read = options("gracePeriodSeconds=0&propagationPolicy=Foreground").expect("valid");
        assert_eq!(read.grace_period_seconds, Some(0));
        assert_eq!(read.propagation, Some(Propagation::Foreground));
        assert_eq!(options("orphanDependents=true").expect("valid").propagation, Some(Propagation::Orphan));
        assert_eq!(options("").expect("valid"), DeleteOptions::default());
    }

    #[test]
    fn unknown_and_contradicting_policies_are_refused() {
        for (raw, code) in [
            ("propagationPolicy=Later", 422),
            ("propagationPolicy=Orphan&orphanDependents=true", 422),
            ("gracePeriodSeconds=soon", 400),
        ] {
            assert_eq!(options(raw).expect_err(raw).code, code, "{raw}");
        }
    }
}
