//! What an error of a write means to a controller.

use isopod_spec::status::{Reason, Status};

/// True when the object is not there (any more).
pub(crate) fn is_gone(status: &Status) -> bool {
    status.reason == Reason::NotFound
}

/// True when the object is another one, or another version, than the decision was made on.
pub(crate) fn is_conflict(status: &Status) -> bool {
    status.reason == Reason::Conflict
}

/// True when the name is taken.
pub(crate) fn is_taken(status: &Status) -> bool {
    status.reason == Reason::AlreadyExists
}

/// True when nothing can be created because the namespace is being deleted: trying again is pointless.
pub(crate) fn is_namespace_going(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// A delete that finds nothing, or something newer, has nothing left to do.
pub(crate) fn settled(deleted: Result<(), Status>) -> Result<(), Status> {
    deleted.or_else(|status| if is_gone(&status) || is_conflict(&status) { Ok(()) } else { Err(status) })
}
