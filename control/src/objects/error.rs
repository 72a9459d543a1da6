//! What the store's errors mean to a client.

use isopod_raft_store::{ProposeError, ReadError};
use isopod_spec::status::Status;

/// A write that did not commit, or of which nobody knows.
pub(crate) fn propose_failed(error: &ProposeError) -> Status {
    match error {
        ProposeError::TooLarge { max, .. } => Status::too_large(*max),
        ProposeError::DuplicateKey { .. } => Status::internal(error),
        _ => Status::unavailable(error.to_string()),
    }
}

/// A read that could not be served.
pub(crate) fn read_failed(error: &ReadError) -> Status {
    Status::unavailable(error.to_string())
}

/// Stored bytes that are no object of their kind.
pub(crate) fn corrupt(error: &serde_json::Error) -> Status {
    Status::internal(format!("a stored object cannot be decoded: {error}"))
}
