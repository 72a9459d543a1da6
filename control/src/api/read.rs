//! GET of one object.

use http::StatusCode;
use isopod_raft_store::{ReadError, Snapshot};
use isopod_spec::status::Status;

use super::call::Call;
use super::create::view;
use super::options::{self, ReadAt};
use super::reply::Reply;
use super::{Addressed, Api};
use crate::objects::read_failed;

/// How long a read waits for a revision that this member has not seen yet.
const FRESHNESS_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

/// Answers with one object.
pub(crate) async fn get(api: &Api, on: &Addressed<'_>, call: &Call) -> Result<Reply, Status> {
    let view = view(on.kind, call)?;
    let snapshot = api.state(options::get(&call.query)?).await?;
    let entry = snapshot.get(&on.kind.key(on.namespace, on.name));
    let entry = entry.ok_or_else(|| Status::not_found(&**on.kind, on.name))?;
    Ok(Reply::json(StatusCode::OK, view.single(&entry.value, Some(entry.modified))?))
}

impl Api {
    /// A state as fresh as asked for.
    pub(crate) async fn state(&self, at: ReadAt) -> Result<Snapshot, Status> {
        let store = self.objects.store();
        let failed = |error: ReadError| match error {
            ReadError::Future { revision, latest } => {
                Status::too_large_resource_version(revision.0, latest.0)
            }
            ReadError::Compacted { .. } => {
                Status::expired("The resourceVersion for the provided list is too old.")
            }
            error => read_failed(&error),
        };
        match at {
            ReadAt::Latest => store.linearizable().await.map_err(failed),
            ReadAt::Any => Ok(store.snapshot()),
            ReadAt::NotOlderThan(revision) => {
                store.wait_applied(revision, FRESHNESS_TIMEOUT).await.map_err(failed)
            }
            ReadAt::Exact(revision) => {
                store.wait_applied(revision, FRESHNESS_TIMEOUT).await.map_err(failed)?;
                store.snapshot_at(revision).map_err(failed)
            }
        }
    }
}
