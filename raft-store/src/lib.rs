//! Isopod's replicated, revisioned key-value store.
//!
//! Keys and values are bytes; this crate knows nothing of Kubernetes. Every committed transaction that changes
//! something gets the next [`Revision`]. State lives in memory in a persistent ordered map, so a [`Snapshot`]
//! costs a pointer.
//!
//! Callers hold a [`Store`]; the [`Driver`] it was opened with must be running for writes to commit.

pub mod command;
pub mod state;
pub mod store;
pub mod watch;

mod driver;
mod history;
mod inbox;
mod machine;

pub use command::{Compare, Op, Txn, TxnResponse};
pub use driver::{Driver, DriverError};
pub use state::{Entry, KeyRange, Revision, Snapshot};
pub use store::{Config, Leadership, MemberId, OpenError, ProposeError, ReadError, Status, Store};
pub use watch::{Event, EventKind, Watch, WatchEnd};
